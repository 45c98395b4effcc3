//! The keys by which core signs for the doors of one tenant, from the first to the newest. Owns which of them signs, which
//! are trusted, and how a door that trusts an old one is led to the new; refuses to make them.

use super::keys;
use crate::doc::{KeyPurpose, SigningKeyDoc};
use crate::identity::seal::Root;
use crate::store::kind::RecordKind;
use crate::store::{PAGE_MAX, Store, StoreError, TenantScope};
use keyway_domain::id::{KeyId, TenantId};
use keyway_domain::message::statement::{CoreKey, CoreKeys};
use keyway_domain::sign::{Kind, PublicKey, SigningKey};
use keyway_domain::time::UnixMs;

/// A new key is told to the doors for so long before it signs: more than two of their regular syncs.
pub const ANNOUNCED_MS: u64 = 10 * 60_000;
/// The newest two: a door that missed every push between two of its syncs still understands all that is signed meanwhile.
const TRUSTED: usize = 2;
/// Kept for ever, since a door that was away for years is led on by the one it knows. A yearly rotation lives for generations.
pub const KEYS_MAX: usize = 100;

/// In the order of their making.
pub struct SigningKeys(Vec<(UnixMs, SigningKey)>);

impl SigningKeys {
    /// `None` where a tenant has none, and so is not there.
    pub async fn read(scope: TenantScope, store: &Store, root: &Root) -> Result<Option<Self>, StoreError> {
        let page = store.records(scope, RecordKind::SigningKey, None, None, PAGE_MAX).await?;
        let mut keys = Vec::new();
        for row in &page.items {
            let doc: SigningKeyDoc = row.read()?;
            if doc.purpose == KeyPurpose::Tenant {
                keys.push((doc.made_at, keys::open(root, &doc)?));
            }
        }
        keys.sort_by_key(|(made_at, key)| (*made_at, key.id));
        Ok((!keys.is_empty()).then_some(Self(keys)))
    }

    /// How many there have been.
    pub fn version(&self) -> u64 {
        self.0.len() as u64
    }

    /// The newest that doors have had time to hear of. The first needs none: every door is enrolled with it.
    pub fn signer(&self, now: UnixMs) -> &SigningKey {
        let told = self.0.iter().skip(1).rev().find(|(made_at, _)| made_at.plus(ANNOUNCED_MS) <= now);
        let (_, key) = told.unwrap_or_else(|| &self.0[self.0.len().saturating_sub(TRUSTED)]);
        key
    }

    /// From when on the newest signs.
    pub fn settled_at(&self) -> UnixMs {
        match self.0.as_slice() {
            [.., _, (made_at, _)] => made_at.plus(ANNOUNCED_MS),
            _ => UnixMs(0),
        }
    }

    pub fn newest(&self) -> KeyId {
        self.0[self.0.len() - 1].1.id
    }

    /// What doors trust.
    pub fn trusted(&self) -> Vec<CoreKey> {
        let first = self.0.len().saturating_sub(TRUSTED);
        self.0[first..].iter().map(|(_, key)| CoreKey { kid: key.id, key: key.public() }).collect()
    }

    /// Every one there has been: checkpoints of years ago stand under the old ones.
    pub fn all(&self) -> impl Iterator<Item = (UnixMs, KeyId, PublicKey)> {
        self.0.iter().map(|(made_at, key)| (*made_at, key.id, key.public()))
    }

    /// What leads a door from the keys it holds to those of now; `None` where it holds them. One that holds newer ones than
    /// there are has seen more than this database, and cannot be led anywhere.
    pub fn lead(&self, tenant: TenantId, held: u64) -> Option<String> {
        // Doors that were enrolled before keys had numbers were enrolled with the first.
        let held = held.max(1);
        if held >= self.version() {
            return None;
        }
        let (_, known) = self.0.get(usize::try_from(held - 1).ok()?)?;
        let statement = CoreKeys { tenant, version: self.version(), keys: self.trusted() };
        Some(known.sign_json(Kind::CoreKeys, &statement))
    }
}
