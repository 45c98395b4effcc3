//! A group of changes against a connection: reads what their checks need, and writes what the plan says. Owns the order of
//! statements in a transaction; refuses to begin or to end it.

use super::error::Fault;
use super::plan::{Found, HeldRecord, Taken, Writes};
use super::row::OutboxKey;
use super::shape::{self, corrupt, int, text};
use super::sql::{Conn, Value};
use super::table::{self, AUDIT, Batch, COMMANDS, EVENTS, HEADS, INTAKES, LOOKUPS, ONCE, RECORDS};
use super::wanted::Wanted;
use keyway_domain::id::TenantId;
use keyway_domain::time::UnixMs;
use std::collections::BTreeSet;

/// Reads the rows that a group speaks of. The tenants' heads come first and are locked, in the order of their ids, so
/// that two processes never wait for each other in a circle; nothing of these tenants changes afterwards.
pub async fn load(conn: &mut Conn, wanted: &Wanted) -> Result<Found, Fault> {
    let mut found = Found { heads: lock_heads(conn, &wanted.tenants).await?, ..Found::default() };
    load_records(conn, wanted, &mut found).await?;
    let ids = wanted.commands.iter().map(|(tenant, id)| vec![text(tenant), text(id)]).collect();
    let requests = wanted.requests.iter().map(|(tenant, id)| vec![text(tenant), text(id)]).collect();
    let (by_id, by_request) = (["tenant", "id"], ["tenant", "request"]);
    let commands = COMMANDS.find_either(conn, (&by_id, ids), (&by_request, requests)).await?;
    for row in &commands {
        let row = shape::command(row)?;
        let tenant = row.command.tenant;
        found.requests.extend(row.request.map(|request| ((tenant, request), row.id())));
        found.commands.insert((tenant, row.id()), row);
    }
    load_rooms(conn, wanted, &mut found).await?;
    for (tenant, device) in &wanted.open {
        let rows = conn.fetch(OPEN, vec![text(tenant), text(device)]).await?;
        let open = rows.iter().map(|row| Ok((shape::command_id(row, 0)?, row.count(1)?)));
        found.open.insert((*tenant, *device), open.collect::<Result<_, Fault>>()?);
    }
    let keys =
        wanted.intakes.iter().map(|(tenant, device, epoch)| vec![text(tenant), text(device), text(epoch)]);
    for row in &INTAKES.find(conn, &["tenant", "device", "epoch"], keys.collect()).await? {
        let (tenant, device, intake) = shape::intake(row)?;
        found.intakes.insert((tenant, device, intake.epoch), intake.version);
    }
    let keys =
        wanted.once.iter().map(|(tenant, space, key)| vec![text(tenant), space.word().into(), text(key)]);
    for row in &ONCE.find(conn, &["tenant", "space", "name"], keys.collect()).await? {
        let (tenant, once) = shape::once(row)?;
        found.once.insert((tenant, once.space, once.key.clone()), once);
    }
    let keys = wanted.events.iter().map(|(tenant, source, seq)| vec![text(tenant), text(source), int(*seq)]);
    for row in &EVENTS.find(conn, &["tenant", "source", "seq"], keys.collect()).await? {
        found.events.insert((shape::tenant(row, 0)?, row.text(2)?, row.count(3)?));
    }
    let keys = wanted.chain_at.iter().map(|(tenant, seq)| vec![text(tenant), int(*seq)]);
    for row in &AUDIT.find(conn, &["tenant", "seq"], keys.collect()).await? {
        found.chain_at.insert((shape::tenant(row, 0)?, row.count(1)?), shape::chain(row, 4)?);
    }
    Ok(found)
}

/// Counts the commands that have places in ledgers. Each head is locked: nobody adds one meanwhile.
async fn load_rooms(conn: &mut Conn, wanted: &Wanted, found: &mut Found) -> Result<(), Fault> {
    let rooms: Vec<_> = wanted.rooms.iter().collect();
    for run in rooms.chunks(ROOMS_IN_ONE_STATEMENT) {
        let sql = format!(
            "WITH want (a, b, c) AS (VALUES {}) SELECT want.a, want.b, count(*), min(t.held_until_ms) FROM want CROSS JOIN \
             commands t WHERE t.tenant = want.a AND t.device = want.b AND t.held_until_ms > want.c GROUP BY want.a, want.b",
            table::places(run.len(), 3)
        );
        let values =
            run.iter().flat_map(|((tenant, device), after)| [text(tenant), text(device), int(after.0)]);
        for row in &conn.fetch(&sql, values.collect()).await? {
            let taken = Taken { count: row.count(2)? as usize, first: UnixMs(row.count(3)?) };
            found.rooms.insert((shape::tenant(row, 0)?, shape::device(row, 1)?), taken);
        }
    }
    Ok(())
}

const OPEN: &str =
    "SELECT id, version FROM commands WHERE tenant = $1 AND device = $2 AND is_open = 1 ORDER BY id";
/// A group rarely speaks of more doors; each length is a statement of its own.
const ROOMS_IN_ONE_STATEMENT: usize = 32;

async fn lock_heads(
    conn: &mut Conn,
    tenants: &BTreeSet<TenantId>,
) -> Result<std::collections::BTreeMap<TenantId, shape::Head>, Fault> {
    let mut heads = std::collections::BTreeMap::new();
    // A second round only when a tenant is new here: its head is put and then locked like the others.
    for round in 0..2 {
        let missing: Vec<&TenantId> = tenants.iter().filter(|tenant| !heads.contains_key(*tenant)).collect();
        if missing.is_empty() {
            break;
        }
        if round == 1 {
            for tenant in &missing {
                let mut values = shape::head_values(**tenant, &shape::Head::default());
                values.truncate(HEADS.columns.len());
                conn.execute(NEW_HEAD, values).await?;
            }
        }
        for some in missing.chunks(HEADS_IN_ONE_STATEMENT) {
            let places: Vec<String> = (1..=some.len()).map(|place| format!("${place}")).collect();
            let mut rest = format!("WHERE tenant IN ({}) ORDER BY tenant", places.join(", "));
            if conn.is_postgres() {
                rest.push_str(" FOR UPDATE");
            }
            let values = some.iter().map(text).collect();
            for row in &conn.fetch(&HEADS.select(&rest), values).await? {
                let (tenant, head) = shape::head(row)?;
                heads.insert(tenant, head);
            }
        }
    }
    Ok(heads)
}

const NEW_HEAD: &str = "INSERT INTO tenant_heads (tenant, facts_version, audit_size, audit_head, event_last, outbox_last, \
     outbox_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant) DO NOTHING";
/// As many as a group has changes: one statement in nearly every case.
const HEADS_IN_ONE_STATEMENT: usize = super::writer::GROUP_MAX;

async fn load_records(conn: &mut Conn, wanted: &Wanted, found: &mut Found) -> Result<(), Fault> {
    let key = |(tenant, kind, id): &super::plan::RecordKey| vec![text(tenant), kind.word().into(), text(id)];
    // Documents may be megabytes: only what the checks look at is read.
    for run in wanted.records.iter().collect::<Vec<_>>().chunks(RECORDS_IN_ONE_STATEMENT) {
        let places = table::places(run.len(), 3);
        let sql = format!(
            "WITH want (a, b, c) AS (VALUES {places}) SELECT t.tenant, t.kind, t.id, t.version, t.created_at_ms FROM want \
             CROSS JOIN records t WHERE t.tenant = want.a AND t.kind = want.b AND t.id = want.c"
        );
        for row in &conn.fetch(&sql, run.iter().flat_map(|one| key(one)).collect()).await? {
            let held = HeldRecord { version: row.count(3)?, created_at: UnixMs(row.count(4)?) };
            found.records.insert((shape::tenant(row, 0)?, shape::kind(row, 1)?, row.text(2)?), held);
        }
    }
    let names = wanted.names.iter().map(|(space, name)| vec![space.word().into(), text(name)]).collect();
    let mut rows = LOOKUPS.find(conn, &["space", "name"], names).await?;
    let owners = wanted.names_of.iter().map(key).collect();
    rows.extend(LOOKUPS.find(conn, &["tenant", "kind", "id"], owners).await?);
    for row in &rows {
        let name = (shape::lookup_space(row, 0)?, row.text(1)?);
        let owner = (shape::tenant(row, 2)?, shape::kind(row, 3)?, row.text(4)?);
        if found.names.insert(name.clone(), owner.clone()).is_none() {
            found.names_of.entry(owner).or_default().push(name);
        }
    }
    Ok(())
}

const RECORDS_IN_ONE_STATEMENT: usize = 32;

/// Writes everything that a plan made, and takes sent publications out of the outbox.
pub async fn store(conn: &mut Conn, found: &Found, writes: Writes, sent: &[OutboxKey]) -> Result<(), Fault> {
    let gone =
        writes.records_gone.iter().map(|(tenant, kind, id)| vec![text(tenant), kind.word().into(), text(id)]);
    RECORDS.delete(conn, gone.collect()).await?;
    RECORDS.put(conn, writes.records.into_values().collect()).await?;
    let gone = writes.names_gone.iter().map(|(space, name)| vec![space.word().into(), text(name)]);
    LOOKUPS.delete(conn, gone.collect()).await?;
    let names = writes.names.into_iter().map(|((space, name), (tenant, kind, id))| {
        vec![space.word().into(), name.into(), text(tenant), kind.word().into(), id.into()]
    });
    LOOKUPS.insert(conn, names.collect()).await?;
    let mut batch = Batch::default();
    batch.put(COMMANDS, writes.commands.into_values().collect());
    batch.put(INTAKES, writes.intakes.into_values().collect());
    batch.put(ONCE, writes.once.into_values().collect());
    batch.insert(EVENTS, writes.events);
    batch.insert(AUDIT, writes.audit);
    batch.put(table::CHECKPOINTS, writes.checkpoints.into_values().collect());
    batch.insert(table::OUTBOX, writes.outbox);
    let sent = sent.iter().map(|key| vec![text(key.tenant), int(key.seq)]);
    batch.delete(table::OUTBOX, sent.collect());
    let mut heads: Vec<Vec<Value>> = Vec::new();
    for tenant in &writes.heads {
        let head = found.heads.get(tenant).ok_or_else(|| corrupt(format!("{tenant} has lost its head")))?;
        heads.push(shape::head_values(*tenant, head));
    }
    batch.put(HEADS, heads);
    if writes.details_gone.is_empty() {
        batch.put(table::DETAILS, writes.details);
    } else {
        // One that is put and erased in one group has to go last.
        table::DETAILS.put(conn, writes.details).await?;
        table::DETAILS.delete(conn, writes.details_gone).await?;
    }
    batch.run(conn).await
}
