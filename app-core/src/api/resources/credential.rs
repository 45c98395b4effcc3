//! Credentials: what somebody shows at a reader. What is shown comes in once and is kept as its keyed digest only; a
//! phone's key is enrolled by the phone itself.

use super::{id, lasting};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource};
use crate::store::kind::RecordKind;
use keyway_domain::credential::{Credential, CredentialKind, CredentialState, Digest, Validity};
use keyway_domain::decision::PinTyped;
use keyway_domain::id::{CredentialId, PersonId};
use serde::Deserialize;
use serde_json::Value;

pub const RESOURCE: Resource = Resource {
    path: "credentials",
    one: "credential",
    kind: RecordKind::Credential,
    mint: |ids| CredentialId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| CredentialId::parse(text).is_ok(),
    parts: &[("validity", &["from", "until"])],
    make,
    show,
    held_by: |text, facts| {
        let credential = CredentialId::parse(text).ok()?;
        let phone = facts.phones.values().find(|phone| phone.credential == credential && !phone.revoked)?;
        Some(format!("it is the key of phone {}; revoke the phone instead", phone.id))
    },
};

/// A card number or a code is a few bytes.
const SHOWN_BYTES_MAX: usize = 128;
const CODE_DIGITS_MIN: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    person: PersonId,
    kind: CredentialKind,
    /// What the reader sees, as text. Needed once, when it is made.
    #[serde(default)]
    shown: Option<String>,
    #[serde(default)]
    state: CredentialState,
    #[serde(default)]
    validity: Validity,
    #[serde(default)]
    duress: bool,
}

fn show(mut doc: Value) -> Value {
    if let Some(fields) = doc.as_object_mut() {
        fields.remove("digest");
    }
    doc
}

fn digest(draft: &Draft<'_>, input: &Input) -> Result<Digest, Problem> {
    let shown = input.shown.as_deref().unwrap_or("");
    let reader_key = &draft.tenant.reader_key;
    if shown.is_empty() || shown.len() > SHOWN_BYTES_MAX {
        return Err(Problem::field("shown", "what the reader sees: 1 to 128 bytes"));
    }
    match input.kind {
        CredentialKind::Card => Ok(Digest::of(reader_key, input.kind, None, shown.as_bytes())),
        CredentialKind::Code => {
            if shown.len() < CODE_DIGITS_MIN || !shown.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Problem::field("shown", "a code has 4 digits or more"));
            }
            Ok(Digest::of(reader_key, input.kind, None, shown.as_bytes()))
        }
        CredentialKind::Pin => match PinTyped::parse(**reader_key, shown) {
            Some(pin) => Ok(pin.digest(input.person)),
            None => Err(Problem::field("shown", "a PIN has 4 to 12 digits")),
        },
        CredentialKind::PublicKey => Err(Problem::field(
            "kind",
            "a phone's key is enrolled by the phone: POST /v1/people/{id}/enrolments",
        )),
    }
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    let facts = draft.facts;
    if !facts.facts.people.contains_key(&input.person) {
        return Err(Problem::field("person", "there is no such person in this tenant"));
    }
    lasting(input.validity)?;
    let before: Option<Credential> = draft.before.take().and_then(|doc| serde_json::from_value(doc).ok());
    let digest = match &before {
        None => digest(&draft, &input)?,
        Some(before) if (before.person, before.kind) != (input.person, input.kind) => {
            return Err(Problem::field("person", "person and kind of a credential stay; make a new one"));
        }
        Some(_) if input.shown.is_some() => {
            return Err(Problem::field("shown", "what a credential is stays; make a new one"));
        }
        Some(before) => before.digest,
    };
    let taken = |one: &&Credential| one.digest == digest && one.kind != CredentialKind::Pin;
    if before.is_none() && facts.facts.credentials.values().any(|one| taken(&one)) {
        return Err(Problem::field("shown", "it is somebody's credential already"));
    }
    let credential = Credential {
        id: id(draft.id)?,
        person: input.person,
        kind: input.kind,
        digest,
        state: input.state,
        validity: input.validity,
        duress: input.duress,
    };
    let mut made = Made::of(&credential).under(credential.person);
    let was_active = before.as_ref().is_none_or(|before| before.state == CredentialState::Active);
    match (was_active, credential.state == CredentialState::Active) {
        (true, false) => made.revoked.push(digest),
        (false, true) => made.restored.push(digest),
        _ => {}
    }
    Ok(made)
}
