//! Enrolment: a one-time code opens a quarter of an hour in which one device may show its key for one door, or one
//! phone for one person. The code closes itself with its use; the private key never leaves the device or phone.

use super::auth::{Caller, caller};
use super::problem::{Code, Problem};
use super::proof::{Proved, host, proved};
use super::reply::{Answer, Nothing, Once, body};
use super::turn::Turn;
use crate::core::Core;
use crate::core::tenant::Tenant;
use crate::decide::sync::signed_time;
use crate::doc::{DeviceDoc, EnrolmentDoc, Enrols, PhoneDoc, Rights};
use crate::facts::TenantFacts;
use crate::identity::code;
use crate::ids::Ids;
use crate::source::random;
use crate::store::change::{Change, Expect, OnceDraft, RecordChange, RecordDraft};
use crate::store::kind::{LookupSpace, OnceSpace, RecordKind};
use crate::store::row::Record;
use crate::store::{StoreError, System};
use crate::trail;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use keyway_domain::credential::{Credential, CredentialKind, CredentialState, Digest, Validity};
use keyway_domain::id::{CredentialId, DeviceId, DoorId, KeyId, PersonId};
use keyway_domain::person::PersonState;
use keyway_domain::sign::{PublicKey, TrustedKeys};
use serde::Deserialize;
use serde_json::json;
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
    let person = caller.person(&core, &id).await?;
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
        // A door has one device, and a phone a person who is there: two codes used at once see each other.
        let mut change = Change { if_facts: Some(self.facts.version), ..Change::at(ids.now) };
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

    /// The device that this door has from now on, the statements that void the tokens of the one before, and all of it as
    /// a change.
    fn device(&self, core: &Core, door: DoorId, input: &Enrol) -> (DeviceId, Vec<String>, Change) {
        let mut ids = core.ids();
        let mut change = self.close(&ids);
        // One door, one device: the one before is done with.
        let mut replaced = Vec::new();
        for before in self.facts.devices.values().filter(|one| one.door == door && !one.revoked) {
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
        let void = |device: &String| core.void_tokens(self.tenant.id, device, &mut change);
        let voided = replaced.iter().filter_map(void).collect();
        (doc.id, voided, change)
    }

    fn phone(&self, person: PersonId, input: &Enrol, core: &Core) -> (CredentialId, Change) {
        let mut ids = core.ids();
        let mut change = self.close(&ids);
        let key = input.key.to_bytes();
        let digest = Digest::of(&self.tenant.reader_key, CredentialKind::PublicKey, None, &key);
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
        (credential.id, change)
    }

    /// Begins anew where it is the facts that have moved on; otherwise somebody else has used this code or this key.
    async fn lost(&mut self, core: &Core, error: StoreError, turn: &mut Turn<'_>) -> Result<(), Problem> {
        let facts = self.tenant.facts(&core.store, core.clock.now()).await?;
        if !matches!(error, StoreError::Conflict { .. }) || facts.version == self.facts.version {
            return Err(raced(error));
        }
        self.facts = facts;
        turn.again(error.into()).await
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
    let mut opened = open(&core, &headers, &input).await?;
    let Enrols::Device(door) = opened.doc.of else {
        return Err(Problem::new(Code::Invalid, "this code is for a phone: POST /v1/phones/enrol"));
    };
    let tenant = Arc::clone(&opened.tenant);
    let mut turn = Turn::of(&core, &tenant);
    loop {
        let site = opened.facts.site_of(door).ok_or_else(|| Problem::not_found("door"))?;
        let (device, voided, change) = opened.device(&core, door, &input);
        if let Err(error) = core.commit(tenant.scope, change).await {
            opened.lost(&core, error, &mut turn).await?;
            continue;
        }
        core.tell_gateways(voided);
        let minted = core.mint_for_device(tenant.id, device, site)?;
        let reader_key: String = tenant.reader_key.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(Answer::created(
            format!("/v1/devices/{device}"),
            json!({
                "tenant": tenant.id, "site": site, "door": door, "device": device,
                "core": tenant.signing.trusted(), "keys_version": tenant.signing.version(),
                "reader_key": reader_key, "host": host(&core, &headers),
                "token": minted.token, "expires_at": minted.expires_at, "socket_url": core.socket_url,
                "time": signed_time(&tenant.key, opened.proved.own_nonce.clone(), core.clock.now()),
            }),
        ));
    }
}

pub async fn phone(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let input: Enrol = body(&bytes)?;
    let mut opened = open(&core, &headers, &input).await?;
    let Enrols::Phone(person) = opened.doc.of else {
        return Err(Problem::new(Code::Invalid, "this code is for a device: POST /v1/devices/enrol"));
    };
    let tenant = Arc::clone(&opened.tenant);
    let mut turn = Turn::of(&core, &tenant);
    loop {
        active(&opened.facts, person)?;
        let (credential, change) = opened.phone(person, &input, &core);
        if let Err(error) = core.commit(tenant.scope, change).await {
            opened.lost(&core, error, &mut turn).await?;
            continue;
        }
        core.facts_changed(tenant.id);
        let minted = core.mint_for_phone(&tenant, &opened.facts, person)?;
        return Ok(Answer::created(
            format!("/v1/phones/{}", input.kid),
            json!({
                "tenant": tenant.id, "person": person, "credential": credential,
                "host": host(&core, &headers), "token": minted.token, "expires_at": minted.expires_at,
                "socket_url": core.socket_url,
            }),
        ));
    }
}

/// Who is suspended or has left gets no phone and no token: these would tell of doors for as long as they are renewed.
pub fn active(facts: &TenantFacts, person: PersonId) -> Result<(), Problem> {
    let person = facts.facts.people.get(&person).ok_or_else(|| Problem::not_found("person"))?;
    match person.state {
        PersonState::Active => Ok(()),
        PersonState::Suspended | PersonState::Left => {
            Err(Problem::new(Code::Forbidden, "this person is suspended or has left"))
        }
    }
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
