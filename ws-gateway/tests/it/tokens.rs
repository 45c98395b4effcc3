//! Tokens as core mints them, and every way in which they can be wrong. The pure verifier first, then sockets.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use ws_gateway::auth::{
    Allow, Expectations, KeySet, Revocations, TokenFault, verify_connection, verify_revocation,
    verify_subscription,
};

use crate::gateway;
use crate::raw::{Raw, Seen};

pub struct Core {
    ed: Ed25519KeyPair,
    es: EcdsaKeyPair,
}

pub static CORE: LazyLock<Core> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let es = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    Core {
        ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        es: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, es.as_ref(), &random).unwrap(),
    }
});

pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn encode(value: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

impl Core {
    pub fn jwks(&self) -> String {
        let point = self.es.public_key().as_ref();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed1", "alg": "EdDSA", "use": "sig", "x": encode(self.ed.public_key().as_ref())},
            {"kty": "EC", "crv": "P-256", "kid": "es1", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "RSA", "kid": "other", "n": "AQAB", "e": "AQAB"},
        ]})
        .to_string()
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = match header["alg"].as_str().unwrap() {
            "EdDSA" => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
            "ES256" => self.es.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            // What an attacker can do: the public key, which everybody has, as a secret.
            "HS256" => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.ed.public_key().as_ref());
                ring::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{signed}.{}", encode(&signature))
    }

    /// A good EdDSA token with `extra` laid over its claims; null removes one.
    pub fn token(&self, now_s: u64, extra: Value) -> String {
        self.sign(&json!({"alg": "EdDSA", "kid": "ed1", "typ": "JWT"}), &claims(now_s, extra))
    }
}

pub fn claims(now_s: u64, extra: Value) -> Value {
    let mut claims = json!({
        "iss": "keyway-core", "aud": "keyway-gateway", "sub": "per_1", "tenant": "acme",
        "iat": now_s, "nbf": now_s, "exp": now_s + 3600,
    });
    for (name, value) in extra.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn expected() -> Expectations {
    Expectations { issuer: "keyway-core".into(), audience: "keyway-gateway".into() }
}

#[test]
fn every_claim_is_required_and_checked() {
    let keys = KeySet::parse_jwks(CORE.jwks().as_bytes()).unwrap();
    let now = 1_800_000_000;
    let verify = |token: &str| verify_connection(token, &keys, &expected(), &Revocations::default(), now);
    let eddsa = json!({"alg": "EdDSA", "kid": "ed1"});
    let good = verify(
        &CORE.token(now, json!({"info": {"n": 1}, "channels": ["a:acme.1"], "subs": {"b:acme.2": {}}})),
    )
    .unwrap();
    assert_eq!(
        (good.user.as_str(), good.tenant.as_str(), &good.info[..]),
        ("per_1", "acme", &b"{\"n\":1}"[..])
    );
    assert_eq!(good.channels, ["a:acme.1", "b:acme.2"]);
    assert!(verify(&CORE.sign(&json!({"alg": "ES256", "kid": "es1"}), &claims(now, json!({})))).is_ok());
    assert!(verify(&CORE.token(now, json!({"aud": ["x", "keyway-gateway"]}))).is_ok());

    let check = |name: &str, token: String, wanted: fn(&TokenFault) -> bool| {
        let fault = verify(&token).expect_err(name);
        assert!(wanted(&fault), "{name}: {fault:?}");
    };
    let invalid = |fault: &TokenFault| matches!(fault, TokenFault::Invalid(_));
    for claim in ["aud", "iss", "exp", "nbf", "sub", "tenant"] {
        check(claim, CORE.token(now, json!({claim: null})), invalid);
    }
    for (claim, value) in [
        ("aud", json!("someone-else")),
        ("aud", json!([])),
        ("iss", json!("someone-else")),
        ("exp", json!("tomorrow")),
        ("sub", json!(7)),
        ("channel", json!("a:acme.1")),
    ] {
        check(claim, CORE.token(now, json!({claim: value})), invalid);
    }
    check("expired this second", CORE.token(now, json!({"exp": now})), |f| *f == TokenFault::Expired);
    check("from the future", CORE.token(now, json!({"nbf": now + 1})), |f| {
        matches!(f, TokenFault::NotYet(_))
    });
    check("unknown key", CORE.sign(&json!({"alg": "EdDSA", "kid": "new"}), &claims(now, json!({}))), |f| {
        matches!(f, TokenFault::NotYet(_))
    });
    for (name, header) in [
        ("none", json!({"alg": "none", "kid": "ed1"})),
        ("None", json!({"alg": "None"})),
        ("HS256 with the public key", json!({"alg": "HS256", "kid": "ed1"})),
        ("RS256", json!({"alg": "RS256", "kid": "other"})),
        ("another family's key", json!({"alg": "EdDSA", "kid": "es1"})),
        ("no kid", json!({"alg": "EdDSA"})),
        ("crit", json!({"alg": "EdDSA", "kid": "ed1", "crit": ["x"]})),
        ("a revocation", json!({"alg": "EdDSA", "kid": "ed1", "typ": "revocation+jwt"})),
    ] {
        check(name, CORE.sign(&header, &claims(now, json!({}))), invalid);
    }
    let good = CORE.sign(&eddsa, &claims(now, json!({})));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = CORE.sign(&eddsa, &claims(now, json!({"sub": "per_2"})));
    for (name, token) in [
        ("empty", String::new()),
        ("one part", "abc".to_owned()),
        ("no signature", format!("{signed}.")),
        ("another's signature", format!("{}.{signature}", other.rsplit_once('.').unwrap().0)),
        ("padding", format!("{good}==")),
        ("endless", "a".repeat(40_000)),
    ] {
        check(name, token, invalid);
    }
}

#[test]
fn kinds_of_tokens_do_not_stand_in_for_each_other() {
    let keys = KeySet::parse_jwks(CORE.jwks().as_bytes()).unwrap();
    let now = 1_800_000_000;
    let subscription = CORE.token(now, json!({"channel": "a:acme.1"}));
    assert_eq!(verify_subscription(&subscription, &keys, &expected(), now).unwrap().channel, "a:acme.1");
    assert!(verify_subscription(&CORE.token(now, json!({})), &keys, &expected(), now).is_err());
    assert!(verify_revocation(&CORE.token(now, json!({"before": now})), &keys, &expected(), now).is_err());
    let header = json!({"alg": "EdDSA", "kid": "ed1", "typ": "revocation+jwt"});
    let statement = CORE.sign(&header, &claims(now, json!({"before": now})));
    assert_eq!(verify_revocation(&statement, &keys, &expected(), now).unwrap().before_s, now);
    let capabilities = verify_connection(
        &CORE.token(now, json!({"caps": [{"channels": ["site:acme.*"], "match": "wildcard", "allow": ["sub"]}], "rpc": ["door.*"]})),
        &keys,
        &expected(),
        &Revocations::default(),
        now,
    )
    .unwrap()
    .capabilities;
    assert!(
        capabilities.allows(Allow::Subscribe, "site:acme.1") && capabilities.allows_method("door.unlock")
    );
    assert!(!capabilities.allows(Allow::History, "site:acme.1") && !capabilities.allows_method("x"));
}

/// A configuration whose keys come from a file, with namespaces to try rights on.
pub fn with_keys(directory: &tempfile::TempDir) -> String {
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, CORE.jwks()).unwrap();
    format!(
        "[tokens]\njwks_file = {:?}\n[namespaces.open]\nallow_subscribe = true\nallow_publish = true\n",
        path.to_str().unwrap()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_close_and_stale_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let now = unix_s();
    let cases = [
        ("not a token", "x.y.z".to_owned(), "CLOSE 3500 invalid token"),
        ("none", CORE.sign(&json!({"alg": "none"}), &claims(now, json!({}))), "CLOSE 3500 invalid token"),
        ("no token", String::new(), "CLOSE 3500 invalid token"),
        (
            "expired",
            CORE.token(now, json!({"exp": now - 1})),
            r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#,
        ),
        (
            "unknown key",
            CORE.sign(&json!({"alg": "EdDSA", "kid": "next"}), &claims(now, json!({}))),
            r#"{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
        ),
    ];
    for (name, token, wanted) in cases {
        let mut raw = Raw::open(gateway.public).await;
        raw.send(&json!({"id": 1, "connect": {"token": token}}).to_string()).await;
        let shown = match raw.next().await {
            Seen::Line(line) => line,
            Seen::Close(code, reason) => format!("CLOSE {code} {reason}"),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(shown, wanted, "{name}");
        if !shown.starts_with("CLOSE") {
            // The connection lives on: the SDK fetches a new token and repeats.
            raw.send(&json!({"id": 2, "connect": {"token": CORE.token(now, json!({}))}}).to_string()).await;
            assert!(raw.next().await.json()["connect"]["expires"].as_bool().unwrap(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_come_from_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let now = unix_s();
    let token = CORE.token(
        now,
        json!({
            "caps": [{"channels": ["site:*"], "match": "wildcard", "allow": ["sub", "hst", "prs"]}],
            "rpc": ["echo"],
        }),
    );
    let mut raw = Raw::connected_with(gateway.public, &token).await;
    let subscription = |channel: &str, extra: Value| {
        CORE.token(now, {
            let mut claims = json!({"channel": channel});
            claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            claims
        })
    };
    let cases: Vec<(Value, Option<u64>)> = vec![
        (json!({"subscribe": {"channel": "site:acme.1"}}), None),
        (json!({"history": {"channel": "site:acme.1", "limit": 1}}), None),
        (json!({"presence": {"channel": "site:acme.1"}}), None),
        (json!({"publish": {"channel": "site:acme.1", "data": {}}}), Some(103)),
        (json!({"subscribe": {"channel": "site:other.1"}}), Some(103)),
        (json!({"subscribe": {"channel": "alerts:acme.1"}}), Some(103)),
        (json!({"subscribe": {"channel": "nowhere:acme.1"}}), Some(102)),
        (json!({"subscribe": {"channel": "open:acme.1"}}), None),
        (json!({"publish": {"channel": "open:acme.1", "data": {}}}), None),
        (json!({"subscribe": {"channel": "open:other.1"}}), Some(103)),
        (json!({"history": {"channel": "open:acme.1"}}), Some(108)),
        (json!({"subscribe": {"channel": "#acme.per_1"}}), Some(105)),
        (json!({"history": {"channel": "#acme.per_1"}}), None),
        (json!({"publish": {"channel": "#acme.per_1", "data": {"forged": "notice"}}}), Some(103)),
        (json!({"subscribe": {"channel": "#acme.per_2"}}), Some(103)),
        (
            json!({"subscribe": {"channel": "door:acme.1", "token": subscription("door:acme.1", json!({}))}}),
            None,
        ),
        (
            json!({"subscribe": {"channel": "door:acme.2", "token": subscription("door:acme.1", json!({}))}}),
            Some(103),
        ),
        (
            json!({"subscribe": {"channel": "door:acme.3", "token": subscription("door:acme.3", json!({"sub": "per_2"}))}}),
            Some(103),
        ),
        (
            json!({"subscribe": {"channel": "door:acme.3", "token": subscription("door:acme.3", json!({"tenant": "other"}))}}),
            Some(103),
        ),
        (
            json!({"subscribe": {"channel": "door:acme.4", "token": subscription("door:acme.4", json!({"exp": now - 1}))}}),
            Some(109),
        ),
        (
            json!({"sub_refresh": {"channel": "door:acme.1", "token": subscription("door:acme.1", json!({"exp": now + 99}))}}),
            None,
        ),
        (
            json!({"sub_refresh": {"channel": "door:acme.9", "token": subscription("door:acme.9", json!({}))}}),
            Some(103),
        ),
        (json!({"rpc": {"method": "echo", "data": {"x": 1}}}), None),
        (json!({"rpc": {"method": "whoami", "data": {}}}), Some(103)),
        (json!({"refresh": {"token": CORE.token(now, json!({"exp": now + 7200}))}}), None),
        (json!({"refresh": {"token": CORE.token(now, json!({"exp": now - 1}))}}), Some(109)),
        (json!({"subscribe": {"channel": "site:acme.2", "tf": {"op": "eq"}}}), Some(107)),
        (json!({"subscribe": {"channel": "site:acme.2", "type": 1}}), Some(107)),
        (json!({"subscribe": {"channel": "a".repeat(300)}}), Some(107)),
    ];
    for (id, (mut command, wanted)) in (2..).zip(cases) {
        command["id"] = json!(id);
        let reply = raw.ask(&command.to_string()).await;
        assert_eq!(reply["error"]["code"].as_u64(), wanted, "{command} gave {reply}");
    }
    // A refresh for somebody else ends the connection.
    raw.send(&json!({"id": 99, "refresh": {"token": CORE.token(now, json!({"sub": "per_2"}))}}).to_string())
        .await;
    assert_eq!(raw.end().await, Seen::Close(3500, "invalid token".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_revocation_closes_and_a_forged_one_does_not() {
    use keyway_bus::Backend;
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let now = unix_s();
    let old = CORE.token(now, json!({"iat": now - 10, "nbf": now - 10}));
    let mut one = Raw::connected_with(gateway.public, &old).await;
    let mut other = Raw::connected_with(gateway.public, &CORE.token(now, json!({"sub": "per_2"}))).await;
    let header = json!({"alg": "EdDSA", "kid": "ed1", "typ": "revocation+jwt"});
    let statement = CORE.sign(&header, &claims(now, json!({"before": now - 5})));
    let forged = format!("{}x", &statement[..statement.len() - 1]);
    let backend = gateway.broker.backend();
    backend.revoke(forged.into()).await.unwrap();
    assert!(one.ask(r#"{"id":2,"rpc":{"method":"no"}}"#).await["error"].is_object(), "still open");
    backend.revoke(statement.into()).await.unwrap();
    assert_eq!(one.end().await, Seen::Close(3503, "force disconnect".into()));
    assert!(other.ask(r#"{"id":2,"rpc":{"method":"no"}}"#).await["error"].is_object(), "not meant");
    let mut again = Raw::open(gateway.public).await;
    again.send(&json!({"id": 1, "connect": {"token": old}}).to_string()).await;
    assert_eq!(again.end().await, Seen::Close(3500, "invalid token".into()));
    Raw::connected_with(gateway.public, &CORE.token(now, json!({}))).await;
}

/// Core's keys are read after the bus is there: a node that starts hears of revocations before it can verify them, and no
/// token that they void is good on it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_later_knows_what_is_revoked() {
    use keyway_bus::Backend;
    let broker = keyway_bus::MemoryBroker::default();
    let now = unix_s();
    let header = json!({"alg": "EdDSA", "kid": "ed1", "typ": "revocation+jwt"});
    let statement = CORE.sign(&header, &claims(now, json!({"before": now - 5})));
    broker.backend().revoke(statement.into()).await.unwrap();
    let core = crate::delivery::answering(CORE.jwks()).await;
    let text = format!("[tokens]\njwks_url = \"http://{core}/.well-known/jwks.json\"\n");
    let gateway = gateway::start_on(broker, &text).await;
    let old = CORE.token(now, json!({"iat": now - 10, "nbf": now - 10}));
    let mut raw = Raw::open(gateway.public).await;
    let end = loop {
        raw.send(&json!({"id": 1, "connect": {"token": old}}).to_string()).await;
        match raw.next().await {
            Seen::Line(line) => assert!(line.contains("temporary"), "let in: {line}"),
            end => break end,
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(end, Seen::Close(3500, "invalid token".into()));
    Raw::connected_with(gateway.public, &CORE.token(now, json!({}))).await;
}

/// By a clock that is ahead of the node's: not believed yet, and not forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_from_a_second_ahead_is_kept() {
    use keyway_bus::Backend;
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let now = unix_s();
    let mut raw = Raw::connected_with(gateway.public, &CORE.token(now, json!({"iat": now - 10}))).await;
    let header = json!({"alg": "EdDSA", "kid": "ed1", "typ": "revocation+jwt"});
    let ahead = json!({"iat": now + 2, "nbf": now + 2, "before": now - 5});
    gateway.broker.backend().revoke(CORE.sign(&header, &claims(now, ahead)).into()).await.unwrap();
    assert_eq!(raw.end().await, Seen::Close(3503, "force disconnect".into()));
}
