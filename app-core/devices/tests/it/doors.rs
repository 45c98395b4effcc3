//! What a door does alone: offline decisions, revocation, lockdown, a crash at each point, a ledger on a real disk.

use keyway_devices::bolt::Cause;
use keyway_devices::door::{Call, Input};
use keyway_devices::flash::{FileFlash, Flash as _, MemoryFlash};
use keyway_devices::scene::{CrashPoint, Made, make};
use keyway_devices::small_core::Publication;
use keyway_domain::command::ledger::{Answer, LedgerReport};
use keyway_domain::command::{Doubt, State};
use keyway_domain::decision::Reason;
use keyway_domain::event::EventKind;
use keyway_domain::grant::UseCount;
use keyway_domain::lockdown::Effect;
use keyway_domain::message::device::CommandReport;
use keyway_domain::message::publication::ToDevice;
use keyway_domain::place::Scope;
use keyway_domain::sign::{Kind, TrustedKeys};
use keyway_domain::time::UnixMs;

const HOUR_MS: u64 = 3_600_000;

fn ready() -> Made<MemoryFlash> {
    let mut made = make(2, 2, 1, |_| MemoryFlash::default()).unwrap();
    made.scene.connect(0);
    made.scene.connect(1);
    made.scene.run_for(1_000);
    made
}

fn motions<F>(made: &Made<F>, door: usize) -> usize {
    made.scene.doors[door].bolt.motions.len()
}

fn last_reason(made: &Made<MemoryFlash>, door: usize) -> Option<Reason> {
    let row = &made.scene.core.devices[&made.scene.doors[door].identity.device];
    row.events.values().rfind(|event| event.kind == EventKind::AccessDenied).and_then(|event| event.reason)
}

#[test]
fn a_phone_opens_a_door_and_hears_of_it() {
    let mut made = ready();
    let request = made.scene.unlock(0, made.doors[0], 8_000).unwrap();
    made.scene.run_for(500);
    assert_eq!((motions(&made, 0), motions(&made, 1)), (1, 0));
    let (known, _, state) = made.scene.phones[0].known[0];
    assert_eq!((known, state), (request, State::Executed));
}

#[test]
fn offline_a_door_decides_until_its_bundle_ends() {
    let mut made = ready();
    made.scene.disconnect(0);
    made.scene.run_for(23 * HOUR_MS);
    made.scene.tap(0, made.cards[0].1, None);
    assert_eq!(motions(&made, 0), 1);
    made.scene.run_for(HOUR_MS);
    made.scene.tap(0, made.cards[0].1, None);
    assert_eq!(motions(&made, 0), 1, "opened with a bundle that is over");
    made.scene.connect(0);
    made.scene.run_for(2_000);
    assert_eq!(last_reason(&made, 0), Some(Reason::BundleExpired));
    made.scene.tap(0, made.cards[0].1, None);
    assert_eq!(motions(&made, 0), 2);
}

#[test]
fn a_revocation_holds_at_once_online_and_after_reconnecting() {
    let mut made = ready();
    made.scene.disconnect(1);
    made.scene.core.revoke(made.cards[0].0);
    made.scene.run_for(300);
    made.scene.tap(0, made.cards[0].1, None);
    made.scene.run_for(300);
    assert_eq!((motions(&made, 0), last_reason(&made, 0)), (0, Some(Reason::CredentialRevoked)));
    made.scene.connect(1);
    made.scene.run_for(300);
    made.scene.tap(1, made.cards[0].1, None);
    made.scene.tap(1, made.cards[1].1, None);
    assert_eq!(motions(&made, 1), 1, "only the other card opens");
    // Flash remembers it, too.
    made.scene.power_cycle(0);
    made.scene.connect(0);
    made.scene.run_for(300);
    made.scene.tap(0, made.cards[0].1, None);
    assert_eq!(motions(&made, 0), 0);
}

#[test]
fn a_bundle_from_before_a_revocation_that_comes_after_it_opens_nothing() {
    let mut made = ready();
    let scene = &mut made.scene;
    let (now, device) = (scene.now, scene.doors[0].identity.device);
    scene.core.change_facts(|facts| facts.grants.values_mut().for_each(|grant| grant.offline_ok = true));
    // The door asks, core answers with a new bundle; before that arrives the card is revoked, and the door hears of it.
    let calls = scene.doors[0].give(Input::Push(ToDevice::Nudge), now);
    let sync = calls.iter().find(|call| call.method == "device.sync").unwrap();
    let late = scene.core.call(Some(device), sync.method, &sync.payload, now).unwrap();
    scene.core.take_publications();
    scene.core.revoke(made.cards[0].0);
    for publication in scene.core.take_publications() {
        if let Publication::Device(to, push) = publication
            && to == device
        {
            scene.doors[0].give(Input::Push(push), now);
        }
    }
    let version =
        |door: &keyway_devices::scene::DoorShell<MemoryFlash>| door.core.bundle().unwrap().body().version;
    let before = version(&scene.doors[0]);
    scene.doors[0].give(Input::Reply { id: sync.id, payload: Some(late) }, now);
    assert!(version(&scene.doors[0]) > before, "the late bundle was not taken");
    scene.tap(0, made.cards[0].1, None);
    scene.tap(0, made.cards[1].1, None);
    assert_eq!(motions(&made, 0), 1, "only the other card opens");
}

#[test]
fn a_lockdown_beats_commands_under_way_and_cards() {
    let mut made = ready();
    made.scene.core.lockdown(Scope::Tenant, 9, Effect::Nobody, true);
    made.scene.unlock(0, made.doors[0], 8_000);
    made.scene.run_for(300);
    made.scene.tap(1, made.cards[0].1, None);
    made.scene.run_for(300);
    assert_eq!((motions(&made, 0), motions(&made, 1)), (0, 0));
    assert_eq!(last_reason(&made, 1), Some(Reason::DoorInLockdown));
    made.scene.core.lockdown(Scope::Tenant, 9, Effect::Nobody, false);
    made.scene.run_for(300);
    made.scene.tap(1, made.cards[0].1, None);
    assert_eq!(motions(&made, 1), 1);
}

#[test]
fn each_crash_point_opens_at_most_once_and_says_so() {
    let cases = [
        (CrashPoint::BeforeWrite, 1, State::Executed),
        (CrashPoint::AfterWrite, 0, State::Unresolved(Doubt::MaybeExecuted)),
        (CrashPoint::AfterMove, 1, State::Unresolved(Doubt::MaybeExecuted)),
        (CrashPoint::AfterOutcome, 1, State::Executed),
    ];
    for (point, expected_motions, expected_state) in cases {
        let mut made = ready();
        made.scene.doors[0].crash_at = Some(point);
        made.scene.unlock(0, made.doors[0], 30_000);
        made.scene.run_for(60_000);
        assert_eq!(motions(&made, 0), expected_motions, "{point:?}");
        let row = made.scene.core.commands.values().next().unwrap();
        assert_eq!(row.record.state, expected_state, "{point:?}");
    }
}

#[test]
fn a_use_count_is_asked_of_core_and_refused_offline() {
    let mut made = ready();
    let grant = made.grants[0];
    made.scene.core.change_facts(|facts| {
        facts.grants.get_mut(&grant).unwrap().rule.uses = Some(UseCount { most: 2, taken: 0 });
    });
    made.scene.run_for(300);
    for _ in 0..3 {
        made.scene.tap(0, made.cards[0].1, None);
        made.scene.run_for(1_000);
    }
    assert_eq!((motions(&made, 0), last_reason(&made, 0)), (2, Some(Reason::UsesExhausted)));
    made.scene.disconnect(1);
    made.scene.tap(1, made.cards[0].1, None);
    made.scene.connect(1);
    made.scene.run_for(1_000);
    assert_eq!((motions(&made, 1), last_reason(&made, 1)), (0, Some(Reason::CoreUnreachable)));
}

#[test]
fn a_ledger_on_disk_survives_and_a_torn_line_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(format!("door-{number}.ndjson"));
    let mut made = make(1, 1, 4, |number| FileFlash::open(&path(number)).unwrap()).unwrap();
    made.scene.connect(0);
    made.scene.run_for(500);
    made.scene.doors[0].crash_at = Some(CrashPoint::AfterMove);
    made.scene.unlock(0, made.doors[0], 20_000);
    made.scene.run_for(30_000);
    let Cause::Command(id) = made.scene.doors[0].bolt.motions[0].cause else { panic!("not by command") };
    assert_eq!(made.scene.doors[0].bolt.motions.len(), 1);
    assert_eq!(made.scene.core.commands[&id].record.state, State::Unresolved(Doubt::MaybeExecuted));
    let held = made.scene.doors[0].core.ledger().clone();
    drop(made);

    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).open(path(0)).unwrap();
    file.write_all(br#"{"record":"ledger","complete_sin"#).unwrap();
    drop(file);
    let kept = FileFlash::open(&path(0)).unwrap().kept().unwrap();
    assert_eq!(kept.ledger.unwrap().reopened(), held);
    assert!(kept.bundle.is_some() && kept.desired.is_some() && !kept.events.is_empty());
}

/// A ledger is always full; what is told of each command is that command, again and again until core has it.
#[test]
fn a_report_is_of_what_core_has_not_confirmed() {
    let mut made = ready();
    for _ in 0..3 {
        made.scene.unlock(0, made.doors[0], 8_000).unwrap();
        made.scene.run_for(500);
    }
    let now = made.scene.now;
    let (_, asked) = made.scene.phones[0].unlock(made.doors[0], now, 8_000, [7; 10]).unwrap();
    made.scene.core.call(None, asked.method, &asked.payload, now).unwrap();
    let device = made.scene.doors[0].identity.device;
    let mut commands =
        made.scene.core.take_publications().into_iter().filter_map(|publication| match publication {
            Publication::Device(to, push @ ToDevice::Command { .. }) if to == device => Some(push),
            _ => None,
        });
    let command = commands.next_back().expect("core has sent the command");
    let trusted = {
        let key = &made.scene.doors[0].identity.key;
        TrustedKeys::of(key.id, key.public())
    };
    let reports = |calls: Vec<Call>| -> Vec<(u64, LedgerReport)> {
        let reports = calls.into_iter().filter(|call| call.method == "command.report");
        let read = |call: Call| {
            let report: CommandReport = serde_json::from_slice(&call.payload).unwrap();
            (call.id, trusted.read(Kind::LedgerReport, &report.ledger).unwrap())
        };
        reports.map(read).collect()
    };
    let door = &mut made.scene.doors[0];
    assert_eq!(door.core.ledger().entries().len(), 3);
    let told = reports(door.give(Input::Push(command.clone()), now));
    let newest = *door.core.ledger().entries().last().unwrap();
    assert_eq!((told.len(), told[0].1.entries.as_slice()), (1, [newest].as_slice()));
    // Nothing follows from what it leaves out.
    let other = door.core.ledger().entries()[0].command;
    assert!(matches!(told[0].1.answer(other), Answer::NeverSeen { as_of: UnixMs(0), .. }));
    // Not confirmed: the same comes again, also when a copy of the command asks for it.
    for again in [Input::Reply { id: told[0].0, payload: None }, Input::Push(command.clone())] {
        let told = reports(door.give(again, now));
        assert!(told.iter().all(|(_, report)| report.entries == [newest]), "{told:?}");
    }
    let told = reports(door.give(Input::Timer, now.plus(5_001)));
    assert_eq!((told.len(), told[0].1.entries.as_slice()), (1, [newest].as_slice()));
    // Confirmed: no more of it.
    door.give(Input::Reply { id: told[0].0, payload: Some(b"{}".to_vec()) }, now.plus(5_002));
    assert_eq!(reports(door.give(Input::Timer, now.plus(11_000))), []);
}
