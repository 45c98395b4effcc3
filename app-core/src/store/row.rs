//! What the store gives back: rows as plain data in the domain's types. Owns nothing else.

use super::change::EventSource;
use super::kind::{OnceSpace, RecordKind};
use keyway_domain::command::{CommandRecord, UnlockCommand};
use keyway_domain::event::intake::Intake;
use keyway_domain::event::{ChainHash, Epoch};
use keyway_domain::id::{AuditId, CommandId, DoorId, KeyId, PersonId, RequestId, TenantId};
use keyway_domain::time::UnixMs;
use serde::{Deserialize, Serialize};

/// A versioned document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub tenant: TenantId,
    pub kind: RecordKind,
    pub id: String,
    /// Rises by one with every change of it.
    pub version: u64,
    pub parent: Option<String>,
    pub doc: String,
    pub created_at: UnixMs,
    pub changed_at: UnixMs,
}

impl Record {
    /// The document as its type. An error means that the row was written by something else than this program.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, super::StoreError> {
        serde_json::from_str(&self.doc).map_err(|error| super::StoreError::Corrupt {
            what: format!("{} {}: {error}", self.kind.word(), self.id),
        })
    }
}

/// All facts of a tenant at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactRows {
    pub version: u64,
    /// Of every kind with `RecordKind::is_fact`, sorted by kind and id.
    pub records: Vec<Record>,
}

/// A page and where the next one starts; `None` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRow {
    pub command: UnlockCommand,
    pub record: CommandRecord,
    /// The request it came from; unique in the tenant.
    pub request: Option<RequestId>,
    /// Who asked: an id.
    pub asked_by: String,
    pub person: Option<PersonId>,
    /// The phone whose key signed the request.
    pub phone: Option<KeyId>,
    /// When core has to look at it again, to send or to expire it; `None` when time alone changes nothing.
    pub due_at: Option<UnixMs>,
    /// As read; the store gives the next one.
    pub version: u64,
}

impl CommandRow {
    pub fn id(&self) -> CommandId {
        self.command.command
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeRow {
    pub epoch: Epoch,
    pub intake: Intake,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The place among all events of the tenant, without gaps, in the order of commits.
    pub ordinal: u64,
    pub source: EventSource,
    pub kind: String,
    pub door: Option<DoorId>,
    pub occurred_at: Option<UnixMs>,
    pub received_at: UnixMs,
    pub json: String,
}

/// Which events a page shall hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub door: Option<DoorId>,
    /// The word of a kind.
    pub kind: Option<String>,
    /// Only later than this ordinal. 0: from the first.
    pub after: u64,
}

/// The end of a tenant's audit chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditHead {
    pub size: u64,
    pub head: ChainHash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub seq: u64,
    pub id: AuditId,
    /// As it is exported: the chain value and the entry's exact JSON.
    pub line: String,
    /// Absent when it had none, or they were erased.
    pub details: Option<String>,
}

/// How a channel keeps a publication: the bus's three ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum History {
    None,
    Latest,
    Kept,
}

/// Names a row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxKey {
    pub tenant: TenantId,
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub key: OutboxKey,
    pub channel: String,
    pub body: String,
    pub history: History,
    pub idempotency: String,
    pub committed_at: UnixMs,
    pub expires_at: Option<UnixMs>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceRow {
    pub space: OnceSpace,
    pub key: String,
    pub asked_digest: String,
    pub answer: String,
    pub expires_at: UnixMs,
}
