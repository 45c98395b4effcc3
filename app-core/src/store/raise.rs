//! What a restored database has to count on from. Doors never go back to a version that they have passed, and a backup
//! does not know what they have seen since: so every counter that a door compares goes far beyond it. Owns which these are;
//! refuses to change anything that a person set.

use super::error::Fault;
use super::kind::RecordKind;
use super::row::Record;
use super::shape::{self, corrupt, int};
use super::sql::{Conn, Row, Value};
use super::table::{COMMANDS, RECORDS};
use crate::doc::{BundleDoc, DoorDoc, REVOCATION, RevocationDoc, system_tenant};
use crate::source::random;
use keyway_domain::command::State;
use keyway_domain::id::{ActivationId, PlanId, TenantId};
use keyway_domain::lockdown::{Effect, LockdownStatement};
use keyway_domain::place::Scope;
use keyway_domain::time::UnixMs;
use std::collections::BTreeMap;

/// More changes than any tenant makes between a backup and its restore; two million restores later a number still fits into
/// what JavaScript counts exactly.
pub const JUMP: u64 = 1 << 32;
/// Rows read at once.
const ROWS_AT_ONCE: i64 = 64;

const HEADS_JUMP: &str = "UPDATE tenant_heads SET facts_version = facts_version + $1";

/// Within the transaction that restores.
pub async fn raise(conn: &mut Conn, now: UnixMs) -> Result<(), Fault> {
    conn.execute(HEADS_JUMP, vec![int(JUMP)]).await?;
    let mut after = None;
    while let Some(rows) = page(conn, RecordKind::Door, &mut after).await? {
        for row in rows {
            let mut doc: DoorDoc = read(&row)?;
            doc.mode_version += JUMP;
            put(conn, row, &doc).await?;
        }
    }
    let mut after = None;
    while let Some(rows) = page(conn, RecordKind::Bundle, &mut after).await? {
        for row in rows {
            let mut doc: BundleDoc = read(&row)?;
            doc.body.version += JUMP;
            // A difference to it is of no use to a door that holds something else under its number.
            doc.previous = None;
            put(conn, row, &doc).await?;
        }
    }
    let tenants = conn.fetch("SELECT tenant FROM tenant_heads ORDER BY tenant", Vec::new()).await?;
    let tenants = tenants.iter().map(|row| shape::tenant(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let tenants: Vec<TenantId> = tenants.into_iter().filter(|id| *id != system_tenant()).collect();
    revocations(conn, &tenants, now).await?;
    lockdowns(conn, &tenants, now).await?;
    commands(conn).await
}

/// The records of a kind, some at a time: bundles are large. `None` at the end.
async fn page(
    conn: &mut Conn,
    kind: RecordKind,
    after: &mut Option<(TenantId, String)>,
) -> Result<Option<Vec<Record>>, Fault> {
    let (tenant, id) = after.clone().map_or_else(Default::default, |(tenant, id)| (tenant.to_string(), id));
    let sql = RECORDS.select("WHERE kind = $1 AND (tenant, id) > ($2, $3) ORDER BY tenant, id LIMIT $4");
    let values = vec![kind.word().into(), tenant.into(), id.into(), ROWS_AT_ONCE.into()];
    let rows = conn.fetch(&sql, values).await?.iter().map(shape::record).collect::<Result<Vec<_>, _>>()?;
    *after = rows.last().map(|last| (last.tenant, last.id.clone()));
    Ok(after.is_some().then_some(rows))
}

fn read<T: serde::de::DeserializeOwned>(row: &Record) -> Result<T, Fault> {
    serde_json::from_str(&row.doc)
        .map_err(|error| corrupt(format!("{} {}: {error}", row.kind.word(), row.id)))
}

async fn put<T: serde::Serialize>(conn: &mut Conn, mut row: Record, doc: &T) -> Result<(), Fault> {
    row.doc = serde_json::to_string(doc).expect("our documents have string keys only");
    RECORDS.put(conn, vec![shape::record_values(&row)]).await
}

fn fresh(tenant: TenantId, kind: RecordKind, id: String, version: u64, now: UnixMs) -> Record {
    let doc = String::new();
    Record { tenant, kind, id, version, parent: None, doc, created_at: now, changed_at: now }
}

/// One for every tenant: the first revocation after the restore has to be newer than any that a door has heard of.
async fn revocations(conn: &mut Conn, tenants: &[TenantId], now: UnixMs) -> Result<(), Fault> {
    let mut held = BTreeMap::new();
    let mut after = None;
    while let Some(rows) = page(conn, RecordKind::Revocation, &mut after).await? {
        held.extend(rows.into_iter().map(|row| (row.tenant, row)));
    }
    for tenant in tenants {
        let (mut row, mut doc) = match held.remove(tenant) {
            Some(row) => {
                let doc: RevocationDoc = read(&row)?;
                (row, doc)
            }
            None => {
                let id = REVOCATION.to_owned();
                (fresh(*tenant, RecordKind::Revocation, id, 0, now), RevocationDoc::default())
            }
        };
        doc.version += JUMP;
        // The two go together: the next one is made from the document's number.
        row.version = doc.version;
        put(conn, row, &doc).await?;
    }
    Ok(())
}

/// The floor is the highest version there is: an activation that is over, and was never in force, lifts it.
async fn lockdowns(conn: &mut Conn, tenants: &[TenantId], now: UnixMs) -> Result<(), Fault> {
    let mut floors: BTreeMap<TenantId, u64> = BTreeMap::new();
    let mut after = None;
    while let Some(rows) = page(conn, RecordKind::Lockdown, &mut after).await? {
        for row in rows {
            let statement: LockdownStatement = read(&row)?;
            let floor = floors.entry(row.tenant).or_default();
            *floor = statement.version.max(*floor);
        }
    }
    for tenant in tenants {
        let activation = ActivationId::mint(now, random());
        let statement = LockdownStatement {
            tenant: *tenant,
            activation,
            plan: PlanId::mint(now, random()),
            scope: Scope::Tenant,
            rank: 0,
            version: floors.get(tenant).copied().unwrap_or(0) + JUMP,
            effect: Effect::LockedOpen,
            live: false,
            until: None,
        };
        let row = fresh(*tenant, RecordKind::Lockdown, activation.to_string(), 1, now);
        put(conn, row, &statement).await?;
    }
    Ok(())
}

/// A command that had not been sent when the backup was made may have been sent, and done, since: only the door knows.
async fn commands(conn: &mut Conn) -> Result<(), Fault> {
    let mut after: (String, String) = Default::default();
    loop {
        let sql =
            COMMANDS.select("WHERE is_open = 1 AND (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3");
        let values = vec![after.0.into(), after.1.into(), ROWS_AT_ONCE.into()];
        let rows = conn.fetch(&sql, values).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = (last.text(0)?, last.text(1)?);
        let mut changed: Vec<Vec<Value>> = Vec::new();
        for row in &rows {
            changed.extend(unsure(row)?);
        }
        COMMANDS.put(conn, changed).await?;
    }
}

fn unsure(row: &Row) -> Result<Option<Vec<Value>>, Fault> {
    let mut row = shape::command(row)?;
    if !matches!(row.record.state, State::Requested | State::Queued) {
        return Ok(None);
    }
    row.record.state = State::Sent;
    let version = row.version + 1;
    Ok(Some(shape::command_values(&row, version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_leaves_room_for_many_more() {
        let after_many = JUMP * (1 << 20);
        assert!(after_many < 1 << 53, "what JavaScript counts exactly");
        assert_eq!(int(after_many), Value::Int(1 << 52));
    }
}
