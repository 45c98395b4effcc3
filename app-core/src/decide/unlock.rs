//! May this request open this door, and the command that it becomes. The request is believed by its signature, whoever
//! the gateway says is asking; a request that is known gets the answer it had.

use super::command::{Stepping, due};
use crate::doc::PhoneDoc;
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::Change;
use crate::store::change::{CommandWrite, Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::row::CommandRow;
use crate::trail;
use keyway_domain::command::{CommandRecord, DEADLINE_MS_MAX, Input, State, UnlockCommand};
use keyway_domain::decision::{Attempt, Decision, Outcome, Reason, Shown, decide};
use keyway_domain::id::{DoorId, GrantId, KeyId, PersonId, RequestId};
use keyway_domain::message::statement::UnlockRequest;
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys, claimed_key};
use keyway_domain::time::{Moment, UnixMs};
use serde::Serialize;

/// Why a request is nothing to decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the request is not signed by an enrolled key of this tenant")]
    Signature,
    #[error("the request's deadline has passed")]
    Late,
    #[error("the deadline is more than a minute away")]
    TooLong,
    #[error("no such door")]
    NoDoor,
    #[error("no device is enrolled for this door")]
    NoDevice,
}

/// Who asks, after the proof.
#[derive(Debug, Clone)]
pub struct Asker {
    /// An id, for the trail.
    pub name: String,
    pub person: Option<PersonId>,
    pub phone: Option<KeyId>,
}

#[derive(Debug, Clone)]
pub struct Wish {
    pub request: RequestId,
    pub door: DoorId,
    pub deadline: UnixMs,
}

/// Reads a phone's signed request.
pub fn read(facts: &TenantFacts, jws: &str) -> Result<(Wish, PhoneDoc), Unfit> {
    let phone = claimed_key(jws).and_then(|kid| facts.phone(kid)).ok_or(Unfit::Signature)?;
    let keys = TrustedKeys::of(phone.id, phone.key.clone());
    let request: UnlockRequest = keys.read(Kind::UnlockRequest, jws).map_err(|_| Unfit::Signature)?;
    if request.tenant != facts.tenant {
        return Err(Unfit::Signature);
    }
    let wish = Wish { request: request.request, door: request.door, deadline: request.deadline };
    Ok((wish, phone.clone()))
}

/// How a wish is judged: by a credential, or as an operator whose right was checked at the API.
#[derive(Debug, Clone, Copy)]
pub enum By {
    Credential(keyway_domain::id::CredentialId),
    Operator,
}

#[derive(Serialize)]
struct Details {
    door: DoorId,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<PersonId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// Decides, and makes the command in whatever state follows. Past its deadline a wish is dropped; one that reaches too
/// far is not ours to shorten.
pub fn unlock(
    facts: &TenantFacts,
    key: &SigningKey,
    wish: &Wish,
    asker: &Asker,
    by: By,
    online: bool,
    ids: &mut Ids,
) -> Result<(CommandRow, Change), Unfit> {
    let now = ids.now;
    match wish.deadline.since(now) {
        0 => return Err(Unfit::Late),
        within if within > DEADLINE_MS_MAX => return Err(Unfit::TooLong),
        _ => {}
    }
    let door = facts.facts.doors.get(&wish.door).ok_or(Unfit::NoDoor)?;
    let device = facts.device_of(wish.door).ok_or(Unfit::NoDevice)?;
    let verdict = match by {
        By::Credential(credential) => {
            let at = facts.facts.at_door(wish.door, facts.situation(door)).map_err(|_| Unfit::NoDoor)?;
            let attempt = Attempt { shown: Shown::Credential(credential), pin: None, first: None };
            judged(facts, &decide(&at, &attempt, Moment::exact(now)))
        }
        By::Operator => operator(facts, door, now),
    };
    let mut change = Change { if_facts: Some(facts.version), ..Change::at(now) };
    let id = ids.command();
    let mut row = CommandRow {
        command: UnlockCommand {
            tenant: facts.tenant,
            door: wish.door,
            device: device.id,
            command: id,
            created_at: now,
            deadline: wish.deadline,
            open_ms: verdict.open_ms,
            mode_version: door.mode_version,
            lockdown_version: facts.lockdowns.floor,
            overrides_lockdown: verdict.overrides_lockdown,
        },
        record: CommandRecord { created_at: now, deadline: wish.deadline, state: State::Requested },
        request: Some(wish.request),
        asked_by: asker.name.clone(),
        person: asker.person,
        phone: asker.phone,
        due_at: None,
        version: 0,
    };
    let stepping = Stepping { facts, key, now };
    let input = match verdict.refused {
        None => Input::Allowed,
        Some(reason) => Input::Denied(reason),
    };
    stepping.step(&mut row, input, &mut change, ids);
    if verdict.refused.is_none() {
        let entry = trail::entry(&asker.name, "command.allowed", id, ids);
        let details = Details { door: wish.door, person: asker.person, grant: verdict.grant, reason: None };
        change.audit.push(trail::detailed(entry, &details, ids));
        if online {
            stepping.dispatch(&mut row, &mut change, ids);
        }
        count_use(facts, verdict.grant, &mut change);
    } else if let Some(last) = change.audit.pop() {
        let details = Details { door: wish.door, person: asker.person, grant: None, reason: verdict.refused };
        change.audit.push(trail::detailed(last, &details, ids));
    }
    row.due_at = due(&row, now);
    change.outbox.extend(publish::command(facts, &row, ids));
    change.commands.push(CommandWrite { expect: Expect::Absent, row: row.clone() });
    Ok((row, change))
}

struct Judged {
    refused: Option<Reason>,
    grant: Option<GrantId>,
    open_ms: u32,
    overrides_lockdown: bool,
}

fn judged(facts: &TenantFacts, decision: &Decision) -> Judged {
    match decision.outcome {
        Outcome::Granted(pass) => Judged {
            refused: None,
            grant: Some(pass.grant),
            open_ms: pass.open_ms,
            overrides_lockdown: facts
                .facts
                .grants
                .get(&pass.grant)
                .is_some_and(|grant| grant.rule.overrides_lockdown),
        },
        Outcome::Denied(reason) => {
            Judged { refused: Some(reason), grant: None, open_ms: 0, overrides_lockdown: false }
        }
        // Core itself has nobody left to ask.
        Outcome::AskCore => Judged {
            refused: Some(Reason::CoreUnreachable),
            grant: None,
            open_ms: 0,
            overrides_lockdown: false,
        },
    }
}

/// An operator opens any door of the tenant, save one that is blocked or locked down.
fn operator(facts: &TenantFacts, door: &keyway_domain::facts::DoorFacts, now: UnixMs) -> Judged {
    use keyway_domain::door::DoorMode;
    use keyway_domain::lockdown::{Effect, EffectiveMode, effective_mode};
    let statements = &facts.lockdowns.statements;
    let refused = match effective_mode(door.mode, statements, &door.rules.place, Moment::exact(now)) {
        EffectiveMode::Own(DoorMode::Blocked) => Some(Reason::DoorBlocked),
        EffectiveMode::Own(DoorMode::Lockdown)
        | EffectiveMode::Ruled(Effect::RespondersOnly | Effect::Nobody) => Some(Reason::DoorInLockdown),
        EffectiveMode::Own(DoorMode::Normal | DoorMode::Unlocked | DoorMode::LockedOpen)
        | EffectiveMode::Ruled(Effect::LockedOpen) => None,
    };
    let open_ms = door.rules.timings.access_ms;
    Judged { refused, grant: None, open_ms, overrides_lockdown: false }
}

/// Counts a use of the grant that decided, in the same transaction: two requests never share the last use.
pub fn count_use(facts: &TenantFacts, grant: Option<GrantId>, change: &mut Change) {
    let Some(grant) = grant.and_then(|id| facts.facts.grants.get(&id)) else { return };
    if grant.rule.uses.is_none() {
        return;
    }
    let mut counted = grant.clone();
    if let Some(uses) = &mut counted.rule.uses {
        uses.taken += 1;
    }
    let version = facts.grant_versions.get(&grant.rule.id).copied().unwrap_or(0);
    let draft = RecordDraft::of(RecordKind::Grant, grant.rule.id, Expect::Version(version), &counted);
    change.records.push(RecordChange::Put(draft));
}
