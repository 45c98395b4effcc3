//! Deciding again: first from what is at hand, which the commit guards, and from what is committed when that does not do.
//! Owns the bound and the order of the two; refuses to know what is decided.

use super::calls::Refused;
use crate::core::Core;
use crate::core::tenant::Tenant;
use crate::decide::sync::unseen;
use crate::doc::{DeviceDoc, DeviceState};
use crate::facts::TenantFacts;
use crate::metrics::add;
use crate::store::change::Expect;
use crate::store::kind::RecordKind;
use crate::store::row::{CommandRow, IntakeRow};
use crate::store::{StoreError, TenantScope};
use keyway_domain::event::Epoch;
use keyway_domain::id::{DeviceId, TenantId};
use std::sync::Arc;

/// Times a decision is made anew when somebody else was faster. Two at the same grant are common, six are a storm.
const ATTEMPTS_MAX: usize = 6;

/// The attempts at one decision.
pub struct Attempts {
    left: usize,
    fresh: bool,
}

/// One attempt. What is at hand is nearly always what is committed; a decision from it has to say what it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    Hand,
    Committed,
}

impl Attempts {
    /// For decisions that the commit guards.
    pub fn at_hand_first() -> Self {
        Self { left: ATTEMPTS_MAX, fresh: false }
    }

    pub fn committed_only() -> Self {
        Self { left: ATTEMPTS_MAX, fresh: true }
    }

    /// Where the next attempt takes its facts from; an error when there were too many.
    pub fn next(&mut self) -> Result<Basis, Refused> {
        self.left = self.left.checked_sub(1).ok_or(Refused::Contended)?;
        Ok(if std::mem::replace(&mut self.fresh, true) { Basis::Committed } else { Basis::Hand })
    }
}

impl Basis {
    pub fn is_hand(self) -> bool {
        self == Self::Hand
    }

    /// `Ok`: somebody else was faster, or what was at hand is not so any more, and it is decided again. Whatever else is
    /// the answer.
    pub fn again(self, core: &Core, error: StoreError) -> Result<(), Refused> {
        match error {
            StoreError::Conflict { .. } => {}
            StoreError::NotFound { .. } if self.is_hand() => {}
            error => return Err(error.into()),
        }
        add(&core.metrics.conflicts, 1);
        Ok(())
    }

    pub async fn facts(
        self,
        core: &Core,
        tenant: TenantId,
    ) -> Result<(Arc<Tenant>, Arc<TenantFacts>), Refused> {
        let tenant = core.tenant(tenant).await?;
        let now = core.clock.now();
        let facts = match self {
            Self::Hand => tenant.at_hand(&core.store, now).await?,
            Self::Committed => tenant.facts(&core.store, now).await?,
        };
        Ok((tenant, facts))
    }

    /// What is known of a device, and what its record has to be for a change of it.
    pub async fn state(
        self,
        core: &Core,
        scope: TenantScope,
        device: &DeviceDoc,
    ) -> Result<(DeviceState, Expect), StoreError> {
        if self.is_hand()
            && let Some((state, version)) = core.recall.state(scope, device.id)
        {
            return Ok((state, Expect::Version(version)));
        }
        let row = core.store.record(scope, RecordKind::DeviceState, &device.id.to_string()).await?;
        let Some(row) = row else { return Ok((unseen(device, core.clock.now()), Expect::Absent)) };
        let state: DeviceState = row.read()?;
        core.recall.learn_state(scope, &state, row.version);
        Ok((state, Expect::Version(row.version)))
    }

    /// Commands of a device that a ledger may still settle, in the order of their ids.
    pub async fn open_commands(
        self,
        core: &Core,
        scope: TenantScope,
        device: DeviceId,
    ) -> Result<Vec<CommandRow>, StoreError> {
        if self.is_hand()
            && let Some(rows) = core.recall.open(scope, device)
        {
            return Ok(rows);
        }
        let rows = core.store.open_commands(scope, device).await?;
        core.recall.learn_open(scope, device, &rows);
        Ok(rows)
    }

    pub async fn intake(
        self,
        core: &Core,
        scope: TenantScope,
        device: DeviceId,
        epoch: Epoch,
    ) -> Result<Option<IntakeRow>, StoreError> {
        if self.is_hand()
            && let Some(row) = core.recall.intake(scope, device, epoch)
        {
            return Ok(Some(row));
        }
        let row = core.store.intake(scope, device, epoch).await?;
        if let Some(row) = &row {
            core.recall.learn_intake(scope, device, row);
        }
        Ok(row)
    }
}
