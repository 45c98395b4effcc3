//! Calendars: the dates that schedules take for holidays.

use super::id;
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::id::CalendarId;
use keyway_domain::schedule::Calendar;
use keyway_domain::time::Date;
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "calendars",
    one: "calendar",
    kind: RecordKind::Calendar,
    mint: |ids| CalendarId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| CalendarId::parse(text).is_ok(),
    parts: &[],
    make,
    show: same,
    held_by: |text, facts| {
        let calendar = CalendarId::parse(text).ok()?;
        let uses = |one: &&keyway_domain::schedule::Schedule| {
            one.holidays.as_ref().is_some_and(|rule| rule.calendar == calendar)
        };
        let held = facts.facts.schedules.values().filter(uses).count();
        (held > 0).then(|| format!("{held} schedules refer to it; change them first"))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    dates: Vec<Date>,
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let mut input: Input = draft.input()?;
    input.dates.sort_unstable();
    input.dates.dedup();
    let calendar = Calendar { id: id(draft.id)?, dates: input.dates };
    calendar.check().map_err(|why| Problem::field("dates", why))?;
    Ok(Made { alone: draft.before.is_none(), ..Made::of(&calendar) })
}
