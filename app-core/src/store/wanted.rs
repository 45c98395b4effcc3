//! What a group of changes speaks of, and so what has to be read before it can be planned. Owns the list; refuses to read.

use super::TenantScope;
use super::change::{Change, CommandWrite, Expect, RecordChange};
use super::plan::{CommandKey, IntakeKey, NameKey, OnceKey, RecordKey};
use super::shape;
use keyway_domain::command::room::taken_after;
use keyway_domain::id::{DeviceId, RequestId, TenantId};
use keyway_domain::time::UnixMs;
use std::collections::{BTreeMap, BTreeSet};

/// What the checks of a group have to look at.
#[derive(Debug, Default)]
pub struct Wanted {
    pub tenants: BTreeSet<TenantId>,
    pub records: BTreeSet<RecordKey>,
    pub names: BTreeSet<NameKey>,
    /// Records whose names are replaced.
    pub names_of: BTreeSet<RecordKey>,
    pub commands: BTreeSet<CommandKey>,
    pub requests: BTreeSet<(TenantId, RequestId)>,
    /// Doors that get another command, with the deadline after which theirs still count.
    pub rooms: BTreeMap<(TenantId, DeviceId), UnixMs>,
    /// Devices whose open commands a change knows.
    pub open: BTreeSet<(TenantId, DeviceId)>,
    pub intakes: BTreeSet<IntakeKey>,
    pub once: BTreeSet<OnceKey>,
    pub events: BTreeSet<(TenantId, String, u64)>,
    pub chain_at: BTreeSet<(TenantId, u64)>,
}

impl Wanted {
    pub fn note(&mut self, scope: TenantScope, change: &Change) {
        let tenant = scope.tenant();
        self.tenants.insert(tenant);
        self.records.extend(change.if_records.iter().map(|(kind, id, _)| (tenant, *kind, id.clone())));
        self.open.extend(change.if_open.iter().map(|(device, _)| (tenant, *device)));
        for record in &change.records {
            let (kind, id) = record.names();
            let key = (tenant, kind, id.to_owned());
            if kind.has_names() {
                self.names_of.insert(key.clone());
            }
            self.records.insert(key);
            if let RecordChange::Put(draft) = record {
                self.names.extend(draft.lookups.iter().cloned());
            }
        }
        for write in &change.commands {
            self.commands.insert((tenant, write.row.id()));
            self.requests.extend(write.row.request.map(|request| (tenant, request)));
            if takes_a_place(write) {
                let after = taken_after(change.at);
                let wanted = self.rooms.entry((tenant, write.row.command.device)).or_insert(after);
                *wanted = after.min(*wanted);
            }
        }
        self.intakes.extend(change.intakes.iter().map(|write| (tenant, write.device, write.epoch)));
        self.once.extend(change.once.iter().map(|draft| (tenant, draft.space, draft.key.clone())));
        self.events.extend(change.events.iter().map(|draft| {
            let (source, seq) = shape::source_key(draft.source);
            (tenant, source, seq)
        }));
        self.chain_at.extend(change.checkpoints.iter().map(|draft| (tenant, draft.checkpoint.size)));
    }
}

/// A new command that may reach its door.
pub fn takes_a_place(write: &CommandWrite) -> bool {
    write.expect == Expect::Absent && write.row.record.state.may_be_in_ledger()
}
