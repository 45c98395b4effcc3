//! Commands and modes: opening a door as an operator, looking at what became of it, taking it back, and saying how a
//! door shall behave.

use super::auth::caller;
use super::problem::{Code, Problem};
use super::reply::{Answer, Nothing, Once, Paging, body, if_match, page};
use super::resource::moved;
use super::turn::Turn;
use crate::core::Core;
use crate::decide::unlock::{Asker, By, Wish};
use crate::doc::{DoorDoc, Rights};
use crate::relay::{cancelled, command, wait};
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::row::CommandRow;
use crate::trail;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use keyway_domain::command::DEADLINE_MS_MAX;
use keyway_domain::door::DoorMode;
use keyway_domain::id::{CommandId, DoorId, RequestId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Somebody at a screen waits this long for a door.
const WITHIN_MS_DEFAULT: u64 = 10_000;
const WAIT_S_MAX: u64 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// `unlock` is the one there is.
    kind: Kind,
    #[serde(default)]
    within_ms: Option<u64>,
    /// Made by the caller; the same id is the same command. Without it the Idempotency-Key serves.
    #[serde(default)]
    request: Option<RequestId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Unlock,
}

fn shown(row: &CommandRow) -> Value {
    let mut body = json!({
        "id": row.id(), "door": row.command.door, "device": row.command.device, "kind": "unlock",
        "created_at": row.record.created_at.to_rfc3339(), "deadline": row.record.deadline.to_rfc3339(),
        "asked_by": row.asked_by, "person": row.person, "request": row.request,
        "final": row.record.state.is_final(),
    });
    let state = json!(row.record.state);
    if let (Some(fields), Value::Object(state)) = (body.as_object_mut(), state) {
        fields.extend(state);
    }
    body
}

/// `Prefer: wait=5`
fn preferred_wait_s(headers: &HeaderMap) -> u64 {
    let prefer = headers.get("prefer").and_then(|value| value.to_str().ok()).unwrap_or("");
    let wait = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait="));
    wait.and_then(|seconds| seconds.parse().ok()).unwrap_or(0).min(WAIT_S_MAX)
}

/// The request id of a caller's Idempotency-Key: the same key is the same command, also after a crash of core.
fn request_of(caller: &str, headers: &HeaderMap) -> Option<RequestId> {
    use sha2::{Digest as _, Sha256};
    let key = headers.get("idempotency-key")?.as_bytes();
    let hash = Sha256::digest([caller.as_bytes(), b"/", key].concat());
    Some(RequestId::mint(keyway_domain::time::UnixMs(0), std::array::from_fn(|place| hash[place])))
}

pub async fn create(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let door = DoorId::parse(&id).map_err(|_| Problem::not_found("door"))?;
    let Input { kind: Kind::Unlock, within_ms, request } = body(&bytes)?;
    if within_ms.is_some_and(|within_ms| !(1..=DEADLINE_MS_MAX).contains(&within_ms)) {
        return Err(Problem::field("within_ms", format!("from 1 to {DEADLINE_MS_MAX} milliseconds")));
    }
    // The command's own row is what keeps it once, and is shown as it is by now; the key says whether it is the same asking.
    let once = Once::of(&caller.name, &headers, &id, &bytes)?;
    let replayed = once.asked_before(&core, caller.tenant.scope).await?;
    let now = core.clock.now();
    let drawn = core.ids().draw();
    let request = request.or_else(|| request_of(&caller.name, &headers));
    let wish = Wish {
        request: request.unwrap_or_else(|| RequestId::mint(now, drawn)),
        door,
        deadline: now.plus(within_ms.unwrap_or(WITHIN_MS_DEFAULT)),
    };
    let asker = Asker { name: caller.name.clone(), person: None, phone: None };
    let once = once.without_answer(now);
    let mut row = command(&core, caller.tenant.id, &wish, &asker, By::Operator, once).await?;
    if row.asked_by != caller.name || row.command.door != door {
        return Err(Problem::new(Code::KeyReused, "this request id or Idempotency-Key is another command's"));
    }
    let wait_s = preferred_wait_s(&headers);
    if wait_s > 0 {
        row = wait(&core, caller.tenant.scope, row, now.plus(wait_s * 1000)).await?;
    }
    let status = if row.record.state.is_final() { 200 } else { 202 };
    let location = Some(format!("/v1/commands/{}", row.id()));
    Ok(Answer { status, location, replayed, ..Answer::ok(shown(&row)) })
}

async fn find(core: &Core, scope: crate::store::TenantScope, id: &str) -> Result<CommandRow, Problem> {
    let id = CommandId::parse(id).map_err(|_| Problem::not_found("command"))?;
    core.store.command(scope, id).await?.ok_or_else(|| Problem::not_found("command"))
}

pub async fn show(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let row = find(&core, caller.tenant.scope, &id).await?;
    Ok(Answer::ok(shown(&row)).at(row.version))
}

pub async fn list(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let found = core.store.commands(caller.tenant.scope, paging.after(), paging.limit()).await?;
    Ok(page(found.items.iter().map(shown).collect(), found.next))
}

pub async fn cancel(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let row = find(&core, caller.tenant.scope, &id).await?;
    Ok(Answer::ok(shown(&cancelled(&core, caller.tenant.id, row).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeInput {
    mode: DoorMode,
}

/// Wanted state: it converges. The door hears at once if it is there, and with its next sync otherwise.
pub async fn mode(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let input: ModeInput = body(&bytes)?;
    DoorId::parse(&id).map_err(|_| Problem::not_found("door"))?;
    let named = if_match(&headers)?;
    let mut turn = Turn::of(&core, &caller.tenant);
    loop {
        let row = core.store.record(caller.tenant.scope, RecordKind::Door, &id).await?;
        let row = row.ok_or_else(|| Problem::not_found("door"))?;
        let mut door: DoorDoc = row.read()?;
        moved(named, &row)?;
        if door.mode != input.mode {
            door.mode = input.mode;
            door.mode_version += 1;
            let mut ids = core.ids();
            let mut change = Change::at(ids.now);
            let draft = RecordDraft::of(RecordKind::Door, door.id, Expect::Version(row.version), &door);
            change.records.push(RecordChange::Put(draft.under(door.site)));
            let entry = trail::entry(&caller.name, "door.mode_set", door.id, &mut ids);
            change.audit.push(trail::detailed(entry, &door.mode, &mut ids));
            if let Err(error) = core.commit(caller.tenant.scope, change).await {
                turn.again(error.into()).await?;
                continue;
            }
            core.facts_changed(caller.tenant.id);
        }
        let shown = json!({ "door": door.id, "mode": door.mode, "mode_version": door.mode_version });
        return Ok(Answer::ok(shown));
    }
}
