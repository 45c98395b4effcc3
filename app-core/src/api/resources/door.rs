//! Doors: where they stand and how they behave. Mode is wanted state with a version of its own and is set at
//! `/v1/doors/{id}/mode`.

use super::{id, name};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource};
use crate::doc::DoorDoc;
use crate::store::kind::RecordKind;
use keyway_domain::door::{DecidedBy, SecurityLevel, Timings, TwoPersonRule};
use keyway_domain::facts::{BUNDLE_LIFE_MS_DEFAULT, BUNDLE_LIFE_MS_MAX};
use keyway_domain::id::{AreaId, DoorId, SiteId};
use serde::Deserialize;
use serde_json::Value;

pub const RESOURCE: Resource = Resource {
    path: "doors",
    one: "door",
    kind: RecordKind::Door,
    mint: |ids| DoorId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| DoorId::parse(text).is_ok(),
    make,
    show,
    held_by: |text, facts| {
        let door = DoorId::parse(text).ok()?;
        let device = facts.device_of(door)?;
        Some(format!("{} serves this door; revoke it first", device.id))
    },
};

/// A bundle that lives for less is made anew all the time.
const BUNDLE_LIFE_MS_MIN: u64 = 10 * 60_000;
const TAGS_MAX: usize = 16;
/// An hour; longer is a mode.
const TIMING_MS_MAX: u32 = 3_600_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    site: SiteId,
    #[serde(default)]
    area: Option<AreaId>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    timings: Timings,
    #[serde(default)]
    levels: Vec<SecurityLevel>,
    #[serde(default)]
    two_person: Option<TwoPersonRule>,
    #[serde(default)]
    decided_by: DecidedBy,
    #[serde(default = "life_default")]
    bundle_life_ms: u64,
}

fn life_default() -> u64 {
    BUNDLE_LIFE_MS_DEFAULT
}

/// Mode is shown by its own route too; here it is left out, so that a door that was read can be written back.
fn show(mut doc: Value) -> Value {
    if let Some(fields) = doc.as_object_mut() {
        fields.remove("mode");
        fields.remove("mode_version");
    }
    doc
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    let facts = draft.facts;
    if !facts.sites.contains_key(&input.site) {
        return Err(Problem::field("site", "there is no such site in this tenant"));
    }
    if let Some(area) = input.area
        && facts.areas.get(&area).is_none_or(|area| area.site != input.site)
    {
        return Err(Problem::field("area", "there is no such area at this site"));
    }
    if input.tags.len() > TAGS_MAX || input.tags.iter().any(|tag| tag.is_empty() || tag.len() > 64) {
        return Err(Problem::field("tags", "at most 16 tags of 1 to 64 bytes"));
    }
    let timings = [input.timings.access_ms, input.timings.extended_ms, input.timings.held_open_ms];
    if timings.iter().any(|ms| !(100..=TIMING_MS_MAX).contains(ms)) {
        return Err(Problem::field("timings", "each from 100 ms to an hour"));
    }
    if !(BUNDLE_LIFE_MS_MIN..=BUNDLE_LIFE_MS_MAX).contains(&input.bundle_life_ms) {
        return Err(Problem::field("bundle_life_ms", "from 10 minutes to 30 days"));
    }
    let unknown =
        |level: &SecurityLevel| level.when.is_some_and(|when| !facts.facts.schedules.contains_key(&when));
    if input.levels.len() > 8 || input.levels.iter().any(unknown) {
        return Err(Problem::field("levels", "at most 8, each with a schedule of this tenant or none"));
    }
    let before: Option<DoorDoc> = draft.before.take().and_then(|doc| serde_json::from_value(doc).ok());
    if let Some(before) = &before
        && before.site != input.site
        && facts.device_of(before.id).is_some()
    {
        return Err(Problem::field(
            "site",
            "its device was enrolled for the other site; revoke the device first",
        ));
    }
    let (mode, mode_version) = before.map(|door| (door.mode, door.mode_version)).unwrap_or_default();
    let door = DoorDoc {
        id: id(draft.id)?,
        name: name(&input.name)?,
        site: input.site,
        area: input.area,
        tags: input.tags,
        timings: input.timings,
        levels: input.levels,
        two_person: input.two_person,
        decided_by: input.decided_by,
        bundle_life_ms: input.bundle_life_ms,
        mode,
        mode_version,
    };
    Ok(Made::of(&door).under(door.site))
}
