//! Core's own keys in the store: made, sealed, read back, rotated. Private parts are in clear in memory only.

use super::Core;
use crate::doc::{KeyPurpose, SealedDoc, SigningKeyDoc, system_tenant};
use crate::identity::keyring::Keyring;
use crate::identity::seal::Root;
use crate::ids::Ids;
use crate::source::random;
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::{LookupSpace, RecordKind};
use crate::store::{PAGE_MAX, StoreError, TenantScope};
use crate::trail;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_domain::id::KeyId;
use keyway_domain::sign::SigningKey;
use std::sync::{Arc, PoisonError};

/// A new signing key as a record. The seed leaves this function sealed.
pub fn make(root: &Root, purpose: KeyPurpose, ids: &mut Ids) -> (SigningKey, RecordDraft) {
    let id = KeyId::mint(ids.now, ids.draw());
    let seed = zeroize::Zeroizing::new(random::<32>());
    let key = SigningKey::ed25519(id, &seed);
    let sealed = root.seal(&id.to_string(), seed.as_slice(), random());
    let doc = SigningKeyDoc {
        id,
        purpose,
        public: key.public(),
        sealed: URL_SAFE_NO_PAD.encode(sealed),
        made_at: ids.now,
    };
    let draft = RecordDraft::of(RecordKind::SigningKey, id, Expect::Absent, &doc);
    (key, draft.found_by(LookupSpace::Key, id))
}

pub fn open(root: &Root, doc: &SigningKeyDoc) -> Result<SigningKey, StoreError> {
    let seed = open_sealed(root, &doc.id.to_string(), &doc.sealed)?;
    Ok(SigningKey::ed25519(doc.id, &seed))
}

/// A secret of 32 bytes under its name.
pub fn open_sealed(
    root: &Root,
    name: &str,
    sealed: &str,
) -> Result<zeroize::Zeroizing<[u8; 32]>, StoreError> {
    let sealed = URL_SAFE_NO_PAD
        .decode(sealed)
        .map_err(|_| StoreError::Corrupt { what: format!("the seal of {name} is not base64url") })?;
    root.open_32(name, &sealed).map_err(|error| StoreError::Corrupt { what: format!("{name}: {error}") })
}

pub fn seal_secret(root: &Root, name: &str, secret: &[u8; 32]) -> SealedDoc {
    SealedDoc { sealed: URL_SAFE_NO_PAD.encode(root.seal(name, secret, random())) }
}

impl Core {
    /// Reads the gateway keys again and makes a new one when it is due. Two cores that do so at once make two keys,
    /// which does no harm.
    pub async fn tend_keys(&self) -> Result<(), StoreError> {
        let scope = TenantScope::of(system_tenant());
        let page = self.store.records(scope, RecordKind::SigningKey, None, None, PAGE_MAX).await?;
        let mut keys = Vec::new();
        for row in &page.items {
            let doc: SigningKeyDoc = row.read()?;
            if doc.purpose == KeyPurpose::Gateway {
                keys.push((doc.made_at, open(&self.root, &doc)?));
            }
        }
        let mut ring = Keyring::new(keys.clone());
        let now = self.clock.now();
        if ring.is_due(self.rotation, now) {
            let mut ids = self.ids();
            let (key, draft) = make(&self.root, KeyPurpose::Gateway, &mut ids);
            let mut change = Change::at(now);
            change.audit.push(trail::entry("core", "key.made", key.id, &mut ids));
            change.records.push(RecordChange::Put(draft));
            self.store.commit(scope, change).await?;
            tracing::info!(key = %key.id, "a new key for gateway tokens");
            keys.push((now, key));
            ring = Keyring::new(keys);
        }
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }

    /// The published set.
    pub fn jwks(&self) -> String {
        let (ring, now) = (self.keyring(), self.clock.now());
        let published = ring.published(self.rotation, now).map(|key| (key.id, key.public()));
        crate::identity::keyring::jwks(published)
    }
}
