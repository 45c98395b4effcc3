//! The store: one database, SQLite or Postgres, behind one handle. It owns durability, tenancy and the audit chain's
//! growth; it refuses to decide anything: a decision comes as a plain `Change` and is written whole or not at all.
//!
//! Every call has a scope and a deadline. Writes go through one queue into one writer, which puts what is waiting into
//! one transaction; an answer means that it is on the disk.

pub mod change;
pub mod error;
pub mod kind;
pub mod row;
pub mod scope;

pub use change::{Change, Committed};
pub use error::StoreError;
pub use scope::{System, TenantScope};

use keyway_domain::event::Epoch;
use keyway_domain::id::{CommandId, DeviceId, RequestId, TenantId};
use keyway_domain::time::UnixMs;
use kind::{LookupSpace, OnceSpace, RecordKind};
use row::{
    AuditHead, AuditRow, CommandRow, EventFilter, EventRow, FactRows, IntakeRow, OnceRow, OutboxKey,
    OutboxRow, Page, Record,
};
use tokio::sync::watch;

/// Rows in one page at most, whatever is asked for.
pub const PAGE_MAX: usize = 1_000;

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:path` or `postgres://user@host:port/database?sslmode=require`.
    pub url: String,
    /// For Postgres; never a part of the URL in a log.
    pub password: Option<String>,
    /// Of every call. Under the 4 s at which the gateway tells a caller `temporary`.
    pub deadline_ms: u64,
    /// Changes that wait for the writer at most; one more is `Busy`.
    pub queue_max: usize,
    /// Connections that read, beside the one that writes.
    pub readers_max: usize,
    /// Run missing migrations when opening. Otherwise an older schema is `NotMigrated`.
    pub migrate: bool,
}

impl StoreOptions {
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            deadline_ms: 3_000,
            queue_max: 1_024,
            readers_max: 4,
            migrate: true,
        }
    }
}

/// A handle; clones share the connections.
#[derive(Clone)]
pub struct Store {}

fn unbuilt<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { why: "not built yet".into(), maybe: false })
}

impl Store {
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let _ = options;
        unbuilt()
    }

    /// Writes what is queued and closes the connections. Calls afterwards are `Unavailable`.
    pub async fn close(&self) {}

    /// Answers when the database does, for readiness: one read, and that the writer is not stuck.
    pub async fn ready(&self) -> Result<(), StoreError> {
        unbuilt()
    }

    /// Writes a decision, all of it or nothing, and answers when it is durable. Dropping the future does not take the
    /// change back.
    pub async fn commit(&self, scope: TenantScope, change: Change) -> Result<Committed, StoreError> {
        let _ = (scope, change);
        unbuilt()
    }

    pub async fn facts_version(&self, scope: TenantScope) -> Result<u64, StoreError> {
        let _ = scope;
        unbuilt()
    }

    /// Everything that `decide` stands on, at one moment, with its version.
    pub async fn facts(&self, scope: TenantScope) -> Result<FactRows, StoreError> {
        let _ = scope;
        unbuilt()
    }

    pub async fn record(
        &self,
        scope: TenantScope,
        kind: RecordKind,
        id: &str,
    ) -> Result<Option<Record>, StoreError> {
        let _ = (scope, kind, id);
        unbuilt()
    }

    /// Records of a kind in the order of their ids, which is the order of their making. `after` is `next` of the page
    /// before.
    pub async fn records(
        &self,
        scope: TenantScope,
        kind: RecordKind,
        parent: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let _ = (scope, kind, parent, after, limit);
        unbuilt()
    }

    /// Whose name this is, before the tenant is known: a device's or phone's key, an API key's digest, a code's digest.
    pub async fn lookup(
        &self,
        system: System,
        space: LookupSpace,
        name: &str,
    ) -> Result<Option<Record>, StoreError> {
        let _ = (system, space, name);
        unbuilt()
    }

    /// Records of a kind over all tenants, for boot: signing keys, tenants, live lockdowns.
    pub async fn records_of_all(
        &self,
        system: System,
        kind: RecordKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let _ = (system, kind, after, limit);
        unbuilt()
    }

    pub async fn once(
        &self,
        scope: TenantScope,
        space: OnceSpace,
        key: &str,
    ) -> Result<Option<OnceRow>, StoreError> {
        let _ = (scope, space, key);
        unbuilt()
    }

    pub async fn command(&self, scope: TenantScope, id: CommandId) -> Result<Option<CommandRow>, StoreError> {
        let _ = (scope, id);
        unbuilt()
    }

    pub async fn command_of_request(
        &self,
        scope: TenantScope,
        request: RequestId,
    ) -> Result<Option<CommandRow>, StoreError> {
        let _ = (scope, request);
        unbuilt()
    }

    /// Newest first.
    pub async fn commands(
        &self,
        scope: TenantScope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CommandRow>, StoreError> {
        let _ = (scope, after, limit);
        unbuilt()
    }

    /// Commands of a device that a ledger may still settle.
    pub async fn open_commands(
        &self,
        scope: TenantScope,
        device: DeviceId,
    ) -> Result<Vec<CommandRow>, StoreError> {
        let _ = (scope, device);
        unbuilt()
    }

    /// Commands of all tenants whose `due_at` has come, the longest due first.
    pub async fn commands_due(
        &self,
        system: System,
        now: UnixMs,
        limit: usize,
    ) -> Result<Vec<CommandRow>, StoreError> {
        let _ = (system, now, limit);
        unbuilt()
    }

    pub async fn intake(
        &self,
        scope: TenantScope,
        device: DeviceId,
        epoch: Epoch,
    ) -> Result<Option<IntakeRow>, StoreError> {
        let _ = (scope, device, epoch);
        unbuilt()
    }

    /// In the order of commits.
    pub async fn events(
        &self,
        scope: TenantScope,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let _ = (scope, filter, limit);
        unbuilt()
    }

    pub async fn audit_head(&self, scope: TenantScope) -> Result<AuditHead, StoreError> {
        let _ = scope;
        unbuilt()
    }

    /// Entries after this number, in order.
    pub async fn audit(
        &self,
        scope: TenantScope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let _ = (scope, after, limit);
        unbuilt()
    }

    /// Signed notes, oldest first.
    pub async fn checkpoints(&self, scope: TenantScope) -> Result<Vec<String>, StoreError> {
        let _ = scope;
        unbuilt()
    }

    /// Publications to send, in order: per tenant, and so per channel, the order of commits. Rows that
    /// `outbox_done` was told of do not come again, save after a crash; the bus knows them by `idempotency`.
    pub async fn outbox(&self, system: System, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let _ = (system, limit);
        unbuilt()
    }

    /// These have been sent, or have expired. Remembered at once, written with the next group or shortly after.
    pub async fn outbox_done(&self, system: System, keys: &[OutboxKey]) -> Result<(), StoreError> {
        let _ = (system, keys);
        unbuilt()
    }

    /// Changes whenever a commit of this process has put something into the outbox: what the relay waits for.
    pub fn outbox_signal(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Forgets once-only keys that have expired; answers how many. At most some thousand at a time.
    pub async fn sweep(&self, system: System, now: UnixMs) -> Result<usize, StoreError> {
        let _ = (system, now);
        unbuilt()
    }

    pub async fn tenants(&self, system: System) -> Result<Vec<TenantId>, StoreError> {
        let _ = system;
        unbuilt()
    }
}
