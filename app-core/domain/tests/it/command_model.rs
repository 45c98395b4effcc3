//! An exhaustive search over the life of one command: the real state machine of core, the real ledger of the door, and
//! a network that keeps every message for ever and delivers any of them at any time, any number of times, or never.
//! Time goes by at any moment, core may send again, the door may crash between any two steps, its clock may be slow,
//! a lockdown may come and go. Then each protection is taken out, and the search has to find the harm.

use keyway_domain::command::ledger::{
    Admission, Answer, Conditions, Entry, EntryState, Ledger, RejectReason, confirm,
};
use keyway_domain::command::{CommandRecord, Doubt, Input, State, Step, UnlockCommand};
use keyway_domain::door::DoorMode;
use keyway_domain::id::{CommandId, DeviceId, DoorId, TenantId};
use keyway_domain::time::{Moment, UnixMs};
use std::collections::{BTreeSet, HashSet, VecDeque};

const TICK_MS: u64 = 1_000;
const DEADLINE_TICK: u64 = 2;
/// A door whose clock is a tick slow, and may be another tick off, is sure two ticks after the deadline that it passed.
const LAST_TICK: u64 = DEADLINE_TICK + 2;
const SENDS_MAX: u8 = 2;
const CRASHES_MAX: u8 = 2;

/// What is taken out. `Nothing` is the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The outcome is written after the bolt has moved, the id not before.
    WriteAhead,
    /// The deadline is looked at on arrival only.
    DeadlineAtTheBolt,
    /// The door takes its slow clock for exact.
    ClockBound,
    /// Core says expired at the deadline, whatever is on its way.
    ProofBeforeExpired,
    /// Core takes "never seen" for a proof although a copy could still arrive in time.
    ProofAfterDeadline,
    /// A refusal is told and not written.
    WrittenRefusal,
    /// After a restart a written id without outcome counts as not done, and is done again.
    MaybeAfterCrash,
    /// A ledger that was lost begins anew as if it had always been empty.
    LedgerBirth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Command,
    Acked,
    Report(Told),
}

/// `Answer`, ordered, so that the network can be a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Told {
    Written,
    Maybe,
    Executed,
    Rejected,
    NeverSeen { after_deadline: bool, reaches: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Judged, nothing written yet.
    Judged(Admission),
    /// Written, or skipped where write-ahead is taken out.
    Ready,
    /// The bolt has moved; the outcome is not written.
    Moved,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    tick: u64,
    core: State,
    sends: u8,
    network: BTreeSet<Message>,
    ledger: Ledger,
    phase: Phase,
    crashes: u8,
    wiped: bool,
    blocked: bool,
    blocked_before: bool,
    opened: u8,
    opened_late: bool,
}

struct Fixture {
    command: UnlockCommand,
    without: Without,
    /// How many ticks the door's clock is behind; its stated error covers it.
    slow: u64,
}

impl Fixture {
    fn new(without: Without, slow: u64) -> Self {
        let at = UnixMs(1);
        let command = UnlockCommand {
            tenant: TenantId::mint(at, [1; 10]),
            door: DoorId::mint(at, [1; 10]),
            device: DeviceId::mint(at, [1; 10]),
            command: CommandId::mint(at, [1; 10]),
            created_at: time(0),
            deadline: time(DEADLINE_TICK),
            open_ms: 5_000,
            mode_version: 1,
            lockdown_version: 1,
            overrides_lockdown: false,
        };
        Self { command, without, slow }
    }

    fn conditions(&self, world: &World) -> Conditions<'static> {
        // The slow clock shows a tick less; a stated error of just over a tick covers that.
        let error_ms = if self.without == Without::ClockBound { 0 } else { (self.slow * TICK_MS) as u32 };
        Conditions {
            tenant: self.command.tenant,
            door: self.command.door,
            device: self.command.device,
            now: Some(Moment { at: time(world.tick).minus(self.slow * TICK_MS), error_ms }),
            mode: if world.blocked { DoorMode::Blocked } else { DoorMode::Normal },
            mode_version: 1,
            lockdown: None,
        }
    }

    fn told(&self, world: &World) -> Told {
        let as_of = self.conditions(world).now.expect("set above").earliest();
        match world.ledger.answer(self.command.command, as_of) {
            Answer::Written => Told::Written,
            Answer::MaybeExecuted => Told::Maybe,
            Answer::Executed => Told::Executed,
            Answer::Failed(_) => panic!("this bolt never jams"),
            Answer::Rejected(_) => Told::Rejected,
            Answer::NeverSeen { as_of, complete_since } => {
                // Only these two comparisons matter to core; telling more instants apart would only multiply states.
                let reaches = complete_since <= self.command.created_at;
                Told::NeverSeen { after_deadline: as_of >= self.command.deadline, reaches }
            }
        }
    }

    fn entry(&self, state: EntryState) -> Entry {
        Entry { command: self.command.command, deadline: self.command.deadline, state }
    }

    /// Every world that may come next.
    fn next(&self, world: &World) -> Vec<World> {
        let mut next = Vec::new();
        let mut push = |change: &dyn Fn(&mut World)| {
            let mut after = world.clone();
            change(&mut after);
            next.push(after);
        };
        if world.tick < LAST_TICK {
            push(&|after| after.tick += 1);
        }
        if !world.blocked_before {
            push(&|after| (after.blocked, after.blocked_before) = (true, true));
        } else if world.blocked {
            push(&|after| after.blocked = false);
        }
        if world.sends < SENDS_MAX {
            push(&|after| {
                self.core(after, Input::Dispatch);
                if matches!(after.core, State::Sent | State::Acked) {
                    after.sends += 1;
                    after.network.insert(Message::Command);
                }
            });
        }
        push(&|after| self.core(after, Input::Tick));
        push(&|after| self.core(after, Input::Cancel));
        // The door says at any time what its ledger holds, as after every connect.
        push(&|after| {
            let told = self.told(after);
            after.network.insert(Message::Report(told));
        });
        for message in &world.network {
            match *message {
                Message::Acked => push(&|after| self.core(after, Input::Acked)),
                Message::Report(told) => push(&|after| self.core(after, Input::Ledger(answer(told)))),
                Message::Command if world.phase == Phase::Idle => push(&|after| {
                    after.phase = Phase::Judged(after.ledger.admit(&self.command, &self.conditions(after)));
                }),
                Message::Command => {}
            }
        }
        if world.phase != Phase::Idle {
            push(&|after| self.door_step(after));
        }
        if world.crashes < CRASHES_MAX {
            push(&|after| self.crash(after));
            if !world.wiped {
                push(&|after| self.wipe(after));
            }
        }
        next
    }

    fn core(&self, world: &mut World, input: Input) {
        let record = CommandRecord {
            created_at: self.command.created_at,
            deadline: self.command.deadline,
            state: world.core,
        };
        let now = time(world.tick);
        let late = now >= record.deadline;
        let sent = matches!(world.core, State::Sent | State::Acked);
        let never_seen = matches!(input, Input::Ledger(Answer::NeverSeen { .. }));
        let step = match self.without {
            Without::ProofBeforeExpired if input == Input::Tick && sent && late => {
                Step::Become(State::Expired)
            }
            Without::ProofAfterDeadline if never_seen && !world.core.is_final() => {
                Step::Become(State::Expired)
            }
            _ => record.step(input, now),
        };
        if let Step::Become(state) = step {
            world.core = state;
        }
    }

    /// The next of the steps write, confirm and move, write the outcome, report.
    fn door_step(&self, world: &mut World) {
        let conditions = self.conditions(world);
        match world.phase {
            Phase::Idle => {}
            Phase::Judged(Admission::Write(entry)) => {
                if self.without != Without::WriteAhead {
                    world.ledger.note(entry, conditions.now);
                    world.network.insert(Message::Acked);
                }
                world.phase = Phase::Ready;
            }
            Phase::Judged(Admission::WriteRefusal(entry)) => {
                if self.without == Without::WrittenRefusal {
                    world.network.insert(Message::Report(Told::Rejected));
                } else {
                    world.ledger.note(entry, conditions.now);
                }
                world.phase = Phase::Idle;
            }
            Phase::Judged(Admission::Known(_) | Admission::Ignore) => world.phase = Phase::Idle,
            Phase::Ready => {
                let refused = match confirm(&self.command, &conditions) {
                    Err(RejectReason::Late) if self.without == Without::DeadlineAtTheBolt => None,
                    Err(reason) => Some(reason),
                    Ok(()) => None,
                };
                if let Some(reason) = refused {
                    world.ledger.note(self.entry(EntryState::Rejected(reason)), conditions.now);
                    world.phase = Phase::Idle;
                } else {
                    world.opened += 1;
                    world.opened_late |= time(world.tick) >= self.command.deadline;
                    world.phase = Phase::Moved;
                }
            }
            Phase::Moved => {
                world.ledger.note(self.entry(EntryState::Executed), conditions.now);
                world.phase = Phase::Idle;
            }
        }
    }

    fn crash(&self, world: &mut World) {
        world.crashes += 1;
        world.phase = Phase::Idle;
        let written = world.ledger.entries().iter().any(|entry| entry.state == EntryState::Written);
        world.ledger = if written && self.without == Without::MaybeAfterCrash {
            Ledger::begun(world.ledger.begun_at())
        } else {
            world.ledger.clone().reopened()
        };
    }

    /// The flash was replaced: everything written is gone.
    fn wipe(&self, world: &mut World) {
        self.crash(world);
        world.wiped = true;
        let latest = self.conditions(world).now.expect("set above").latest();
        world.ledger =
            Ledger::begun(if self.without == Without::LedgerBirth { time(0) } else { latest.plus(1) });
    }
}

fn time(tick: u64) -> UnixMs {
    UnixMs(1_800_000_000_000 + tick * TICK_MS)
}

fn answer(told: Told) -> Answer {
    match told {
        Told::Written => Answer::Written,
        Told::Maybe => Answer::MaybeExecuted,
        Told::Executed => Answer::Executed,
        Told::Rejected => Answer::Rejected(RejectReason::Other),
        Told::NeverSeen { after_deadline, reaches } => Answer::NeverSeen {
            as_of: time(if after_deadline { DEADLINE_TICK } else { 0 }),
            complete_since: time(if reaches { 0 } else { 1 }),
        },
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Harm {
    opened_twice: bool,
    opened_late: bool,
    false_not_executed: bool,
}

struct Found {
    states: usize,
    harm: Harm,
    finals: HashSet<State>,
}

fn search(without: Without, slow: u64, wipes: bool) -> Found {
    let fixture = Fixture::new(without, slow);
    let first = World {
        tick: 0,
        core: State::Queued,
        sends: 0,
        network: BTreeSet::new(),
        ledger: Ledger::begun(time(0)),
        phase: Phase::Idle,
        crashes: 0,
        wiped: !wipes,
        blocked: false,
        blocked_before: false,
        opened: 0,
        opened_late: false,
    };
    let mut seen = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    let mut found = Found { states: 0, harm: Harm::default(), finals: HashSet::new() };
    while let Some(world) = open.pop_front() {
        found.states += 1;
        found.harm.opened_twice |= world.opened > 1;
        found.harm.opened_late |= world.opened_late;
        found.harm.false_not_executed |= world.core.says_not_executed() && world.opened > 0;
        if world.core.is_final() {
            found.finals.insert(world.core);
        }
        // What has gone wrong stays wrong: no need to look further from there.
        if world.opened > 1 {
            continue;
        }
        for after in fixture.next(&world) {
            if seen.insert(after.clone()) {
                open.push_back(after);
            }
        }
    }
    found
}

#[test]
fn the_design_does_no_harm() {
    for slow in [0, 1] {
        let found = search(Without::Nothing, slow, false);
        println!("clock slow by {slow} ticks: {} states", found.states);
        assert_eq!(found.harm, Harm::default(), "clock slow by {slow}");
        assert!(found.states > 10_000, "only {} states: the search does not search", found.states);
        // It is not harmless by doing nothing.
        for wanted in
            [State::Executed, State::Expired, State::Cancelled, State::Rejected(RejectReason::Other)]
        {
            assert!(found.finals.contains(&wanted), "never reached {wanted:?}");
        }
    }
}

#[test]
fn a_lost_ledger_does_no_harm_either() {
    let found = search(Without::Nothing, 0, true);
    println!("with a wiped ledger: {} states", found.states);
    assert_eq!(found.harm, Harm::default());
    assert!(found.finals.contains(&State::Unresolved(Doubt::Forgotten)));
    let naive = search(Without::LedgerBirth, 0, true);
    assert!(naive.harm.opened_twice && naive.harm.false_not_executed);
}

#[test]
fn every_protection_is_needed() {
    let cases = [
        (Without::WriteAhead, 0),
        (Without::DeadlineAtTheBolt, 0),
        (Without::ClockBound, 1),
        (Without::ProofBeforeExpired, 0),
        (Without::ProofAfterDeadline, 0),
        (Without::WrittenRefusal, 0),
        (Without::MaybeAfterCrash, 0),
    ];
    for (without, slow) in cases {
        let found = search(without, slow, false);
        println!("{without:?}: {} states, {:?}", found.states, found.harm);
        let harm = &found.harm;
        let expected = match without {
            Without::Nothing => false,
            Without::WriteAhead | Without::MaybeAfterCrash => harm.opened_twice,
            Without::DeadlineAtTheBolt | Without::ClockBound => harm.opened_late,
            Without::ProofBeforeExpired
            | Without::ProofAfterDeadline
            | Without::WrittenRefusal
            | Without::LedgerBirth => harm.false_not_executed,
        };
        assert!(expected, "without {without:?} the search found only {harm:?}");
    }
}
