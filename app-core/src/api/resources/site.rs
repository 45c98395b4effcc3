//! Sites: a name and the time zone that every schedule of the site is read in.

use super::{id, name, named};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::id::SiteId;
use keyway_domain::place::{Scope, Site};
use keyway_domain::time::UnixMs;
use keyway_domain::zone::ZoneTable;
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "sites",
    one: "site",
    kind: RecordKind::Site,
    mint: |ids| SiteId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| SiteId::parse(text).is_ok(),
    parts: &[],
    make,
    show: same,
    held_by: |text, facts| {
        let site = SiteId::parse(text).ok()?;
        let doors = facts.doors.values().filter(|door| door.site == site).count();
        let areas = facts.areas.values().filter(|area| area.site == site).count();
        let grants = named(facts, |scope| *scope == Scope::Site(site));
        let held = doors + areas + grants;
        (held > 0).then(|| {
            format!("{doors} doors, {areas} areas and {grants} grants are of this site; change them first")
        })
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    zone: String,
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    // An hour from 1970 on: whether the name is known is all that is asked.
    ZoneTable::expand(&input.zone, UnixMs(0), UnixMs(3_600_000))
        .map_err(|error| Problem::field("zone", error.to_string()))?;
    let site = Site { id: id(draft.id)?, name: name(&input.name)?, zone: input.zone };
    Ok(Made { alone: draft.before.is_none(), ..Made::of(&site) })
}
