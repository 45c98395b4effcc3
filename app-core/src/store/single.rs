//! A small group of one tenant as one statement to Postgres: guards and writes together, committed by itself. Owns which
//! groups go this way and the text of the statement; refuses to decide anything: the plan has done it, as if what the
//! changes expect were there, and the statement writes nothing at all unless it is.
//!
//! A transaction that reads, checks and writes is six ways to the database and back; this is one. What makes it safe is the
//! tenant's head. Every write puts the head anew, so its `xmin` names the last of them: a head that is still the one that
//! is remembered means that nobody has written for this tenant since, and locking it keeps it so until the commit. Whatever
//! does not hold, the group goes the long way, which looks and says why.

use super::TenantScope;
use super::change::{Change, Expect, RecordChange};
use super::plan::{CommandKey, Found, HeldRecord, IntakeKey, RecordKey, Writes};
use super::row::OutboxKey;
use super::shape::{self, Head, int, text};
use super::sql::Value;
use super::table::{AUDIT, COMMANDS, DETAILS, EVENTS, HEADS, INTAKES, OUTBOX, RECORDS, Table};
use super::wanted::Wanted;
use keyway_domain::command::room::COMMANDS_MAX;
use keyway_domain::id::{CommandId, DeviceId, TenantId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

/// Rows of a group that goes this way. Larger ones are bound by their rows, and would be another statement each time.
const ROWS_MAX: usize = 24;
/// Tenants whose heads are remembered; beyond it the table is begun anew, and each costs one more read.
const HEADS_MAX: usize = 1_000;

/// A head as this process left or saw it, with the transaction that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub head: Head,
    pub mark: String,
}

/// Heads by tenant. Only a guess: one that is wrong costs a statement that writes nothing.
#[derive(Debug, Default)]
pub struct Heads(HashMap<TenantId, Known>);

impl Heads {
    pub fn get(&self, tenant: TenantId) -> Option<Known> {
        self.0.get(&tenant).cloned()
    }

    pub fn put(&mut self, tenant: TenantId, known: Known) {
        if self.0.len() >= HEADS_MAX {
            self.0.clear();
        }
        self.0.insert(tenant, known);
    }

    pub fn forget(&mut self, tenants: impl IntoIterator<Item = TenantId>) {
        for tenant in tenants {
            self.0.remove(&tenant);
        }
    }
}

/// How many groups went which way, for metrics.
#[derive(Debug, Default)]
pub struct Ways {
    pub single: AtomicU64,
    pub long: AtomicU64,
}

/// Reads a head with the transaction that wrote it, without locking it.
pub const READ_HEAD: &str = "SELECT tenant, facts_version, audit_size, audit_head, event_last, outbox_last, outbox_at_ms, \
     xmin::text FROM tenant_heads WHERE tenant = $1";

/// What a group takes for granted: the version of each thing it speaks of, as its first change expects it; `None` is
/// "not there".
#[derive(Debug)]
pub struct Granted {
    tenant: TenantId,
    records: BTreeMap<RecordKey, Option<u64>>,
    commands: BTreeMap<CommandKey, Option<u64>>,
    intakes: BTreeMap<IntakeKey, Option<u64>>,
    open: BTreeMap<DeviceId, Vec<(CommandId, u64)>>,
}

impl Granted {
    /// `None`: the group has to be looked at the long way.
    pub fn of(parts: &[(TenantScope, &Change)]) -> Option<Self> {
        let mut granted = Self {
            tenant: parts.first()?.0.tenant(),
            records: BTreeMap::new(),
            commands: BTreeMap::new(),
            intakes: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        if parts.iter().map(|(_, change)| rows(change)).sum::<usize>() > ROWS_MAX {
            return None;
        }
        let mut written = BTreeSet::new();
        for (scope, change) in parts {
            let plain =
                change.once.is_empty() && change.checkpoints.is_empty() && change.erase_details.is_empty();
            if scope.tenant() != granted.tenant || !plain {
                return None;
            }
            granted.take(change, &written)?;
            written.extend(change.commands.iter().map(|write| write.row.command.device));
        }
        Some(granted)
    }

    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn take(&mut self, change: &Change, written: &BTreeSet<DeviceId>) -> Option<()> {
        let tenant = self.tenant;
        for (kind, id, version) in &change.if_records {
            let version = (*version > 0).then_some(*version);
            self.records.entry((tenant, *kind, id.clone())).or_insert(version);
        }
        for record in &change.records {
            let RecordChange::Put(draft) = record else { return None };
            // Names are unique over all tenants: another tenant's head does not keep them.
            if draft.kind.has_names() || !draft.lookups.is_empty() {
                return None;
            }
            let version = version_of(draft.expect)?;
            self.records.entry((tenant, draft.kind, draft.id.clone())).or_insert(version);
        }
        for write in &change.commands {
            let version = version_of(write.expect)?;
            self.commands.entry((tenant, write.row.id())).or_insert(version);
        }
        for write in &change.intakes {
            let version = version_of(write.expect)?;
            self.intakes.entry((tenant, write.device, write.epoch)).or_insert(version);
        }
        if let Some((device, rows)) = &change.if_open {
            // What an earlier change of the group does to them, the database does not know yet.
            if written.contains(device) {
                return None;
            }
            self.open.insert(*device, rows.clone());
        }
        Some(())
    }

    /// What the plan would have been told, were all of it so.
    pub fn found(&self, parts: &[(TenantScope, &Change)], head: &Head) -> Found {
        let mut found = Found::default();
        found.heads.insert(self.tenant, head.clone());
        for (key, version) in &self.records {
            if let Some(version) = *version {
                // When it was made is not written again: the statement leaves it as it is.
                found.records.insert(key.clone(), HeldRecord { version, created_at: Default::default() });
            }
        }
        for (_, change) in parts {
            for write in &change.commands {
                let key = (self.tenant, write.row.id());
                if let Some(Some(version)) = self.commands.get(&key) {
                    let held = super::row::CommandRow { version: *version, ..write.row.clone() };
                    found.commands.entry(key).or_insert(held);
                }
            }
        }
        for (key, version) in &self.intakes {
            found.intakes.extend(version.map(|version| (*key, version)));
        }
        for (device, rows) in &self.open {
            found.open.insert((self.tenant, *device), rows.iter().copied().collect());
        }
        found
    }

    /// The whole group. The publications that have been sent are of the same tenant.
    pub fn statement(
        &self,
        wanted: &Wanted,
        (head, known): (&Head, &Known),
        writes: Writes,
        sent: &[OutboxKey],
        tells: bool,
    ) -> (String, Vec<Value>) {
        let mut sql = Statement::default();
        self.head(&mut sql, wanted, head, known);
        let mut new = |table: Table, rows: Vec<Vec<Value>>| sql.insert(table, rows);
        new(EVENTS, writes.events);
        new(AUDIT, writes.audit);
        new(DETAILS, writes.details);
        new(OUTBOX, writes.outbox);
        let made = |version: Option<&Option<u64>>| matches!(version, Some(None));
        let (new, old) = parted(writes.commands, |key| made(self.commands.get(key)));
        sql.insert(COMMANDS, new);
        old.into_iter().for_each(|row| sql.update(COMMANDS, &[], row));
        let (new, old) = parted(writes.intakes, |key| made(self.intakes.get(key)));
        sql.insert(INTAKES, new);
        old.into_iter().for_each(|row| sql.update(INTAKES, &[], row));
        let (new, old) = parted(writes.records, |key| made(self.records.get(key)));
        sql.insert(RECORDS, new);
        old.into_iter().for_each(|row| sql.update(RECORDS, &["created_at_ms"], row));
        let gone: Vec<String> = sent.iter().map(|key| key.seq.to_string()).collect();
        sql.delete_sent(&gone);
        // Another process sends it, and hears of it with the commit. Who sends its own needs no telling.
        let told = if tells { ", pg_notify('keyway_outbox', '')::text" } else { "" };
        let _ = write!(sql.text, " SELECT mark{told} FROM head");
        (sql.text, sql.values)
    }

    /// Puts the head anew if everything is as it is taken for granted. The other parts write for each row that this gives
    /// back: one, or none.
    fn head(&self, sql: &mut Statement, wanted: &Wanted, head: &Head, known: &Known) {
        let mut values = shape::head_values(self.tenant, head).into_iter();
        let tenant = sql.bind(values.next().unwrap_or(Value::NoText));
        let sets: Vec<String> = HEADS.columns[HEADS.keys..]
            .iter()
            .zip(values)
            .map(|((name, _), value)| format!("{name} = {}", sql.bind(value)))
            .collect();
        let mark = sql.bind(known.mark.as_str().into());
        let _ = write!(
            sql.text,
            "WITH head AS (UPDATE tenant_heads SET {} WHERE tenant = {tenant} AND xmin::text = {mark}",
            sets.join(", ")
        );
        for ((_, kind, id), version) in &self.records {
            let (kind, id) = (sql.bind(kind.word().into()), sql.bind(text(id)));
            sql.demand("records", &tenant, &format!("kind = {kind} AND id = {id}"), *version);
        }
        for ((_, id), version) in self.commands.iter().filter(|(_, version)| version.is_some()) {
            let id = sql.bind(text(id));
            sql.demand("commands", &tenant, &format!("id = {id}"), *version);
        }
        for ((_, device, epoch), version) in self.intakes.iter().filter(|(_, version)| version.is_some()) {
            let (device, epoch) = (sql.bind(text(device)), sql.bind(text(epoch)));
            sql.demand("intakes", &tenant, &format!("device = {device} AND epoch = {epoch}"), *version);
        }
        for ((_, device), after) in &wanted.rooms {
            let more = self.commands.values().filter(|version| version.is_none()).count();
            let room = int(COMMANDS_MAX.saturating_sub(more) as u64);
            let (device, after, room) = (sql.bind(text(device)), sql.bind(int(after.0)), sql.bind(room));
            let _ = write!(
                sql.text,
                " AND (SELECT count(*) FROM commands WHERE tenant = {tenant} AND device = {device} AND held_until_ms > \
                 {after}) <= {room}"
            );
        }
        for (device, rows) in &self.open {
            let all: Vec<String> = rows.iter().map(|(id, version)| format!("{id} {version}")).collect();
            let (device, all) = (sql.bind(text(device)), sql.bind(all.join(",").into()));
            let _ = write!(
                sql.text,
                " AND coalesce((SELECT string_agg(id || ' ' || version, ',' ORDER BY id) FROM commands WHERE tenant = \
                 {tenant} AND device = {device} AND is_open = 1), '') = {all}"
            );
        }
        sql.text.push_str(" RETURNING tenant, xmin::text AS mark)");
    }
}

/// Rows that a change writes at most.
fn rows(change: &Change) -> usize {
    let details = change.audit.iter().filter(|draft| draft.details.is_some()).count();
    let keyed = change.records.len() + change.commands.len() + change.intakes.len();
    keyed + change.events.len() + change.audit.len() + details + change.outbox.len()
}

/// What has to be there; `None` where anything may be: there the long way has to look.
fn version_of(expect: Expect) -> Option<Option<u64>> {
    match expect {
        Expect::Any => None,
        Expect::Absent => Some(None),
        Expect::Version(version) => Some(Some(version)),
    }
}

fn parted<K>(
    rows: BTreeMap<K, Vec<Value>>,
    is_new: impl Fn(&K) -> bool,
) -> (Vec<Vec<Value>>, Vec<Vec<Value>>) {
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for (key, row) in rows {
        if is_new(&key) { new.push(row) } else { old.push(row) }
    }
    (new, old)
}

#[derive(Default)]
struct Statement {
    text: String,
    values: Vec<Value>,
    parts: usize,
}

impl Statement {
    /// The place of a value, with its type: inside a SELECT nothing else says it.
    fn bind(&mut self, value: Value) -> String {
        let kind = match &value {
            Value::Int(_) | Value::NoInt => "bigint",
            Value::Text(_) | Value::NoText => "text",
        };
        self.values.push(value);
        format!("${}::{kind}", self.values.len())
    }

    fn demand(&mut self, table: &str, tenant: &str, key: &str, version: Option<u64>) {
        let (not, version) = match version {
            Some(version) => ("", format!(" AND version = {}", self.bind(int(version)))),
            None => ("NOT ", String::new()),
        };
        let _ = write!(
            self.text,
            " AND {not}EXISTS (SELECT 1 FROM {table} WHERE tenant = {tenant} AND {key}{version})"
        );
    }

    fn begin(&mut self) {
        let _ = write!(self.text, ", w{} AS (", self.parts);
        self.parts += 1;
    }

    fn insert(&mut self, table: Table, rows: Vec<Vec<Value>>) {
        if rows.is_empty() {
            return;
        }
        self.begin();
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let rows: Vec<String> = rows
            .into_iter()
            .map(|row| {
                let places: Vec<String> = row.into_iter().map(|value| self.bind(value)).collect();
                format!("({})", places.join(", "))
            })
            .collect();
        let _ = write!(
            self.text,
            "INSERT INTO {} ({}) SELECT v.* FROM head CROSS JOIN (VALUES {}) AS v)",
            table.name,
            names.join(", "),
            rows.join(", ")
        );
    }

    /// One row, found by its key. `but` stays as it is.
    fn update(&mut self, table: Table, but: &[&str], row: Vec<Value>) {
        self.begin();
        let (mut keys, mut sets) = (Vec::new(), Vec::new());
        for (place, ((name, _), value)) in table.columns.iter().zip(row).enumerate() {
            if place < table.keys {
                keys.push(format!("t.{name} = {}", self.bind(value)));
            } else if !but.contains(name) {
                sets.push(format!("{name} = {}", self.bind(value)));
            }
        }
        let _ = write!(
            self.text,
            "UPDATE {} t SET {} FROM head WHERE {})",
            table.name,
            sets.join(", "),
            keys.join(" AND ")
        );
    }

    /// The numbers go as one text, so that their count does not make another statement.
    fn delete_sent(&mut self, numbers: &[String]) {
        if numbers.is_empty() {
            return;
        }
        self.begin();
        let numbers = self.bind(format!("{{{}}}", numbers.join(",")).into());
        let _ = write!(
            self.text,
            "DELETE FROM {} t USING head WHERE t.tenant = head.tenant AND t.seq = ANY({numbers}::bigint[]))",
            OUTBOX.name
        );
    }
}
