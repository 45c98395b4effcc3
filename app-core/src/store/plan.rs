//! The pure half of a write: changes that wait, and what the database holds of the rows they speak of, become rows to
//! write and an answer for each change. Owns every check of a change; refuses to reach for a database or a clock.
//!
//! Changes of one group see each other in their order, as if each had its own transaction.

use super::change::{Change, Committed, Expect, RecordChange, RecordDraft};
use super::kind::{LookupSpace, OnceSpace, RecordKind};
use super::row::{CommandRow, OnceRow, OutboxKey, OutboxRow, Record};
use super::shape::{self, Head, int, text};
use super::sql::Value;
use super::wanted::takes_a_place;
use super::{StoreError, TenantScope};
use keyway_domain::audit::AuditEntry;
use keyway_domain::command::room::room;
use keyway_domain::event::{ChainHash, Epoch};
use keyway_domain::id::{CommandId, DeviceId, RequestId, TenantId};
use keyway_domain::time::UnixMs;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub type RecordKey = (TenantId, RecordKind, String);
pub type NameKey = (LookupSpace, String);
pub type OnceKey = (TenantId, OnceSpace, String);
pub type CommandKey = (TenantId, CommandId);
pub type IntakeKey = (TenantId, DeviceId, Epoch);

/// What is there, as of the transaction that will write; brought forward by each change of the group.
#[derive(Debug, Default)]
pub struct Found {
    pub heads: BTreeMap<TenantId, Head>,
    pub records: HashMap<RecordKey, HeldRecord>,
    pub names: HashMap<NameKey, RecordKey>,
    pub names_of: HashMap<RecordKey, Vec<NameKey>>,
    pub commands: HashMap<CommandKey, CommandRow>,
    pub requests: HashMap<(TenantId, RequestId), CommandId>,
    pub rooms: HashMap<(TenantId, DeviceId), Taken>,
    /// Versions of a device's commands that are not settled.
    pub open: HashMap<(TenantId, DeviceId), BTreeMap<CommandId, u64>>,
    pub intakes: HashMap<IntakeKey, u64>,
    pub once: HashMap<OnceKey, OnceRow>,
    pub events: HashSet<(TenantId, String, u64)>,
    pub chain_at: HashMap<(TenantId, u64), ChainHash>,
}

#[derive(Debug, Clone, Copy)]
pub struct HeldRecord {
    pub version: u64,
    pub created_at: UnixMs,
}

/// Places in a door's ledger that are taken: how many, and the first deadline of them.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub count: usize,
    pub first: UnixMs,
}

/// Rows to write, each key once.
#[derive(Debug, Default)]
pub struct Writes {
    pub records: BTreeMap<RecordKey, Vec<Value>>,
    pub records_gone: BTreeSet<RecordKey>,
    pub names: BTreeMap<NameKey, RecordKey>,
    pub names_gone: BTreeSet<NameKey>,
    pub commands: BTreeMap<CommandKey, Vec<Value>>,
    pub intakes: BTreeMap<IntakeKey, Vec<Value>>,
    pub once: BTreeMap<OnceKey, Vec<Value>>,
    pub events: Vec<Vec<Value>>,
    pub audit: Vec<Vec<Value>>,
    pub details: Vec<Vec<Value>>,
    pub details_gone: Vec<Vec<Value>>,
    pub checkpoints: BTreeMap<(TenantId, u64), Vec<Value>>,
    pub outbox: Vec<Vec<Value>>,
    /// Tenants whose head has moved.
    pub heads: BTreeSet<TenantId>,
    /// What is in `outbox`, for the relay of this process.
    pub to_send: Vec<OutboxRow>,
}

fn conflict<T>(what: String, expected: impl ToString, found: impl ToString) -> Result<T, StoreError> {
    Err(StoreError::Conflict { what, expected: expected.to_string(), found: found.to_string() })
}

/// Whether what is there is what was expected.
fn meets(what: impl Fn() -> String, expect: Expect, held: Option<u64>) -> Result<(), StoreError> {
    match (expect, held) {
        (Expect::Any, _) | (Expect::Absent, None) => Ok(()),
        (Expect::Absent, Some(version)) => conflict(what(), "nothing", format!("version {version}")),
        (Expect::Version(_), None) => Err(StoreError::NotFound { what: what() }),
        (Expect::Version(wanted), Some(version)) if wanted == version => Ok(()),
        (Expect::Version(wanted), Some(version)) => {
            conflict(what(), format!("version {wanted}"), format!("version {version}"))
        }
    }
}

impl Found {
    /// Takes one change in: checks all of it, and only then notes rows and moves on. A refused change leaves no trace.
    pub fn take(
        &mut self,
        scope: TenantScope,
        change: &Change,
        writes: &mut Writes,
    ) -> Result<Committed, StoreError> {
        let tenant = scope.tenant();
        self.check(tenant, change)?;
        writes.heads.insert(tenant);
        let mut committed = Committed::default();
        if change.records.iter().any(|record| record.names().0.is_fact()) {
            self.heads.entry(tenant).or_default().facts_version += 1;
        }
        for record in &change.records {
            committed.record_versions.push(match record {
                RecordChange::Put(draft) => self.put(tenant, draft, change.at, writes),
                RecordChange::Delete { kind, id, .. } => {
                    self.delete((tenant, *kind, id.clone()), writes);
                    0
                }
            });
        }
        for write in &change.commands {
            let key = (tenant, write.row.id());
            let version = self.commands.get(&key).map_or(1, |held| held.version + 1);
            let row = CommandRow { version, ..write.row.clone() };
            writes.commands.insert(key, shape::command_values(&row, version));
            self.requests.extend(row.request.map(|request| ((tenant, request), row.id())));
            committed.command_versions.push((row.id(), version));
            if takes_a_place(write) {
                let first = row.record.deadline;
                let taken =
                    self.rooms.entry((tenant, row.command.device)).or_insert(Taken { count: 0, first });
                *taken = Taken { count: taken.count + 1, first: taken.first.min(first) };
            }
            if let Some(open) = self.open.get_mut(&(tenant, row.command.device)) {
                if row.record.state.is_final() {
                    open.remove(&row.id());
                } else {
                    open.insert(row.id(), version);
                }
            }
            self.commands.insert(key, row);
        }
        for write in &change.intakes {
            let key = (tenant, write.device, write.epoch);
            let version = self.intakes.get(&key).map_or(1, |held| held + 1);
            writes.intakes.insert(key, shape::intake_values(tenant, write, version));
            self.intakes.insert(key, version);
        }
        for draft in &change.once {
            let key = (tenant, draft.space, draft.key.clone());
            writes.once.insert(key.clone(), shape::once_values(tenant, draft));
            let row = OnceRow {
                space: draft.space,
                key: draft.key.clone(),
                asked_digest: draft.asked_digest.clone(),
                answer: draft.answer.clone(),
                expires_at: draft.expires_at,
            };
            self.once.insert(key, row);
        }
        self.append(tenant, change, writes, &mut committed);
        Ok(committed)
    }

    /// What only grows: events, audit entries, checkpoints over them, the outbox.
    fn append(&mut self, tenant: TenantId, change: &Change, writes: &mut Writes, committed: &mut Committed) {
        let head = self.heads.entry(tenant).or_default();
        for draft in &change.events {
            let (source, seq) = shape::source_key(draft.source);
            if self.events.insert((tenant, source, seq)) {
                head.event_last += 1;
                writes.events.push(shape::event_values(tenant, head.event_last, draft, change.at));
            } else {
                committed.events_known += 1;
            }
        }
        for draft in &change.audit {
            let entry = AuditEntry {
                id: draft.id,
                tenant,
                seq: head.audit_size + 1,
                at: change.at,
                actor: draft.actor.clone(),
                action: draft.action.clone(),
                subject: draft.subject.clone(),
                details_hmac: draft.details.as_ref().map(|details| details.hmac.clone()),
                before: head.audit_head,
            };
            let sealed = entry.seal();
            head.audit_size += 1;
            head.audit_head = sealed.after;
            self.chain_at.insert((tenant, head.audit_size), sealed.after);
            writes.audit.push(vec![
                text(tenant),
                int(entry.seq),
                text(entry.id),
                Value::Text(sealed.json),
                text(sealed.after),
            ]);
            if let Some(details) = &draft.details {
                let (key, json) = (details.key.as_str().into(), details.json.as_str().into());
                writes.details.push(vec![text(tenant), text(draft.id), key, json]);
            }
        }
        for draft in &change.checkpoints {
            let size = draft.checkpoint.size;
            let row = vec![text(tenant), int(size), draft.note.as_str().into()];
            writes.checkpoints.insert((tenant, size), row);
        }
        writes.details_gone.extend(change.erase_details.iter().map(|id| vec![text(tenant), text(id)]));
        for draft in &change.outbox {
            head.outbox_last += 1;
            // Never back, whatever the clock did: the relay reads in the order of this instant.
            head.outbox_at = head.outbox_at.max(change.at);
            let row = OutboxRow {
                key: OutboxKey { tenant, seq: head.outbox_last },
                channel: draft.channel.clone(),
                body: draft.body.clone(),
                history: draft.history,
                idempotency: draft.idempotency.clone(),
                committed_at: head.outbox_at,
                expires_at: draft.expires_at,
            };
            writes.outbox.push(shape::outbox_values(&row));
            writes.to_send.push(row);
        }
        committed.facts_version = head.facts_version;
        committed.audit_size = head.audit_size;
        committed.last_event = head.event_last;
    }

    fn check(&self, tenant: TenantId, change: &Change) -> Result<(), StoreError> {
        let head = self.heads.get(&tenant).cloned().unwrap_or_default();
        if let Some(wanted) = change.if_facts
            && wanted != head.facts_version
        {
            return conflict("the tenant's facts".into(), wanted, head.facts_version);
        }
        for (kind, id, version) in &change.if_records {
            let held = self.records.get(&(tenant, *kind, id.clone())).map_or(0, |held| held.version);
            if held != *version {
                return conflict(format!("{} {id}", kind.word()), version, held);
            }
        }
        if let Some((device, rows)) = &change.if_open {
            let held = self.open.get(&(tenant, *device));
            if !held
                .is_some_and(|held| held.iter().map(|(id, version)| (*id, *version)).eq(rows.iter().copied()))
            {
                return conflict(
                    format!("the open commands of {device}"),
                    rows.len(),
                    held.map_or(0, BTreeMap::len),
                );
            }
        }
        for record in &change.records {
            self.check_record(tenant, record)?;
        }
        for write in &change.commands {
            let key = (tenant, write.row.id());
            if let Some(request) = write.row.request
                && let Some(known) = self.requests.get(&(tenant, request))
                && (write.expect == Expect::Absent || *known != write.row.id())
                && let Some(row) = self.commands.get(&(tenant, *known))
            {
                return Err(StoreError::Repeated(Box::new(row.clone())));
            }
            meets(|| key.1.to_string(), write.expect, self.commands.get(&key).map(|row| row.version))?;
            if takes_a_place(write)
                && let Some(taken) = self.rooms.get(&(tenant, write.row.command.device))
            {
                room(taken.count, taken.first, change.at)?;
            }
        }
        for write in &change.intakes {
            let held = self.intakes.get(&(tenant, write.device, write.epoch)).copied();
            meets(|| format!("the watermark of {}", write.device), write.expect, held)?;
        }
        for draft in &change.once {
            if let Some(row) = self.once.get(&(tenant, draft.space, draft.key.clone()))
                && row.expires_at > change.at
            {
                return Err(StoreError::Already(Box::new(row.clone())));
            }
        }
        for draft in &change.checkpoints {
            let size = draft.checkpoint.size;
            let there = if size == 0 {
                Some(ChainHash::default())
            } else {
                self.chain_at.get(&(tenant, size)).copied()
            };
            match there {
                Some(there) if there == draft.checkpoint.head => {}
                Some(there) => {
                    return conflict(format!("the audit chain at {size}"), draft.checkpoint.head, there);
                }
                None => return Err(StoreError::NotFound { what: format!("audit entry {size}") }),
            }
        }
        Ok(())
    }

    fn check_record(&self, tenant: TenantId, record: &RecordChange) -> Result<(), StoreError> {
        let (kind, id) = record.names();
        let key = (tenant, kind, id.to_owned());
        let held = self.records.get(&key).map(|held| held.version);
        let what = || format!("{} {id}", kind.word());
        match record {
            RecordChange::Put(draft) => {
                meets(what, draft.expect, held)?;
                for name in &draft.lookups {
                    if self.names.get(name).is_some_and(|other| *other != key) {
                        return conflict(
                            format!("the name in {}", name.0.word()),
                            "nothing",
                            "another record",
                        );
                    }
                }
                Ok(())
            }
            RecordChange::Delete { expect, .. } => match held {
                None => Err(StoreError::NotFound { what: what() }),
                Some(_) => meets(what, *expect, held),
            },
        }
    }

    fn put(&mut self, tenant: TenantId, draft: &RecordDraft, at: UnixMs, writes: &mut Writes) -> u64 {
        let key = (tenant, draft.kind, draft.id.clone());
        let held = self.records.get(&key).copied();
        let version = held.map_or(1, |held| held.version + 1);
        let created_at = held.map_or(at, |held| held.created_at);
        let values = shape::record_values(&Record {
            tenant,
            kind: draft.kind,
            id: draft.id.clone(),
            version,
            parent: draft.parent.clone(),
            doc: draft.doc.clone(),
            created_at,
            changed_at: at,
        });
        self.rename(&key, &draft.lookups, writes);
        self.records.insert(key.clone(), HeldRecord { version, created_at });
        writes.records_gone.remove(&key);
        writes.records.insert(key, values);
        version
    }

    fn delete(&mut self, key: RecordKey, writes: &mut Writes) {
        self.rename(&key, &[], writes);
        self.records.remove(&key);
        writes.records.remove(&key);
        writes.records_gone.insert(key);
    }

    /// Gives a record these names in place of the ones it had. Only new ones are written, and as new rows: a name that
    /// another process has taken meanwhile is then refused by the database and never taken from its owner.
    fn rename(&mut self, key: &RecordKey, names: &[NameKey], writes: &mut Writes) {
        let before = self.names_of.remove(key).unwrap_or_default();
        for name in before.iter().filter(|name| !names.contains(name)) {
            self.names.remove(name);
            writes.names.remove(name);
            writes.names_gone.insert(name.clone());
        }
        for name in names.iter().filter(|name| !before.contains(name)) {
            self.names.insert(name.clone(), key.clone());
            writes.names.insert(name.clone(), key.clone());
        }
        if !names.is_empty() {
            self.names_of.insert(key.clone(), names.to_vec());
        }
    }
}
