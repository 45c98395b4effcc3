//! What all things of the API have in common: list, make, read, replace, change, delete, with versions, idempotency
//! and an audit entry each. What differs is a row of the registry.

use super::auth::caller;
use super::problem::{Code, Problem};
use super::reply::{Answer, Once, Paging, body, fields, if_match, page, stale};
use crate::core::Core;
use crate::core::tenant::Tenant;
use crate::decide::{revoke, travel};
use crate::doc::Rights;
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::row::Record;
use crate::trail;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use keyway_domain::credential::Digest;
use keyway_domain::id::PersonId;
use keyway_domain::time::UnixMs;
use serde_json::{Map, Value};
use std::sync::Arc;

/// One kind of thing.
pub struct Resource {
    /// `/v1/<path>`
    pub path: &'static str,
    /// For problems and the audit trail.
    pub one: &'static str,
    pub kind: RecordKind,
    pub mint: fn(&mut Ids) -> String,
    pub is_id: fn(&str) -> bool,
    /// Checks what came and makes the document.
    pub make: fn(Draft<'_>) -> Result<Made, Problem>,
    /// The document as people see it, without what is not theirs.
    pub show: fn(Value) -> Value,
    /// Why it cannot go: who refers to it.
    pub held_by: fn(&str, &TenantFacts) -> Option<String>,
}

/// A thing as it came in.
pub struct Draft<'a> {
    pub id: &'a str,
    pub body: Value,
    pub before: Option<Value>,
    pub tenant: &'a Tenant,
    pub facts: &'a TenantFacts,
}

/// A document, and what follows from it.
#[derive(Default)]
pub struct Made {
    pub doc: Value,
    pub parent: Option<String>,
    /// Credentials that open nothing from now on, and ones that do again.
    pub revoked: Vec<Digest>,
    pub restored: Vec<Digest>,
    /// Whose keys have changed.
    pub tell: Vec<PersonId>,
}

impl Draft<'_> {
    pub fn input<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Problem> {
        fields(self.body.take())
    }
}

impl Made {
    pub fn of<T: serde::Serialize>(doc: &T) -> Self {
        Self {
            doc: serde_json::to_value(doc).expect("our documents have string keys only"),
            ..Self::default()
        }
    }

    pub fn under(mut self, parent: impl ToString) -> Self {
        self.parent = Some(parent.to_string());
        self
    }
}

pub fn same(doc: Value) -> Value {
    doc
}

/// What core adds to a document; a caller may send it back, it changes nothing.
const OURS: [&str; 4] = ["id", "version", "created_at", "changed_at"];

pub fn shown(show: fn(Value) -> Value, row: &Record) -> Result<Value, Problem> {
    let doc: Value = row.read()?;
    let mut shown = show(doc);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("id".into(), row.id.clone().into());
        fields.insert("version".into(), row.version.into());
        fields.insert("created_at".into(), row.created_at.to_rfc3339().into());
        fields.insert("changed_at".into(), row.changed_at.to_rfc3339().into());
    }
    Ok(shown)
}

/// RFC 7396: null takes a field away, an object is merged, everything else replaces.
fn merged(base: Value, patch: Value) -> Value {
    let Value::Object(changes) = patch else { return patch };
    let mut fields = match base {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(&name);
        } else {
            let held = fields.remove(&name).unwrap_or(Value::Null);
            fields.insert(name, merged(held, change));
        }
    }
    Value::Object(fields)
}

fn without_ours(value: Value) -> Result<Value, Problem> {
    let Value::Object(mut fields): Value = value else {
        return Err(Problem::new(Code::Malformed, "the body has to be a JSON object"));
    };
    OURS.iter().for_each(|name| {
        fields.remove(*name);
    });
    Ok(Value::Object(fields))
}

pub fn routes(router: Router<Arc<Core>>, resource: &'static Resource) -> Router<Arc<Core>> {
    let list = move |State(core): State<Arc<Core>>, headers: HeaderMap, Query(paging): Query<Paging>| async move {
        list(&core, resource, &headers, &paging).await
    };
    let create = move |State(core): State<Arc<Core>>, headers: HeaderMap, bytes: Bytes| async move {
        create(&core, resource, &headers, &bytes).await
    };
    let show = move |State(core): State<Arc<Core>>, headers: HeaderMap, Path(id): Path<String>| async move {
        let caller = caller(&core, &headers, Rights::Read).await?;
        let row = find(&core, resource, &caller.tenant, &id).await?;
        Ok::<_, Problem>(Answer::ok(shown(resource.show, &row)?).at(row.version))
    };
    let put = move |State(core): State<Arc<Core>>,
                    headers: HeaderMap,
                    Path(id): Path<String>,
                    bytes: Bytes| async move {
        replace(&core, resource, &headers, &id, &bytes, false).await
    };
    let patch = move |State(core): State<Arc<Core>>,
                      headers: HeaderMap,
                      Path(id): Path<String>,
                      bytes: Bytes| async move {
        replace(&core, resource, &headers, &id, &bytes, true).await
    };
    let delete = move |State(core): State<Arc<Core>>, headers: HeaderMap, Path(id): Path<String>| async move {
        remove(&core, resource, &headers, &id).await
    };
    router
        .route(&format!("/v1/{}", resource.path), get(list).post(create))
        .route(&format!("/v1/{}/{{id}}", resource.path), get(show).put(put).patch(patch).delete(delete))
}

async fn find(core: &Core, resource: &Resource, tenant: &Tenant, id: &str) -> Result<Record, Problem> {
    if !(resource.is_id)(id) {
        return Err(Problem::not_found(resource.one));
    }
    let row = core.store.record(tenant.scope, resource.kind, id).await?;
    row.ok_or_else(|| Problem::not_found(resource.one))
}

async fn list(
    core: &Core,
    resource: &Resource,
    headers: &HeaderMap,
    paging: &Paging,
) -> Result<Answer, Problem> {
    let caller = caller(core, headers, Rights::Read).await?;
    let (parent, after) = (paging.parent.as_deref(), paging.after.as_deref());
    let found = core.store.records(caller.tenant.scope, resource.kind, parent, after, paging.limit()).await?;
    let items = found.items.iter().map(|row| shown(resource.show, row)).collect::<Result<_, _>>()?;
    Ok(page(items, found.next))
}

async fn create(
    core: &Core,
    resource: &Resource,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Answer, Problem> {
    let caller = caller(core, headers, Rights::Write).await?;
    let once = Once::of(&caller.name, headers, resource.path, bytes)?;
    if let Some(earlier) = once.earlier(core, caller.tenant.scope).await? {
        return Ok(earlier);
    }
    let facts = caller.facts(core).await?;
    let mut ids = core.ids();
    let id = (resource.mint)(&mut ids);
    let body = without_ours(body(bytes)?)?;
    let draft = Draft { id: &id, body, before: None, tenant: &caller.tenant, facts: &facts };
    let made = (resource.make)(draft)?;
    let action = format!("{}.created", resource.one);
    let change =
        change(resource, &caller.name, &action, &id, Expect::Absent, &made, &caller.tenant, &facts, &mut ids);
    let now = ids.now;
    let row = Record {
        tenant: caller.tenant.id,
        kind: resource.kind,
        id: id.clone(),
        version: 1,
        parent: None,
        doc: made.doc.to_string(),
        created_at: now,
        changed_at: now,
    };
    travels(&facts, &row, now)?;
    let body = shown(resource.show, &row)?;
    let answer = once
        .commit(core, caller.tenant.scope, change, |_| {
            Answer::created(format!("/v1/{}/{id}", resource.path), body).at(1)
        })
        .await?;
    core.facts_changed(caller.tenant.id);
    Ok(answer)
}

async fn replace(
    core: &Core,
    resource: &Resource,
    headers: &HeaderMap,
    id: &str,
    bytes: &[u8],
    patch: bool,
) -> Result<Answer, Problem> {
    let caller = caller(core, headers, Rights::Write).await?;
    let named = if_match(headers)?;
    if named.is_none() && !patch {
        return Err(Problem::new(
            Code::NeedsMatch,
            "send If-Match with the ETag of the thing as it was read",
        ));
    }
    let row = find(core, resource, &caller.tenant, id).await?;
    if named.is_some_and(|version| version != row.version) {
        return Err(Problem::new(
            Code::Changed,
            format!("it is at version {} now; read it again", row.version),
        ));
    }
    let before: Value = row.read()?;
    let given: Value = body(bytes)?;
    let whole = if patch { merged((resource.show)(before.clone()), given) } else { given };
    let facts = caller.facts(core).await?;
    let draft =
        Draft { id, body: without_ours(whole)?, before: Some(before), tenant: &caller.tenant, facts: &facts };
    let made = (resource.make)(draft)?;
    let mut ids = core.ids();
    let expect = Expect::Version(row.version);
    let row = Record { version: row.version + 1, doc: made.doc.to_string(), changed_at: ids.now, ..row };
    travels(&facts, &row, ids.now)?;
    let action = format!("{}.changed", resource.one);
    let change = change(resource, &caller.name, &action, id, expect, &made, &caller.tenant, &facts, &mut ids);
    core.commit(caller.tenant.scope, change).await.map_err(|error| stale(error, named.is_some()))?;
    core.facts_changed(caller.tenant.id);
    Ok(Answer::ok(shown(resource.show, &row)?).at(row.version))
}

/// Refuses what no door could be told any more.
fn travels(facts: &TenantFacts, row: &Record, now: UnixMs) -> Result<(), Problem> {
    let Some(large) = travel::after(facts, row, now)? else { return Ok(()) };
    let (door, name, credentials) = (large.door, large.name, large.credentials);
    Err(Problem::new(
        Code::BundleTooLarge,
        format!(
            "with this the door \"{name}\" ({door}) would have to hold {credentials} credentials in {} KiB, and {} KiB travel; \
             let fewer people in there, or give them fewer grants",
            large.bytes / 1024,
            travel::BUNDLE_BYTES_MAX / 1024
        ),
    ))
}

async fn remove(core: &Core, resource: &Resource, headers: &HeaderMap, id: &str) -> Result<Answer, Problem> {
    let caller = caller(core, headers, Rights::Write).await?;
    let named = if_match(headers)?;
    let row = find(core, resource, &caller.tenant, id).await?;
    let facts = caller.facts(core).await?;
    if let Some(why) = (resource.held_by)(id, &facts) {
        return Err(Problem::new(Code::InUse, why));
    }
    let mut ids = core.ids();
    let expect = Expect::Version(named.unwrap_or(row.version));
    let mut change = Change::at(ids.now);
    change.records.push(RecordChange::Delete { kind: resource.kind, id: id.to_owned(), expect });
    let action = format!("{}.deleted", resource.one);
    change.audit.push(trail::entry(&caller.name, &action, id, &mut ids));
    let gone = revoke::deleted(resource.kind, id, &facts);
    revoke::revoke(&facts, &caller.tenant.key, &gone, &[], &mut change, &mut ids);
    core.commit(caller.tenant.scope, change).await.map_err(|error| stale(error, named.is_some()))?;
    core.facts_changed(caller.tenant.id);
    Ok(Answer { status: 204, ..Answer::ok(Value::Null) })
}

#[expect(clippy::too_many_arguments, reason = "a change is made of exactly these")]
fn change(
    resource: &Resource,
    actor: &str,
    action: &str,
    id: &str,
    expect: Expect,
    made: &Made,
    tenant: &Tenant,
    facts: &TenantFacts,
    ids: &mut Ids,
) -> Change {
    let mut change = Change::at(ids.now);
    let entry = trail::entry(actor, action, id, ids);
    change.audit.push(trail::detailed(entry, &audited(made.doc.clone()), ids));
    change.records.push(RecordChange::Put(RecordDraft {
        kind: resource.kind,
        id: id.to_owned(),
        expect,
        parent: made.parent.clone(),
        doc: made.doc.to_string(),
        lookups: Vec::new(),
    }));
    for person in &made.tell {
        change.outbox.push(publish::keys_changed(facts.tenant, *person, ids));
    }
    revoke::revoke(facts, &tenant.key, &made.revoked, &made.restored, &mut change, ids);
    change
}

/// A document in the audit trail, without what could be guessed from it.
fn audited(doc: Value) -> Value {
    match doc {
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields.into_iter().filter(|(name, _)| name != "digest").collect();
            Value::Object(kept)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch() {
        // The example of RFC 7396.
        let base = json!({"a": "b", "c": {"d": "e", "f": "g"}});
        assert_eq!(merged(base, json!({"a": "z", "c": {"f": null}})), json!({"a": "z", "c": {"d": "e"}}));
        assert_eq!(merged(json!({"a": [1]}), json!({"a": [2, 3]})), json!({"a": [2, 3]}));
        assert_eq!(merged(Value::Null, json!({"a": {"b": null, "c": 1}})), json!({"a": {"c": 1}}));
    }
}
