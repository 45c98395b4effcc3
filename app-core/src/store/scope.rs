//! Whose rows a call may touch. Owns the two scopes; refuses a third: there is no read without one of them.

use keyway_domain::id::TenantId;
use std::fmt;

/// One tenant. Every row that a call with it reads or writes is of this tenant; the store puts it into each statement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantScope(TenantId);

impl TenantScope {
    pub fn of(tenant: TenantId) -> Self {
        Self(tenant)
    }

    pub fn tenant(self) -> TenantId {
        self.0
    }
}

impl fmt::Debug for TenantScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TenantScope({})", self.0)
    }
}

/// All tenants: for the relay, for boot, for backups, and to find out whose key somebody shows. The reason is kept in
/// the source where it is taken, so that every cross-tenant read can be found by searching for this name.
#[derive(Debug, Clone, Copy)]
pub struct System {
    pub because: &'static str,
}

impl System {
    pub const fn because(because: &'static str) -> Self {
        Self { because }
    }
}
