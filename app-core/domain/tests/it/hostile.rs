//! Hostile input never panics and never gets in: random and bent bytes into everything that reads from outside.

use crate::worlds::{START, random_tenant};
use keyway_domain::audit::{Checkpoint, verify};
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::bundle::{Bundle, BundleBody, compile};
use keyway_domain::decision::{Attempt, Shown, Situation, decide};
use keyway_domain::event::EventBatch;
use keyway_domain::event::intake::Intake;
use keyway_domain::id::{KeyId, TenantId};
use keyway_domain::lockdown::{LockdownSet, LockdownStatement};
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys, claimed_key};
use keyway_domain::time::{Moment, UnixMs};
use proptest::prelude::*;

/// Reads the text as everything there is. What can be read is used, since a panic may wait behind the parser.
fn feed(text: &str) {
    let key = SigningKey::ed25519(KeyId::mint(START, [1; 10]), &[1; 32]);
    let trusted = TrustedKeys::of(key.id, key.public());
    let _ = claimed_key(text);
    for kind in Kind::ALL {
        assert!(trusted.verify(*kind, text).is_err());
    }
    let _ = Checkpoint::verify(text, &[(key.id, key.public())]);
    let _ = verify(TenantId::mint(START, [1; 10]), text.lines(), &[], &[]);
    if let Ok(body) = serde_json::from_str::<BundleBody>(text)
        && let Ok(bundle) = Bundle::load(body)
    {
        for at in [0, 1, START.0, u64::MAX / 2, u64::MAX] {
            for error_ms in [0, 29_000, u32::MAX] {
                for credential in bundle.body().credentials.iter().take(4) {
                    let attempt = Attempt { shown: Shown::Digest(credential.digest), pin: None, first: None };
                    decide(
                        &bundle.in_situation(Situation::plain()),
                        &attempt,
                        Moment { at: UnixMs(at), error_ms },
                    );
                }
            }
        }
    }
    if let Ok(delta) = serde_json::from_str::<BundleDelta>(text) {
        let _ = delta.apply(&sample());
    }
    if let Ok(batch) = serde_json::from_str::<EventBatch>(text) {
        let _ = Intake::begun().take(&batch);
    }
    if let Ok(statement) = serde_json::from_str::<LockdownStatement>(text) {
        let tenant = statement.tenant;
        LockdownSet::default().take(tenant, statement);
    }
}

fn sample() -> BundleBody {
    let world = random_tenant(3);
    let at = world.facts.at_door(world.doors[0], Situation::plain()).unwrap();
    compile(&at, world.facts.zones[&at.door.rules.place.site].clone(), 1, START)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn noise(text in "\\PC{0,200}") {
        feed(&text);
    }

    /// A good bundle with numbers, words and signs exchanged: still JSON now and then, and then hostile JSON.
    #[test]
    fn bent_bundles(cuts in prop::collection::vec((any::<prop::sample::Index>(), "[0-9a-z\\[\\]{}\",:-]{0,3}|18446744073709551615"), 1..4)) {
        let mut text = serde_json::to_string(&sample()).unwrap();
        for (place, put) in cuts {
            let place = place.index(text.len());
            if text.is_char_boundary(place) && text.is_char_boundary(place + 1) {
                text.replace_range(place..place + 1, &put);
            }
        }
        feed(&text);
    }

    /// Every number of a good bundle replaced by an extreme one.
    #[test]
    fn extreme_numbers(which in any::<prop::sample::Index>(), number in prop::sample::select(vec![0u64, 1, u64::MAX, 1 << 53, 253_402_300_799_999])) {
        let mut value = serde_json::to_value(sample()).unwrap();
        let mut places = Vec::new();
        numbers(&value, String::new(), &mut places);
        let place = which.get(&places);
        *value.pointer_mut(place).unwrap() = number.into();
        feed(&value.to_string());
    }
}

fn numbers(value: &serde_json::Value, at: String, places: &mut Vec<String>) {
    match value {
        serde_json::Value::Number(_) => places.push(at),
        serde_json::Value::Array(list) => {
            list.iter().enumerate().for_each(|(place, one)| numbers(one, format!("{at}/{place}"), places));
        }
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(key, one)| numbers(one, format!("{at}/{key}"), places))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}
