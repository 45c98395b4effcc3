//! The audit chain of a tenant: entries bound by hashes, checkpoints signed by core, and a verifier that needs nothing
//! but an export and the keys. Owns what makes an entry part of the chain; refuses to hold personal data: an entry
//! carries a keyed digest of its details, and erasing the key erases the person without breaking the chain.

use crate::event::ChainHash;
use crate::id::{AuditId, KeyId, TenantId};
use crate::sign::{PublicKey, SigningKey};
use crate::time::UnixMs;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// One line of the chain. The hash covers its exact JSON bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    pub id: AuditId,
    pub tenant: TenantId,
    /// From 1 on, without a gap.
    pub seq: u64,
    pub at: UnixMs,
    /// Who did it: an id, `core`, or an API key.
    pub actor: String,
    /// What, as a dotted word: `grant.created`, `access.denied`.
    pub action: String,
    /// To what: an id.
    pub subject: String,
    /// HMAC of the details under a key that can be thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details_hmac: Option<String>,
    /// The chain before this entry.
    pub before: ChainHash,
}

/// An entry sealed into the chain: its exact JSON, and the chain after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub json: String,
    pub after: ChainHash,
}

impl Sealed {
    /// As it is exported. The chain value in front lets a verifier name the very entry that was changed.
    pub fn line(&self) -> String {
        format!("{} {}", self.after, self.json)
    }
}

impl AuditEntry {
    pub fn seal(&self) -> Sealed {
        let json = serde_json::to_string(self).expect("an entry has string keys only");
        let after = self.before.after(json.as_bytes());
        Sealed { json, after }
    }
}

/// The end of the chain at a moment, signed. Written as a C2SP signed note; its third line is the head of the chain
/// where a transparency log would have its Merkle root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub tenant: TenantId,
    pub size: u64,
    pub head: ChainHash,
    pub at: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("not a checkpoint: origin, size, head and time on four lines, an empty line, a signature line")]
    Malformed,
    #[error("signed by no key that is trusted")]
    UnknownKey,
    #[error("the signature does not hold")]
    BadSignature,
}

impl Checkpoint {
    fn text(&self) -> String {
        format!(
            "keyway-audit/{}\n{}\n{}\nat {}\n",
            self.tenant,
            self.size,
            STANDARD.encode(self.head.0),
            self.at.0
        )
    }

    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let signature = STANDARD.encode(key.sign_bytes(text.as_bytes()));
        format!("{text}\n\u{2014} {} {signature}\n", key.id)
    }

    pub fn verify(note: &str, keys: &[(KeyId, PublicKey)]) -> Result<Self, CheckpointError> {
        use CheckpointError::{BadSignature, Malformed, UnknownKey};
        let (text, tail) = note.split_once("\n\n").ok_or(Malformed)?;
        let text = format!("{text}\n");
        let (name, signature) = tail
            .trim_end_matches('\n')
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.split_once(' '))
            .ok_or(Malformed)?;
        let (_, key) = keys.iter().find(|(id, _)| id.to_string() == name).ok_or(UnknownKey)?;
        let signature = STANDARD.decode(signature).map_err(|_| Malformed)?;
        key.verify_bytes(text.as_bytes(), &signature).map_err(|_| BadSignature)?;
        let mut lines = text.lines();
        let tenant = lines.next().and_then(|line| line.strip_prefix("keyway-audit/")).ok_or(Malformed)?;
        let size = lines.next().and_then(|line| line.parse().ok()).ok_or(Malformed)?;
        let head = lines.next().and_then(|line| STANDARD.decode(line).ok()).ok_or(Malformed)?;
        let at = lines.next().and_then(|line| line.strip_prefix("at ")?.parse().ok()).ok_or(Malformed)?;
        Ok(Self {
            tenant: TenantId::parse(tenant).map_err(|_| Malformed)?,
            size,
            head: ChainHash(head.try_into().map_err(|_| Malformed)?),
            at: UnixMs(at),
        })
    }
}

/// The first thing that is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("entry {seq}: not an audit entry ({why})")]
    Unreadable { seq: u64, why: String },
    #[error(
        "entry {seq}: expected here, but this line says it is {found}; entries were removed, added or reordered"
    )]
    Order { seq: u64, found: u64 },
    #[error("entry {seq}: belongs to another tenant")]
    Foreign { seq: u64 },
    #[error("entry {seq}: was changed; its content does not give the chain value that stands beside it")]
    Changed { seq: u64 },
    #[error("entry {seq}: does not continue the entry before it; one of the two was replaced")]
    Unlinked { seq: u64 },
    #[error(
        "entry {seq}: the checkpoint over it was signed for another history; an entry up to here was changed"
    )]
    Checkpoint { seq: u64 },
    #[error("entry {seq}: missing; a signed checkpoint says that the chain reaches {size}")]
    Truncated { seq: u64, size: u64 },
    #[error("checkpoint {place}: {why}")]
    BadCheckpoint { place: usize, why: CheckpointError },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    pub head: ChainHash,
    /// Entries up to here stand under a signature; what comes later is bound by hashes only.
    pub signed_up_to: u64,
}

/// Checks an export offline: every line, every link, every checkpoint.
pub fn verify<'l>(
    tenant: TenantId,
    lines: impl IntoIterator<Item = &'l str>,
    notes: &[&str],
    keys: &[(KeyId, PublicKey)],
) -> Result<Verified, Flaw> {
    let mut checkpoints = Vec::new();
    for (place, note) in notes.iter().enumerate() {
        let checkpoint = Checkpoint::verify(note, keys).map_err(|why| Flaw::BadCheckpoint { place, why })?;
        if checkpoint.tenant != tenant {
            return Err(Flaw::BadCheckpoint { place, why: CheckpointError::Malformed });
        }
        checkpoints.push(checkpoint);
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.size);
    let mut open = checkpoints.iter().peekable();
    let mut head = ChainHash::default();
    let mut seq = 0;
    let mut signed_up_to = 0;
    let mut lines = lines.into_iter();
    loop {
        while let Some(checkpoint) = open.next_if(|checkpoint| checkpoint.size == seq) {
            if checkpoint.head != head {
                return Err(Flaw::Checkpoint { seq });
            }
            signed_up_to = seq;
        }
        let Some(line) = lines.next() else { break };
        seq += 1;
        let unreadable = |why: &str| Flaw::Unreadable { seq, why: why.into() };
        let (after, json) =
            line.split_once(' ').ok_or_else(|| unreadable("a line is a chain value and an entry"))?;
        let after =
            ChainHash::parse(after).ok_or_else(|| unreadable("the chain value is not 64 hex digits"))?;
        let entry: AuditEntry = serde_json::from_str(json).map_err(|error| unreadable(&error.to_string()))?;
        if entry.seq != seq {
            return Err(Flaw::Order { seq, found: entry.seq });
        }
        if entry.tenant != tenant {
            return Err(Flaw::Foreign { seq });
        }
        if entry.before != head {
            return Err(Flaw::Unlinked { seq });
        }
        head = head.after(json.as_bytes());
        if head != after {
            return Err(Flaw::Changed { seq });
        }
    }
    match open.next() {
        Some(beyond) => Err(Flaw::Truncated { seq: seq + 1, size: beyond.size }),
        None => Ok(Verified { entries: seq, head, signed_up_to }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Chain {
        tenant: TenantId,
        key: SigningKey,
        entries: Vec<AuditEntry>,
        lines: Vec<String>,
        note: String,
    }

    fn chain(len: u64) -> Chain {
        let tenant = TenantId::mint(UnixMs(1), [1; 10]);
        let key = SigningKey::ed25519(KeyId::mint(UnixMs(1), [9; 10]), &[9; 32]);
        let mut head = ChainHash::default();
        let (mut entries, mut lines) = (Vec::new(), Vec::new());
        for seq in 1..=len {
            let entry = AuditEntry {
                id: AuditId::mint(UnixMs(seq), [seq as u8; 10]),
                tenant,
                seq,
                at: UnixMs(1_000 + seq),
                actor: "core".into(),
                action: "grant.created".into(),
                subject: format!("subject {seq}"),
                details_hmac: None,
                before: head,
            };
            let sealed = entry.seal();
            head = sealed.after;
            lines.push(sealed.line());
            entries.push(entry);
        }
        let note = Checkpoint { tenant, size: len, head, at: UnixMs(5_000) }.sign(&key);
        Chain { tenant, key, entries, lines, note }
    }

    fn check(chain: &Chain, lines: &[String]) -> Result<Verified, Flaw> {
        let keys = [(chain.key.id, chain.key.public())];
        verify(chain.tenant, lines.iter().map(String::as_str), &[&chain.note], &keys)
    }

    #[test]
    fn whole_chain_holds() {
        let chain = chain(20);
        let verified = check(&chain, &chain.lines).unwrap();
        assert_eq!((verified.entries, verified.signed_up_to), (20, 20));
    }

    #[test]
    fn every_changed_removed_or_swapped_entry_is_named() {
        let chain = chain(12);
        for bad in 1..=12u64 {
            let place = bad as usize - 1;
            let mut changed = chain.lines.clone();
            changed[place] = changed[place].replace("subject ", "someone ");
            assert_eq!(check(&chain, &changed), Err(Flaw::Changed { seq: bad }));

            let mut replaced = chain.lines.clone();
            replaced[place] =
                AuditEntry { actor: "mallory".into(), ..chain.entries[place].clone() }.seal().line();
            let expected =
                if bad < 12 { Flaw::Unlinked { seq: bad + 1 } } else { Flaw::Checkpoint { seq: 12 } };
            assert_eq!(check(&chain, &replaced), Err(expected));

            let mut removed = chain.lines.clone();
            removed.remove(place);
            let expected = if bad < 12 {
                Flaw::Order { seq: bad, found: bad + 1 }
            } else {
                Flaw::Truncated { seq: 12, size: 12 }
            };
            assert_eq!(check(&chain, &removed), Err(expected));
        }
        let mut swapped = chain.lines.clone();
        swapped.swap(3, 4);
        assert_eq!(check(&chain, &swapped), Err(Flaw::Order { seq: 4, found: 5 }));
    }

    #[test]
    fn a_history_made_anew_meets_the_checkpoint() {
        let chain = chain(8);
        let mut head = ChainHash::default();
        let mut forged = Vec::new();
        for entry in &chain.entries {
            let actor = if entry.seq == 3 { "mallory".into() } else { entry.actor.clone() };
            let sealed = AuditEntry { actor, before: head, ..entry.clone() }.seal();
            head = sealed.after;
            forged.push(sealed.line());
        }
        assert_eq!(check(&chain, &forged), Err(Flaw::Checkpoint { seq: 8 }));
    }

    #[test]
    fn bent_checkpoints_are_refused() {
        let chain = chain(2);
        let keys = [(chain.key.id, chain.key.public())];
        assert!(Checkpoint::verify(&chain.note, &keys).is_ok());
        for (from, to) in
            [("\n2\n", "\n1\n"), ("keyway", "kayway"), ("at 5", "at 6"), ("\n\n", "\n"), ("\u{2014}", "-")]
        {
            assert!(
                Checkpoint::verify(&chain.note.replacen(from, to, 1), &keys).is_err(),
                "{from:?} -> {to:?}"
            );
        }
    }
}
