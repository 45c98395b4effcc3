//! Schedules: when a grant holds, in the wall-clock time of the site.

use super::id;
use crate::api::problem::{Code, Problem};
use crate::api::resource::{Draft, Made, Resource, same};
use crate::store::kind::RecordKind;
use keyway_domain::id::ScheduleId;
use keyway_domain::schedule::{Exception, HolidayRule, Schedule, WeekDays, WeeklyWindow};
use serde::Deserialize;

pub const RESOURCE: Resource = Resource {
    path: "schedules",
    one: "schedule",
    kind: RecordKind::Schedule,
    mint: |ids| ScheduleId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| ScheduleId::parse(text).is_ok(),
    parts: &[
        ("weekly/*", &["days", "from_minute", "until_minute"]),
        ("holidays", &["calendar", "windows"]),
        ("holidays/windows/*", &["from_minute", "until_minute"]),
        ("exceptions/*", &["date", "windows"]),
        ("exceptions/*/windows/*", &["from_minute", "until_minute"]),
    ],
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
    if let Some(place) = schedule.weekly.iter().position(|one| !(1..=WeekDays::ALL.0).contains(&one.days.0)) {
        return Err(Problem::field(
            &format!("weekly/{place}/days"),
            "a sum of 1 (Monday), 2, 4, 8, 16, 32 and 64 (Sunday)",
        ));
    }
    schedule.check().map_err(|why| Problem::new(Code::Invalid, why))?;
    Ok(Made::of(&schedule))
}
