//! A batch of a device's events: verified, cut to what is new, written together with the watermark, and told to the
//! site. The reply says what is durable, so it may leave only after the commit.

use crate::doc::{DeviceDoc, DeviceState};
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::Change;
use crate::store::change::{EventDraft, Expect, IntakeWrite, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::store::row::IntakeRow;
use crate::trail;
use keyway_domain::door::{Alarm, Bolt, DoorMode, Observed, Position};
use keyway_domain::event::intake::{Intake, IntakeError};
use keyway_domain::event::{DeviceEvent, Epoch, EventBatch, EventKind};
use keyway_domain::message::device::EventReply;
use keyway_domain::message::publication::DoorState;
use keyway_domain::message::statement::EventsCommitted;
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the batch is not signed by this device's key")]
    Signature,
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

/// Verifies a batch. A copy for another device or tenant is nothing here.
pub fn read(facts: &TenantFacts, device: &DeviceDoc, jws: &str) -> Result<EventBatch, Unfit> {
    let keys = TrustedKeys::of(device.kid, device.key.clone());
    let batch: EventBatch = keys.read(Kind::EventBatch, jws).map_err(|_| Unfit::Signature)?;
    if batch.tenant == facts.tenant && batch.device == device.id { Ok(batch) } else { Err(Unfit::Signature) }
}

/// What is known of the device's door, with the version of its record.
pub type Known = (DeviceState, Expect);

/// Core's word that events are durable up to a watermark, for the device alone.
pub fn committed(
    facts: &TenantFacts,
    key: &SigningKey,
    device: &DeviceDoc,
    epoch: Epoch,
    watermark: u64,
) -> Option<String> {
    let statement = EventsCommitted { tenant: facts.tenant, device: device.id, epoch, watermark };
    (watermark > 0).then(|| key.sign_json(Kind::EventsCommitted, &statement))
}

pub fn take(
    facts: &TenantFacts,
    key: &SigningKey,
    device: &DeviceDoc,
    batch: &EventBatch,
    held: Option<IntakeRow>,
    known: Known,
    ids: &mut Ids,
) -> Result<(Change, EventReply), Unfit> {
    let (mut intake, expect) = match held {
        Some(row) => (row.intake, Expect::Version(row.version)),
        None => (Intake::begun(), Expect::Absent),
    };
    let was_whole = intake.broken_at.is_none();
    let taken = intake.take(batch)?;
    let reply = EventReply {
        epoch: batch.epoch,
        watermark: intake.watermark,
        wanted: intake.wanted(),
        committed: committed(facts, key, device, batch.epoch, intake.watermark),
    };
    let mut change = Change::at(ids.now);
    if taken.new.is_empty() && taken.newly_lost.is_empty() {
        return Ok((change, reply));
    }
    let (mut state, state_expect) = known;
    let before = state.observed;
    for (event, exact) in &taken.new {
        change.events.push(EventDraft::of_device(device.id, batch.epoch, Some(device.door), event, exact));
        change.outbox.extend(publish::event(facts, device.door, event, ids));
        observe(&mut state.observed, event, ids);
    }
    if state.observed != before {
        let mode = facts.doors.get(&device.door).map_or(DoorMode::Normal, |door| door.mode);
        let said = DoorState { door: device.door, mode, online: state.online, observed: state.observed };
        change.outbox.extend(publish::door_state(facts, said, ids));
        change.records.push(RecordChange::Put(state_record(&state, state_expect)));
    }
    for lost in &taken.newly_lost {
        let entry = trail::entry(device.id, "events.lost", device.door, ids);
        change.audit.push(trail::detailed(entry, lost, ids));
    }
    if let Some(seq) = intake.broken_at.filter(|_| was_whole) {
        let entry = trail::entry(device.id, "events.chain_broken", device.door, ids);
        change.audit.push(trail::detailed(entry, &seq, ids));
    }
    change.intakes.push(IntakeWrite { device: device.id, epoch: batch.epoch, expect, intake });
    Ok((change, reply))
}

pub fn state_record(state: &DeviceState, expect: Expect) -> RecordDraft {
    RecordDraft::of(RecordKind::DeviceState, state.device, expect, state).under(state.door)
}

/// What an event says about the door. Unknown stays unknown.
fn observe(seen: &mut Observed, event: &DeviceEvent, ids: &Ids) {
    use EventKind as K;
    let was = *seen;
    match event.kind {
        K::DoorOpened => seen.position = Position::Open,
        K::DoorClosed => (seen.position, seen.alarm) = (Position::Closed, Alarm::Normal),
        K::DoorLocked => seen.bolt = Bolt::Locked,
        K::DoorUnlocked => seen.bolt = Bolt::Unlocked,
        K::DoorJammed => seen.bolt = Bolt::Jammed,
        K::DoorForcedOpen => (seen.position, seen.alarm) = (Position::Open, Alarm::ForcedOpen),
        K::DoorHeldOpen => (seen.position, seen.alarm) = (Position::Open, Alarm::OpenTooLong),
        K::DoorHeldOpenCleared => seen.alarm = Alarm::Normal,
        K::DoorFault => seen.position = Position::Fault,
        K::DeviceTampered => seen.tampered = true,
        K::DeviceTamperCleared => seen.tampered = false,
        _ => {}
    }
    if *seen != was {
        seen.at = event.occurred.at.or(Some(ids.now));
    }
}
