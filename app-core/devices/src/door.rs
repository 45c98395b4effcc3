//! The core of a door controller: inputs in, outputs out, no clock, no I/O. The shell does each output before the next
//! one and before the next input. Owns the order write, confirm, move, write, report; decides by the domain's rules.

mod access;
mod memory;
mod sync;
mod telling;

use crate::bolt::Cause;
use crate::flash::{Kept, Record};
use keyway_domain::bundle::Bundle;
use keyway_domain::clock::{Asked, ClockQuality, MonoMs, SessionClock};
use keyway_domain::command::UnlockCommand;
use keyway_domain::command::ledger::{Admission, Conditions, Entry, EntryState, FailReason, Ledger, confirm};
use keyway_domain::credential::Digest;
use keyway_domain::decision::{Attempt, FirstPerson, Pin};
use keyway_domain::event::outbox::EventOutbox;
use keyway_domain::event::{DeviceEvent, EventKind, Occurred};
use keyway_domain::id::{CommandId, DeviceId, DoorId, RequestId, SiteId, TenantId};
use keyway_domain::lockdown::{LockdownSet, governing};
use keyway_domain::message::device::EventReply;
use keyway_domain::message::publication::ToDevice;
use keyway_domain::message::statement::{DesiredState, Revocation};
use keyway_domain::place::Place;
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys};
use keyway_domain::time::{LAST_INSTANT, Moment, UnixMs};
use std::sync::Arc;

/// Who a door is: fixed at enrolment.
#[derive(Debug, Clone)]
pub struct Identity {
    pub tenant: TenantId,
    pub site: SiteId,
    pub door: DoorId,
    pub device: DeviceId,
    pub key: SigningKey,
    /// Core's keys of this tenant.
    pub core: TrustedKeys,
    pub reader_key: [u8; 32],
    /// Memory for events that core has not committed.
    pub events_bytes_max: usize,
}

/// A call to core. The id is the door's own; replies come back under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub id: u64,
    pub method: &'static str,
    pub payload: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Connected,
    Disconnected,
    /// `None`: failed or timed out, which means unknown.
    Reply {
        id: u64,
        payload: Option<Vec<u8>>,
    },
    Push(ToDevice),
    /// A signed statement of the lockdown channel.
    Lockdown(String),
    Tap {
        shown: Digest,
        pin: Option<Pin>,
    },
    /// The shell has written the entry and is about to move the bolt.
    Confirm(Box<UnlockCommand>),
    Moved {
        cause: Cause,
        command: Option<Box<UnlockCommand>>,
        well: bool,
    },
    Sensor(EventKind),
    Timer,
    /// Ten random bytes for ids and nonces, whenever the shell likes: a door has few secrets to make.
    Entropy([u8; 10]),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make this durable before anything else.
    Write(Record),
    /// Give `Input::Confirm` with the time of that moment.
    ThenConfirm(Box<UnlockCommand>),
    /// Move the bolt now and give `Input::Moved`.
    Move {
        cause: Cause,
        open_ms: u32,
        command: Option<Box<UnlockCommand>>,
    },
    Call(Call),
}

/// A tap that waits for core.
#[derive(Debug, Clone)]
struct Waiting {
    call: u64,
    request: RequestId,
    until: MonoMs,
    /// Decided anew when the answer comes or fails to come: a lockdown or a bundle's end may lie between.
    attempt: Attempt,
    begun: MonoMs,
}

/// Core answers within this, or the door falls back to its bundle.
pub const ACCESS_ANSWER_MS: u64 = 800;
/// The time is asked for anew well before it is too old for commands.
const TIME_SYNC_EVERY_MS: u64 = 4 * 60_000;
/// Unanswered calls are given up after SDKs give up.
const CALL_TIMEOUT_MS: u64 = 5_000;
/// A bolt that has not moved by then is told as "has the command"; one that is faster is told of once, with the outcome.
const ACK_AFTER_MS: u64 = 100;
/// Taps that wait for core at one door: people stand in line.
const WAITING_MAX: usize = 4;
/// Wrong codes in a row, and the pause after them.
const WRONG_CODES_MAX: u32 = 5;
const LOCKOUT_MS: u64 = 60_000;

pub struct DoorCore {
    pub identity: Arc<Identity>,
    connected: bool,
    next_call: u64,
    entropy: u64,
    clock: Option<SessionClock>,
    asked: Option<Asked>,
    time_due: MonoMs,
    sync_call: Option<(u64, MonoMs)>,
    report_call: Option<(u64, MonoMs)>,
    /// The newest word of the ledger that core has not confirmed.
    ledger_call: Option<(u64, MonoMs)>,
    /// Commands of which core has not confirmed the ledger's newest word, and those that the newest report is about.
    untold: Vec<CommandId>,
    telling: Vec<CommandId>,
    /// When a command that is written and not yet done has to be told of.
    ack_due: Option<MonoMs>,
    /// Core's last word on events since the last sync.
    answered_last: Option<EventReply>,
    ledger: Ledger,
    events: EventOutbox,
    desired: Option<DesiredState>,
    lockdowns: LockdownSet,
    bundle: Option<Bundle>,
    /// The newest. It is laid over every bundle, also over one that was made before it and comes after it.
    revocation: Option<Revocation>,
    waiting: Vec<Waiting>,
    first: Option<(keyway_domain::id::PersonId, MonoMs)>,
    wrong_codes: u32,
    locked_out_until: Option<MonoMs>,
}

impl DoorCore {
    /// A door that starts with what it has kept. `entropy` numbers its calls and nonces; `epoch` is used if none is kept.
    pub fn boot(identity: Arc<Identity>, kept: Kept, entropy: u64) -> (Self, Vec<Output>) {
        memory::boot(identity, kept, entropy)
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }

    /// The statements held, reverted ones too until the next whole set.
    pub fn lockdowns(&self) -> &[keyway_domain::lockdown::LockdownStatement] {
        &self.lockdowns.statements
    }

    pub fn mode_version(&self) -> u64 {
        self.desired.as_ref().map_or(0, |desired| desired.mode_version)
    }

    pub fn events(&self) -> &EventOutbox {
        &self.events
    }

    pub fn is_synced(&self, mono: MonoMs) -> bool {
        self.clock.is_some_and(|clock| clock.is_fresh(mono))
    }

    /// When `Timer` has to come at the latest.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        let calls = [self.sync_call, self.report_call, self.ledger_call];
        let calls = calls.iter().flatten().map(|(_, until)| *until);
        let time = self.connected.then_some(self.time_due);
        calls.chain(self.waiting.iter().map(|one| one.until)).chain(time).chain(self.ack_due).min()
    }

    pub fn handle(&mut self, input: Input, mono: MonoMs) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected => {
                self.connected = true;
                self.begin_sync(mono, &mut out);
            }
            Input::Disconnected => self.disconnected(mono, &mut out),
            Input::Reply { id, payload } => self.replied(id, payload, mono, &mut out),
            Input::Push(push) => self.pushed(push, mono, &mut out),
            Input::Lockdown(jws) => self.lockdown(jws, mono, &mut out),
            Input::Tap { shown, pin } => self.tapped(shown, pin, mono, &mut out),
            Input::Confirm(command) => self.confirm(command, mono, &mut out),
            Input::Moved { cause, command, well } => self.moved(cause, command, well, mono, &mut out),
            Input::Sensor(kind) => {
                let draft = self.draft(kind, mono);
                self.record(draft, &mut out);
                self.begin_report(mono, &mut out);
            }
            Input::Timer => self.timer(mono, &mut out),
            Input::Entropy(bytes) => {
                let half: [u8; 8] = std::array::from_fn(|place| bytes[place]);
                self.entropy ^= u64::from_be_bytes(half);
            }
        }
        out
    }

    fn now(&self, mono: MonoMs) -> Option<Moment> {
        self.clock.map(|clock| clock.now(mono))
    }

    fn draft(&self, kind: EventKind, mono: MonoMs) -> DeviceEvent {
        let fresh = self.is_synced(mono);
        let occurred = match self.now(mono) {
            None => Occurred { at: None, clock: ClockQuality::Unset, error_ms: 0 },
            Some(now) => {
                let clock = if fresh { ClockQuality::Synced } else { ClockQuality::Holdover };
                Occurred { at: Some(now.at), clock, error_ms: now.error_ms }
            }
        };
        EventOutbox::draft(kind, occurred)
    }

    /// Numbers an event and writes it, before anything that tells of it can leave.
    fn record(&mut self, draft: DeviceEvent, out: &mut Vec<Output>) {
        let from = self.events.next_seq();
        self.events.append(draft);
        let written = self.events.since(from).into_iter();
        out.extend(written.map(|(before, event)| Output::Write(Record::Event { before, event })));
    }

    fn place(&self) -> Place {
        match &self.bundle {
            Some(bundle) => bundle.body().door.place.clone(),
            None => Place {
                tenant: self.identity.tenant,
                site: self.identity.site,
                area: None,
                door: self.identity.door,
                tags: Vec::new(),
            },
        }
    }

    /// Runs `judge` under the conditions of this moment. A time that is not fresh is no time for a command.
    fn under_conditions<T>(&self, mono: MonoMs, judge: impl FnOnce(&Conditions<'_>) -> T) -> T {
        let now = self.clock.filter(|clock| clock.is_fresh(mono)).map(|clock| clock.now(mono));
        let place = self.place();
        let lockdown = now.and_then(|now| governing(&self.lockdowns.statements, &place, now));
        let desired = self.desired.as_ref();
        judge(&Conditions {
            tenant: self.identity.tenant,
            door: self.identity.door,
            device: self.identity.device,
            now,
            mode: desired.map_or_else(Default::default, |desired| desired.mode),
            mode_version: desired.map_or(0, |desired| desired.mode_version),
            lockdown,
        })
    }

    fn commanded(&mut self, jws: &str, mono: MonoMs, out: &mut Vec<Output>) {
        let Ok(command) = self.identity.core.read::<UnlockCommand>(Kind::Command, jws) else {
            return;
        };
        // Not for us: it may be good elsewhere, here it is nothing.
        if command.device != self.identity.device {
            return;
        }
        match self.under_conditions(mono, |conditions| self.ledger.admit(&command, conditions)) {
            Admission::Write(entry) => {
                self.note(entry, mono, out);
                self.ack_due = Some(MonoMs(mono.0 + ACK_AFTER_MS));
                out.push(Output::ThenConfirm(Box::new(command)));
            }
            Admission::WriteRefusal(entry) => {
                self.note(entry, mono, out);
                self.report_ledger(mono, out);
            }
            Admission::Known(_) => {
                // Core asks because it has not heard: perhaps it confirmed what it has lost since.
                self.not_told(command.command);
                self.report_ledger(mono, out);
            }
            Admission::Ignore => {}
        }
    }

    fn note(&mut self, entry: Entry, mono: MonoMs, out: &mut Vec<Output>) {
        let now = self.now(mono);
        self.ledger.note(entry, now);
        self.not_told(entry.command);
        out.push(Output::Write(Record::Ledger { complete_since: self.ledger.complete_since(), entry }));
    }

    fn confirm(&mut self, command: Box<UnlockCommand>, mono: MonoMs, out: &mut Vec<Output>) {
        match self.under_conditions(mono, |conditions| confirm(&command, conditions)) {
            Ok(()) => {
                let open_ms = command.open_ms;
                out.push(Output::Move {
                    cause: Cause::Command(command.command),
                    open_ms,
                    command: Some(command),
                });
            }
            Err(reason) => {
                let state = EntryState::Rejected(reason);
                self.note(Entry { command: command.command, deadline: command.deadline, state }, mono, out);
                self.report_ledger(mono, out);
            }
        }
    }

    fn moved(
        &mut self,
        cause: Cause,
        command: Option<Box<UnlockCommand>>,
        well: bool,
        mono: MonoMs,
        out: &mut Vec<Output>,
    ) {
        let kind = if well { EventKind::DoorUnlocked } else { EventKind::DoorJammed };
        let mut draft = self.draft(kind, mono);
        if let (Cause::Command(id), Some(command)) = (cause, command) {
            let state = if well { EntryState::Executed } else { EntryState::Failed(FailReason::Jammed) };
            self.note(Entry { command: id, deadline: command.deadline, state }, mono, out);
            self.report_ledger(mono, out);
            draft.command = Some(id);
            self.record(draft, out);
            self.report_soon(mono);
        } else {
            self.record(draft, out);
            self.begin_report(mono, out);
        }
    }

    fn call<T: serde::Serialize>(
        &mut self,
        method: &'static str,
        payload: &T,
        out: &mut Vec<Output>,
    ) -> Option<u64> {
        if !self.connected {
            return None;
        }
        let id = self.next_call;
        self.next_call += 1;
        let payload = serde_json::to_vec(payload).expect("our payloads have string keys only");
        out.push(Output::Call(Call { id, method, payload }));
        Some(id)
    }

    fn fresh_bytes(&mut self) -> [u8; 10] {
        let mut dice = crate::dice::Dice(self.entropy);
        let bytes = dice.bytes();
        self.entropy = dice.0;
        bytes
    }

    fn first_person(&self, mono: MonoMs) -> Option<FirstPerson> {
        self.first.map(|(person, at)| FirstPerson { person, ago_ms: mono.0.saturating_sub(at.0) })
    }

    fn lockout(&self, mono: MonoMs) -> Option<UnixMs> {
        self.locked_out_until.filter(|until| mono < *until).map(|_| LAST_INSTANT)
    }
}
