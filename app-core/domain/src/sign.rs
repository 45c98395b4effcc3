//! Keys and signatures: compact JWS over opaque bytes, EdDSA for core and either EdDSA or ES256 for devices and phones.
//! Owns which algorithm belongs to which key and which type to which payload; refuses to know what the bytes mean.
//!
//! A receiver verifies first and parses afterwards, from exactly the bytes that were signed.

use crate::id::KeyId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A whole bundle of 100,000 credentials is about 25 MB; nothing that is signed here is larger.
pub const JWS_BYTES_MAX: usize = 48 << 20;
/// Current, next and two that run out: a rotation never has more keys in flight.
pub const KEYS_MAX: usize = 8;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $typ:literal,)*) => {
        /// What a signature is for. It is signed along, so that one kind can never be taken for another.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub fn typ(self) -> &'static str {
                match self { $(Self::$name => $typ,)* }
            }
        }
    };
}

kinds! {
    Bundle = "keyway-bundle",
    BundleDelta = "keyway-bundle-delta",
    DesiredState = "keyway-desired-state",
    Lockdown = "keyway-lockdown",
    Revocation = "keyway-revocation",
    Command = "keyway-command",
    Decision = "keyway-decision",
    Time = "keyway-time",
    /// What a device may forget of its events. A relay that could say so would make them vanish.
    EventsCommitted = "keyway-events-committed",
    /// The keys that core signs by from now on, signed by one that the device trusts already.
    CoreKeys = "keyway-core-keys",
    /// Signed by a phone.
    UnlockRequest = "keyway-unlock-request",
    /// Signed by a device.
    EventBatch = "keyway-event-batch",
    /// Signed by a device: what its ledger knows of commands.
    LedgerReport = "keyway-ledger-report",
    /// Signed by a device: a tap that core shall decide. Counted uses are spent by it, so nobody may invent one.
    AccessRequest = "keyway-access-request",
    /// Signed by a device or phone against a challenge of core.
    KeyProof = "keyway-key-proof",
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    EdDSA,
    ES256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("not a compact JWS of three base64url parts")]
    Malformed,
    #[error("longer than anything that is signed here")]
    TooLong,
    #[error("the header is not one of ours: alg, kid and typ, nothing else")]
    Header,
    #[error("signed for another purpose")]
    WrongKind,
    #[error("the key id is not among the trusted keys")]
    UnknownKey,
    #[error("the algorithm is not the one of this key")]
    WrongAlgorithm,
    #[error("the signature does not hold")]
    BadSignature,
    #[error("not a public key")]
    BadKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Algorithm,
    kid: KeyId,
    typ: String,
}

/// A private key with its id. Never printed.
#[derive(Clone)]
pub struct SigningKey {
    pub id: KeyId,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(Box<p256::ecdsa::SigningKey>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({}, ..)", self.id)
    }
}

impl SigningKey {
    /// From 32 random bytes that the caller brings.
    pub fn ed25519(id: KeyId, seed: &[u8; 32]) -> Self {
        Self { id, secret: Secret::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(seed))) }
    }

    /// As secure elements and phones have it. The few seeds that are no scalar of the curve are refused.
    pub fn p256(id: KeyId, seed: &[u8; 32]) -> Result<Self, SignError> {
        let key = p256::ecdsa::SigningKey::from_slice(seed).map_err(|_| SignError::BadKey)?;
        Ok(Self { id, secret: Secret::P256(Box::new(key)) })
    }

    pub fn public(&self) -> PublicKey {
        match &self.secret {
            Secret::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            Secret::P256(key) => PublicKey::P256(*key.verifying_key()),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.public().algorithm()
    }

    /// 64 bytes, deterministic for both algorithms (RFC 8032, RFC 6979): no randomness is needed to sign.
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        match &self.secret {
            Secret::Ed25519(key) => ed25519_dalek::Signer::sign(key.as_ref(), message).to_bytes(),
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().into()
            }
        }
    }

    pub fn sign(&self, kind: Kind, payload: &[u8]) -> String {
        let header = Header { alg: self.algorithm(), kid: self.id, typ: kind.typ().into() };
        let header = serde_json::to_vec(&header).expect("a header of three strings is always JSON");
        let mut jws = String::with_capacity((header.len() + payload.len() + 64) * 4 / 3 + 8);
        URL_SAFE_NO_PAD.encode_string(header, &mut jws);
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut jws);
        let signature = self.sign_bytes(jws.as_bytes());
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
        jws
    }

    /// Signs a statement of ours as JSON.
    pub fn sign_json<T: Serialize>(&self, kind: Kind, statement: &T) -> String {
        let payload = serde_json::to_vec(statement).expect("our statements have string keys only");
        self.sign(kind, &payload)
    }
}

/// A public key, which fixes its one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::P256(_) => Algorithm::ES256,
        }
    }

    /// 32 bytes for Ed25519, 33 (compressed SEC1) for P-256.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.as_bytes().to_vec(),
            Self::P256(key) => key.to_sec1_point(true).as_bytes().to_vec(),
        }
    }

    pub fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, SignError> {
        match algorithm {
            Algorithm::EdDSA => {
                let bytes = bytes.try_into().map_err(|_| SignError::BadKey)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| SignError::BadKey)?;
                // A key of small order verifies anything.
                if key.is_weak() { Err(SignError::BadKey) } else { Ok(Self::Ed25519(key)) }
            }
            Algorithm::ES256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map(Self::P256)
                .map_err(|_| SignError::BadKey),
        }
    }

    pub fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> Result<(), SignError> {
        let holds = match self {
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::P256(key) => verify_p256(key, message, signature),
        };
        if holds { Ok(()) } else { Err(SignError::BadSignature) }
    }
}

#[cfg(feature = "ring")]
fn verify_p256(key: &p256::ecdsa::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let point = key.to_sec1_point(false);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes()).verify(message, signature).is_ok()
}

#[cfg(not(feature = "ring"))]
fn verify_p256(key: &p256::ecdsa::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    use p256::ecdsa::signature::Verifier as _;
    p256::ecdsa::Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

#[derive(Serialize, Deserialize)]
struct WireKey {
    alg: Algorithm,
    public: String,
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WireKey { alg: self.algorithm(), public: URL_SAFE_NO_PAD.encode(self.to_bytes()) }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wire = WireKey::deserialize(from)?;
        let bytes = URL_SAFE_NO_PAD.decode(&wire.public).map_err(serde::de::Error::custom)?;
        Self::parse(wire.alg, &bytes).map_err(serde::de::Error::custom)
    }
}

/// The keys that a receiver trusts for one signer. During a rotation old and new are both in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    keys: Vec<(KeyId, PublicKey)>,
}

impl TrustedKeys {
    pub fn of(id: KeyId, key: PublicKey) -> Self {
        Self { keys: vec![(id, key)] }
    }

    /// Adds a key, and lets the oldest go beyond `KEYS_MAX`.
    pub fn trust(&mut self, id: KeyId, key: PublicKey) {
        self.keys.retain(|(known, _)| *known != id);
        self.keys.push((id, key));
        if self.keys.len() > KEYS_MAX {
            self.keys.remove(0);
        }
    }

    pub fn forget(&mut self, id: KeyId) {
        self.keys.retain(|(known, _)| *known != id);
    }

    /// The payload of a JWS of this kind, if one of the keys signed it.
    pub fn verify(&self, kind: Kind, jws: &str) -> Result<Vec<u8>, SignError> {
        if jws.len() > JWS_BYTES_MAX {
            return Err(SignError::TooLong);
        }
        let (signed, signature) = jws.rsplit_once('.').ok_or(SignError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(SignError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| SignError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| SignError::Header)?;
        if header.typ != kind.typ() {
            return Err(SignError::WrongKind);
        }
        let (_, key) = self.keys.iter().find(|(id, _)| *id == header.kid).ok_or(SignError::UnknownKey)?;
        if key.algorithm() != header.alg {
            return Err(SignError::WrongAlgorithm);
        }
        key.verify_bytes(signed.as_bytes(), &decode(signature)?)?;
        decode(payload)
    }

    /// Verifies, and only then reads the statement.
    pub fn read<T: serde::de::DeserializeOwned>(&self, kind: Kind, jws: &str) -> Result<T, ReadError> {
        let payload = self.verify(kind, jws)?;
        serde_json::from_slice(&payload).map_err(|_| ReadError::Content)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Signature(#[from] SignError),
    #[error(
        "signed by the right key, but not a statement of this kind; is the sender newer than the receiver?"
    )]
    Content,
}

/// The key id that a JWS claims, before anything is verified: to find out whose keys to try.
pub fn claimed_key(jws: &str) -> Option<KeyId> {
    let header = URL_SAFE_NO_PAD.decode(jws.split_once('.')?.0.get(..)?).ok()?;
    serde_json::from_slice::<Header>(&header).ok().map(|header| header.kid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMs;

    fn keys() -> [SigningKey; 2] {
        let id = |byte| KeyId::mint(UnixMs(7), [byte; 10]);
        [SigningKey::ed25519(id(1), &[3; 32]), SigningKey::p256(id(2), &[4; 32]).unwrap()]
    }

    #[test]
    fn what_is_signed_is_read_and_nothing_else() {
        for key in keys() {
            let trusted = TrustedKeys::of(key.id, key.public());
            let jws = key.sign(Kind::Command, b"{}");
            assert_eq!(trusted.verify(Kind::Command, &jws), Ok(b"{}".to_vec()));
            for other in Kind::ALL.iter().filter(|kind| **kind != Kind::Command) {
                assert_eq!(trusted.verify(*other, &jws), Err(SignError::WrongKind));
            }
            for place in 0..jws.len() {
                let mut bent = jws.clone().into_bytes();
                bent[place] = if bent[place] == b'A' { b'B' } else { b'A' };
                let bent = String::from_utf8(bent).unwrap();
                assert!(bent == jws || trusted.verify(Kind::Command, &bent).is_err(), "changed at {place}");
            }
        }
    }

    #[test]
    fn no_foreign_algorithm_or_key() {
        let [first, second] = keys();
        let jws = first.sign(Kind::Time, b"1");
        assert_eq!(
            TrustedKeys::of(second.id, second.public()).verify(Kind::Time, &jws),
            Err(SignError::UnknownKey)
        );
        // The id of one with the key of the other.
        let mixed = TrustedKeys::of(first.id, second.public());
        assert_eq!(mixed.verify(Kind::Time, &jws), Err(SignError::WrongAlgorithm));
        for header in
            [r#"{"alg":"none","kid":"x","typ":"keyway-time"}"#, r#"{"alg":"HS256"}"#, "{}", "[]", "\u{0}"]
        {
            let forged = format!("{}.MQ.", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(mixed.verify(Kind::Time, &forged), Err(SignError::Header));
        }
        for text in ["", ".", "..", "...", "a.b", "é.é.é"] {
            assert!(mixed.verify(Kind::Time, text).is_err());
            assert_eq!(claimed_key(text), None);
        }
        assert_eq!(claimed_key(&jws), Some(first.id));
    }

    #[test]
    fn keys_come_back_and_weak_ones_do_not() {
        for key in keys() {
            let json = serde_json::to_string(&key.public()).unwrap();
            assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key.public());
        }
        let mut identity = [0u8; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::parse(Algorithm::EdDSA, &identity), Err(SignError::BadKey));
    }
}
