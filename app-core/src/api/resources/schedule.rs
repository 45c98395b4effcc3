//! Schedules: when a grant holds, in the wall-clock time of the site.

use super::id;
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::id::ScheduleId;
use keyway_domain::schedule::{Exception, HolidayRule, Schedule, WeeklyWindow};
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "schedules",
    one: "schedule",
    kind: RecordKind::Schedule,
    mint: |ids| ScheduleId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| ScheduleId::parse(text).is_ok(),
    make,
    show: same,
    held_by: |text, facts| {
        let schedule = ScheduleId::parse(text).ok();
        let grants = facts.facts.grants.values().filter(|grant| grant.rule.schedule == schedule).count();
        let levels = facts.doors.values().flat_map(|door| &door.levels);
        let levels = levels.filter(|level| level.when == schedule).count();
        let held = grants + levels;
        (held > 0).then(|| format!("{held} grants and security levels refer to it; change them first"))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    weekly: Vec<WeeklyWindow>,
    #[serde(default)]
    holidays: Option<HolidayRule>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    if let Some(rule) = &input.holidays
        && !draft.facts.facts.calendars.contains_key(&rule.calendar)
    {
        return Err(Problem::field("holidays/calendar", "there is no such calendar in this tenant"));
    }
    let schedule = Schedule {
        id: id(draft.id)?,
        weekly: input.weekly,
        holidays: input.holidays,
        exceptions: input.exceptions,
    };
    schedule.check().map_err(|why| Problem::field("", why))?;
    Ok(Made::of(&schedule))
}
