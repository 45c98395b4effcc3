//! What a decision wants to be written, as plain data. Owns the parts of a change and what each expects to find;
//! refuses to know how they are written. One `Change` is one transaction: all of it happens, or nothing.

use super::kind::{LookupSpace, OnceSpace, RecordKind};
use super::row::{CommandRow, History};
use keyway_domain::audit::Checkpoint;
use keyway_domain::event::intake::Intake;
use keyway_domain::event::{Epoch, EventKind};
use keyway_domain::id::{AuditId, CommandId, DeviceId, DoorId, EventId};
use keyway_domain::time::UnixMs;

/// Everything that one decision writes, for one tenant. `at` is the instant of the decision.
///
/// The parts are checked together before anything is written: `facts`, records, commands, intakes and once-only keys.
/// The first part that does not meet what it expects refuses the whole change, with an error that names it.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub at: UnixMs,
    /// The decision was made from these facts: refused with `Conflict` when they have moved on.
    pub if_facts: Option<u64>,
    /// The decision was made from these records as they were at these versions; 0 is "not there". Refused with
    /// `Conflict` when one has moved on.
    pub if_records: Vec<(RecordKind, String, u64)>,
    /// The decision was made for all commands of a device that are not settled, which were these at these versions, in
    /// the order of their ids.
    pub if_open: Option<(DeviceId, Vec<(CommandId, u64)>)>,
    pub records: Vec<RecordChange>,
    pub commands: Vec<CommandWrite>,
    pub intakes: Vec<IntakeWrite>,
    pub events: Vec<EventDraft>,
    pub audit: Vec<AuditDraft>,
    pub checkpoints: Vec<CheckpointDraft>,
    /// Details of these entries are erased; the chain stays whole.
    pub erase_details: Vec<AuditId>,
    pub outbox: Vec<OutboxDraft>,
    pub once: Vec<OnceDraft>,
}

impl Change {
    pub fn at(at: UnixMs) -> Self {
        Self { at, ..Self::default() }
    }
}

/// What has to be there for a write to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there, if anything.
    Any,
    /// Nothing: it is being created.
    Absent,
    /// This version, as it was read.
    Version(u64),
}

#[derive(Debug, Clone)]
pub enum RecordChange {
    Put(RecordDraft),
    /// `NotFound` when it is not there.
    Delete {
        kind: RecordKind,
        id: String,
        expect: Expect,
    },
}

/// A document to put. Its version becomes one more than the one it replaces, 1 for a new one.
#[derive(Debug, Clone)]
pub struct RecordDraft {
    pub kind: RecordKind,
    pub id: String,
    pub expect: Expect,
    /// To list by: the site of a door, the person of a credential. Absent where nothing is above.
    pub parent: Option<String>,
    pub doc: String,
    /// By which it is found over all tenants; these replace the ones it had. A name that is another record's is a
    /// `Conflict`.
    pub lookups: Vec<(LookupSpace, String)>,
}

impl RecordDraft {
    /// A document of one of our types.
    pub fn of<T: serde::Serialize>(kind: RecordKind, id: impl ToString, expect: Expect, doc: &T) -> Self {
        let doc = serde_json::to_string(doc).expect("our documents have string keys only");
        Self { kind, id: id.to_string(), expect, parent: None, doc, lookups: Vec::new() }
    }

    pub fn under(mut self, parent: impl ToString) -> Self {
        self.parent = Some(parent.to_string());
        self
    }

    pub fn found_by(mut self, space: LookupSpace, name: impl ToString) -> Self {
        self.lookups.push((space, name.to_string()));
        self
    }
}

/// A command's row. New ones are unique by id and by request: a request that is known refuses the change with
/// `Repeated` and the earlier row.
#[derive(Debug, Clone)]
pub struct CommandWrite {
    pub expect: Expect,
    pub row: CommandRow,
}

/// What core remembers of (device, epoch) after a batch. Goes with its events in one change.
#[derive(Debug, Clone)]
pub struct IntakeWrite {
    pub device: DeviceId,
    pub epoch: Epoch,
    pub expect: Expect,
    pub intake: Intake,
}

/// Who an event comes from, and with that its identity. Writing an identity that is there already changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventSource {
    Device { device: DeviceId, epoch: Epoch, seq: u64 },
    Core(EventId),
}

#[derive(Debug, Clone)]
pub struct EventDraft {
    pub source: EventSource,
    /// `EventKind::word()` of a device's event, or a dotted word of core's own.
    pub kind: String,
    pub door: Option<DoorId>,
    /// When it happened, as far as the device knew.
    pub occurred_at: Option<UnixMs>,
    /// The exact bytes, as they were chained and signed.
    pub json: String,
}

impl EventDraft {
    pub fn of_device(
        device: DeviceId,
        epoch: Epoch,
        door: Option<DoorId>,
        event: &keyway_domain::event::DeviceEvent,
        exact: &serde_json::value::RawValue,
    ) -> Self {
        Self {
            source: EventSource::Device { device, epoch, seq: event.seq },
            kind: EventKind::word(event.kind).into(),
            door,
            occurred_at: event.occurred.at,
            json: exact.get().into(),
        }
    }
}

/// An audit entry without its place: number, chain and seal are given inside the transaction.
#[derive(Debug, Clone)]
pub struct AuditDraft {
    pub id: AuditId,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub details: Option<AuditDetails>,
}

/// Personal data beside the chain: the entry holds `hmac`, and the rest can be erased without breaking it.
#[derive(Debug, Clone)]
pub struct AuditDetails {
    pub hmac: String,
    /// The key of the HMAC, in a text of the caller's choice.
    pub key: String,
    pub json: String,
}

/// A signed checkpoint over the chain as it is in the database: refused with `Conflict` when the chain at that size has
/// another head.
#[derive(Debug, Clone)]
pub struct CheckpointDraft {
    pub checkpoint: Checkpoint,
    /// As `Checkpoint::sign` made it.
    pub note: String,
}

/// A publication to be sent after the commit.
#[derive(Debug, Clone)]
pub struct OutboxDraft {
    pub channel: String,
    /// CloudEvents JSON.
    pub body: String,
    pub history: History,
    /// By which the bus knows a copy.
    pub idempotency: String,
    /// Worth nothing from then on: the relay lets it go.
    pub expires_at: Option<UnixMs>,
}

/// Something that may happen once, and its answer. A key that is there and has not expired refuses the change with
/// `Already` and the earlier row.
#[derive(Debug, Clone)]
pub struct OnceDraft {
    pub space: OnceSpace,
    pub key: String,
    /// What the answer was given to, so that the same key with another body can be told.
    pub asked_digest: String,
    pub answer: String,
    pub expires_at: UnixMs,
}

/// What a commit gave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// After this change. Unchanged when it held no fact.
    pub facts_version: u64,
    /// Of each record in the order of the change; 0 for one that was deleted.
    pub record_versions: Vec<u64>,
    /// Of each command in the order of the change.
    pub command_versions: Vec<(CommandId, u64)>,
    /// The number of the last audit entry of the tenant.
    pub audit_size: u64,
    /// The ordinal of the last event of the tenant.
    pub last_event: u64,
    /// Events that were known already.
    pub events_known: usize,
}

impl RecordChange {
    /// Kind and id of the record it speaks of.
    pub fn names(&self) -> (RecordKind, &str) {
        match self {
            Self::Put(draft) => (draft.kind, &draft.id),
            Self::Delete { kind, id, .. } => (*kind, id),
        }
    }
}
