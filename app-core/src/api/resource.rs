//! What all things of the API have in common: list, make, read, replace, change, delete, with versions, idempotency
//! and an audit entry each. What differs is a row of the registry.

use super::auth::{Caller, caller};
use super::problem::{Code, Problem};
use super::reply::{Answer, Once, Paging, body, fields, if_match, page};
use super::turn::Turn;
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
use axum::http::{HeaderMap, header};
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
    /// The fields of what stands inside its document, each by a path in which `*` is every element of a list. The domain
    /// reads over what it does not know, so that doors may be older than core; a caller who slips is told.
    pub parts: &'static [(&'static str, &'static [&'static str])],
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
    /// Whose tokens are void from now on.
    pub void: Vec<PersonId>,
    /// It is new and refers to nothing.
    pub alone: bool,
}

impl Resource {
    fn made(&self, draft: Draft<'_>) -> Result<Made, Problem> {
        for (path, known) in self.parts {
            let names: Vec<&str> = path.split('/').collect();
            if let Some(slip) = unknown(&draft.body, &names, known) {
                let known = known.join("`, `");
                return Err(Problem::field(&slip, format!("unknown field, expected one of `{known}`")));
            }
        }
        (self.make)(draft)
    }
}

/// Where in a part of a body a field stands that is none of the known ones. What is no object is somebody else's problem.
fn unknown(value: &Value, path: &[&str], known: &[&str]) -> Option<String> {
    let Some((name, rest)) = path.split_first() else {
        return value.as_object()?.keys().find(|name| !known.contains(&name.as_str())).cloned();
    };
    if *name == "*" {
        let mut found = value.as_array()?.iter().enumerate();
        return found.find_map(|(place, one)| Some(format!("{place}/{}", unknown(one, rest, known)?)));
    }
    Some(format!("{name}/{}", unknown(value.get(name)?, rest, known)?))
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
    let (parent, after) = (paging.parent(), paging.after());
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
    let body = without_ours(body(bytes)?)?;
    let mut turn = Turn::of(core, &caller.tenant);
    loop {
        let facts = caller.facts(core).await?;
        let mut ids = core.ids();
        let id = (resource.mint)(&mut ids);
        let draft =
            Draft { id: &id, body: body.clone(), before: None, tenant: &caller.tenant, facts: &facts };
        let made = resource.made(draft)?;
        let row = Record {
            tenant: caller.tenant.id,
            kind: resource.kind,
            id: id.clone(),
            version: 1,
            parent: None,
            doc: made.doc.to_string(),
            created_at: ids.now,
            changed_at: ids.now,
        };
        travels(&facts, &row, ids.now)?;
        let shown = shown(resource.show, &row)?;
        let put = Put { resource, action: "created", id: &id, expect: Expect::Absent, made: &made };
        let change = put.change(&caller, &facts, &mut ids);
        let answer = Answer::created(format!("/v1/{}/{id}", resource.path), shown).at(1);
        match once.commit(core, caller.tenant.scope, change, |_| answer).await {
            Ok(answer) => {
                core.facts_changed(caller.tenant.id);
                return Ok(answer);
            }
            Err(problem) => turn.again(problem).await?,
        }
    }
}

/// The version that the caller has changed from, if they named one, has to be the one that is there.
pub fn moved(named: Option<u64>, row: &Record) -> Result<(), Problem> {
    match named {
        Some(version) if version != row.version => {
            Err(Problem::new(Code::Changed, format!("it is at version {} now; read it again", row.version)))
        }
        _ => Ok(()),
    }
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
    if !patch && !headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(
            Code::NeedsMatch,
            "send If-Match with the ETag of the thing as it was read",
        ));
    }
    let mut turn = Turn::of(core, &caller.tenant);
    loop {
        let row = find(core, resource, &caller.tenant, id).await?;
        moved(named, &row)?;
        let before: Value = row.read()?;
        let given: Value = body(bytes)?;
        let whole = if patch { merged((resource.show)(before.clone()), given) } else { given };
        let facts = caller.facts(core).await?;
        let body = without_ours(whole)?;
        let draft = Draft { id, body, before: Some(before), tenant: &caller.tenant, facts: &facts };
        let made = resource.made(draft)?;
        let mut ids = core.ids();
        let expect = Expect::Version(row.version);
        let row = Record { version: row.version + 1, doc: made.doc.to_string(), changed_at: ids.now, ..row };
        travels(&facts, &row, ids.now)?;
        let put = Put { resource, action: "changed", id, expect, made: &made };
        let mut change = put.change(&caller, &facts, &mut ids);
        let void = |person: &PersonId| core.void_tokens(caller.tenant.id, &person.to_string(), &mut change);
        let voided: Vec<String> = made.void.iter().filter_map(void).collect();
        match core.commit(caller.tenant.scope, change).await {
            Ok(_) => {
                core.facts_changed(caller.tenant.id);
                core.tell_gateways(voided);
                return Ok(Answer::ok(shown(resource.show, &row)?).at(row.version));
            }
            Err(error) => turn.again(error.into()).await?,
        }
    }
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
    let mut turn = Turn::of(core, &caller.tenant);
    loop {
        let row = find(core, resource, &caller.tenant, id).await?;
        moved(named, &row)?;
        let facts = caller.facts(core).await?;
        if let Some(why) = (resource.held_by)(id, &facts) {
            return Err(Problem::new(Code::InUse, why));
        }
        let mut ids = core.ids();
        // Guarded by the facts: nobody refers to it meanwhile.
        let mut change = Change { if_facts: Some(facts.version), ..Change::at(ids.now) };
        let expect = Expect::Version(row.version);
        change.records.push(RecordChange::Delete { kind: resource.kind, id: id.to_owned(), expect });
        let action = format!("{}.deleted", resource.one);
        change.audit.push(trail::entry(&caller.name, &action, id, &mut ids));
        let gone = revoke::deleted(resource.kind, id, &facts);
        revoke::revoke(&facts, &caller.tenant.key, &gone, &[], &mut change, &mut ids);
        match core.commit(caller.tenant.scope, change).await {
            Ok(_) => {
                core.facts_changed(caller.tenant.id);
                return Ok(Answer { status: 204, ..Answer::ok(Value::Null) });
            }
            Err(error) => turn.again(error.into()).await?,
        }
    }
}

/// A thing as it is put, whether it was there or not.
struct Put<'p> {
    resource: &'p Resource,
    action: &'static str,
    id: &'p str,
    expect: Expect,
    made: &'p Made,
}

impl Put<'_> {
    fn change(&self, caller: &Caller, facts: &TenantFacts, ids: &mut Ids) -> Change {
        let Self { resource, made, .. } = self;
        // What refers to nothing is right whatever the facts are: a hundred of them are committed together.
        let if_facts = (!made.alone).then_some(facts.version);
        let mut change = Change { if_facts, ..Change::at(ids.now) };
        let action = format!("{}.{}", resource.one, self.action);
        let entry = trail::entry(&caller.name, &action, self.id, ids);
        change.audit.push(trail::detailed(entry, &audited(made.doc.clone()), ids));
        change.records.push(RecordChange::Put(RecordDraft {
            kind: resource.kind,
            id: self.id.to_owned(),
            expect: self.expect,
            parent: made.parent.clone(),
            doc: made.doc.to_string(),
            lookups: Vec::new(),
        }));
        for person in &made.tell {
            change.outbox.push(publish::keys_changed(facts.tenant, *person, ids));
        }
        revoke::revoke(facts, &caller.tenant.key, &made.revoked, &made.restored, &mut change, ids);
        change
    }
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
    fn slips_inside_a_document_are_found() {
        let body = json!({"validity": {"untl": 5}, "weekly": [{"days": 1}, {"windows": [{"form": 2}]}]});
        let check = |path: &str, known: &[&str]| unknown(&body, &path.split('/').collect::<Vec<_>>(), known);
        assert_eq!(check("validity", &["from", "until"]).as_deref(), Some("validity/untl"));
        assert_eq!(check("weekly/*/windows/*", &["from"]).as_deref(), Some("weekly/1/windows/0/form"));
        assert_eq!(check("weekly/*", &["days", "windows"]), None);
        assert_eq!(check("absent/*", &[]), None);
    }

    #[test]
    fn a_merge_patch() {
        // The example of RFC 7396.
        let base = json!({"a": "b", "c": {"d": "e", "f": "g"}});
        assert_eq!(merged(base, json!({"a": "z", "c": {"f": null}})), json!({"a": "z", "c": {"d": "e"}}));
        assert_eq!(merged(json!({"a": [1]}), json!({"a": [2, 3]})), json!({"a": [2, 3]}));
        assert_eq!(merged(Value::Null, json!({"a": {"b": null, "c": 1}})), json!({"a": {"c": 1}}));
    }
}
