//! The root secret and what is derived from it: the seal over stored private keys, and the keys under which challenges
//! and codes are hashed. Owns the format of a seal; refuses to print anything of it.

use hmac::{Hmac, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use zeroize::Zeroizing;

/// The first byte of a seal; another algorithm would be another number.
const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored key does not open under the root secret; was keys.root_secret changed?")]
pub struct SealError;

/// Derived once at start; the root secret itself is forgotten.
pub struct Root {
    seal: LessSafeKey,
    challenge: Zeroizing<[u8; 32]>,
    code: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Root {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Root(..)")
    }
}

fn derive(secret: &[u8], purpose: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(secret, &[b"keyway root v1 ", purpose.as_bytes()]))
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

impl Root {
    pub fn new(secret: &str) -> Self {
        let secret = secret.trim().as_bytes();
        let key = UnboundKey::new(&CHACHA20_POLY1305, derive(secret, "seal").as_ref())
            .expect("the algorithm takes 32 bytes");
        Self {
            seal: LessSafeKey::new(key),
            challenge: derive(secret, "challenge"),
            code: derive(secret, "code"),
        }
    }

    /// Seals under a fresh random nonce. `name` is bound: a seal moved to another row does not open.
    pub fn seal(&self, name: &str, plain: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .expect("what is sealed here is far below the algorithm's bound");
        [&[VERSION], nonce.as_slice(), &sealed].concat()
    }

    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError)?;
        if *version != VERSION {
            return Err(SealError);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError)?;
        let mut body = Zeroizing::new(body.to_vec());
        let len = self
            .seal
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut body)
            .map_err(|_| SealError)?
            .len();
        body.truncate(len);
        Ok(body)
    }

    pub fn open_32(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let plain = self.open(name, sealed)?;
        <[u8; 32]>::try_from(plain.as_slice()).map(Zeroizing::new).map_err(|_| SealError)
    }

    pub fn challenge_mac(&self, body: &[u8]) -> [u8; 32] {
        keyed(self.challenge.as_ref(), &[body])
    }

    /// Codes are short enough to type, so a plain hash of one could be searched; this one needs the root secret.
    pub fn code_hash(&self, code: &str) -> String {
        keyed(self.code.as_ref(), &[code.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_under_its_root_and_its_name_only() {
        let root = Root::new("0123456789abcdef0123456789abcdef");
        let sealed = root.seal("key_1", &[7; 32], [1; 12]);
        assert_eq!(*root.open_32("key_1", &sealed).unwrap(), [7; 32]);
        assert!(root.open("key_2", &sealed).is_err());
        assert!(Root::new("another secret of enough length....").open("key_1", &sealed).is_err());
        for place in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[place] ^= 1;
            assert!(root.open("key_1", &bent).is_err(), "changed at {place}");
            assert!(root.open("key_1", &sealed[..place]).is_err(), "cut at {place}");
        }
        assert_eq!(format!("{root:?}"), "Root(..)");
    }
}
