//! Tokens as core mints them, for measuring what checking them costs: each client has its own, signed before it
//! is needed, so that the generator's work does not stand in the way.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;
use tempfile::TempDir;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    EdDsa,
    Es256,
}

enum Key {
    Ed(Ed25519KeyPair),
    Es(EcdsaKeyPair),
}

pub struct Mint {
    key: Key,
    folder: TempDir,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Mint {
    pub fn new(algorithm: Algorithm) -> anyhow::Result<Mint> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("no key could be made");
        let rejected = |why: ring::error::KeyRejected| anyhow!("a key that was just made: {why}");
        let (key, jwk) = match algorithm {
            Algorithm::EdDsa => {
                let made = Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?;
                let key = Ed25519KeyPair::from_pkcs8(made.as_ref()).map_err(rejected)?;
                let x = encode(key.public_key().as_ref());
                (Key::Ed(key), json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "x": x}))
            }
            Algorithm::Es256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let made = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(failed)?;
                let key = EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).map_err(rejected)?;
                let point = key.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": x, "y": y});
                (Key::Es(key), jwk)
            }
        };
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("keys.json"), json!({"keys": [jwk]}).to_string())?;
        Ok(Mint { key, folder })
    }

    pub fn jwks_file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// Of client `number`, who may hear every channel of the load.
    pub fn token(&self, number: usize) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let alg = match self.key {
            Key::Ed(_) => "EdDSA",
            Key::Es(_) => "ES256",
        };
        let header = json!({"alg": alg, "kid": "k", "typ": "JWT"}).to_string();
        let claims = json!({
            "iss": "keyway-core", "aud": "keyway-gateway", "sub": format!("per_{number}"), "tenant": "a",
            "iat": now_s, "nbf": now_s, "exp": now_s + 3600,
            "caps": [{"channels": ["live:*"], "match": "wildcard", "allow": ["sub"]}],
        })
        .to_string();
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = match &self.key {
            Key::Ed(key) => encode(key.sign(signed.as_bytes()).as_ref()),
            Key::Es(key) => key
                .sign(&SystemRandom::new(), signed.as_bytes())
                .map_or(String::new(), |signature| encode(signature.as_ref())),
        };
        format!("{signed}.{signature}")
    }
}
