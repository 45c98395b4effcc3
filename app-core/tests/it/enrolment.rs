//! Enrolment and tokens as a stranger would try them: late codes, wrong proofs, old and used challenges; and the key set
//! through a rotation. Time is core's clock, which is moved.

use crate::house::{House, config};
use app_core::serve::Server;
use app_core::source::Clock;
use keyway_bus::MemoryBroker;
use keyway_devices::enrolling::{dice_of_the_system, enrol_door, own_key};
use keyway_devices::enrolment::OwnKey;
use keyway_devices::http::call;
use keyway_devices::net::Forward;
use keyway_domain::message::statement::KeyProof;
use keyway_domain::sign::{Algorithm, Kind, SigningKey};
use serde_json::{Value, json};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

async fn house() -> (House, Clock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let broker = MemoryBroker::default();
    let server = Server::on(config(folder.path(), ""), clock.clone(), broker.backend()).await.unwrap();
    (House::of(server, folder).await, clock)
}

fn own() -> OwnKey {
    own_key(Algorithm::ES256, Forward::begin().now(), &mut dice_of_the_system().unwrap())
}

async fn nonce(house: &House) -> String {
    let (_, challenge) = call("GET", &house.url, "/v1/devices/challenge", None, None).await.unwrap();
    challenge["nonce"].as_str().unwrap().to_owned()
}

fn proof(key: &SigningKey, host: &str, nonce: &str) -> String {
    let proof = KeyProof { host: host.to_owned(), nonce: nonce.to_owned(), own_nonce: "mine".to_owned() };
    key.sign_json(Kind::KeyProof, &proof)
}

async fn post(house: &House, path: &str, body: Value) -> (u16, String) {
    let (status, answer) = call("POST", &house.url, path, None, Some(&body)).await.unwrap();
    (status, answer["code"].as_str().unwrap_or("").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_opens_for_a_quarter_of_an_hour_and_to_the_right_proof_only() {
    let (house, clock) = house().await;
    let host = house.url.trim_start_matches("http://").to_owned();
    let door = house.door("Front").await;
    let code = async || {
        let made = house.post(&format!("/v1/doors/{door}/enrolments"), json!({})).await;
        made["code"].as_str().unwrap().to_owned()
    };
    let mut dice = dice_of_the_system().unwrap();
    let late = code().await;
    clock.shift(15 * MINUTE_MS);
    let refused = enrol_door(&house.url, &late, own(), &mut dice).await.unwrap_err().to_string();
    assert!(refused.contains("410 gone"), "{refused}");
    let typed = code().await;
    clock.shift(14 * MINUTE_MS);
    let (mine, other) = (own(), own());
    let (key, forged) = (mine.signing().unwrap(), other.signing().unwrap());
    let body = |proof: String| json!({ "code": typed, "kid": key.id, "key": key.public(), "proof": proof });
    let forged = SigningKey::p256(key.id, &other.seed.0).unwrap_or(forged);
    for (what, proof) in [
        ("signed by another key", proof(&forged, &host, &nonce(&house).await)),
        ("for another host", proof(&key, "core.example", &nonce(&house).await)),
        ("over a challenge that core never made", proof(&key, &host, "AAAA")),
        ("nothing", String::new()),
    ] {
        assert_eq!(
            post(&house, "/v1/devices/enrol", body(proof)).await,
            (401, "unauthorized".into()),
            "{what}"
        );
    }
    let phone = post(&house, "/v1/phones/enrol", body(proof(&key, &host, &nonce(&house).await))).await;
    assert_eq!(phone, (422, "invalid".into()), "a door's code makes no phone");
    // None of that has used the code up; the right proof does, and then it is over.
    let right = body(proof(&key, &host, &nonce(&house).await));
    assert_eq!(post(&house, "/v1/devices/enrol", right).await.0, 201);
    let again = body(proof(&key, &host, &nonce(&house).await));
    assert_eq!(post(&house, "/v1/devices/enrol", again).await, (410, "gone".into()));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_good_for_one_token_and_two_minutes() {
    let (house, clock) = house().await;
    let host = house.url.trim_start_matches("http://").to_owned();
    let door = house.door("Front").await;
    let key = house.device(&door).await.key.signing().unwrap();
    let token = async |proof: String| post(&house, "/v1/devices/token", json!({ "proof": proof })).await;
    let used = proof(&key, &host, &nonce(&house).await);
    assert_eq!(token(used.clone()).await.0, 200);
    assert_eq!(token(used).await, (401, "unauthorized".into()), "a second time");
    let old = proof(&key, &host, &nonce(&house).await);
    clock.shift(2 * MINUTE_MS + 1);
    assert_eq!(token(old).await, (401, "unauthorized".into()), "two minutes later");
    let stranger = own().signing().unwrap();
    assert_eq!(
        token(proof(&stranger, &host, &nonce(&house).await)).await.0,
        401,
        "a key that is not enrolled"
    );
    let device =
        post(&house, "/v1/phones/token", json!({ "proof": proof(&key, &host, &nonce(&house).await) })).await;
    assert_eq!(device.0, 401, "a device is no phone");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_set_rotates_with_overlap() {
    let (house, clock) = house().await;
    let door = house.door("Front").await;
    let renewal = house.device(&door).await.endpoint(None).unwrap().renewal.unwrap();
    let published = async || {
        let (_, set) = call("GET", &house.url, "/.well-known/jwks.json", None, None).await.unwrap();
        let kids = set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned());
        kids.collect::<Vec<String>>()
    };
    let signer = async || {
        use base64::Engine as _;
        let token = renewal.token("mine".into()).await.unwrap();
        let head = token.split('.').next().unwrap();
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).unwrap();
        serde_json::from_slice::<Value>(&head).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let first = published().await;
    assert_eq!((first.len(), signer().await), (1, first[0].clone()));
    clock.shift(30 * DAY_MS);
    house.core.tend_keys().await.unwrap();
    let both = published().await;
    assert_eq!(both.len(), 2, "the new one is known before it signs");
    let second = both.iter().find(|kid| **kid != first[0]).unwrap().clone();
    assert_eq!(signer().await, first[0]);
    clock.shift(10 * MINUTE_MS);
    assert_eq!(signer().await, second);
    assert_eq!(published().await.len(), 2, "tokens of the old one live");
    // An hour and what a gateway may be late by.
    clock.shift(DAY_MS);
    assert_eq!(published().await, [second]);
    house.stop().await;
}
