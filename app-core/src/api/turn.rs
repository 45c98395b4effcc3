//! A change of the facts that lost a race is decided again by core, not by whoever asked: from newer facts, and in turn
//! with the others that lost. Owns the bounds of that; refuses to know what is decided.

use super::problem::{Code, Problem};
use crate::core::Core;
use crate::core::tenant::Tenant;
use crate::metrics::add;
use std::time::Duration;
use tokio::sync::MutexGuard;

/// In one's turn only doors, first comers and other cores are in the way: more defeats than this are a storm.
const ATTEMPTS_MAX: u32 = 12;
/// A turn takes a commit, some milliseconds: behind a thousand others it comes within this, or the database hangs.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The attempts at one change.
pub struct Turn<'t> {
    core: &'t Core,
    tenant: &'t Tenant,
    held: Option<MutexGuard<'t, ()>>,
    lost: u32,
}

impl<'t> Turn<'t> {
    pub fn of(core: &'t Core, tenant: &'t Tenant) -> Self {
        Self { core, tenant, held: None, lost: 0 }
    }

    /// Returns when it is worth deciding again; with the problem where it is none of a race, or a race without end.
    pub async fn again(&mut self, problem: Problem) -> Result<(), Problem> {
        if !problem.is(Code::Conflict) {
            return Err(problem);
        }
        add(&self.core.metrics.conflicts, 1);
        self.lost += 1;
        let storm = || Problem::new(Code::Busy, "too many changes at once; nothing was done, repeat");
        if self.lost >= ATTEMPTS_MAX {
            return Err(storm());
        }
        if self.held.is_none() {
            let turn = tokio::time::timeout(WAIT_MAX, self.tenant.turn.lock()).await;
            self.held = Some(turn.map_err(|_| storm())?);
        }
        Ok(())
    }
}
