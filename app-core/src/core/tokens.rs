//! Tokens of this core: minted with the key that signs now, and revoked over the bus. Owns the queue of revocations
//! that a bus which is away has not taken yet.

use super::Core;
use super::tenant::Tenant;
use crate::facts::TenantFacts;
use crate::identity::token::{Bearer, Minted};
use crate::relay::doors_of;
use crate::store::StoreError;
use keyway_bus::Backend;
use keyway_domain::id::{DeviceId, PersonId, SiteId, TenantId};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

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

    /// Voids every token of a subject that was made until now, on every gateway.
    pub fn revoke_tokens(&self, tenant: TenantId, subject: &str) {
        let (ring, now) = (self.keyring(), self.clock.now());
        let Some(key) = ring.signer(now) else { return };
        let statement = self.minting.revoke(key, tenant, subject, now);
        if self.revocations.0.try_send(statement).is_err() {
            tracing::error!(%tenant, subject, "too many revocations wait for the bus; this one holds by expiry only");
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
