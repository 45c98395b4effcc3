//! Tokens of this core: minted with the key that signs now, and revoked over the bus. Owns the queue of revocations
//! that a bus which is away has not taken yet.

use super::Core;
use super::tenant::Tenant;
use crate::doc::{VOIDED, VoidedDoc};
use crate::facts::TenantFacts;
use crate::identity::token::{Bearer, Minted};
use crate::relay::doors_of;
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::{PAGE_MAX, StoreError, System, TenantScope};
use keyway_bus::Backend;
use keyway_domain::id::{DeviceId, PersonId, SiteId, TenantId};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const SYSTEM: System = System::because("gateways are told of every tenant's revocations again");
/// Statements that wait for a bus. A tenant that revokes more in one outage should rotate its keys.
pub const REVOCATIONS_MAX: usize = 4_096;
/// Between two attempts to hand a statement to the bus.
const PAUSE: Duration = Duration::from_millis(500);
/// A statement that could not be handed over until every token it is about has run out is worth nothing.
const ATTEMPTS_PER_S: u64 = 2;

impl Core {
    pub fn mint(&self, tenant: TenantId, bearer: &Bearer) -> Result<Minted, StoreError> {
        let (ring, now) = (self.keyring(), self.clock.now());
        let key = ring
            .signer(now)
            .ok_or_else(|| StoreError::Unavailable { why: "no token key yet".into(), maybe: false })?;
        Ok(self.minting.mint(key, tenant, bearer, now))
    }

    pub fn mint_for_device(
        &self,
        tenant: TenantId,
        device: DeviceId,
        site: SiteId,
    ) -> Result<Minted, StoreError> {
        self.mint(tenant, &Bearer::Device { device, site })
    }

    pub fn mint_for_phone(
        &self,
        tenant: &Tenant,
        facts: &TenantFacts,
        person: PersonId,
    ) -> Result<Minted, StoreError> {
        self.mint(tenant.id, &Bearer::Phone { person, doors: doors_of(facts, person) })
    }

    /// Voids every token of a subject that was made until now: a statement for the gateways, kept with the change until
    /// the last of those tokens has run out. `tell_gateways` once the change is committed.
    pub fn void_tokens(&self, tenant: TenantId, subject: &str, change: &mut Change) -> Option<String> {
        let (ring, now) = (self.keyring(), self.clock.now());
        let statement = self.minting.revoke(ring.signer(now)?, tenant, subject, now);
        let doc = VoidedDoc { statement: statement.clone(), until: now.plus(self.minting.life_s * 1000) };
        let draft = RecordDraft::of(RecordKind::Setting, format!("{VOIDED}{subject}"), Expect::Any, &doc);
        change.records.push(RecordChange::Put(draft));
        Some(statement)
    }

    pub fn tell_gateways(&self, statements: impl IntoIterator<Item = String>) {
        for statement in statements {
            if self.revocations.0.try_send(statement).is_err() {
                tracing::error!(
                    "too many revocations wait for the bus; the rest are told with the next round"
                );
            }
        }
    }

    /// Tells the gateways every statement that is still worth something, and forgets the others: at the start, for what
    /// a core that died has not told, and from time to time, for gateways that came after a Redis that was emptied.
    pub async fn tell_gateways_again(&self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let kind = RecordKind::Setting;
            let page = self.store.records_of_all(SYSTEM, kind, after.as_deref(), PAGE_MAX).await?;
            for row in page.items.iter().filter(|row| row.id.starts_with(VOIDED)) {
                let doc: VoidedDoc = row.read()?;
                if doc.until > self.clock.now() {
                    self.tell_gateways([doc.statement]);
                    continue;
                }
                let (id, expect) = (row.id.clone(), Expect::Version(row.version));
                let mut change = Change::at(self.clock.now());
                change.records.push(RecordChange::Delete { kind, id, expect });
                match self.commit(TenantScope::of(row.tenant), change).await {
                    // Somebody else was faster, or it has been made anew.
                    Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Hands revocations to the bus, each until it is taken. Runs until the future is dropped.
    pub async fn send_revocations(self: Arc<Self>, bus: Arc<dyn Backend>) {
        let queue = self.revocations.1.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut queue) = queue else { return };
        let attempts = self.minting.life_s * ATTEMPTS_PER_S;
        while let Some(statement) = queue.recv().await {
            for _ in 0..attempts {
                match bus.revoke(statement.clone().into()).await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%error, "a revocation was not taken by the bus; again"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
