//! A tenant in memory: its signing key, its reader key, and its facts as of the version they were read at.

use super::keys;
use super::signing::SigningKeys;
use crate::doc::{READER_KEY, SealedDoc};
use crate::facts::{FactChange, TenantFacts};
use crate::identity::seal::Root;
use crate::store::kind::RecordKind;
use crate::store::{Store, StoreError, TenantScope};
use keyway_domain::id::TenantId;
use keyway_domain::sign::SigningKey;
use keyway_domain::time::UnixMs;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

pub struct Tenant {
    pub id: TenantId,
    pub scope: TenantScope,
    /// Signs for the tenant's doors.
    pub key: SigningKey,
    pub signing: SigningKeys,
    pub reader_key: Zeroizing<[u8; 32]>,
    /// Held while the facts are read anew, so that a hundred requests read them once.
    facts: tokio::sync::Mutex<Held>,
    /// Whoever has lost a race over the facts changes them in turn from then on, so that nobody loses for ever.
    pub turn: tokio::sync::Mutex<()>,
}

/// The facts in memory, and what this process has committed beyond them, by the version that it led to.
#[derive(Default)]
struct Held {
    facts: Option<Arc<TenantFacts>>,
    ahead: BTreeMap<u64, Vec<FactChange>>,
}

/// Commits of other processes leave holes, which end with the next whole read; until then this many are kept.
const AHEAD_MAX: usize = 256;

impl Held {
    /// Follows what this process has committed, as far as it goes without a hole.
    fn catch_up(&mut self, now: UnixMs) -> Result<(), StoreError> {
        let Some(facts) = &mut self.facts else { return Ok(()) };
        let version = facts.version;
        self.ahead.retain(|committed, _| *committed > version);
        while let Some(changes) = self.ahead.remove(&(facts.version + 1)) {
            // Whoever decides with the old ones keeps them; otherwise they are changed in place.
            if let Err(error) = Arc::make_mut(facts).follow(&changes, now) {
                self.facts = None;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Tenant {
    pub async fn read(id: TenantId, store: &Store, root: &Root, now: UnixMs) -> Result<Self, StoreError> {
        let scope = TenantScope::of(id);
        let missing = || StoreError::NotFound { what: format!("{id}") };
        let signing = SigningKeys::read(scope, store, root).await?.ok_or_else(missing)?;
        let reader = store.record(scope, RecordKind::Setting, READER_KEY).await?.ok_or_else(missing)?;
        let sealed: SealedDoc = reader.read()?;
        let reader_key = keys::open_sealed(root, &reader_key_name(id), &sealed.sealed)?;
        Ok(Self {
            id,
            scope,
            key: signing.signer(now).clone(),
            signing,
            reader_key,
            facts: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The facts as they are committed now.
    pub async fn facts(&self, store: &Store, now: UnixMs) -> Result<Arc<TenantFacts>, StoreError> {
        let mut held = self.facts.lock().await;
        let version = store.facts_version(self.scope).await?;
        held.catch_up(now)?;
        // What was committed a moment ago may be known here before it is looked for: newer is as good.
        if let Some(facts) = held.facts.as_ref()
            && now < facts.stale_at
            && facts.version >= version
        {
            return Ok(Arc::clone(facts));
        }
        let rows = store.facts(self.scope).await?;
        let facts = Arc::new(TenantFacts::read(self.id, &rows, now)?);
        held.facts = Some(Arc::clone(&facts));
        Ok(facts)
    }

    /// The facts as this process knows them, without asking whether another one has changed them meanwhile. For decisions
    /// that are committed with `if_facts`, which refuses them then.
    pub async fn at_hand(&self, store: &Store, now: UnixMs) -> Result<Arc<TenantFacts>, StoreError> {
        {
            let mut held = self.facts.lock().await;
            held.catch_up(now)?;
            if let Some(facts) = held.facts.as_ref().filter(|facts| now < facts.stale_at) {
                return Ok(Arc::clone(facts));
            }
        }
        self.facts(store, now).await
    }

    /// This process has committed these facts, which led to this version: they need not be read again.
    pub async fn learn(&self, version: u64, changes: Vec<FactChange>) {
        let mut held = self.facts.lock().await;
        held.ahead.insert(version, changes);
        if held.ahead.len() > AHEAD_MAX {
            held.ahead.clear();
        }
    }
}

/// The name that a reader key is sealed under: that of one tenant does not open as another's.
pub fn reader_key_name(tenant: TenantId) -> String {
    format!("{tenant}/{READER_KEY}")
}
