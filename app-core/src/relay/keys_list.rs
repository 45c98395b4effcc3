//! `keys.list` and `state.get`: the doors one may open, and the state of one of them.

use super::attempts::Basis;
use super::calls::{Call, Refused};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::sync::door_state;
use crate::facts::TenantFacts;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::door::Observed;
use keyway_domain::grant::{Grant, Who};
use keyway_domain::id::{DoorId, PersonId};
use keyway_domain::message::phone::{KeysReply, PhoneKey, StateGet};
use keyway_domain::message::publication::DoorState;
use keyway_domain::person::PersonState;
use std::sync::Arc;

pub const KEYS: Method = Method { name: "keys.list", serve: |core, call| keys(core, call).boxed() };
pub const STATE: Method = Method { name: "state.get", serve: |core, call| state(core, call).boxed() };

/// A reply fits a frame: whoever holds more is shown the first ones by name and finds the rest by asking for it.
const KEYS_MAX: usize = 300;

/// The doors that an enabled grant of this person speaks of, sorted by door. None for who is suspended or has left.
pub fn held(facts: &TenantFacts, person: PersonId) -> Vec<PhoneKey> {
    let person = facts.facts.people.get(&person).filter(|person| person.state == PersonState::Active);
    let Some(person) = person else { return Vec::new() };
    let speaks = |grant: &&Grant| {
        grant.enabled
            && match grant.who {
                Who::Person(id) => id == person.id,
                Who::Group(group) => person.groups.contains(&group),
            }
    };
    let mut own: Vec<&Grant> = facts.facts.grants.values().filter(speaks).collect();
    // Their own before those of a group, as at the door.
    own.sort_by_key(|grant| (grant.who, grant.rule.id));
    let mut keys = Vec::new();
    for (id, door) in &facts.facts.doors {
        let Some(grant) = own.iter().find(|grant| grant.scope.covers(&door.rules.place)) else { continue };
        let door_name = facts.doors.get(id).map(|door| door.name.clone()).unwrap_or_default();
        keys.push(PhoneKey { door: *id, door_name, grant: grant.rule.id, validity: grant.rule.validity });
        if keys.len() >= KEYS_MAX {
            break;
        }
    }
    keys
}

pub fn doors_of(facts: &TenantFacts, person: PersonId) -> Vec<DoorId> {
    held(facts, person).into_iter().map(|key| key.door).collect()
}

async fn keys(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let (_, facts) = call.facts(&core).await?;
    reply(&KeysReply { keys: held(&facts, call.person()?) })
}

async fn state(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let request: StateGet = call.json()?;
    let (tenant, facts) = call.facts(&core).await?;
    let may = doors_of(&facts, call.person()?).contains(&request.door);
    let door = facts.doors.get(&request.door).filter(|_| may).ok_or(Refused::NotFound("door"))?;
    match facts.device_of(door.id) {
        Some(device) => {
            let (state, _) = Basis::Committed.state(&core, tenant.scope, device).await?;
            reply(&door_state(&facts, &state))
        }
        None => {
            reply(&DoorState { door: door.id, mode: door.mode, online: false, observed: Observed::default() })
        }
    }
}
