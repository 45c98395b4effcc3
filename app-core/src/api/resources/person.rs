//! People: a name for screens, a state, groups. Somebody who is suspended or has left opens nothing from that moment:
//! their credentials go into the signed revocation.

use super::{id, name};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::credential::CredentialState;
use keyway_domain::grant::Who;
use keyway_domain::id::{GroupId, PersonId};
use keyway_domain::person::{Person, PersonKind, PersonState, Role};
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "people",
    one: "person",
    kind: RecordKind::Person,
    mint: |ids| PersonId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| PersonId::parse(text).is_ok(),
    parts: &[],
    make,
    show: same,
    held_by: |text, facts| {
        let person = PersonId::parse(text).ok()?;
        let credentials = facts.facts.credentials.values().filter(|one| one.person == person).count();
        let grants = facts.facts.grants.values().filter(|one| one.who == Who::Person(person)).count();
        (credentials + grants > 0)
            .then(|| format!("{credentials} credentials and {grants} grants are theirs; delete them first"))
    },
};

const GROUPS_MAX: usize = 64;
/// As many as there are.
const ROLES_MAX: usize = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    #[serde(default)]
    kind: PersonKind,
    #[serde(default)]
    state: PersonState,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    groups: Vec<GroupId>,
    #[serde(default)]
    extended_time: bool,
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    if input.groups.len() > GROUPS_MAX {
        return Err(Problem::field("groups", "at most 64"));
    }
    if !input.groups.iter().all(|group| draft.facts.groups.contains(group)) {
        return Err(Problem::field("groups", "there is no such group in this tenant"));
    }
    if input.roles.len() > ROLES_MAX {
        return Err(Problem::field("roles", "each at most once"));
    }
    let person = Person {
        id: id(draft.id)?,
        name: name(&input.name)?,
        kind: input.kind,
        state: input.state,
        roles: input.roles,
        groups: input.groups,
        extended_time: input.extended_time,
    };
    let mut made = Made { alone: draft.before.is_none() && person.groups.is_empty(), ..Made::of(&person) };
    let was = draft.facts.facts.people.get(&person.id);
    let was_active = was.is_some_and(|before| before.state == PersonState::Active);
    let is_active = person.state == PersonState::Active;
    if was.is_some() && was_active != is_active {
        let theirs = draft.facts.facts.credentials.values().filter(|one| one.person == person.id);
        let digests =
            theirs.filter(|one| one.state == CredentialState::Active).map(|one| one.digest).collect();
        if is_active {
            made.restored = digests;
        } else {
            made.revoked = digests;
            made.void.push(person.id);
        }
    }
    if was.is_some() {
        made.tell.push(person.id);
    }
    Ok(made)
}
