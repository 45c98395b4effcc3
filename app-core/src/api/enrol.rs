//! Enrolment: a one-time code opens a quarter of an hour in which one device may show its key for one door, or one
//! phone for one person. The code closes itself with its use; the private key never leaves the device or phone.

use super::auth::{Caller, caller};
use super::problem::{Code, Problem};
use super::proof::{Proved, host, proved};
use super::reply::{Answer, Nothing, Once, Paging, body, page};
use super::resource::{same, shown};
use super::turn::Turn;
use crate::core::Core;
use crate::core::tenant::Tenant;
use crate::decide::revoke;
use crate::decide::sync::signed_time;
use crate::doc::{DeviceDoc, DeviceState, EnrolmentDoc, Enrols, PhoneDoc, Rights};
use crate::facts::TenantFacts;
use crate::identity::code;
use crate::ids::Ids;
use crate::publish;
use crate::source::random;
use crate::store::change::{Change, Expect, OnceDraft, RecordChange, RecordDraft};
use crate::store::kind::{LookupSpace, OnceSpace, RecordKind};
use crate::store::row::Record;
use crate::store::{StoreError, System};
use crate::trail;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use keyway_domain::credential::{Credential, CredentialKind, CredentialState, Digest, Validity};
use keyway_domain::id::{CredentialId, DeviceId, DoorId, KeyId, PersonId};
use keyway_domain::sign::{PublicKey, TrustedKeys};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const SYSTEM: System = System::because("a code says which tenant it belongs to");

pub async fn code_for_door(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let door = DoorId::parse(&id).map_err(|_| Problem::not_found("door"))?;
    if !caller.facts(&core).await?.doors.contains_key(&door) {
        return Err(Problem::not_found("door"));
    }
    make_code(&core, &headers, caller, Enrols::Device(door), &id).await
}

pub async fn code_for_person(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let person = PersonId::parse(&id).map_err(|_| Problem::not_found("person"))?;
    if !caller.facts(&core).await?.facts.people.contains_key(&person) {
        return Err(Problem::not_found("person"));
    }
    make_code(&core, &headers, caller, Enrols::Phone(person), &id).await
}

async fn make_code(
    core: &Core,
    headers: &HeaderMap,
    caller: Caller,
    of: Enrols,
    subject: &str,
) -> Result<Answer, Problem> {
    let once = Once::of(&caller.name, headers, &format!("{subject}/enrolments"), b"")?;
    if let Some(earlier) = once.earlier(core, caller.tenant.scope).await? {
        return Ok(earlier);
    }
    let mut ids = core.ids();
    let typed = code::make(random());
    let letters =
        code::canonical(&typed).ok_or_else(|| Problem::new(Code::Busy, "no code could be made; repeat"))?;
    // Not the code, and nothing that the code could be found from.
    let id = format!("enrol_{}", KeyId::mint(ids.now, ids.draw()));
    let expires_at = ids.now.plus(code::LIFE_MS);
    let doc = EnrolmentDoc { id: id.clone(), of, made_at: ids.now, expires_at, used_at: None };
    let mut change = Change::at(ids.now);
    let draft = RecordDraft::of(RecordKind::Enrolment, &id, Expect::Absent, &doc)
        .found_by(LookupSpace::EnrolmentCode, core.root.code_hash(&letters));
    change.records.push(RecordChange::Put(draft));
    change.audit.push(trail::entry(&caller.name, "enrolment.opened", subject, &mut ids));
    let shown = json!({ "code": typed, "expires_at": expires_at.to_rfc3339() });
    once.commit(core, caller.tenant.scope, change, |_| Answer { status: 201, ..Answer::ok(shown) }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrol {
    code: String,
    /// Made by whoever holds the key.
    kid: KeyId,
    key: PublicKey,
    /// A key proof over core's challenge, signed by that key.
    proof: String,
}

struct Opened {
    tenant: Arc<Tenant>,
    facts: Arc<TenantFacts>,
    row: Record,
    doc: EnrolmentDoc,
    proved: Proved,
}

/// Finds what a code opens, and checks the proof. A wrong code, a used one and one that has run out look alike.
async fn open(core: &Core, headers: &HeaderMap, input: &Enrol) -> Result<Opened, Problem> {
    if !core.spend_guess() {
        return Err(Problem::new(Code::TooMany, "too many enrolments at once; wait a moment"));
    }
    let closed =
        || Problem::new(Code::Gone, "this code opens nothing: it is wrong, used, or older than 15 minutes");
    let letters = code::canonical(&input.code).ok_or_else(closed)?;
    let hash = core.root.code_hash(&letters);
    let row = core.store.lookup(SYSTEM, LookupSpace::EnrolmentCode, &hash).await?.ok_or_else(closed)?;
    let doc: EnrolmentDoc = row.read()?;
    let now = core.clock.now();
    if doc.used_at.is_some() || doc.expires_at <= now {
        return Err(closed());
    }
    let keys = TrustedKeys::of(input.kid, input.key.clone());
    let proved = proved(core, headers, &keys, &input.proof)?;
    let tenant = core.tenant(row.tenant).await?;
    let facts = tenant.facts(&core.store, now).await?;
    Ok(Opened { tenant, facts, row, doc, proved })
}

impl Opened {
    /// The change that closes the code and spends the challenge.
    fn close(&self, ids: &Ids) -> Change {
        let mut change = Change::at(ids.now);
        let used = EnrolmentDoc { used_at: Some(ids.now), ..self.doc.clone() };
        let expect = Expect::Version(self.row.version);
        change.records.push(RecordChange::Put(RecordDraft::of(
            RecordKind::Enrolment,
            &self.row.id,
            expect,
            &used,
        )));
        change.once.push(self.proved.spent());
        change
    }
}

/// Two that come with one code at once: one of them was first.
fn raced(error: StoreError) -> Problem {
    match error {
        StoreError::Conflict { .. } | StoreError::Already(_) => Problem::new(
            Code::Gone,
            "the code or the challenge was used a moment ago, or the key is enrolled already",
        ),
        other => other.into(),
    }
}

pub async fn device(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let input: Enrol = body(&bytes)?;
    let opened = open(&core, &headers, &input).await?;
    let Enrols::Device(door) = opened.doc.of else {
        return Err(Problem::new(Code::Invalid, "this code is for a phone: POST /v1/phones/enrol"));
    };
    let site = opened.facts.site_of(door).ok_or_else(|| Problem::not_found("door"))?;
    let mut ids = core.ids();
    let mut change = opened.close(&ids);
    // One door, one device: the one before is done with.
    let mut replaced = Vec::new();
    for before in opened.facts.devices.values().filter(|one| one.door == door && !one.revoked) {
        let revoked = DeviceDoc { revoked: true, ..before.clone() };
        let draft = RecordDraft::of(RecordKind::Device, before.id, Expect::Any, &revoked).under(door);
        change.records.push(RecordChange::Put(draft));
        change.audit.push(trail::entry("core", "device.replaced", before.id, &mut ids));
        replaced.push(before.id.to_string());
    }
    let doc = DeviceDoc {
        id: DeviceId::mint(ids.now, ids.draw()),
        door,
        kid: input.kid,
        key: input.key.clone(),
        enrolled_at: ids.now,
        revoked: false,
    };
    let draft = RecordDraft::of(RecordKind::Device, doc.id, Expect::Absent, &doc).under(door);
    change.records.push(RecordChange::Put(draft.found_by(LookupSpace::Key, doc.kid)));
    let entry = trail::entry(doc.id, "device.enrolled", door, &mut ids);
    change.audit.push(trail::detailed(entry, &doc, &mut ids));
    let voided: Vec<String> = replaced
        .iter()
        .filter_map(|device| core.void_tokens(opened.tenant.id, device, &mut change))
        .collect();
    core.commit(opened.tenant.scope, change).await.map_err(raced)?;
    core.tell_gateways(voided);
    let minted = core.mint_for_device(opened.tenant.id, doc.id, site)?;
    let trusted: Vec<Value> =
        opened.tenant.trusted().into_iter().map(|(kid, key)| json!({ "kid": kid, "key": key })).collect();
    let reader_key: String = opened.tenant.reader_key.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Answer::created(
        format!("/v1/devices/{}", doc.id),
        json!({
            "tenant": opened.tenant.id, "site": site, "door": door, "device": doc.id,
            "core": trusted, "reader_key": reader_key, "host": host(&core, &headers),
            "token": minted.token, "expires_at": minted.expires_at, "socket_url": core.socket_url,
            "time": signed_time(&opened.tenant.key, opened.proved.own_nonce.clone(), core.clock.now()),
        }),
    ))
}

pub async fn phone(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let input: Enrol = body(&bytes)?;
    let opened = open(&core, &headers, &input).await?;
    let Enrols::Phone(person) = opened.doc.of else {
        return Err(Problem::new(Code::Invalid, "this code is for a device: POST /v1/devices/enrol"));
    };
    if !opened.facts.facts.people.contains_key(&person) {
        return Err(Problem::not_found("person"));
    }
    let mut ids = core.ids();
    let mut change = opened.close(&ids);
    let digest =
        Digest::of(&opened.tenant.reader_key, CredentialKind::PublicKey, None, &input.key.to_bytes());
    let credential = Credential {
        id: CredentialId::mint(ids.now, ids.draw()),
        person,
        kind: CredentialKind::PublicKey,
        digest,
        state: CredentialState::Active,
        validity: Validity::default(),
        duress: false,
    };
    let doc = PhoneDoc {
        id: input.kid,
        key: input.key.clone(),
        person,
        credential: credential.id,
        enrolled_at: ids.now,
        revoked: false,
    };
    let draft = RecordDraft::of(RecordKind::Credential, credential.id, Expect::Absent, &credential);
    change.records.push(RecordChange::Put(draft.under(person)));
    let draft = RecordDraft::of(RecordKind::Phone, doc.id, Expect::Absent, &doc).under(person);
    change.records.push(RecordChange::Put(draft.found_by(LookupSpace::Key, doc.id)));
    let entry = trail::entry(person, "phone.enrolled", doc.id, &mut ids);
    change.audit.push(trail::detailed(entry, &doc, &mut ids));
    core.commit(opened.tenant.scope, change).await.map_err(raced)?;
    core.facts_changed(opened.tenant.id);
    let minted = core.mint_for_phone(&opened.tenant, &opened.facts, person)?;
    Ok(Answer::created(
        format!("/v1/phones/{}", doc.id),
        json!({
            "tenant": opened.tenant.id, "person": person, "credential": credential.id,
            "host": host(&core, &headers), "token": minted.token, "expires_at": minted.expires_at,
            "socket_url": core.socket_url,
        }),
    ))
}

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
    let person = PersonId::parse(&id).map_err(|_| Problem::not_found("person"))?;
    if !caller.facts(&core).await?.facts.people.contains_key(&person) {
        return Err(Problem::not_found("person"));
    }
    let mut ids = core.ids();
    let mut change = Change::at(ids.now);
    change.audit.push(trail::entry(&caller.name, "person.signed_out", person, &mut ids));
    let voided = core.void_tokens(caller.tenant.id, &id, &mut change);
    core.commit(caller.tenant.scope, change).await?;
    core.tell_gateways(voided);
    Ok(Answer::ok(json!({ "id": id, "signed_out": true })))
}

/// A challenge that is used up, as the store keeps it.
pub fn spent(nonce: &str, until: keyway_domain::time::UnixMs) -> OnceDraft {
    OnceDraft {
        space: OnceSpace::Challenge,
        key: nonce.to_owned(),
        asked_digest: String::new(),
        answer: String::new(),
        expires_at: until,
    }
}
