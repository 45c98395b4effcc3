//! The keys that gateway tokens are signed with, and their rotation with an overlap. Pure: which key signs, which are
//! published and when a new one is due follow from when each was made. Storing and sealing is the caller's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_domain::id::KeyId;
use keyway_domain::sign::{PublicKey, SigningKey};
use keyway_domain::time::UnixMs;

/// A new key is published this long before it signs: twice the time after which gateways read the set again.
pub const AHEAD_MS: u64 = 10 * 60_000;
/// Keys kept published beyond the life of their last token, for clocks that differ.
const AFTER_MS: u64 = 5 * 60_000;
const DAY_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    pub every_days: u64,
    pub token_life_s: u64,
}

/// Sorted by when they were made.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<(UnixMs, SigningKey)>,
}

impl Keyring {
    pub fn new(mut keys: Vec<(UnixMs, SigningKey)>) -> Self {
        keys.sort_by_key(|(made, key)| (*made, key.id));
        Self { keys }
    }

    pub fn has(&self, id: KeyId) -> bool {
        self.keys.iter().any(|(_, key)| key.id == id)
    }

    /// The newest key that gateways have had the time to hear of. The very first one signs at once.
    pub fn signer(&self, now: UnixMs) -> Option<&SigningKey> {
        let heard = self.keys.iter().rev().find(|(made, _)| made.plus(AHEAD_MS) <= now);
        heard.or_else(|| self.keys.first()).map(|(_, key)| key)
    }

    /// Keys that a gateway needs now: the signer, the next one, and those whose tokens still live.
    pub fn published(&self, rotation: Rotation, now: UnixMs) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().enumerate().filter_map(move |(place, (_, key))| {
            let successor = self.keys.get(place + 1).map(|(made, _)| *made);
            let over = successor
                .is_some_and(|made| made.plus(AHEAD_MS + rotation.token_life_s * 1000 + AFTER_MS) <= now);
            (!over).then_some(key)
        })
    }

    /// Whether a new key is to be made now.
    pub fn is_due(&self, rotation: Rotation, now: UnixMs) -> bool {
        self.keys.last().is_none_or(|(made, _)| made.plus(rotation.every_days * DAY_MS) <= now)
    }
}

/// A JWK set, as gateways read it.
pub fn jwks(keys: impl Iterator<Item = (KeyId, PublicKey)>) -> String {
    let keys: Vec<serde_json::Value> = keys
        .filter_map(|(id, key)| match key {
            PublicKey::Ed25519(_) => Some(serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": id.to_string(), "x": URL_SAFE_NO_PAD.encode(key.to_bytes()),
            })),
            // Core makes Ed25519 keys only; devices' keys are nobody else's business.
            PublicKey::P256(_) => None,
        })
        .collect();
    serde_json::json!({ "keys": keys }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_overlaps() {
        let rotation = Rotation { every_days: 30, token_life_s: 3600 };
        let key = |byte: u8, made| SigningKey::ed25519(KeyId::mint(UnixMs(made), [byte; 10]), &[byte; 32]);
        let none = Keyring::default();
        assert!(none.is_due(rotation, UnixMs(0)) && none.signer(UnixMs(0)).is_none());
        let first = key(1, 1_000);
        let ring = Keyring::new(vec![(UnixMs(1_000), first.clone())]);
        assert_eq!(ring.signer(UnixMs(1_000)).unwrap().id, first.id, "the first signs at once");
        assert!(!ring.is_due(rotation, UnixMs(1_000 + 30 * DAY_MS - 1)));
        let made = 1_000 + 30 * DAY_MS;
        assert!(ring.is_due(rotation, UnixMs(made)));
        let second = key(2, made);
        let ring = Keyring::new(vec![(UnixMs(made), second.clone()), (UnixMs(1_000), first.clone())]);
        for (after, signer, published) in [
            (0, &first, 2),
            (AHEAD_MS - 1, &first, 2),
            (AHEAD_MS, &second, 2),
            (AHEAD_MS + 3_600_000, &second, 2),
            (AHEAD_MS + 3_600_000 + AFTER_MS, &second, 1),
        ] {
            let now = UnixMs(made + after);
            assert_eq!(ring.signer(now).unwrap().id, signer.id, "after {after}");
            assert_eq!(ring.published(rotation, now).count(), published, "after {after}");
        }
    }
}
