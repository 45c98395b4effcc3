//! What can be asked of the store. Owns the statements; each has the scope's tenant in it, save those whose first
//! argument is a `System`.

use super::error::{Fault, StoreError};
use super::kind::{LookupSpace, OnceSpace, RecordKind};
use super::row::{
    AuditHead, AuditRow, CommandRow, EventFilter, EventRow, FactRows, IntakeRow, OnceRow, OutboxRow, Page,
    Record,
};
use super::shape::{self, int, text};
use super::sql::{Row, Value};
use super::table::{COMMANDS, EVENTS, HEADS, INTAKES, ONCE, OUTBOX, RECORDS};
use super::{PAGE_MAX, Store, System, TenantScope};
use keyway_domain::event::Epoch;
use keyway_domain::id::{CommandId, DeviceId, RequestId, TenantId};
use keyway_domain::time::UnixMs;

/// Commands of one device that are not settled: a door takes one at a time, so this is far more than there can be.
const OPEN_MAX: i64 = 1_000;

fn told(fault: Fault) -> StoreError {
    fault.told(0, false)
}

fn all<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, Fault>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect::<Result<_, _>>().map_err(told)
}

/// Cuts what was read with one row too many into a page.
fn page<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Page { items, next }
}

fn limit_of(limit: usize) -> usize {
    limit.clamp(1, PAGE_MAX)
}

impl Store {
    async fn rows<T>(
        &self,
        sql: &str,
        values: Vec<Value>,
        read: impl Fn(&Row) -> Result<T, Fault>,
    ) -> Result<Vec<T>, StoreError> {
        all(&self.readers.fetch(sql, values).await?, read)
    }

    async fn row<T>(
        &self,
        sql: &str,
        values: Vec<Value>,
        read: impl Fn(&Row) -> Result<T, Fault>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(sql, values, read).await?.pop())
    }

    async fn head(&self, scope: TenantScope) -> Result<shape::Head, StoreError> {
        let sql = HEADS.select("WHERE tenant = $1");
        let head = self.row(&sql, vec![text(scope.tenant())], shape::head).await?;
        Ok(head.map(|(_, head)| head).unwrap_or_default())
    }

    pub async fn facts_version(&self, scope: TenantScope) -> Result<u64, StoreError> {
        Ok(self.head(scope).await?.facts_version)
    }

    /// Everything that `decide` stands on, at one moment, with its version.
    pub async fn facts(&self, scope: TenantScope) -> Result<FactRows, StoreError> {
        let kinds: Vec<&RecordKind> = RecordKind::ALL.iter().filter(|kind| kind.is_fact()).collect();
        let places: Vec<String> = (2..kinds.len() + 2).map(|place| format!("${place}")).collect();
        // One statement, so that version and records are of one moment. The version comes also where no record is.
        let sql = format!(
            "SELECT r.tenant, r.kind, r.id, r.version, r.parent, r.doc, r.created_at_ms, r.changed_at_ms, h.facts_version \
             FROM tenant_heads h LEFT JOIN records r ON r.tenant = h.tenant AND r.kind IN ({}) WHERE h.tenant = $1 \
             ORDER BY r.kind, r.id",
            places.join(", ")
        );
        let mut values = vec![text(scope.tenant())];
        values.extend(kinds.iter().map(|kind| Value::from(kind.word())));
        let rows = self.readers.fetch(&sql, values).await?;
        let version = rows.first().map_or(Ok(0), |row| row.count(8)).map_err(told)?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.opt_text(0).map_err(told)?.is_some() {
                records.push(shape::record(row).map_err(told)?);
            }
        }
        Ok(FactRows { version, records })
    }

    pub async fn record(
        &self,
        scope: TenantScope,
        kind: RecordKind,
        id: &str,
    ) -> Result<Option<Record>, StoreError> {
        let sql = RECORDS.select("WHERE tenant = $1 AND kind = $2 AND id = $3");
        self.row(&sql, vec![text(scope.tenant()), kind.word().into(), id.into()], shape::record).await
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
        let limit = limit_of(limit);
        let mut values = vec![text(scope.tenant()), kind.word().into(), after.unwrap_or("").into()];
        values.push(int(limit as u64 + 1));
        let and_parent = if let Some(parent) = parent {
            values.push(parent.into());
            "AND parent = $5"
        } else {
            ""
        };
        let rest = format!("WHERE tenant = $1 AND kind = $2 AND id > $3 {and_parent} ORDER BY id LIMIT $4");
        let records = self.rows(&RECORDS.select(&rest), values, shape::record).await?;
        Ok(page(records, limit, |record| record.id.clone()))
    }

    /// Whose name this is, before the tenant is known: a device's or phone's key, an API key's digest, a code's digest.
    pub async fn lookup(
        &self,
        _system: System,
        space: LookupSpace,
        name: &str,
    ) -> Result<Option<Record>, StoreError> {
        let sql = "SELECT r.tenant, r.kind, r.id, r.version, r.parent, r.doc, r.created_at_ms, r.changed_at_ms FROM lookups l \
                   JOIN records r ON r.tenant = l.tenant AND r.kind = l.kind AND r.id = l.id WHERE l.space = $1 AND \
                   l.name = $2";
        self.row(sql, vec![space.word().into(), name.into()], shape::record).await
    }

    /// Records of a kind over all tenants, for boot: signing keys, tenants, live lockdowns.
    pub async fn records_of_all(
        &self,
        _system: System,
        kind: RecordKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let limit = limit_of(limit);
        // A cursor is tenant and id: neither has a blank.
        let (tenant, id) = after.and_then(|after| after.split_once(' ')).unwrap_or(("", ""));
        let sql = RECORDS.select("WHERE kind = $1 AND (tenant, id) > ($2, $3) ORDER BY tenant, id LIMIT $4");
        let values = vec![kind.word().into(), tenant.into(), id.into(), int(limit as u64 + 1)];
        let records = self.rows(&sql, values, shape::record).await?;
        Ok(page(records, limit, |record| format!("{} {}", record.tenant, record.id)))
    }

    pub async fn tenants(&self, _system: System) -> Result<Vec<TenantId>, StoreError> {
        let sql = "SELECT tenant FROM tenant_heads ORDER BY tenant";
        self.rows(sql, Vec::new(), |row| shape::tenant(row, 0)).await
    }

    pub async fn once(
        &self,
        scope: TenantScope,
        space: OnceSpace,
        key: &str,
    ) -> Result<Option<OnceRow>, StoreError> {
        let sql = ONCE.select("WHERE tenant = $1 AND space = $2 AND name = $3");
        let values = vec![text(scope.tenant()), space.word().into(), key.into()];
        Ok(self.row(&sql, values, shape::once).await?.map(|(_, once)| once))
    }

    pub async fn command(&self, scope: TenantScope, id: CommandId) -> Result<Option<CommandRow>, StoreError> {
        let sql = COMMANDS.select("WHERE tenant = $1 AND id = $2");
        self.row(&sql, vec![text(scope.tenant()), text(id)], shape::command).await
    }

    pub async fn command_of_request(
        &self,
        scope: TenantScope,
        request: RequestId,
    ) -> Result<Option<CommandRow>, StoreError> {
        let sql = COMMANDS.select("WHERE tenant = $1 AND request = $2");
        self.row(&sql, vec![text(scope.tenant()), text(request)], shape::command).await
    }

    /// Newest first.
    pub async fn commands(
        &self,
        scope: TenantScope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CommandRow>, StoreError> {
        let limit = limit_of(limit);
        // `~` sorts behind every character of an id.
        let sql = COMMANDS.select("WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let values = vec![text(scope.tenant()), after.unwrap_or("~").into(), int(limit as u64 + 1)];
        let commands = self.rows(&sql, values, shape::command).await?;
        Ok(page(commands, limit, |row| row.id().to_string()))
    }

    /// Commands of a device that a ledger may still settle.
    pub async fn open_commands(
        &self,
        scope: TenantScope,
        device: DeviceId,
    ) -> Result<Vec<CommandRow>, StoreError> {
        let sql = COMMANDS.select("WHERE tenant = $1 AND device = $2 AND is_open = 1 ORDER BY id LIMIT $3");
        let values = vec![text(scope.tenant()), text(device), OPEN_MAX.into()];
        self.rows(&sql, values, shape::command).await
    }

    /// Commands of all tenants whose `due_at` has come, the longest due first.
    pub async fn commands_due(
        &self,
        _system: System,
        now: UnixMs,
        limit: usize,
    ) -> Result<Vec<CommandRow>, StoreError> {
        let sql =
            COMMANDS.select("WHERE due_at_ms IS NOT NULL AND due_at_ms <= $1 ORDER BY due_at_ms LIMIT $2");
        self.rows(&sql, vec![int(now.0), int(limit_of(limit) as u64)], shape::command).await
    }

    pub async fn intake(
        &self,
        scope: TenantScope,
        device: DeviceId,
        epoch: Epoch,
    ) -> Result<Option<IntakeRow>, StoreError> {
        let sql = INTAKES.select("WHERE tenant = $1 AND device = $2 AND epoch = $3");
        let values = vec![text(scope.tenant()), text(device), text(epoch)];
        Ok(self.row(&sql, values, shape::intake).await?.map(|(_, _, intake)| intake))
    }

    /// In the order of commits.
    pub async fn events(
        &self,
        scope: TenantScope,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let mut values = vec![text(scope.tenant()), int(filter.after), int(limit_of(limit) as u64)];
        let mut rest = "WHERE tenant = $1 AND ordinal > $2".to_owned();
        if let Some(door) = filter.door {
            values.push(text(door));
            rest.push_str(&format!(" AND door = ${}", values.len()));
        }
        if let Some(kind) = &filter.kind {
            values.push(text(kind));
            rest.push_str(&format!(" AND kind = ${}", values.len()));
        }
        rest.push_str(" ORDER BY ordinal LIMIT $3");
        self.rows(&EVENTS.select(&rest), values, shape::event).await
    }

    pub async fn audit_head(&self, scope: TenantScope) -> Result<AuditHead, StoreError> {
        let head = self.head(scope).await?;
        Ok(AuditHead { size: head.audit_size, head: head.audit_head })
    }

    /// Entries after this number, in order.
    pub async fn audit(
        &self,
        scope: TenantScope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let sql = "SELECT a.tenant, a.seq, a.id, a.json, a.chain_after, d.json FROM audit_entries a LEFT JOIN audit_details d \
                   ON d.tenant = a.tenant AND d.id = a.id WHERE a.tenant = $1 AND a.seq > $2 ORDER BY a.seq LIMIT $3";
        let values = vec![text(scope.tenant()), int(after), int(limit_of(limit) as u64)];
        self.rows(sql, values, shape::audit).await
    }

    /// Signed notes with the size of the chain that each stands over, newest first; `before` goes on with smaller ones.
    pub async fn checkpoints(
        &self,
        scope: TenantScope,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let sql =
            "SELECT size, note FROM checkpoints WHERE tenant = $1 AND size < $2 ORDER BY size DESC LIMIT $3";
        let before = before.unwrap_or(i64::MAX as u64).min(i64::MAX as u64);
        let values = vec![text(scope.tenant()), int(before), int(limit_of(limit) as u64)];
        self.rows(sql, values, |row| Ok((row.count(0)?, row.text(1)?))).await
    }

    /// Publications to send, in order: per tenant, and so per channel, the order of commits. Rows that
    /// `outbox_done` was told of do not come again, save after a crash; the bus knows them by `idempotency`.
    pub async fn outbox(&self, _system: System, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        // Taken before the read: what is sent and deleted in between is then in neither.
        let sent = self.sent.all();
        let limit = limit_of(limit);
        let sql = OUTBOX.select("ORDER BY committed_at_ms, tenant, seq LIMIT $1");
        let rows = self.rows(&sql, vec![int((limit + sent.len()) as u64)], shape::outbox).await?;
        Ok(rows.into_iter().filter(|row| !sent.contains(&row.key)).take(limit).collect())
    }
}
