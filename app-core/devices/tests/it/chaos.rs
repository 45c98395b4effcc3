//! Random scenes with bad links, crashes and drifting clocks; afterwards the bolts, which cannot lie, are compared with
//! what core says: no command twice or late, no false "not executed", no event lost or doubled.

use keyway_devices::bolt::Cause;
use keyway_devices::dice::Dice;
use keyway_devices::flash::MemoryFlash;
use keyway_devices::link::Faults;
use keyway_devices::scene::{CrashPoint, Made, make};
use keyway_domain::clock::DRIFT_PPM;
use keyway_domain::command::State;
use keyway_domain::place::Scope;
use std::collections::BTreeMap;

const CRASHES: [CrashPoint; 4] =
    [CrashPoint::BeforeWrite, CrashPoint::AfterWrite, CrashPoint::AfterMove, CrashPoint::AfterOutcome];

#[derive(Debug, Default)]
struct Tally {
    commands: usize,
    executed: usize,
    motions: usize,
    events: usize,
    unresolved: usize,
}

fn play(seed: u64, faults: Faults) -> (Made<MemoryFlash>, Tally) {
    let mut made = make(3, 2, seed, |_| MemoryFlash::default()).unwrap();
    let dice = &mut Dice(seed ^ 0x77);
    let scene = &mut made.scene;
    (0..3).for_each(|door| scene.connect(door));
    scene.run_for(1_000);
    scene.faults = faults;
    for door in &mut scene.doors {
        door.drift_ppm = dice.below(2 * DRIFT_PPM) as i64 - DRIFT_PPM as i64;
        door.pause_before_move_ms = [0, 5, 900][dice.below(3) as usize];
    }
    for _ in 0..40 {
        let door = dice.below(3) as usize;
        match dice.below(12) {
            0..=4 => drop(scene.unlock(dice.below(2) as usize, made.doors[door], 500 + dice.below(8_000))),
            5 | 6 => scene.tap(door, made.cards[dice.below(2) as usize].1, None),
            7 => scene.doors[door].crash_at = Some(CRASHES[dice.below(4) as usize]),
            8 => {
                scene.disconnect(door);
                scene.run_for(dice.below(4_000));
                scene.connect(door);
            }
            9 => {
                let live = dice.one_in(2);
                scene.core.lockdown(Scope::Tenant, 5, keyway_domain::lockdown::Effect::RespondersOnly, live);
            }
            10 => {
                scene.power_cycle(door);
                scene.connect(door);
            }
            _ => scene.doors[door].bolt.jammed = dice.one_in(2),
        }
        scene.run_for(dice.below(3_000));
    }
    // The link is good again and everything settles.
    scene.faults = Faults::NONE;
    for _ in 0..3 {
        scene.run_for(70_000);
        for door in 0..3 {
            scene.disconnect(door);
            scene.connect(door);
        }
    }
    scene.run_for(70_000);
    let tally = check(&made, seed);
    (made, tally)
}

fn check(made: &Made<MemoryFlash>, seed: u64) -> Tally {
    let scene = &made.scene;
    let mut tally = Tally::default();
    let mut moved: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for door in &scene.doors {
        for motion in &door.bolt.motions {
            tally.motions += 1;
            if let Cause::Command(id) = motion.cause {
                moved.entry(id).or_default().push((motion.at, door.identity.door));
            }
        }
        let row = &scene.core.devices[&door.identity.device];
        for (epoch, intake) in &row.intakes {
            assert!(intake.broken_at.is_none() && intake.wanted().is_empty(), "seed {seed}: {intake:?}");
            for seq in 1..=intake.watermark {
                assert!(row.events.contains_key(&(*epoch, seq)), "seed {seed}: event {seq} is lost");
            }
        }
        tally.events += row.events.len();
        assert!(door.core.events().held().is_none(), "seed {seed}: events were left at the door");
        let kept = row.events.len() as u64;
        assert_eq!(kept, door.core.events().next_seq() - 1, "seed {seed}: made and committed differ");
    }
    for (id, motions) in &moved {
        let row = &scene.core.commands.get(id).unwrap_or_else(|| panic!("seed {seed}: {id} was never given"));
        assert_eq!(motions.len(), 1, "seed {seed}: {id} moved {motions:?}");
        assert!(motions[0].0 < row.command.deadline, "seed {seed}: {id} moved late");
        assert_eq!(motions[0].1, row.command.door, "seed {seed}: {id} moved another door");
    }
    for (id, row) in &scene.core.commands {
        tally.commands += 1;
        let opened = moved.contains_key(id);
        let state = row.record.state;
        assert!(state.is_final(), "seed {seed}: {id} is still {state:?}");
        assert!(!(opened && state.says_not_executed()), "seed {seed}: {id} opened, core says {state:?}");
        assert!(opened || state != State::Executed, "seed {seed}: {id} did not open, core says executed");
        tally.executed += usize::from(state == State::Executed);
        tally.unresolved += usize::from(matches!(state, State::Unresolved(_)));
    }
    tally
}

fn many(name: &str, seeds: std::ops::Range<u64>, faults: Faults, opens: bool) {
    let mut sum = Tally::default();
    for seed in seeds {
        let (_, tally) = play(seed, faults);
        sum.commands += tally.commands;
        sum.executed += tally.executed;
        sum.motions += tally.motions;
        sum.events += tally.events;
        sum.unresolved += tally.unresolved;
    }
    println!("{name}: {sum:?}");
    assert!(sum.commands > 50 && sum.events > 40, "nothing happened: {sum:?}");
    assert_eq!(sum.executed > 10, opens, "{sum:?}");
}

#[test]
fn good_links() {
    many("good", 0..5, Faults::NONE, true);
}

#[test]
fn lossy_links() {
    many("lossy", 100..105, Faults::LOSSY, true);
}

#[test]
fn slow_links() {
    many("slow", 200..205, Faults::SLOW, true);
}

#[test]
fn half_dead_links_open_nothing() {
    many("half dead", 300..304, Faults::HALF_DEAD, false);
}

#[test]
fn lying_links() {
    many("lying", 400..405, Faults::LYING, true);
}
