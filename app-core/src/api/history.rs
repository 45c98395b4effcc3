//! What happened: events of doors with a cursor, and the audit trail as it is exported and verified.

use super::auth::caller;
use super::problem::Problem;
use super::reply::{Answer, Nothing, PAGE_DEFAULT, Word, page};
use crate::core::Core;
use crate::doc::Rights;
use crate::relay::timers::checkpoint;
use crate::store::change::EventSource;
use crate::store::row::EventFilter;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use keyway_domain::id::DoorId;
use keyway_domain::time::UnixMs;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A page of events is read by programs as well as people.
const EVENTS_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    door: Option<String>,
    kind: Option<Word>,
}

pub async fn events(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let door = match query.door.as_deref().map(DoorId::parse) {
        None => None,
        Some(Ok(door)) => Some(door),
        Some(Err(error)) => return Err(Problem::field("door", error.to_string())),
    };
    let filter = EventFilter { door, kind: query.kind.map(|word| word.0), after: query.after };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, EVENTS_MAX);
    let rows = core.store.events(caller.tenant.scope, &filter, limit).await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.ordinal.to_string())).flatten();
    let items = rows.iter().map(|row| {
        let source = match row.source {
            EventSource::Device { device, epoch, seq } => {
                json!({ "device": device, "epoch": epoch, "seq": seq })
            }
            EventSource::Core(id) => json!({ "core": id }),
        };
        json!({
            "ordinal": row.ordinal, "kind": row.kind, "door": row.door, "source": source,
            "occurred_at": row.occurred_at.map(UnixMs::to_rfc3339), "received_at": row.received_at.to_rfc3339(),
            "event": serde_json::from_str::<Value>(&row.json).unwrap_or(Value::Null),
        })
    });
    Ok(page(items.collect(), next))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// Lines as an export has them: the chain value and the exact entry.
pub async fn audit(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(query): Query<AuditQuery>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, EVENTS_MAX);
    let rows = core.store.audit(caller.tenant.scope, query.after, limit).await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.seq.to_string())).flatten();
    let items = rows.iter().map(|row| {
        let entry = row.line.split_once(' ').and_then(|(_, json)| serde_json::from_str::<Value>(json).ok());
        let details = row.details.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
        json!({ "seq": row.seq, "line": row.line, "entry": entry, "details": details })
    });
    Ok(page(items.collect(), next))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointQuery {
    /// The `next` of the page before: the ones over a smaller chain follow.
    after: Option<u64>,
    limit: Option<usize>,
}

/// Signed heads, newest first, with the keys that check them. Kept elsewhere, an answer is what `audit verify --keys` holds
/// a later export against.
pub async fn checkpoints(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(query): Query<CheckpointQuery>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, EVENTS_MAX);
    let rows = core.store.checkpoints(caller.tenant.scope, query.after, limit).await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(size, _)| size.to_string())).flatten();
    let notes: Vec<String> = rows.into_iter().map(|(_, note)| note).collect();
    let keys: Vec<Value> =
        caller.tenant.signing.all().map(|(_, kid, key)| json!({ "kid": kid, "key": key })).collect();
    Ok(Answer::ok(json!({ "tenant": caller.tenant.id, "notes": notes, "keys": keys, "next": next })))
}

/// Signs the chain as it is now, instead of within the next half minute.
pub async fn sign(State(core): State<Arc<Core>>, headers: HeaderMap, _: Nothing) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let size = checkpoint(&core, caller.tenant.id, 0).await?;
    Ok(Answer { status: 201, ..Answer::ok(json!({ "size": size })) })
}
