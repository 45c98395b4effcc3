//! Challenges for proofs of key: made without a row in the database, good for two minutes, and once. Owns the format of
//! a nonce and the check of a proof against it; who the key belongs to is the caller's business.

use super::seal::Root;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_domain::message::statement::KeyProof;
use keyway_domain::sign::{Kind, TrustedKeys};
use keyway_domain::time::UnixMs;

/// Long enough for a slow link and a secure element; short enough that used ones need not be remembered for long.
pub const LIFE_MS: u64 = 120_000;
const BODY_LEN: usize = 8 + 16;
const MAC_LEN: usize = 16;
/// The device's own nonce makes its signature differ each time; more than this is somebody filling memory.
const OWN_NONCE_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the challenge is not one of ours; ask for one with GET /v1/devices/challenge")]
    Unknown,
    #[error("the challenge has run out; ask for a new one")]
    Expired,
    #[error("the proof is not signed by this key over its host and challenge")]
    Signature,
    #[error("the proof names another host")]
    Host,
}

/// A fresh nonce.
pub fn make(root: &Root, now: UnixMs, random: [u8; 16]) -> String {
    let body = [now.0.to_be_bytes().as_slice(), &random].concat();
    let mac = root.challenge_mac(&body);
    URL_SAFE_NO_PAD.encode([body.as_slice(), &mac[..MAC_LEN]].concat())
}

/// Until when the nonce must be remembered as used.
fn check_nonce(root: &Root, nonce: &str, now: UnixMs) -> Result<UnixMs, ProofError> {
    let bytes = URL_SAFE_NO_PAD.decode(nonce).map_err(|_| ProofError::Unknown)?;
    if bytes.len() != BODY_LEN + MAC_LEN {
        return Err(ProofError::Unknown);
    }
    let (body, mac) = bytes.split_at(BODY_LEN);
    // Compared whole, whatever differs: the time it takes tells nothing.
    let wanted = root.challenge_mac(body);
    let differs = mac.iter().zip(&wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    if differs != 0 {
        return Err(ProofError::Unknown);
    }
    let made = UnixMs(u64::from_be_bytes(std::array::from_fn(|place| body[place])));
    let until = made.plus(LIFE_MS);
    if now >= until { Err(ProofError::Expired) } else { Ok(until) }
}

/// A proof that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub nonce: String,
    pub until: UnixMs,
    /// The other side's own nonce: the signed time is bound to it.
    pub own_nonce: String,
}

/// Checks a proof by these keys. The host is what keeps a proof for one core from opening another.
pub fn check(
    root: &Root,
    keys: &TrustedKeys,
    host: &str,
    jws: &str,
    now: UnixMs,
) -> Result<Proven, ProofError> {
    let proof: KeyProof = keys.read(Kind::KeyProof, jws).map_err(|_| ProofError::Signature)?;
    if !proof.host.eq_ignore_ascii_case(host) {
        return Err(ProofError::Host);
    }
    if proof.own_nonce.is_empty() || proof.own_nonce.len() > OWN_NONCE_MAX {
        return Err(ProofError::Signature);
    }
    let until = check_nonce(root, &proof.nonce, now)?;
    Ok(Proven { nonce: proof.nonce, until, own_nonce: proof.own_nonce })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_domain::id::KeyId;
    use keyway_domain::sign::SigningKey;

    #[test]
    fn a_proof_holds_for_its_key_host_and_two_minutes() {
        let root = Root::new("0123456789abcdef0123456789abcdef");
        let key = SigningKey::p256(KeyId::mint(UnixMs(1), [1; 10]), &[9; 32]).unwrap();
        let other = SigningKey::ed25519(key.id, &[8; 32]);
        let (made, host) = (UnixMs(1_000_000), "core.example");
        let nonce = make(&root, made, [5; 16]);
        let proof = |host: &str, nonce: &str| {
            let proof = KeyProof { host: host.into(), nonce: nonce.into(), own_nonce: "mine".into() };
            key.sign_json(Kind::KeyProof, &proof)
        };
        let keys = TrustedKeys::of(key.id, key.public());
        let good = proof(host, &nonce);
        let after = |ms| check(&root, &keys, host, &good, made.plus(ms));
        assert_eq!(after(LIFE_MS - 1).unwrap().own_nonce, "mine");
        assert_eq!(after(LIFE_MS), Err(ProofError::Expired));
        assert_eq!(check(&root, &keys, "evil.example", &good, made), Err(ProofError::Host));
        let wrong = TrustedKeys::of(other.id, other.public());
        assert_eq!(check(&root, &wrong, host, &good, made), Err(ProofError::Signature));
        let foreign = make(&Root::new("another root secret, long enough...."), made, [5; 16]);
        for nonce in [foreign.as_str(), "", "AAAA", &nonce[1..]] {
            assert_eq!(check(&root, &keys, host, &proof(host, nonce), made), Err(ProofError::Unknown));
        }
    }
}
