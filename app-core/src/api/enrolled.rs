//! Devices and phones that are enrolled: who they are, what was last seen of them, and their end.

use super::auth::{Caller, caller};
use super::problem::Problem;
use super::reply::{Answer, Nothing, Paging, page};
use super::resource::{same, shown};
use super::turn::Turn;
use crate::core::Core;
use crate::decide::revoke;
use crate::doc::{DeviceDoc, DeviceState, PhoneDoc, Rights};
use crate::publish;
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::row::Record;
use crate::trail;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use keyway_domain::credential::Digest;
use keyway_domain::id::{DeviceId, KeyId};
use serde_json::json;
use std::sync::Arc;

async fn listed(
    core: &Core,
    headers: &HeaderMap,
    kind: RecordKind,
    paging: &Paging,
) -> Result<Answer, Problem> {
    let caller = caller(core, headers, Rights::Read).await?;
    let (parent, after) = (paging.parent(), paging.after());
    let found = core.store.records(caller.tenant.scope, kind, parent, after, paging.limit()).await?;
    let items = found.items.iter().map(|row| shown(same, row)).collect::<Result<_, _>>()?;
    Ok(page(items, found.next))
}

pub async fn devices(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Answer, Problem> {
    listed(&core, &headers, RecordKind::Device, &paging).await
}

pub async fn phones(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Answer, Problem> {
    listed(&core, &headers, RecordKind::Phone, &paging).await
}

/// A device or a phone by its id; what is no id is nobody's.
async fn found(core: &Core, caller: &Caller, kind: RecordKind, id: &str) -> Result<Record, Problem> {
    let (what, is_id) = match kind {
        RecordKind::Device => ("device", DeviceId::parse(id).is_ok()),
        _ => ("phone", KeyId::parse(id).is_ok()),
    };
    let row = if is_id { core.store.record(caller.tenant.scope, kind, id).await? } else { None };
    row.ok_or_else(|| Problem::not_found(what))
}

pub async fn show_phone(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let row = found(&core, &caller, RecordKind::Phone, &id).await?;
    Ok(Answer::ok(shown(same, &row)?).at(row.version))
}

/// A device with what was last seen of it.
pub async fn show_device(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let scope = caller.tenant.scope;
    let row = found(&core, &caller, RecordKind::Device, &id).await?;
    let mut body = shown(same, &row)?;
    if let Some(state) = core.store.record(scope, RecordKind::DeviceState, &id).await? {
        let state: DeviceState = state.read()?;
        body["state"] = json!(state);
    }
    Ok(Answer::ok(body).at(row.version))
}

pub async fn revoke_device(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let mut turn = Turn::of(&core, &caller.tenant);
    loop {
        let row = found(&core, &caller, RecordKind::Device, &id).await?;
        let doc = DeviceDoc { revoked: true, ..row.read::<DeviceDoc>()? };
        let mut ids = core.ids();
        let mut change = Change::at(ids.now);
        let draft = RecordDraft::of(RecordKind::Device, &id, Expect::Version(row.version), &doc);
        change.records.push(RecordChange::Put(draft.under(doc.door)));
        change.audit.push(trail::entry(&caller.name, "device.revoked", &id, &mut ids));
        let voided = core.void_tokens(caller.tenant.id, &id, &mut change);
        match core.commit(caller.tenant.scope, change).await {
            Ok(_) => {
                core.tell_gateways(voided);
                return Ok(Answer::ok(json!({ "id": id, "revoked": true })));
            }
            Err(error) => turn.again(error.into()).await?,
        }
    }
}

pub async fn revoke_phone(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let mut turn = Turn::of(&core, &caller.tenant);
    loop {
        let row = found(&core, &caller, RecordKind::Phone, &id).await?;
        let doc = PhoneDoc { revoked: true, ..row.read::<PhoneDoc>()? };
        let facts = caller.facts(&core).await?;
        let mut ids = core.ids();
        let mut change = Change::at(ids.now);
        let draft = RecordDraft::of(RecordKind::Phone, &id, Expect::Version(row.version), &doc);
        change.records.push(RecordChange::Put(draft.under(doc.person)));
        change.audit.push(trail::entry(&caller.name, "phone.revoked", &id, &mut ids));
        change.outbox.push(publish::keys_changed(facts.tenant, doc.person, &mut ids));
        let digest: Vec<Digest> =
            facts.facts.credentials.get(&doc.credential).map(|one| one.digest).into_iter().collect();
        revoke::revoke(&facts, &caller.tenant.key, &digest, &[], &mut change, &mut ids);
        // The token is the person's: their other phones fetch a new one by themselves.
        let voided = core.void_tokens(caller.tenant.id, &doc.person.to_string(), &mut change);
        match core.commit(caller.tenant.scope, change).await {
            Ok(_) => {
                core.facts_changed(caller.tenant.id);
                core.tell_gateways(voided);
                return Ok(Answer::ok(json!({ "id": id, "revoked": true })));
            }
            Err(error) => turn.again(error.into()).await?,
        }
    }
}

/// Closes every socket of a person; their phones need new tokens.
pub async fn sign_out(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let person = caller.person(&core, &id).await?;
    let mut ids = core.ids();
    let mut change = Change::at(ids.now);
    change.audit.push(trail::entry(&caller.name, "person.signed_out", person, &mut ids));
    let voided = core.void_tokens(caller.tenant.id, &id, &mut change);
    core.commit(caller.tenant.scope, change).await?;
    core.tell_gateways(voided);
    Ok(Answer::ok(json!({ "id": id, "signed_out": true })))
}
