//! Times of what stands in the way of a door: decide, compile, verify, ledger. Without arguments it prints medians; with
//! `count NAME` it runs one case a thousand times, for an instruction counter around it (docs/domain.md).

// Test code: it may unwrap, and the bench uses only a part of it.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../tests/it/worlds.rs"]
mod worlds;

use keyway_domain::bundle::{Bundle, compile};
use keyway_domain::command::UnlockCommand;
use keyway_domain::command::ledger::{Admission, Conditions, Entry, EntryState, Ledger};
use keyway_domain::decision::{Attempt, Shown, Situation, decide};
use keyway_domain::door::DoorMode;
use keyway_domain::id::{CommandId, DeviceId, KeyId};
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys};
use keyway_domain::time::Moment;
use std::hint::black_box;
use std::time::Instant;
use worlds::{START, card_digest, large_tenant};

type Case = (&'static str, Box<dyn FnMut()>);

fn decide_on_bundle(name: &'static str, grants: u64) -> Case {
    let world = large_tenant(grants);
    let at = world.facts.at_door(world.doors[0], Situation::plain()).expect("the tenant has this door");
    let zone = world.facts.zones.values().next().expect("the tenant has a site").clone();
    let bundle =
        Bundle::load(compile(&at, zone, 1, START)).expect("a bundle that was just compiled is sound");
    let attempt = Attempt { shown: Shown::Digest(card_digest(grants / 2)), pin: None, first: None };
    let now = Moment { at: START.plus(43_200_000), error_ms: 40 };
    let run =
        move || _ = black_box(decide(&bundle.in_situation(Situation::plain()), black_box(&attempt), now));
    (name, Box::new(run))
}

/// The worst case: all grants are one person's, and only the last of them is open.
fn decide_on_one_person(name: &'static str, grants: u64) -> Case {
    let mut world = large_tenant(grants);
    let person = *world.facts.people.keys().next().expect("somebody");
    let last = *world.facts.grants.keys().next_back().expect("a grant");
    for (id, grant) in &mut world.facts.grants {
        grant.who = keyway_domain::grant::Who::Person(person);
        if *id != last {
            grant.rule.schedule = world.facts.schedules.keys().next().copied();
        }
    }
    for (place, schedule) in world.facts.schedules.values_mut().enumerate() {
        if place == 0 {
            schedule.weekly[0].window.until_minute = 61;
        }
    }
    let shown = world.facts.credentials.values().find(|one| one.person == person).expect("their card").digest;
    let at = world.facts.at_door(world.doors[0], Situation::plain()).expect("the tenant has this door");
    let zone = world.facts.zones.values().next().expect("the tenant has a site").clone();
    let bundle =
        Bundle::load(compile(&at, zone, 1, START)).expect("a bundle that was just compiled is sound");
    let attempt = Attempt { shown: Shown::Digest(shown), pin: None, first: None };
    let now = Moment { at: START.plus(43_200_000), error_ms: 40 };
    let run =
        move || _ = black_box(decide(&bundle.in_situation(Situation::plain()), black_box(&attempt), now));
    (name, Box::new(run))
}

fn compile_bundle(name: &'static str, grants: u64, signed: bool) -> Case {
    let world = large_tenant(grants);
    let key = SigningKey::ed25519(KeyId::mint(START, [1; 10]), &[1; 32]);
    let zone = world.facts.zones.values().next().expect("the tenant has a site").clone();
    let run = move || {
        let at = world.facts.at_door(world.doors[0], Situation::plain()).expect("the tenant has this door");
        let body = compile(&at, zone.clone(), 1, START);
        if signed {
            black_box(key.sign_json(Kind::Bundle, &body));
        }
        black_box(&body);
    };
    (name, Box::new(run))
}

fn verify(name: &'static str, key: SigningKey, bytes: usize) -> Case {
    let trusted = TrustedKeys::of(key.id, key.public());
    let jws = key.sign(Kind::Command, &vec![b'x'; bytes]);
    (name, Box::new(move || drop(black_box(trusted.verify(Kind::Command, &jws)))))
}

fn ledger_append(name: &'static str) -> Case {
    let world = large_tenant(1);
    let place = world.facts.doors[&world.doors[0]].rules.place.clone();
    let device = DeviceId::mint(START, [5; 10]);
    let mut ledger = Ledger::begun(START);
    let mut number = 0u64;
    let run = move || {
        number += 1;
        let now = Some(Moment { at: START.plus(number * 1_000), error_ms: 20 });
        let command = UnlockCommand {
            tenant: place.tenant,
            door: place.door,
            device,
            command: CommandId::mint(START.plus(number), [5; 10]),
            created_at: START.plus(number * 1_000),
            deadline: START.plus(number * 1_000 + 8_000),
            open_ms: 5_000,
            mode_version: 1,
            lockdown_version: 0,
            overrides_lockdown: false,
        };
        let mode = DoorMode::Normal;
        let conditions = Conditions {
            tenant: place.tenant,
            door: place.door,
            device,
            now,
            mode,
            mode_version: 1,
            lockdown: None,
        };
        match ledger.admit(&command, &conditions) {
            Admission::Write(entry) => {
                ledger.note(entry, now);
                ledger.note(Entry { state: EntryState::Executed, ..entry }, now);
            }
            other => panic!("a good command was not admitted: {other:?}"),
        }
    };
    (name, Box::new(run))
}

fn cases() -> Vec<Case> {
    let id = KeyId::mint(START, [1; 10]);
    let ed25519 = || SigningKey::ed25519(id, &[1; 32]);
    vec![
        decide_on_bundle("decide_10", 10),
        decide_on_bundle("decide_1000", 1_000),
        decide_on_bundle("decide_10000", 10_000),
        decide_on_one_person("decide_1000_of_one_person", 1_000),
        compile_bundle("compile_10000", 10_000, false),
        compile_bundle("compile_and_sign_10000", 10_000, true),
        verify("verify_ed25519_300_bytes", ed25519(), 300),
        verify("verify_es256_300_bytes", SigningKey::p256(id, &[1; 32]).expect("a scalar of the curve"), 300),
        ledger_append("ledger_admit_and_note"),
    ]
}

/// Long enough that the clock's own cost disappears, short enough to run all in seconds.
const SAMPLE_NS: u128 = 20_000_000;
const SAMPLES: usize = 15;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [mode, wanted, rest @ ..] = words.as_slice()
        && mode == "count"
    {
        let runs = rest.first().and_then(|text| text.parse().ok()).unwrap_or(1_000);
        let (_, run) = &mut cases().into_iter().find(|(name, _)| name == wanted).expect("the name of a case");
        (0..runs).for_each(|_| run());
        return;
    }
    for (name, mut run) in cases() {
        let mut runs = 1u32;
        loop {
            let begun = Instant::now();
            (0..runs).for_each(|_| run());
            if begun.elapsed().as_nanos() > SAMPLE_NS || runs > 1 << 24 {
                break;
            }
            runs *= 2;
        }
        let mut samples: Vec<f64> = (0..SAMPLES)
            .map(|_| {
                let begun = Instant::now();
                (0..runs).for_each(|_| run());
                begun.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        println!("{name:<28} {:>12.3} us (best {:.3})", samples[SAMPLES / 2], samples[0]);
    }
}
