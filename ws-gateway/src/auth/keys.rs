//! The keys that tokens are checked with: a JWK set of core's public keys, and for development one shared
//! secret. Each key has exactly one algorithm, so a public key can never be used as a secret.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;

use super::TokenFault;

/// A set with more keys is a mistake or an attack on memory.
const KEYS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    EdDsa,
    Es256,
    /// Development only.
    Hs256,
}

impl Algorithm {
    pub fn parse(text: &str) -> Option<Algorithm> {
        match text {
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            "ES256" => Some(Algorithm::Es256),
            "HS256" => Some(Algorithm::Hs256),
            _ => None,
        }
    }
}

/// The keys known now. Replaced as a whole when core's set is read again.
#[derive(Clone, Default)]
pub struct KeySet {
    public: BTreeMap<String, PublicKey>,
    secret: Option<hmac::Key>,
}

#[derive(Clone, PartialEq, Eq)]
struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("the key set is not JSON of the form {{\"keys\": [...]}}: {0}")]
    Unreadable(String),
    #[error("the key set has no usable key: Ed25519 (OKP) or P-256 (EC) with a `kid` are")]
    Empty,
    #[error("the key set has {0} keys, at most {KEYS_MAX} are read")]
    TooMany(usize),
    #[error("two keys have the kid `{0}`")]
    Twice(String),
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl Jwk {
    fn public_key(&self) -> Option<PublicKey> {
        if self.kid.is_empty() || self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32);
        let key = match (self.kty.as_str(), self.crv.as_str()) {
            ("OKP", "Ed25519") => PublicKey { algorithm: Algorithm::EdDsa, bytes: coordinate(&self.x)? },
            ("EC", "P-256") => {
                let bytes = [&[4], coordinate(&self.x)?.as_slice(), coordinate(&self.y)?.as_slice()].concat();
                PublicKey { algorithm: Algorithm::Es256, bytes }
            }
            _ => return None,
        };
        let named = self.alg.as_deref().map(Algorithm::parse);
        if named.is_some_and(|named| named != Some(key.algorithm)) { None } else { Some(key) }
    }
}

impl KeySet {
    /// Keys of other families in the set are passed over: core may publish some for others.
    pub fn parse_jwks(json: &[u8]) -> Result<KeySet, KeyFault> {
        let set: JwkSet =
            serde_json::from_slice(json).map_err(|error| KeyFault::Unreadable(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyFault::TooMany(set.keys.len()));
        }
        let mut public = BTreeMap::new();
        for jwk in &set.keys {
            if let Some(key) = jwk.public_key()
                && public.insert(jwk.kid.clone(), key).is_some()
            {
                return Err(KeyFault::Twice(jwk.kid.clone()));
            }
        }
        if public.is_empty() { Err(KeyFault::Empty) } else { Ok(KeySet { public, secret: None }) }
    }

    /// Adds the development secret.
    pub fn with_secret(mut self, secret: &[u8]) -> KeySet {
        self.secret = Some(hmac::Key::new(hmac::HMAC_SHA256, secret));
        self
    }

    pub fn len(&self) -> usize {
        self.public.len() + usize::from(self.secret.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn verify(
        &self,
        kid: &str,
        algorithm: Algorithm,
        signed: &[u8],
        signature_bytes: &[u8],
    ) -> Result<(), TokenFault> {
        if algorithm == Algorithm::Hs256 {
            // Only ever the configured secret, whatever `kid` says: a public key is never one.
            let secret = self.secret.as_ref().ok_or(TokenFault::Invalid("HS256 is not enabled"))?;
            return hmac::verify(secret, signed, signature_bytes)
                .map_err(|_| TokenFault::Invalid("wrong signature"));
        }
        let key = match self.public.get(kid) {
            Some(key) => key,
            None if kid.is_empty() => return Err(TokenFault::Invalid("no `kid`")),
            None => return Err(TokenFault::NotYet("unknown `kid`")),
        };
        if key.algorithm != algorithm {
            return Err(TokenFault::Invalid("the key is for another algorithm"));
        }
        let checked = match key.algorithm {
            Algorithm::EdDsa => signature::UnparsedPublicKey::new(&signature::ED25519, &key.bytes)
                .verify(signed, signature_bytes),
            Algorithm::Es256 => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &key.bytes)
                    .verify(signed, signature_bytes)
            }
            Algorithm::Hs256 => return Err(TokenFault::Invalid("a public key is no secret")),
        };
        checked.map_err(|_| TokenFault::Invalid("wrong signature"))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<&String> = self.public.keys().collect();
        f.debug_struct("KeySet").field("kids", &kids).field("secret", &self.secret.is_some()).finish()
    }
}
