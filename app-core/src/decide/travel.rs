//! Whether what a door has to hold still fits into one answer on the bus. Owns the bound and the search for the doors that
//! a change concerns; a change that would leave a door behind is refused with the door's name, before it is made.

use crate::facts::{FactChange, TenantFacts};
use crate::store::StoreError;
use crate::store::kind::RecordKind;
use crate::store::row::Record;
use keyway_domain::bundle::{BundleBody, compile};
use keyway_domain::decision::Situation;
use keyway_domain::grant::{Grant, Who};
use keyway_domain::id::{DoorId, GrantId, PersonId};
use keyway_domain::time::UnixMs;
use std::collections::BTreeSet;

/// A reply on the bus holds 1 MiB. An eighth of it is left for the desired state and the list of what was revoked.
pub const BUNDLE_BYTES_MAX: usize = 896 * 1024;
/// A credential in a bundle takes some 220 bytes and 40 for each of its grants; who has more than so many is rare.
const CREDENTIAL_BYTES: usize = 220;
const GRANT_BYTES: usize = 40;
const GRANTS_EACH: usize = 16;

/// Bytes of a bundle as it is signed and sent: base64 makes four of three, the header and the signature are some more.
pub fn bytes(body: &BundleBody) -> usize {
    let json = serde_json::to_vec(body).expect("a bundle has string keys only");
    json.len().div_ceil(3) * 4 + 256
}

/// A door that could not be told what it has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    pub door: DoorId,
    pub name: String,
    pub credentials: usize,
    pub bytes: usize,
}

/// Looks at what would follow from a record that is about to be written. Small tenants are not looked at: nothing of theirs
/// comes near the bound.
pub fn after(facts: &TenantFacts, row: &Record, now: UnixMs) -> Result<Option<TooLarge>, StoreError> {
    let concerned =
        [RecordKind::Grant, RecordKind::Credential, RecordKind::Person, RecordKind::Door].contains(&row.kind);
    let each = CREDENTIAL_BYTES + GRANT_BYTES * facts.facts.grants.len().min(GRANTS_EACH);
    if !concerned || (facts.facts.credentials.len() + 1) * each * 4 / 3 <= BUNDLE_BYTES_MAX {
        return Ok(None);
    }
    let mut then = facts.clone();
    then.follow(&[FactChange::Put(row.clone())], now)?;
    let doors = doors_of(&then, row);
    let mut seen: BTreeSet<Vec<GrantId>> = BTreeSet::new();
    for id in doors {
        let Some(door) = then.facts.doors.get(&id) else { continue };
        let covers = |grant: &&Grant| grant.scope.covers(&door.rules.place);
        // Doors that the same grants speak of hold the same people.
        let grants = then.facts.grants.values().filter(covers).map(|grant| grant.rule.id).collect();
        if !seen.insert(grants) {
            continue;
        }
        let Some(body) = body(&then, id, now) else { continue };
        let bytes = bytes(&body);
        if bytes > BUNDLE_BYTES_MAX {
            let name = then.doors.get(&id).map(|door| door.name.clone()).unwrap_or_default();
            return Ok(Some(TooLarge { door: id, name, credentials: body.credentials.len(), bytes }));
        }
    }
    Ok(None)
}

fn body(facts: &TenantFacts, door: DoorId, now: UnixMs) -> Option<BundleBody> {
    let at = facts.facts.at_door(door, Situation::plain()).ok()?;
    let zone = facts.facts.zones.get(&at.door.rules.place.site)?.clone();
    Some(compile(&at, zone, 1, now))
}

/// The doors that a record of this kind says something to.
fn doors_of(facts: &TenantFacts, row: &Record) -> Vec<DoorId> {
    let of_person = |id: PersonId| -> Vec<&Grant> {
        let groups = facts.facts.people.get(&id).map(|person| person.groups.as_slice()).unwrap_or_default();
        let speaks = |grant: &&Grant| match grant.who {
            Who::Person(person) => person == id,
            Who::Group(group) => groups.contains(&group),
        };
        facts.facts.grants.values().filter(speaks).collect()
    };
    let grants: Vec<&Grant> = match row.kind {
        RecordKind::Door => return row.id.parse().into_iter().collect(),
        RecordKind::Grant => {
            row.id.parse().ok().and_then(|id: GrantId| facts.facts.grants.get(&id)).into_iter().collect()
        }
        RecordKind::Person => row.id.parse().map(of_person).unwrap_or_default(),
        _ => {
            let credential = row.id.parse().ok().and_then(|id| facts.facts.credentials.get(&id));
            credential.map(|one| of_person(one.person)).unwrap_or_default()
        }
    };
    let covered = |(id, door): (&DoorId, &keyway_domain::facts::DoorFacts)| {
        grants.iter().any(|grant| grant.scope.covers(&door.rules.place)).then_some(*id)
    };
    facts.facts.doors.iter().filter_map(covered).collect()
}
