//! What a device holds against what it should hold: desired state, bundle or delta, revocations, signed time, and the
//! events that core has not got. The ledger that comes along settles commands; a door that is back gets what waits.

use super::command::Stepping;
use super::report::{Known, committed, state_record};
use super::travel::BUNDLE_BYTES_MAX;
use crate::doc::{BundleDoc, DeviceDoc, DeviceState};
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::Change;
use crate::store::change::{Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::row::{CommandRow, IntakeRow};
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::bundle::{BundleBody, compile};
use keyway_domain::clock::TimeStatement;
use keyway_domain::command::State;
use keyway_domain::command::ledger::LedgerReport;
use keyway_domain::decision::Situation;
use keyway_domain::door::Observed;
use keyway_domain::event::intake::Intake;
use keyway_domain::message::device::{SignedBundle, SyncReply, SyncRequest};
use keyway_domain::message::publication::DoorState;
use keyway_domain::message::statement::{DesiredState, Revocation};
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys};
use keyway_domain::time::UnixMs;

/// A bundle is made anew when half of its life is over, so that a door that is often online never runs out.
const HALF: u64 = 2;
/// What a device says of itself is shown to people: a line, not a book.
const FIRMWARE_CHARS_MAX: usize = 64;
const CAPABILITIES_MAX: usize = 16;
/// A sync that changes nothing but the time it was seen is written down at most this often.
const SEEN_EVERY_MS: u64 = 60_000;

/// A report of the device's ledger, verified and bound to it.
pub fn read_ledger(facts: &TenantFacts, device: &DeviceDoc, jws: &str) -> Option<LedgerReport> {
    let keys = TrustedKeys::of(device.kid, device.key.clone());
    let report: LedgerReport = keys.read(Kind::LedgerReport, jws).ok()?;
    let ours = (report.tenant, report.device, report.door) == (facts.tenant, device.id, device.door);
    ours.then_some(report)
}

pub fn signed_time(key: &SigningKey, nonce: String, now: UnixMs) -> String {
    key.sign_json(Kind::Time, &TimeStatement { nonce, time: now })
}

/// A device that nothing is known of yet.
pub fn unseen(device: &DeviceDoc, now: UnixMs) -> DeviceState {
    DeviceState {
        device: device.id,
        door: device.door,
        online: false,
        since: now,
        seen_at: UnixMs(0),
        firmware: String::new(),
        capabilities: Vec::new(),
        bundle_version: 0,
        desired_version: 0,
        revocation_version: 0,
        keys_version: 0,
        observed: Observed::default(),
    }
}

/// Rows that a sync stands on.
pub struct Held {
    pub bundle: Option<(BundleDoc, u64)>,
    pub state: Known,
    pub commands: Vec<CommandRow>,
    pub intake: Option<IntakeRow>,
}

/// `None` when the door is not among the facts any more.
pub fn sync(
    facts: &TenantFacts,
    key: &SigningKey,
    device: &DeviceDoc,
    request: &SyncRequest,
    report: &LedgerReport,
    held: Held,
    ids: &mut Ids,
) -> Option<(Change, SyncReply)> {
    let now = ids.now;
    let door = facts.facts.doors.get(&device.door)?;
    let mut change = Change::at(now);
    let doc = bundle(facts, device, held.bundle, &mut change, now)?;
    let desired = DesiredState {
        tenant: facts.tenant,
        device: device.id,
        door: device.door,
        // Both only ever rise, so their sum rises with either: facts hold mode and lockdowns.
        version: facts.version + doc.body.version,
        mode: door.mode,
        mode_version: door.mode_version,
        lockdowns: facts.lockdowns.in_force(now),
        bundle_version: doc.body.version,
    };
    let sure =
        held.intake.as_ref().and_then(|row| committed(facts, key, device, row.epoch, row.intake.watermark));
    let intake = held.intake.map(|row| row.intake);
    let reply = SyncReply {
        keys: None,
        desired: (desired.version > request.desired_version)
            .then(|| key.sign_json(Kind::DesiredState, &desired)),
        bundle: wanted_bundle(&doc, request.bundle_version, key),
        revocation: (facts.revocation.version > request.revocation_version)
            .then(|| signed_revocation(facts, key)),
        time: signed_time(key, request.time_nonce.clone(), now),
        watermark: intake.as_ref().map(|intake| intake.watermark),
        committed: sure,
        wanted: intake.as_ref().map(Intake::wanted).unwrap_or_default(),
    };
    let stepping = Stepping { facts, key, now };
    let (queued, sent): (Vec<_>, Vec<_>) =
        held.commands.into_iter().partition(|row| row.record.state == State::Queued);
    stepping.settle(sent, report, &mut change, ids);
    for row in queued {
        let mut next = row.clone();
        stepping.look_again(&mut next, true, &mut change, ids);
        stepping.write(row, next, &mut change, ids);
    }
    seen(facts, held.state, request, &mut change, ids);
    Some((change, reply))
}

/// The bundle that the device shall hold: the one there, or a new one when the facts behind it have changed or half of
/// its life is over.
fn bundle(
    facts: &TenantFacts,
    device: &DeviceDoc,
    held: Option<(BundleDoc, u64)>,
    change: &mut Change,
    now: UnixMs,
) -> Option<BundleDoc> {
    let at = facts.facts.at_door(device.door, Situation::plain()).ok()?;
    let zone = facts.facts.zones.get(&at.door.rules.place.site)?.clone();
    let version = held.as_ref().map_or(1, |(doc, _)| doc.body.version + 1);
    let made = compile(&at, zone, version, now);
    if let Some((doc, _)) = &held {
        let life = doc.body.expires_at.since(doc.body.issued_at);
        let young = now.since(doc.body.issued_at) < life / HALF;
        if young && same_rules(&doc.body, &made) {
            return held.map(|(doc, _)| doc);
        }
    }
    let expect = held.as_ref().map_or(Expect::Absent, |(_, version)| Expect::Version(*version));
    let doc = BundleDoc { body: made, previous: held.map(|(doc, _)| doc.body) };
    let draft = RecordDraft::of(RecordKind::Bundle, device.id, expect, &doc).under(device.door);
    change.records.push(RecordChange::Put(draft));
    Some(doc)
}

/// Whether two bundles decide alike: all but their number and their life. A zone that was expanded a little further
/// says nothing new either.
fn same_rules(held: &BundleBody, made: &BundleBody) -> bool {
    held.decided_by == made.decided_by
        && held.door == made.door
        && held.zone.name == made.zone.name
        && held.schedules == made.schedules
        && held.calendars == made.calendars
        && held.grants == made.grants
        && held.credentials == made.credentials
}

/// One that does not travel is not sent: time, mode and revocations reach the door all the same, and its old bundle ends by
/// itself. The API refuses what would lead here.
fn wanted_bundle(doc: &BundleDoc, held_version: u64, key: &SigningKey) -> Option<SignedBundle> {
    let signed = signed_bundle(doc, held_version, key)?;
    let (SignedBundle::Whole(jws) | SignedBundle::Delta(jws)) = &signed;
    if jws.len() > BUNDLE_BYTES_MAX {
        tracing::error!(door = %doc.body.door.place.door, bytes = jws.len(), "a bundle too large to travel");
        return None;
    }
    Some(signed)
}

fn signed_bundle(doc: &BundleDoc, held_version: u64, key: &SigningKey) -> Option<SignedBundle> {
    if held_version == doc.body.version {
        return None;
    }
    match &doc.previous {
        Some(previous) if previous.version == held_version => {
            let delta = BundleDelta::between(previous, &doc.body);
            Some(SignedBundle::Delta(key.sign_json(Kind::BundleDelta, &delta)))
        }
        _ => Some(SignedBundle::Whole(key.sign_json(Kind::Bundle, &doc.body))),
    }
}

pub fn signed_revocation(facts: &TenantFacts, key: &SigningKey) -> String {
    let digests = facts.revocation.digests.iter().map(|one| one.digest).collect();
    let statement = Revocation { tenant: facts.tenant, version: facts.revocation.version, digests };
    key.sign_json(Kind::Revocation, &statement)
}

/// Notes that the device is there and what it says it holds.
fn seen(facts: &TenantFacts, known: Known, request: &SyncRequest, change: &mut Change, ids: &mut Ids) {
    let (before, expect) = known;
    let mut state = before.clone();
    let firmware: String = request.firmware.chars().take(FIRMWARE_CHARS_MAX).collect();
    state.firmware = firmware;
    state.capabilities = request.capabilities.iter().copied().take(CAPABILITIES_MAX).collect();
    state.bundle_version = request.bundle_version;
    state.desired_version = request.desired_version;
    state.revocation_version = request.revocation_version;
    state.keys_version = request.keys_version;
    state.online = true;
    if !before.online {
        state.since = ids.now;
        change.outbox.extend(publish::door_state(facts, door_state(facts, &state), ids));
    }
    if state != before || ids.now.since(before.seen_at) >= SEEN_EVERY_MS {
        state.seen_at = ids.now;
        change.records.push(RecordChange::Put(state_record(&state, expect)));
    }
}

pub fn door_state(facts: &TenantFacts, state: &DeviceState) -> DoorState {
    let mode = facts.doors.get(&state.door).map(|door| door.mode).unwrap_or_default();
    DoorState { door: state.door, mode, online: state.online, observed: state.observed }
}
