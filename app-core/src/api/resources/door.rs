//! Doors: where they stand and how they behave. Mode is wanted state with a version of its own and is set at
//! `/v1/doors/{id}/mode`.

use super::{id, is_tag, name, named};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource};
use crate::doc::DoorDoc;
use crate::store::kind::RecordKind;
use keyway_domain::door::{DecidedBy, Factors, SecurityLevel, Timings, TwoPersonRule};
use keyway_domain::facts::{BUNDLE_LIFE_MS_DEFAULT, BUNDLE_LIFE_MS_MAX};
use keyway_domain::id::{AreaId, DoorId, SiteId};
use keyway_domain::place::Scope;
use serde::Deserialize;
use serde_json::Value;

pub const RESOURCE: Resource = Resource {
    path: "doors",
    one: "door",
    kind: RecordKind::Door,
    mint: |ids| DoorId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| DoorId::parse(text).is_ok(),
    parts: &[
        ("timings", &["access_ms", "extended_ms", "held_open_ms"]),
        ("levels/*", &["when", "any_of"]),
        ("two_person", &["within_ms"]),
    ],
    make,
    show,
    held_by: |text, facts| {
        let door = DoorId::parse(text).ok()?;
        if let Some(device) = facts.device_of(door) {
            return Some(format!("{} serves this door; revoke it first", device.id));
        }
        let names = |scope: &Scope| matches!(scope, Scope::Doors(doors) if doors.contains(&door));
        let grants = named(facts, names);
        (grants > 0).then(|| format!("{grants} grants name this door; change them first"))
    },
};

/// A bundle that lives for less is made anew all the time.
const BUNDLE_LIFE_MS_MIN: u64 = 10 * 60_000;
const TAGS_MAX: usize = 16;
/// An hour; longer is a mode.
const TIMING_MS_MAX: u32 = 3_600_000;
/// Nobody is faster at a reader.
const TWO_PERSON_MS_MIN: u32 = 1_000;
/// There are fifteen sets of four factors.
const PROOFS_MAX: usize = 16;

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
    if input.tags.len() > TAGS_MAX || !input.tags.iter().all(|tag| is_tag(tag)) {
        return Err(Problem::field("tags", "at most 16 tags of 1 to 64 bytes, no control characters"));
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
    for (place, level) in input.levels.iter().enumerate() {
        let sound = |factors: &Factors| (1..=Factors::ALL.0).contains(&factors.0);
        if level.any_of.is_empty() || level.any_of.len() > PROOFS_MAX || !level.any_of.iter().all(sound) {
            return Err(Problem::field(
                &format!("levels/{place}/any_of"),
                "1 to 16 sets of factors, each a sum of 1 (card), 2 (code), 4 (key) and 8 (PIN)",
            ));
        }
    }
    if input.two_person.is_some_and(|rule| !(TWO_PERSON_MS_MIN..=TIMING_MS_MAX).contains(&rule.within_ms)) {
        return Err(Problem::field("two_person/within_ms", "from a second to an hour"));
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
