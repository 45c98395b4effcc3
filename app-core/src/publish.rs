//! What core says on the channels of the catalogue, as rows for the outbox. Owns which channel a thing goes to and the
//! envelope around it; refuses to send: that happens after the commit.

use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::store::change::OutboxDraft;
use crate::store::row::{CommandRow, History};
use keyway_domain::event::{DeviceEvent, EventKind};
use keyway_domain::id::{DeviceId, DoorId, PersonId, SiteId, TenantId};
use keyway_domain::message::publication::{AtSite, CommandChange, DoorState, Lockdown, ToDevice, ToPerson};
use keyway_domain::message::{CHANNELS, CloudEvent, channel_name};
use keyway_domain::time::UnixMs;

/// A nudge that is older than this has been overtaken by the device's own regular sync.
const NUDGE_LIFE_MS: u64 = 60_000;

fn draft<T: serde::Serialize>(
    namespace: &str,
    tenant: TenantId,
    id: &dyn std::fmt::Display,
    kind: &str,
    ids: &mut Ids,
    data: T,
) -> OutboxDraft {
    let event = ids.event();
    let body = CloudEvent::of_core(event, tenant, kind, ids.now, data);
    let kept = CHANNELS.iter().find(|row| row.namespace == namespace).map(|row| row.history);
    OutboxDraft {
        channel: channel_name(namespace, tenant, id),
        body: serde_json::to_string(&body).expect("our publications have string keys only"),
        history: match kept {
            Some(keyway_domain::message::History::Kept) => History::Kept,
            Some(keyway_domain::message::History::Latest) => History::Latest,
            Some(keyway_domain::message::History::None) | None => History::None,
        },
        idempotency: event.to_string(),
        expires_at: None,
    }
}

/// To one device, live or not at all.
pub fn to_device(
    tenant: TenantId,
    device: DeviceId,
    what: &ToDevice,
    until: UnixMs,
    ids: &mut Ids,
) -> OutboxDraft {
    let kind = match what {
        ToDevice::Command { .. } => "command.sent",
        ToDevice::Nudge => "device.nudged",
        ToDevice::Revocation { .. } => "credential.revoked",
    };
    OutboxDraft { expires_at: Some(until), ..draft("device", tenant, &device, kind, ids, what) }
}

pub fn nudge(tenant: TenantId, device: DeviceId, ids: &mut Ids) -> OutboxDraft {
    let until = ids.now.plus(NUDGE_LIFE_MS);
    to_device(tenant, device, &ToDevice::Nudge, until, ids)
}

pub fn lockdown(tenant: TenantId, site: SiteId, statement: String, ids: &mut Ids) -> OutboxDraft {
    draft("lockdown", tenant, &site, "lockdown.changed", ids, Lockdown { statement })
}

pub fn keys_changed(tenant: TenantId, person: PersonId, ids: &mut Ids) -> OutboxDraft {
    draft("#", tenant, &person, "keys.changed", ids, ToPerson::KeysChanged)
}

/// A command's new state: to the person who asked, and to the operators of the site.
pub fn command(facts: &TenantFacts, row: &CommandRow, ids: &mut Ids) -> Vec<OutboxDraft> {
    let change = CommandChange { command: row.id(), door: row.command.door, state: row.record.state };
    let mut drafts = Vec::with_capacity(2);
    if let Some(person) = row.person {
        drafts.push(draft(
            "#",
            facts.tenant,
            &person,
            "command.changed",
            ids,
            ToPerson::Command(change.clone()),
        ));
    }
    if let Some(site) = facts.site_of(row.command.door) {
        drafts.push(draft("site", facts.tenant, &site, "command.changed", ids, AtSite::Command(change)));
    }
    drafts
}

/// A door's state: for holders of a grant without names, and for the operators.
pub fn door_state(facts: &TenantFacts, state: DoorState, ids: &mut Ids) -> Vec<OutboxDraft> {
    let door = state.door;
    let mut drafts = vec![draft("door", facts.tenant, &door, "door.state", ids, state.clone())];
    if let Some(site) = facts.site_of(door) {
        drafts.push(draft("site", facts.tenant, &site, "door.state", ids, AtSite::Door(state)));
    }
    drafts
}

/// A device's event: to the operators, and as an alarm where it is one.
pub fn event(facts: &TenantFacts, door: DoorId, event: &DeviceEvent, ids: &mut Ids) -> Vec<OutboxDraft> {
    let Some(site) = facts.site_of(door) else { return Vec::new() };
    let said = || AtSite::Event { door, event: event.clone() };
    let mut drafts = vec![draft("site", facts.tenant, &site, event.kind.word(), ids, said())];
    if is_alarm(event.kind) {
        drafts.push(draft("alerts", facts.tenant, &site, event.kind.word(), ids, said()));
    }
    drafts
}

/// What somebody has to look at now.
fn is_alarm(kind: EventKind) -> bool {
    use EventKind as K;
    matches!(
        kind,
        K::AccessDuress
            | K::AccessCodeLockout
            | K::DoorForcedOpen
            | K::DoorHeldOpen
            | K::DoorJammed
            | K::DoorFault
            | K::DeviceTampered
            | K::DevicePowerLost
            | K::DeviceBatteryLow
            | K::DeviceBufferOverflow
    )
}
