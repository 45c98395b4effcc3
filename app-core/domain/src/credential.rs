//! Credentials: what somebody shows to a door. Owns the keyed digest by which a door finds one without holding it;
//! refuses to know the reader and the radio.

use crate::door::Factors;
use crate::id::{CredentialId, PersonId};
use crate::time::{Moment, UnixMs};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// 128 bits of HMAC-SHA256 over what the reader saw, under the tenant's reader key. A stolen bundle alone gives no
/// card number; together with a stolen reader key short codes can be guessed, so that key stays in the secure element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// `owner` binds a PIN to its person; it is `None` for everything that is found by the digest itself.
    pub fn of(reader_key: &[u8; 32], kind: CredentialKind, owner: Option<PersonId>, shown: &[u8]) -> Self {
        let mut mac =
            <Hmac<sha2::Sha256> as Mac>::new_from_slice(reader_key).expect("HMAC takes a key of any length");
        mac.update(&[kind as u8]);
        if let Some(person) = owner {
            mac.update(&person.to_bytes());
        }
        mac.update(shown);
        let full = mac.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Self(short)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = [0u8; 22];
        let len = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).expect("16 bytes are 22 characters");
        to.serialize_str(std::str::from_utf8(&text[..len]).expect("base64 is ASCII"))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        // The estimate of a decoder is in whole groups of three bytes: 18 for 22 characters.
        let mut bytes = [0u8; 18];
        match URL_SAFE_NO_PAD.decode_slice(text.as_bytes(), &mut bytes) {
            Ok(16) => Ok(Self(std::array::from_fn(|place| bytes[place]))),
            _ => Err(serde::de::Error::custom("expected a digest: 22 characters of base64url")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    Card = 0,
    /// Typed alone at a keypad.
    Code = 1,
    /// A key in a phone, Aliro or PKOC: shown by a signature, found by the digest of the public key.
    PublicKey = 2,
    /// A second factor beside another credential of the same person. Opens nothing alone.
    Pin = 3,
}

impl CredentialKind {
    pub fn factor(self) -> Factors {
        match self {
            Self::Card => Factors::CARD,
            Self::Code => Factors::CODE,
            Self::PublicKey => Factors::KEY,
            Self::Pin => Factors::PIN,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialState {
    #[default]
    Active,
    Suspended,
    Revoked,
}

/// From, inclusive, and until, exclusive; open where it names no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
}

/// Where a moment, error included, lies to a validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    NotYet,
    Within,
    Over,
}

impl Validity {
    /// Within only if it is so at both ends of what the clock may mean.
    pub fn at(self, now: Moment) -> Standing {
        if self.until.is_some_and(|until| now.latest() >= until) {
            Standing::Over
        } else if self.from.is_some_and(|from| now.earliest() < from) {
            Standing::NotYet
        } else {
            Standing::Within
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub id: CredentialId,
    pub person: PersonId,
    pub kind: CredentialKind,
    pub digest: Digest,
    #[serde(default)]
    pub state: CredentialState,
    #[serde(default)]
    pub validity: Validity,
    /// Opens like any other and raises a silent alarm.
    #[serde(default)]
    pub duress: bool,
}
