//! Tenants and API keys. The configured key makes tenants and nothing else; everything inside one is done with keys of
//! that tenant.

use super::auth::{KEY_PREFIX, administrator, caller};
use super::problem::{Code, Problem};
use super::reply::{Answer, Nothing, Once, Paging, body, page};
use crate::core::tenant::reader_key_name;
use crate::core::{Core, keys, sha256_hex};
use crate::doc::{ApiKeyDoc, KeyPurpose, READER_KEY, Rights};
use crate::ids::Ids;
use crate::source::random;
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::{LookupSpace, RecordKind};
use crate::store::row::Record;
use crate::store::{System, TenantScope};
use crate::trail;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use keyway_domain::id::{ApiKeyId, TenantId};
use keyway_domain::place::Tenant;
use keyway_domain::time::UnixMs;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

const SYSTEM: System = System::because("the administrator lists tenants");
const NAME_CHARS_MAX: usize = 120;
/// The one with the configured key, in the trail and before idempotency keys. No API key's id looks like it.
const ADMINISTRATOR: &str = "administrator";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantInput {
    name: String,
}

/// A new key as a record, and its secret, which is shown once.
fn new_key(
    name: &str,
    rights: Rights,
    expires_at: Option<UnixMs>,
    ids: &mut Ids,
) -> (ApiKeyDoc, RecordDraft, String) {
    // 160 bits: nobody guesses it, and a plain hash of it can stand in the database.
    let secret: String = random::<20>().iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = format!("{KEY_PREFIX}{secret}");
    let id = ApiKeyId::mint(ids.now, ids.draw());
    let doc = ApiKeyDoc { id, name: name.to_owned(), rights, made_at: ids.now, expires_at, revoked: false };
    let draft = RecordDraft::of(RecordKind::ApiKey, id, Expect::Absent, &doc)
        .found_by(LookupSpace::ApiKey, sha256_hex(secret.as_bytes()));
    (doc, draft, secret)
}

fn check_name(name: &str) -> Result<&str, Problem> {
    let name = name.trim();
    let good =
        !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
    if good { Ok(name) } else { Err(Problem::field("name", "1 to 120 characters, no control characters")) }
}

/// A tenant with its signing key, its reader key and a first API key.
pub async fn create(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    administrator(&core, &headers)?;
    let input: TenantInput = body(&bytes)?;
    let name = check_name(&input.name)?;
    let once = Once::of(ADMINISTRATOR, &headers, "tenants", &bytes)?;
    let mut ids = core.ids();
    // The answer is kept in the tenant that it made, so the key has to lead there.
    let id = match once.seed() {
        Some(seed) => TenantId::mint(UnixMs(0), seed),
        None => TenantId::mint(ids.now, ids.draw()),
    };
    let scope = TenantScope::of(id);
    if let Some(earlier) = once.earlier(&core, scope).await? {
        return Ok(earlier);
    }
    let mut change = Change::at(ids.now);
    let tenant = Tenant { id, name: name.to_owned() };
    let put = |draft| RecordChange::Put(draft);
    change.records.push(put(RecordDraft::of(RecordKind::Tenant, id, Expect::Absent, &tenant)));
    let (signing, draft) = keys::make(&core.root, KeyPurpose::Tenant, &mut ids);
    change.records.push(put(draft));
    let sealed = keys::seal_secret(&core.root, &reader_key_name(id), &random());
    change.records.push(put(RecordDraft::of(RecordKind::Setting, READER_KEY, Expect::Absent, &sealed)));
    let (key, draft, secret) = new_key("first key", Rights::Admin, None, &mut ids);
    change.records.push(put(draft));
    let entry = trail::entry(ADMINISTRATOR, "tenant.created", id, &mut ids);
    change.audit.push(trail::detailed(entry, &tenant, &mut ids));
    change.audit.push(trail::entry(ADMINISTRATOR, "key.made", signing.id, &mut ids));
    change.audit.push(trail::entry(ADMINISTRATOR, "api_key.created", key.id, &mut ids));
    let body = json!({
        "id": id, "name": name, "api_key": { "id": key.id, "secret": secret, "rights": key.rights },
        "signing_key": { "kid": signing.id, "key": signing.public() },
    });
    match once.commit(&core, scope, change, |_| Answer::created(format!("/v1/tenants/{id}"), body)).await {
        // The same key at the same moment, or more than a day ago.
        Err(problem) if problem.is(Code::Conflict) => once.earlier(&core, scope).await?.ok_or(problem),
        other => other,
    }
}

/// Another key with every right, for a tenant whose own keys are lost.
pub async fn key_for_tenant(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    administrator(&core, &headers)?;
    let tenant = TenantId::parse(&id).map_err(|_| Problem::not_found("tenant"))?;
    // Its keys are read: a tenant that is not there has none.
    core.tenant(tenant).await?;
    let scope = TenantScope::of(tenant);
    let once = Once::of(ADMINISTRATOR, &headers, "keys of a tenant", &bytes)?;
    if let Some(earlier) = once.earlier(&core, scope).await? {
        return Ok(earlier);
    }
    let mut ids = core.ids();
    let (key, draft, secret) = new_key("made by the administrator", Rights::Admin, None, &mut ids);
    let mut change = Change::at(ids.now);
    change.records.push(RecordChange::Put(draft));
    change.audit.push(trail::entry(ADMINISTRATOR, "api_key.created", key.id, &mut ids));
    let shown = json!({ "id": key.id, "secret": secret, "rights": key.rights });
    once.commit(&core, scope, change, |_| Answer::created(format!("/v1/keys/{}", key.id), shown)).await
}

pub async fn show(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    administrator(&core, &headers)?;
    let missing = || Problem::not_found("tenant");
    let tenant = TenantId::parse(&id).map_err(|_| missing())?;
    let row =
        core.store.record(TenantScope::of(tenant), RecordKind::Tenant, &id).await?.ok_or_else(missing)?;
    Ok(Answer::ok(super::resource::shown(super::resource::same, &row)?).at(row.version))
}

pub async fn list(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Answer, Problem> {
    administrator(&core, &headers)?;
    let after = paging.after();
    let found = core.store.records_of_all(SYSTEM, RecordKind::Tenant, after, paging.limit()).await?;
    let items = found.items.iter().map(|row| super::resource::shown(super::resource::same, row));
    Ok(page(items.collect::<Result<_, _>>()?, found.next))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyInput {
    name: String,
    rights: Rights,
    /// Seconds from now; without it the key holds until it is revoked.
    #[serde(default)]
    life_s: Option<u64>,
}

pub async fn make_key(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let once = Once::of(&caller.name, &headers, "keys", &bytes)?;
    if let Some(earlier) = once.earlier(&core, caller.tenant.scope).await? {
        return Ok(earlier);
    }
    let input: KeyInput = body(&bytes)?;
    if input.life_s == Some(0) {
        return Err(Problem::field("life_s", "1 or more; without it the key holds until it is revoked"));
    }
    let mut ids = core.ids();
    let expires_at = input.life_s.map(|life_s| ids.now.plus(life_s.saturating_mul(1000)));
    let (key, draft, secret) = new_key(check_name(&input.name)?, input.rights, expires_at, &mut ids);
    let mut change = Change::at(ids.now);
    change.records.push(RecordChange::Put(draft));
    let entry = trail::entry(&caller.name, "api_key.created", key.id, &mut ids);
    change.audit.push(trail::detailed(entry, &key, &mut ids));
    let shown = json!({
        "id": key.id, "name": key.name, "rights": key.rights, "secret": secret,
        "expires_at": key.expires_at.map(UnixMs::to_rfc3339),
    });
    once.commit(&core, caller.tenant.scope, change, |_| {
        Answer::created(format!("/v1/keys/{}", key.id), shown)
    })
    .await
}

pub async fn keys(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let scope = caller.tenant.scope;
    let found = core.store.records(scope, RecordKind::ApiKey, None, paging.after(), paging.limit()).await?;
    let items = found.items.iter().map(|row| super::resource::shown(super::resource::same, row));
    Ok(page(items.collect::<Result<_, _>>()?, found.next))
}

async fn found(core: &Core, scope: TenantScope, id: &str) -> Result<Record, Problem> {
    let id = ApiKeyId::parse(id).map_err(|_| Problem::not_found("key"))?;
    let row = core.store.record(scope, RecordKind::ApiKey, &id.to_string()).await?;
    row.ok_or_else(|| Problem::not_found("key"))
}

pub async fn show_key(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let row = found(&core, caller.tenant.scope, &id).await?;
    Ok(Answer::ok(super::resource::shown(super::resource::same, &row)?).at(row.version))
}

pub async fn revoke_key(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let scope = caller.tenant.scope;
    let row = found(&core, scope, &id).await?;
    let mut key: ApiKeyDoc = row.read()?;
    if key.id.to_string() == caller.name {
        return Err(Problem::new(Code::InUse, "a key does not revoke itself; use another one"));
    }
    key.revoked = true;
    let mut ids = core.ids();
    let mut change = Change::at(ids.now);
    // Without its name nobody finds it any more.
    let draft = RecordDraft::of(RecordKind::ApiKey, &id, Expect::Version(row.version), &key);
    change.records.push(RecordChange::Put(draft));
    change.audit.push(trail::entry(&caller.name, "api_key.revoked", &id, &mut ids));
    core.commit(scope, change).await?;
    Ok(Answer::ok(json!({ "id": id, "revoked": true })))
}
