//! Groups: a name that people belong to and grants speak of.

use super::{id, name};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::grant::Who;
use keyway_domain::id::GroupId;
use keyway_domain::person::Group;
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "groups",
    one: "group",
    kind: RecordKind::Group,
    mint: |ids| GroupId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| GroupId::parse(text).is_ok(),
    parts: &[],
    make,
    show: same,
    held_by: |text, facts| {
        let group = GroupId::parse(text).ok()?;
        let grants = facts.facts.grants.values().filter(|one| one.who == Who::Group(group)).count();
        let people = facts.facts.people.values().filter(|one| one.groups.contains(&group)).count();
        (grants + people > 0)
            .then(|| format!("{people} people are in it and {grants} grants speak of it; change them first"))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    let group = Group { id: id(draft.id)?, name: name(&input.name)? };
    Ok(Made { alone: draft.before.is_none(), ..Made::of(&group) })
}
