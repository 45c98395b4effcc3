//! Typed ids: a prefix that says what a thing is, and a UUIDv7 in lower-case base32. Owns their one spelling; refuses
//! to know the clock or the source of randomness: both come in as values.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of five, the first group holding three.
const BODY_LEN: usize = 26;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("expected an id that starts with `{wanted}_`")]
    Prefix { wanted: &'static str },
    #[error("the part after `{wanted}_` has to be 26 characters of lower-case base32 (no i, l, o, u)")]
    Body { wanted: &'static str },
    #[error("the id after `{wanted}_` is not a UUID of version 7")]
    Version { wanted: &'static str },
}

/// 48 bits of milliseconds and 74 bits of randomness, marked as version 7 (RFC 9562).
fn uuid_v7(at_ms: u64, random: [u8; 10]) -> u128 {
    let mut wide = [0u8; 16];
    wide[6..].copy_from_slice(&random);
    let random = u128::from_be_bytes(wide);
    let time = u128::from(at_ms & 0xffff_ffff_ffff) << 80;
    (time | random) & !(0xf << 76) & !(0x3 << 62) | (0x7 << 76) | (0x2 << 62)
}

fn write_body(bits: u128, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0u8; BODY_LEN];
    for (place, slot) in text.iter_mut().enumerate() {
        let shift = 5 * (BODY_LEN - 1 - place);
        *slot = ALPHABET[((bits >> shift) & 31) as usize];
    }
    out.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
}

fn read_body(text: &[u8], wanted: &'static str) -> Result<u128, IdError> {
    // The first character holds three bits only: a larger one would give a second spelling of the same id.
    if text.len() != BODY_LEN || !(b'0'..=b'7').contains(&text[0]) {
        return Err(IdError::Body { wanted });
    }
    let mut bits = 0u128;
    for byte in text {
        let digit = ALPHABET.iter().position(|known| known == byte).ok_or(IdError::Body { wanted })?;
        bits = bits << 5 | digit as u128;
    }
    if bits >> 76 & 0xf != 7 || bits >> 62 & 3 != 2 {
        return Err(IdError::Version { wanted });
    }
    Ok(bits)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id of this kind. The caller brings the instant and ten random bytes.
            pub fn mint(at: crate::time::UnixMs, random: [u8; 10]) -> Self {
                Self(uuid_v7(at.0, random))
            }

            pub fn parse(text: &str) -> Result<Self, IdError> {
                let body = text.strip_prefix(concat!($prefix, "_")).ok_or(IdError::Prefix { wanted: $prefix })?;
                read_body(body.as_bytes(), $prefix).map(Self)
            }

            /// The bare 128 bits, as a database column stores them.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
                let bits = u128::from_be_bytes(bytes);
                if bits >> 76 & 0xf == 7 && bits >> 62 & 3 == 2 { Ok(Self(bits)) } else { Err(IdError::Version { wanted: $prefix }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(concat!($prefix, "_"))?;
                write_body(self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str(concat!("an id like ", $prefix, "_…"))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }
    )*

        /// Every prefix, in the order of the registry; a test checks that none is given twice.
        pub const PREFIXES: &[&str] = &[$($prefix),*];
    };
}

ids! {
    TenantId = "ten";
    SiteId = "site";
    AreaId = "area";
    DoorId = "door";
    DeviceId = "dev";
    PersonId = "per";
    GroupId = "grp";
    CredentialId = "cred";
    GrantId = "grant";
    ScheduleId = "sch";
    CalendarId = "cal";
    GuestLinkId = "guest";
    CommandId = "cmd";
    /// A phone's own request, made on the phone; core answers the same id the same way.
    RequestId = "req";
    PlanId = "plan";
    ActivationId = "act";
    AuditId = "aud";
    /// An event made by core; a door's own events are named by (device, epoch, seq).
    EventId = "evt";
    KeyId = "key";
    WebhookId = "hook";
    ApiKeyId = "api";
    ThreadId = "thread";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMs;

    #[test]
    fn one_spelling_and_one_kind() {
        let id = DoorId::mint(UnixMs(1_795_000_000_000), [0xff; 10]);
        let text = id.to_string();
        assert_eq!(DoorId::parse(&text), Ok(id));
        assert_eq!(DoorId::from_bytes(id.to_bytes()), Ok(id));
        let wrong_kind = format!("per_{}", &text[5..]);
        let upper = text.to_uppercase().replace("DOOR_", "door_");
        let first_too_large = format!("door_8{}", &text[6..]);
        for bad in
            ["", "door_", "door_0", &wrong_kind, &upper, &first_too_large, "door_00000000000000000000000000"]
        {
            assert!(DoorId::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let early = CommandId::mint(UnixMs(1_000), [0xff; 10]);
        let late = CommandId::mint(UnixMs(1_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn no_prefix_twice() {
        let mut seen = PREFIXES.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), PREFIXES.len());
    }
}
