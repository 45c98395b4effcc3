//! A live answer to a tap at an online door: decided by core's facts, signed for that device, that request and a moment.
//! A use that is counted is counted once for a request, however often it comes.

use super::unlock::count_use;
use crate::doc::DeviceDoc;
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::store::Change;
use crate::store::change::OnceDraft;
use crate::store::kind::OnceSpace;
use keyway_domain::decision::{Attempt, FirstPerson, Pin, Shown, decide};
use keyway_domain::message::device::{AccessReply, AccessRequest};
use keyway_domain::message::statement::{DecisionStatement, Verdict};
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys};
use keyway_domain::time::Moment;

/// A live decision is good for this long: the door's own wait and the way back.
const DECISION_MS: u64 = 1_500;
/// A request that has spent a use is known for this long: who keeps a copy of it spends no second one.
const REMEMBERED_MS: u64 = 90 * 24 * 3_600_000;

/// Reads a device's signed request. One of another device or tenant is nothing here.
pub fn read(facts: &TenantFacts, device: &DeviceDoc, jws: &str) -> Option<AccessRequest> {
    let keys = TrustedKeys::of(device.kid, device.key.clone());
    let request: AccessRequest = keys.read(Kind::AccessRequest, jws).ok()?;
    let ours = (request.tenant, request.device, request.door) == (facts.tenant, device.id, device.door);
    ours.then_some(request)
}

/// The reply, and what has to be committed before it leaves, if anything has.
pub fn access(
    facts: &TenantFacts,
    key: &SigningKey,
    device: &DeviceDoc,
    request: &AccessRequest,
    ids: &mut Ids,
) -> Option<(AccessReply, Option<Change>)> {
    let now = ids.now;
    let door = facts.facts.doors.get(&device.door)?;
    let at = facts.facts.at_door(device.door, facts.situation(door)).ok()?;
    let first = request.first_person.map(|first| FirstPerson { person: first.person, ago_ms: first.ago_ms });
    let pin = request.pin.map(Pin::Digest);
    let attempt = Attempt { shown: Shown::Digest(request.credential), pin, first };
    let decision = decide(&at, &attempt, Moment::exact(now));
    let statement = DecisionStatement {
        tenant: facts.tenant,
        door: device.door,
        device: device.id,
        request: request.request,
        deadline: now.plus(DECISION_MS),
        mode_version: decision.mode_version,
        verdict: Verdict::from(&decision),
        credential: decision.credential,
        person: decision.person,
    };
    let reply = AccessReply { decision: key.sign_json(Kind::Decision, &statement) };
    let grant = decision.granted().map(|pass| pass.grant);
    let mut change = Change { if_facts: Some(facts.version), ..Change::at(now) };
    count_use(facts, grant, &mut change);
    if change.records.is_empty() {
        return Some((reply, None));
    }
    change.once.push(OnceDraft {
        space: OnceSpace::Access,
        key: format!("{}/{}", device.id, request.request),
        asked_digest: String::new(),
        answer: reply.decision.clone(),
        expires_at: now.plus(REMEMBERED_MS),
    });
    Some((reply, Some(change)))
}
