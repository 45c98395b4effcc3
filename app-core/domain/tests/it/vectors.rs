//! The test vectors for firmware authors under docs/vectors: made by this generator from fixed seeds, and read here as
//! a device would read them. `KEYWAY_WRITE_VECTORS=1 cargo test -p keyway-domain vectors` writes them anew.

use crate::worlds::{DAY_MS, READER_KEY, START, card_digest, large_tenant};
use keyway_domain::audit::{AuditEntry, Checkpoint};
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::bundle::{Bundle, BundleBody, compile};
use keyway_domain::clock::{ClockQuality, TimeStatement};
use keyway_domain::command::UnlockCommand;
use keyway_domain::credential::{CredentialKind, Digest};
use keyway_domain::decision::{Attempt, Outcome, Pass, PinTyped, Reason, Shown, Situation, decide};
use keyway_domain::door::{DoorMode, Factors, SecurityLevel};
use keyway_domain::event::outbox::EventOutbox;
use keyway_domain::event::{ChainHash, Epoch, EventBatch, EventKind, Occurred};
use keyway_domain::id::*;
use keyway_domain::lockdown::{Effect, LockdownSet, LockdownStatement};
use keyway_domain::message::device::AccessRequest;
use keyway_domain::message::statement::{
    CoreKey, CoreKeys, DesiredState, EventsCommitted, KeyProof, Revocation, UnlockRequest,
};
use keyway_domain::place::Scope;
use keyway_domain::sign::{Kind, PublicKey, SigningKey, TrustedKeys};
use keyway_domain::time::Moment;
use keyway_domain::zone::ZoneTable;
use serde_json::{Value, json};
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/vectors")
}

fn core_key() -> SigningKey {
    SigningKey::ed25519(KeyId::mint(START, [1; 10]), &[0x11; 32])
}

fn device_key() -> SigningKey {
    SigningKey::p256(KeyId::mint(START, [2; 10]), &[0x22; 32]).unwrap()
}

fn phone_key() -> SigningKey {
    SigningKey::p256(KeyId::mint(START, [3; 10]), &[0x33; 32]).unwrap()
}

/// `{about, key, kind, payload, jws}`: the payload as it was signed, for comparison.
fn signed<T: serde::Serialize>(about: &str, key: &SigningKey, kind: Kind, payload: &T) -> Value {
    json!({
        "about": about,
        "key": { "kid": key.id, "public": key.public() },
        "typ": kind.typ(),
        "payload": payload,
        "jws": key.sign_json(kind, payload),
    })
}

fn bundle_body() -> BundleBody {
    let mut world = large_tenant(3);
    let door = world.doors[0];
    let id = *world.facts.schedules.keys().next().unwrap();
    let rules = &mut world.facts.doors.get_mut(&door).unwrap().rules;
    rules.levels = vec![SecurityLevel { when: Some(id), any_of: vec![Factors::CARD] }];
    let at = world.facts.at_door(door, Situation::plain()).unwrap();
    let zone = ZoneTable::expand("Europe/Tallinn", START, START.plus(366 * DAY_MS)).unwrap();
    compile(&at, zone, 41, START)
}

fn bundles() -> Value {
    let old = bundle_body();
    let mut new = old.clone();
    new.version = 42;
    new.issued_at = START.plus(3_600_000);
    new.expires_at = new.issued_at.plus(DAY_MS);
    new.credentials.remove(0);
    let bundle = Bundle::load(old.clone()).unwrap();
    let mut decisions = Vec::new();
    // Every half hour of the bundle's life and a little beyond it, for a known and an unknown card.
    for step in (0..50).step_by(3) {
        for card in [0, 99] {
            let now = Moment { at: START.plus(step * 1_800_000), error_ms: 40 };
            let attempt = Attempt { shown: Shown::Digest(card_digest(card)), pin: None, first: None };
            let decision = decide(&bundle.in_situation(Situation::plain()), &attempt, now);
            let outcome = match decision.outcome {
                Outcome::Granted(Pass { grant, open_ms, duress }) => {
                    json!({ "granted": { "grant": grant, "open_ms": open_ms, "duress": duress } })
                }
                Outcome::Denied(reason) => json!({ "denied": reason }),
                Outcome::AskCore => json!("ask_core"),
            };
            decisions.push(json!({ "digest": card_digest(card), "now": now, "outcome": outcome }));
        }
    }
    json!({
        "whole": signed("a bundle of three cards", &core_key(), Kind::Bundle, &old),
        "delta": signed("version 41 to 42: one card less", &core_key(), Kind::BundleDelta, &BundleDelta::between(&old, &new)),
        "after_delta": new,
        "decisions": decisions,
    })
}

fn statements() -> Value {
    let body = bundle_body();
    let (tenant, door) = (body.tenant, body.door.place.door);
    let device = DeviceId::mint(START, [5; 10]);
    let lockdown = LockdownStatement {
        tenant,
        activation: ActivationId::mint(START, [6; 10]),
        plan: PlanId::mint(START, [7; 10]),
        scope: Scope::Site(body.door.place.site),
        rank: 100,
        version: 9,
        effect: Effect::RespondersOnly,
        live: true,
        until: None,
    };
    let desired = DesiredState {
        tenant,
        device,
        door,
        version: 12,
        mode: DoorMode::Normal,
        mode_version: 4,
        lockdowns: LockdownSet { floor: 9, statements: vec![lockdown.clone()] },
        bundle_version: 41,
    };
    let command = UnlockCommand {
        tenant,
        door,
        device,
        command: CommandId::mint(START, [8; 10]),
        created_at: START,
        deadline: START.plus(8_000),
        open_ms: 5_000,
        mode_version: 4,
        lockdown_version: 9,
        overrides_lockdown: true,
    };
    let revocation = Revocation { tenant, version: 3, digests: vec![card_digest(0)] };
    let unlock =
        UnlockRequest { tenant, request: RequestId::mint(START, [9; 10]), door, deadline: START.plus(8_000) };
    let tap = AccessRequest {
        tenant,
        device,
        request: RequestId::mint(START, [10; 10]),
        door,
        credential: card_digest(0),
        pin: None,
        first_person: None,
    };
    let proof = KeyProof {
        host: "core.example".into(),
        nonce: "bm9uY2Ugb2YgY29yZQ".into(),
        own_nonce: "bm9uY2Ugb2YgdGhlIGRldmljZQ".into(),
    };
    let time = TimeStatement { nonce: "bm9uY2U".into(), time: START };
    let committed = EventsCommitted { tenant, device, epoch: Epoch(7), watermark: 42 };
    let core = core_key();
    let next = SigningKey::ed25519(KeyId::mint(START, [11; 10]), &[0x44; 32]);
    let keys = [&core, &next].map(|key| CoreKey { kid: key.id, key: key.public() });
    let keys = CoreKeys { tenant, version: 2, keys: keys.into() };
    json!([
        signed("the keys of core from now on", &core, Kind::CoreKeys, &keys),
        signed("what a door shall be", &core, Kind::DesiredState, &desired),
        signed("a lockdown of a site that lets responders pass", &core, Kind::Lockdown, &lockdown),
        signed("open once, before the deadline", &core, Kind::Command, &command),
        signed("a card that opens nothing from now on", &core, Kind::Revocation, &revocation),
        signed("core's time over the device's nonce", &core, Kind::Time, &time),
        signed("events that the device may forget", &core, Kind::EventsCommitted, &committed),
        signed("a phone's own request", &phone_key(), Kind::UnlockRequest, &unlock),
        signed("a tap that core shall decide", &device_key(), Kind::AccessRequest, &tap),
        signed("a device proves its key to core", &device_key(), Kind::KeyProof, &proof),
    ])
}

fn digests() -> Value {
    let person = PersonId::mint(START, [4; 10]);
    let kinds = [CredentialKind::Card, CredentialKind::Code, CredentialKind::PublicKey];
    let shown = kinds.map(|kind| json!({ "kind": kind, "kind_byte": kind as u8, "shown_hex": "0102a0ff", "digest": Digest::of(&READER_KEY, kind, None, &[1, 2, 0xa0, 0xff]) }));
    json!({
        "about": "HMAC-SHA256(reader key, kind byte || person id (16 bytes, PINs only) || what was shown), first 16 bytes, base64url. A PIN is shown as a big-endian u64: its decimal digits behind a leading 1",
        "reader_key_hex": "07".repeat(32),
        "shown": shown,
        "pin": { "person": person, "digits": "0420", "digest": PinTyped::parse(READER_KEY, "0420").unwrap().digest(person) },
    })
}

fn events() -> Value {
    let mut outbox = EventOutbox::begun(Epoch(0x0123_4567_89ab_cdef), 1 << 16);
    for (number, kind) in [EventKind::DeviceRebooted, EventKind::AccessDenied, EventKind::DoorForcedOpen]
        .into_iter()
        .enumerate()
    {
        let mut draft = EventOutbox::draft(
            kind,
            Occurred { at: Some(START.plus(number as u64)), clock: ClockQuality::Synced, error_ms: 12 },
        );
        draft.reason = (kind == EventKind::AccessDenied).then_some(Reason::CredentialUnknown);
        outbox.append(draft);
    }
    let batch = outbox.batch(TenantId::mint(START, [4; 10]), DeviceId::mint(START, [5; 10]), 1).unwrap();
    let mut chain = vec![batch.before];
    for item in &batch.items {
        chain.push(chain[chain.len() - 1].after(item.get().as_bytes()));
    }
    json!({ "batch": signed("three events", &device_key(), Kind::EventBatch, &batch), "chain": chain })
}

fn audit() -> Value {
    let tenant = TenantId::mint(START, [4; 10]);
    let mut head = ChainHash::default();
    let mut lines = Vec::new();
    for seq in 1..=3u64 {
        let entry = AuditEntry {
            id: AuditId::mint(START, [seq as u8; 10]),
            tenant,
            seq,
            at: START.plus(seq),
            actor: "core".into(),
            action: "grant.created".into(),
            subject: GrantId::mint(START, [seq as u8; 10]).to_string(),
            details_hmac: None,
            before: head,
        };
        let sealed = entry.seal();
        head = sealed.after;
        lines.push(sealed.line());
    }
    let key = core_key();
    let note = Checkpoint { tenant, size: 3, head, at: START.plus(10) }.sign(&key);
    json!({ "tenant": tenant, "key": { "kid": key.id, "public": key.public() }, "lines": lines, "checkpoint": note })
}

fn all() -> [(&'static str, Value); 5] {
    [
        ("bundles", bundles()),
        ("statements", statements()),
        ("digests", digests()),
        ("events", events()),
        ("audit", audit()),
    ]
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn vectors_are_what_the_code_makes() {
    let write = std::env::var_os("KEYWAY_WRITE_VECTORS").is_some();
    for (name, value) in all() {
        let path = folder().join(format!("{name}.json"));
        if write {
            std::fs::write(&path, pretty(&value)).unwrap();
        }
        let held = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            held == pretty(&value),
            "docs/vectors/{name}.json is not what the generator makes; see the head of this file"
        );
    }
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap()).unwrap()
}

/// Verifies `jws` with the key that stands beside it and compares the payload.
fn verified(vector: &Value) -> Vec<u8> {
    let key: PublicKey = serde_json::from_value(vector["key"]["public"].clone()).unwrap();
    let id: KeyId = serde_json::from_value(vector["key"]["kid"].clone()).unwrap();
    let kind = Kind::ALL.iter().find(|kind| kind.typ() == vector["typ"]).unwrap();
    let payload = TrustedKeys::of(id, key).verify(*kind, vector["jws"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), vector["payload"]);
    payload
}

#[test]
fn vectors_read_as_a_device_reads_them() {
    let bundles = read("bundles");
    let body: BundleBody = serde_json::from_slice(&verified(&bundles["whole"])).unwrap();
    let delta: BundleDelta = serde_json::from_slice(&verified(&bundles["delta"])).unwrap();
    let after: BundleBody = serde_json::from_value(bundles["after_delta"].clone()).unwrap();
    assert_eq!(delta.apply(&body).unwrap(), after);
    let bundle = Bundle::load(body).unwrap();
    let mut met = [false; 2];
    for vector in bundles["decisions"].as_array().unwrap() {
        let digest: Digest = serde_json::from_value(vector["digest"].clone()).unwrap();
        let now: Moment = serde_json::from_value(vector["now"].clone()).unwrap();
        let attempt = Attempt { shown: Shown::Digest(digest), pin: None, first: None };
        let decision = decide(&bundle.in_situation(Situation::plain()), &attempt, now);
        met[usize::from(decision.granted().is_some())] = true;
        match decision.outcome {
            Outcome::Granted(pass) => {
                assert_eq!(vector["outcome"]["granted"]["grant"], pass.grant.to_string())
            }
            Outcome::Denied(reason) => assert_eq!(vector["outcome"]["denied"], json!(reason)),
            Outcome::AskCore => assert_eq!(vector["outcome"], "ask_core"),
        }
    }
    assert_eq!(met, [true, true]);
    for vector in read("statements").as_array().unwrap() {
        verified(vector);
    }
    let events = read("events");
    let batch: EventBatch = serde_json::from_slice(&verified(&events["batch"])).unwrap();
    assert_eq!(batch.items.len(), 3);
    let audit = read("audit");
    let key = (
        serde_json::from_value(audit["key"]["kid"].clone()).unwrap(),
        serde_json::from_value(audit["key"]["public"].clone()).unwrap(),
    );
    let tenant = serde_json::from_value(audit["tenant"].clone()).unwrap();
    let lines = audit["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let checked =
        keyway_domain::audit::verify(tenant, lines, &[audit["checkpoint"].as_str().unwrap()], &[key]);
    assert_eq!(checked.unwrap().signed_up_to, 3);
}
