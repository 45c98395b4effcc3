//! Areas: parts of a site that grants and lockdowns may speak of.

use super::{id, name, named};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::id::{AreaId, SiteId};
use keyway_domain::place::{Area, Scope};
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "areas",
    one: "area",
    kind: RecordKind::Area,
    mint: |ids| AreaId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| AreaId::parse(text).is_ok(),
    parts: &[],
    make,
    show: same,
    held_by: |text, facts| {
        let area = AreaId::parse(text).ok()?;
        let doors = facts.doors.values().filter(|door| door.area == Some(area)).count();
        let grants = named(facts, |scope| *scope == Scope::Area(area));
        (doors + grants > 0)
            .then(|| format!("{doors} doors lie in this area and {grants} grants name it; change them first"))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    site: SiteId,
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    if !draft.facts.sites.contains_key(&input.site) {
        return Err(Problem::field("site", "there is no such site in this tenant"));
    }
    let area = Area { id: id(draft.id)?, site: input.site, name: name(&input.name)? };
    Ok(Made::of(&area).under(input.site))
}
