//! Schedules over the edges of time: clocks put forward and back, leap days, windows across midnight, zones that
//! change, and what a clock's error does at each edge.

use crate::worlds::{DAY_MS, START, YEAR_MS, ZONES};
use keyway_domain::id::{CalendarId, ScheduleId};
use keyway_domain::schedule::{
    Answer, Calendar, DayWindow, Exception, HolidayRule, Schedule, WeekDays, WeeklyWindow,
};
use keyway_domain::time::{Date, UnixMs};
use keyway_domain::zone::ZoneTable;
use proptest::prelude::*;

fn at(text: &str) -> UnixMs {
    UnixMs(text.parse::<jiff::Timestamp>().unwrap().as_millisecond() as u64)
}

fn weekly(days: u8, from_minute: u16, until_minute: u16) -> Schedule {
    let window = DayWindow { from_minute, until_minute };
    Schedule {
        id: ScheduleId::mint(START, [1; 10]),
        weekly: vec![WeeklyWindow { days: WeekDays(days), window }],
        holidays: None,
        exceptions: Vec::new(),
    }
}

fn open(schedule: &Schedule, zone: &ZoneTable, instant: &str) -> bool {
    schedule.at(zone.local(at(instant)).unwrap(), None) == Answer::Open
}

fn check(zone: &str, schedule: &Schedule, cases: &[(&str, bool)]) {
    let table = ZoneTable::expand(zone, at("2026-01-01T00:00:00Z"), at("2029-01-01T00:00:00Z")).unwrap();
    for (instant, expected) in cases {
        assert_eq!(open(schedule, &table, instant), *expected, "{zone} at {instant}");
    }
}

#[test]
fn the_hour_that_is_left_out_and_the_hour_that_comes_twice() {
    // Tallinn, 28 March 2027: 03:00 becomes 04:00. 31 October: 04:00 becomes 03:00.
    check(
        "Europe/Tallinn",
        &weekly(0x7f, 180, 240),
        &[
            ("2027-03-28T00:59:59Z", false),
            ("2027-03-28T01:00:00Z", false),
            ("2027-10-31T00:00:00Z", true),
            ("2027-10-31T01:00:00Z", true),
            ("2027-10-31T01:59:59Z", true),
            ("2027-10-31T02:00:00Z", false),
        ],
    );
    // A working day keeps its wall-clock hours on both sides of the change.
    check(
        "Europe/Tallinn",
        &weekly(0x7f, 540, 1_020),
        &[
            ("2027-03-27T07:00:00Z", true),
            ("2027-03-27T06:59:59Z", false),
            ("2027-03-28T06:00:00Z", true),
            ("2027-03-28T13:59:59Z", true),
            ("2027-03-28T14:00:00Z", false),
        ],
    );
    // Half an hour of daylight saving.
    check(
        "Australia/Lord_Howe",
        &weekly(0x7f, 120, 150),
        &[("2027-10-02T15:30:00Z", false), ("2027-10-02T15:29:59Z", false)],
    );
}

#[test]
fn windows_across_midnight_belong_to_their_first_day() {
    // Friday 22:00 to Saturday 06:00, in New York.
    check(
        "America/New_York",
        &weekly(0b001_0000, 1_320, 360),
        &[
            ("2027-06-05T01:59:59Z", false),
            ("2027-06-05T02:00:00Z", true),
            ("2027-06-05T04:00:00Z", true),
            ("2027-06-05T09:59:59Z", true),
            ("2027-06-05T10:00:00Z", false),
            ("2027-06-06T03:00:00Z", false),
            ("2027-06-04T05:00:00Z", false),
        ],
    );
    check("UTC", &weekly(0x7f, 0, 1_440), &[("2027-06-05T00:00:00Z", true), ("2027-06-05T23:59:59Z", true)]);
}

#[test]
fn leap_days_holidays_and_exceptions() {
    let calendar =
        Calendar { id: CalendarId::mint(START, [2; 10]), dates: vec![Date::parse("2028-02-29").unwrap()] };
    let mut schedule = weekly(0x7f, 480, 60);
    schedule.holidays = Some(HolidayRule {
        calendar: calendar.id,
        windows: vec![DayWindow { from_minute: 600, until_minute: 660 }],
    });
    schedule.exceptions = vec![Exception { date: Date::parse("2028-03-01").unwrap(), windows: Vec::new() }];
    let zone = ZoneTable::utc();
    let ask = |instant: &str| schedule.at(zone.local(at(instant)).unwrap(), Some(&calendar));
    assert_eq!(ask("2028-02-28T09:00:00Z"), Answer::Open);
    // The night of the 28th reaches into the holiday; the holiday's own day follows its own windows.
    assert_eq!(ask("2028-02-29T00:59:59Z"), Answer::Open);
    assert_eq!(ask("2028-02-29T09:00:00Z"), Answer::Holiday);
    assert_eq!(ask("2028-02-29T10:30:00Z"), Answer::Open);
    // Nothing of the holiday reaches into the next day, which is closed by itself.
    assert_eq!(ask("2028-03-01T00:30:00Z"), Answer::Holiday);
    assert_eq!(ask("2028-03-01T12:00:00Z"), Answer::Holiday);
    assert_eq!(ask("2028-03-02T00:30:00Z"), Answer::Outside);
    assert_eq!(ask("2028-03-02T08:00:00Z"), Answer::Open);
}

#[test]
fn a_zone_that_changes_changes_the_answer_and_a_table_ends() {
    let schedule = weekly(0x7f, 540, 1_020);
    check("Europe/Tallinn", &schedule, &[("2027-01-15T07:30:00Z", true)]);
    check("Europe/Lisbon", &schedule, &[("2027-01-15T07:30:00Z", false)]);
    let table = ZoneTable::expand("Europe/Tallinn", START, START.plus(DAY_MS)).unwrap();
    assert!(table.local(START.plus(DAY_MS - 1)).is_some());
    assert!(table.local(START.plus(DAY_MS)).is_none() && table.local(START.minus(1)).is_none());
    assert!(ZoneTable::expand("Europe/Talin", START, START.plus(DAY_MS)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The expanded table says what the database says, around every change and anywhere.
    #[test]
    fn tables_agree_with_the_database(zone in 0..ZONES.len(), offset in 0..YEAR_MS, near in any::<bool>(), jitter in -2_000i64..2_000) {
        let table = ZoneTable::expand(ZONES[zone], START, START.plus(YEAR_MS)).unwrap();
        let edge = table.transitions.get(offset as usize % table.transitions.len().max(1)).map(|edge| edge.at);
        let instant = match edge {
            Some(edge) if near => UnixMs(edge.0.saturating_add_signed(jitter)),
            _ => START.plus(offset),
        };
        let local = table.local(instant).unwrap();
        let truth = jiff::Timestamp::from_millisecond(instant.0 as i64).unwrap().in_tz(ZONES[zone]).unwrap();
        let (year, month, day) = local.date.civil();
        prop_assert_eq!((year as i16, month as i8, day as i8), (truth.year(), truth.month(), truth.day()));
        let second = truth.hour() as u32 * 3600 + truth.minute() as u32 * 60 + truth.second() as u32;
        prop_assert_eq!(local.second, second);
        prop_assert_eq!(local.date.weekday() as i8, truth.weekday().to_monday_zero_offset());
    }
}
