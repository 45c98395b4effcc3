//! Offline is never broader than online: over random tenants, a door with a bundle grants only what core, asked at the
//! same instant with the same facts, grants too. And deltas end where whole bundles end.

use crate::worlds::{DAY_MS, Dice, PIN, READER_KEY, RandomTenant, START, random_tenant};
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::bundle::{Bundle, BundleBody, compile};
use keyway_domain::credential::CredentialState;
use keyway_domain::decision::{
    Attempt, FirstPerson, Outcome, Pin, PinTyped, Reason, Shown, Situation, decide, explain,
};
use keyway_domain::door::DecidedBy;
use keyway_domain::facts::DoorFacts;
use keyway_domain::id::DoorId;
use keyway_domain::time::{Moment, UnixMs};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn situation<'w>(world: &'w RandomTenant, door: &DoorFacts) -> Situation<'w> {
    Situation {
        mode: door.mode,
        mode_version: door.mode_version,
        lockdowns: &world.lockdowns,
        locked_out_until: None,
        policy_forbids: false,
    }
}

fn bundle_of(world: &RandomTenant, door: DoorId, version: u64, issued: UnixMs) -> BundleBody {
    let facts = &world.facts;
    let at = facts.at_door(door, situation(world, &facts.doors[&door])).unwrap();
    compile(&at, facts.zones[&at.door.rules.place.site].clone(), version, issued)
}

fn attempt(world: &RandomTenant, dice: &mut Dice) -> Attempt {
    let credentials: Vec<_> = world.facts.credentials.values().collect();
    let people: Vec<_> = world.facts.people.keys().copied().collect();
    let pin = match dice.below(3) {
        0 => None,
        1 => PinTyped::parse(READER_KEY, PIN).map(Pin::Typed),
        _ => PinTyped::parse(READER_KEY, "9999").map(Pin::Typed),
    };
    let first =
        dice.one_in(2).then(|| FirstPerson { person: dice.pick(&people), ago_ms: dice.below(20_000) });
    Attempt { shown: Shown::Digest(dice.pick(&credentials).digest), pin, first }
}

static GRANTED: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicUsize = AtomicUsize::new(0);
static COMPARED: AtomicUsize = AtomicUsize::new(0);

fn never_broader(seed: u64) -> Result<(), TestCaseError> {
    let mut world = random_tenant(seed);
    let dice = &mut Dice(seed ^ 0xa5a5);
    for door in world.doors.clone() {
        let issued = START.plus(dice.below(300 * DAY_MS));
        let bundle = Bundle::load(bundle_of(&world, door, 1, issued)).unwrap();
        for _ in 0..24 {
            let now = issued
                .plus(dice.below(bundle.body().expires_at.since(issued) + DAY_MS))
                .minus(dice.below(1_000));
            let moment = Moment { at: now, error_ms: dice.pick(&[0, 500, 20_000]) };
            let attempt = attempt(&world, dice);
            let rules = &world.facts.doors[&door];
            let offline = decide(&bundle.in_situation(situation(&world, rules)), &attempt, moment);
            // Core knows the instant exactly; the door's clock may be anywhere in its error.
            for true_time in [moment.earliest(), moment.at, moment.latest()] {
                let at = world.facts.at_door(door, situation(&world, rules)).unwrap();
                let online = decide(&at, &attempt, Moment::exact(true_time));
                COMPARED.fetch_add(1, Ordering::Relaxed);
                if let Some(pass) = offline.granted() {
                    GRANTED.fetch_add(1, Ordering::Relaxed);
                    let core = online.granted();
                    prop_assert!(
                        core.is_some(),
                        "seed {seed}: door grants {pass:?}, core says {:?}",
                        online.outcome
                    );
                    prop_assert!(now < bundle.body().expires_at);
                    prop_assert_eq!(core.map(|core| core.duress), Some(pass.duress));
                    prop_assert!(!rules.own_policies);
                }
                if offline.outcome == Outcome::AskCore {
                    ASKED.fetch_add(1, Ordering::Relaxed);
                }
            }
            let (told, considered) =
                explain(&bundle.in_situation(situation(&world, rules)), &attempt, moment);
            prop_assert_eq!(told, offline);
            prop_assert!(offline.granted().is_none() || considered.iter().any(|one| one.refused.is_none()));
        }
    }
    // A revocation that reaches the door holds at once.
    let door = world.doors[0];
    let mut bundle = Bundle::load(bundle_of(&world, door, 1, START)).unwrap();
    let digests: Vec<_> = bundle.body().credentials.iter().map(|one| one.digest).collect();
    bundle.revoke(digests.iter().copied());
    for digest in digests {
        let attempt = Attempt { shown: Shown::Digest(digest), pin: None, first: None };
        let decision = decide(&bundle.in_situation(Situation::plain()), &attempt, Moment::exact(START));
        prop_assert_eq!(decision.outcome, Outcome::Denied(Reason::CredentialRevoked));
    }
    // And a bundle made after it leaves the credential out.
    for credential in world.facts.credentials.values_mut() {
        credential.state = CredentialState::Revoked;
    }
    prop_assert!(bundle_of(&world, door, 2, START).credentials.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_ends_where_the_whole_bundle_ends(seed in any::<u64>(), other in any::<u64>()) {
        let mut world = random_tenant(seed);
        let door = world.doors[0];
        let old = bundle_of(&world, door, 4, START);
        // Half of everything changes, something new comes.
        let dice = &mut Dice(other);
        world.facts.grants.retain(|_, _| !dice.one_in(3));
        world.facts.credentials.retain(|_, _| !dice.one_in(4));
        for schedule in world.facts.schedules.values_mut() {
            if dice.one_in(2) {
                schedule.weekly.clear();
            }
        }
        world.facts.doors.get_mut(&door).unwrap().decided_by = DecidedBy::Bundle;
        let new = bundle_of(&world, door, 5, START.plus(60_000));
        let delta = BundleDelta::between(&old, &new);
        let wire: BundleDelta = serde_json::from_slice(&serde_json::to_vec(&delta).unwrap()).unwrap();
        prop_assert_eq!(&wire.apply(&old).unwrap(), &new);
        prop_assert!(wire.apply(&new).is_err(), "applied twice");
        Bundle::load(wire.apply(&old).unwrap()).unwrap();
        let whole: BundleBody = serde_json::from_slice(&serde_json::to_vec(&new).unwrap()).unwrap();
        prop_assert_eq!(whole, new);
    }
}

/// Own loop instead of the macro: the case count matters, and so does that both answers are met often.
#[test]
fn offline_is_never_broader_than_online() {
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 800, ..ProptestConfig::default() });
    runner.run(&any::<u64>(), never_broader).unwrap();
    let (granted, asked) = (GRANTED.load(Ordering::Relaxed), ASKED.load(Ordering::Relaxed));
    println!(
        "{} comparisons, {granted} granted offline, {asked} left to core",
        COMPARED.load(Ordering::Relaxed)
    );
    assert!(granted > 500 && asked > 200, "the worlds are too closed to prove anything: {granted}, {asked}");
}

#[test]
fn a_bundle_that_is_not_sound_is_refused() {
    let world = random_tenant(11);
    let good = world
        .doors
        .iter()
        .map(|door| bundle_of(&world, *door, 1, START))
        .find(|body| body.credentials.len() > 1 && body.grants.len() > 1)
        .expect("a door with two cards");
    let check = |change: &dyn Fn(&mut BundleBody)| {
        let mut body = good.clone();
        change(&mut body);
        assert!(Bundle::load(body).is_err());
    };
    check(&|body| body.credentials.reverse());
    check(&|body| body.grants.clear());
    check(&|body| body.expires_at = body.issued_at);
    check(&|body| body.expires_at = UnixMs(u64::MAX));
    check(&|body| body.zone.until = body.zone.from);
    check(&|body| body.credentials[1] = body.credentials[0].clone());
    check(&|body| body.tenant = keyway_domain::id::TenantId::mint(UnixMs(1), [0; 10]));
    assert!(Bundle::load(good.clone()).is_ok());
}
