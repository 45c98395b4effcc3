//! Checks of the windows in which AWS works on the stores: long enough, and backups apart from maintenance. Owns the arithmetic
//! of a week; refuses to know what AWS does in them.

use crate::environment::problem::Problem;
use crate::environment::types::Environment;

use super::Report;

const DAY_MINUTES: u32 = 24 * 60;
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;
/// Shortest window of RDS, for backups and for maintenance (RDS API reference, `CreateDBInstance`).
const DATABASE_MINUTES_MIN: u32 = 30;
/// Shortest window of ElastiCache, for snapshots and for maintenance (ElastiCache API reference, `CreateReplicationGroup`).
const CACHE_MINUTES_MIN: u32 = 60;

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    if let Some(redis) = &environment.redis {
        let daily = ("redis.snapshot_window", redis.snapshot_window.as_deref());
        let weekly = ("redis.maintenance_window", redis.maintenance_window.as_deref());
        store(daily, weekly, CACHE_MINUTES_MIN, report);
    }
    if let Some(postgres) = &environment.postgres {
        let daily = ("postgres.backup_window", postgres.backup_window.as_deref());
        let weekly = ("postgres.maintenance_window", postgres.maintenance_window.as_deref());
        store(daily, weekly, DATABASE_MINUTES_MIN, report);
    }
}

fn store(
    (daily_path, daily): (&str, Option<&str>),
    (weekly_path, weekly): (&str, Option<&str>),
    minutes_min: u32,
    report: &mut Report<'_>,
) {
    let day = daily.and_then(|text| Window::parse(text, DAY_MINUTES));
    let week = weekly.and_then(|text| Window::parse(text, WEEK_MINUTES));
    for (path, window) in [(daily_path, day), (weekly_path, week)] {
        if let Some(window) = window.filter(|window| window.minutes < minutes_min) {
            let message = format!("a window of {} minutes is too short for AWS", window.minutes);
            let problem = Problem::error("out-of-range", path, message);
            report.add(problem.allowed(format!("{minutes_min} minutes or more")));
        }
    }
    let (Some(day), Some(week), Some(daily), Some(weekly)) = (day, week, daily, weekly) else { return };
    let each_day = |days: u32| Window { start: day.start + days * DAY_MINUTES, ..day };
    if (0..7).map(each_day).any(|window| window.overlaps(week)) {
        let message =
            format!("the daily window {daily} overlaps the weekly window {weekly}, and AWS refuses that");
        let related = report.known.origins.of(weekly_path);
        let problem = Problem::error("windows-overlap", daily_path, message);
        report.add(
            problem.allowed("windows that share no minute of any day").related("the weekly window", related),
        );
    }
}

/// A stretch of time in minutes, which may run over the end of its day or week.
#[derive(Clone, Copy)]
struct Window {
    start: u32,
    minutes: u32,
}

impl Window {
    /// `03:00-04:00` or `sun:03:00-sun:04:00`; the form has been checked.
    fn parse(text: &str, round: u32) -> Option<Window> {
        let (from, to) = text.split_once('-')?;
        let (start, end) = (moment(from)?, moment(to)?);
        Some(Window { start, minutes: (end + round - start) % round })
    }

    /// Whether two windows share a minute of the week.
    fn overlaps(self, other: Window) -> bool {
        let within = |a: Window, b: Window| (b.start + WEEK_MINUTES - a.start) % WEEK_MINUTES < a.minutes;
        within(self, other) || within(other, self)
    }
}

/// Minutes since the beginning of the day, or of Monday.
fn moment(text: &str) -> Option<u32> {
    let (day, clock) = match text.splitn(3, ':').collect::<Vec<_>>()[..] {
        [day, hour, minute] => (Some(day), (hour, minute)),
        [hour, minute] => (None, (hour, minute)),
        _ => return None,
    };
    let days = match day {
        Some(day) => {
            ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().position(|name| *name == day)?
        }
        None => 0,
    };
    let (hour, minute): (u32, u32) = (clock.0.parse().ok()?, clock.1.parse().ok()?);
    Some(u32::try_from(days).ok()? * DAY_MINUTES + hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_long_enough_and_apart_or_not() {
        for (daily, weekly, minutes, overlap) in [
            ("03:00-04:00", "sun:04:00-sun:05:00", (60, 60), false),
            ("03:00-04:01", "sun:04:00-sun:05:00", (61, 60), true),
            ("23:30-00:30", "mon:00:00-mon:01:00", (60, 60), true),
            ("23:00-00:00", "mon:00:00-mon:01:00", (60, 60), false),
            ("00:10-00:20", "sun:23:30-mon:00:15", (10, 45), true),
            ("12:00-13:00", "sat:13:00-tue:11:00", (60, 2 * 1440 + 22 * 60), true),
        ] {
            let day = Window::parse(daily, DAY_MINUTES).unwrap();
            let week = Window::parse(weekly, WEEK_MINUTES).unwrap();
            assert_eq!((day.minutes, week.minutes), minutes, "{daily} {weekly}");
            let each = |days| Window { start: day.start + days * DAY_MINUTES, ..day };
            assert_eq!((0..7).map(each).any(|day| day.overlaps(week)), overlap, "{daily} {weekly}");
        }
    }
}
