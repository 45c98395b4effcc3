//! Weekly schedules, holidays and exceptions in local wall-clock time. Owns when a schedule is open; refuses to know
//! zones and instants: it is asked with a local date and second.
//!
//! Windows are half-open and speak of the wall clock. In the hour that is repeated in autumn a window holds twice; in
//! the hour that is left out in spring it never comes. A window that crosses midnight belongs to the day it starts on.

use crate::id::{CalendarId, ScheduleId};
use crate::time::Date;
use crate::zone::LocalTime;
use serde::{Deserialize, Serialize};

/// A week of half hours all told apart needs 336; beyond that a schedule is a mistake.
pub const WINDOWS_MAX: usize = 336;
/// Ten years of single days.
pub const DATES_MAX: usize = 3_660;
const MINUTES_OF_DAY: u16 = 1_440;

/// Bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WeekDays(pub u8);

impl WeekDays {
    pub const ALL: Self = Self(0x7f);
    pub const WORKING: Self = Self(0x1f);

    pub fn has(self, weekday: u8) -> bool {
        weekday < 7 && self.0 >> weekday & 1 == 1
    }
}

/// From one minute of the day up to, not including, another. `until <= from` goes past midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayWindow {
    pub from_minute: u16,
    pub until_minute: u16,
}

impl DayWindow {
    pub const WHOLE_DAY: Self = Self { from_minute: 0, until_minute: MINUTES_OF_DAY };

    fn crosses_midnight(self) -> bool {
        self.until_minute <= self.from_minute
    }

    fn holds_on_its_day(self, second: u32) -> bool {
        second >= u32::from(self.from_minute) * 60
            && (self.crosses_midnight() || second < u32::from(self.until_minute) * 60)
    }

    fn holds_on_the_day_after(self, second: u32) -> bool {
        self.crosses_midnight() && second < u32::from(self.until_minute) * 60
    }

    fn is_sound(self) -> bool {
        self.from_minute < MINUTES_OF_DAY
            && self.until_minute <= MINUTES_OF_DAY
            && self.from_minute != self.until_minute
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeeklyWindow {
    pub days: WeekDays,
    #[serde(flatten)]
    pub window: DayWindow,
}

/// One date that follows its own windows; none of them means closed. Stronger than holidays and week days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub date: Date,
    pub windows: Vec<DayWindow>,
}

/// On the dates of this calendar these windows replace the week; none of them means closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolidayRule {
    pub calendar: CalendarId,
    pub windows: Vec<DayWindow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub id: ScheduleId,
    pub weekly: Vec<WeeklyWindow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holidays: Option<HolidayRule>,
    /// Sorted by date, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
}

/// Dates that a site keeps free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    pub id: CalendarId,
    /// Sorted, each once.
    pub dates: Vec<Date>,
}

impl Calendar {
    pub fn has(&self, date: Date) -> bool {
        self.dates.binary_search(&date).is_ok()
    }

    pub fn check(&self) -> Result<(), &'static str> {
        if self.dates.len() > DATES_MAX {
            return Err("a calendar holds at most 3,660 dates");
        }
        if self.dates.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("the dates of a calendar have to be sorted, each once");
        }
        Ok(())
    }
}

/// What a schedule says about a local time. `Holiday` also stands for an exception: the date is out of the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Open,
    Outside,
    Holiday,
}

impl Schedule {
    /// Whether the schedule is open; `calendar` is the one that `holidays` names.
    pub fn at(&self, local: LocalTime, calendar: Option<&Calendar>) -> Answer {
        let today = self.day(local.date, calendar, |window| window.holds_on_its_day(local.second));
        if today == Answer::Open {
            return today;
        }
        match self.day(local.date.before(), calendar, |window| window.holds_on_the_day_after(local.second)) {
            Answer::Open => Answer::Open,
            Answer::Outside | Answer::Holiday => today,
        }
    }

    fn day(&self, date: Date, calendar: Option<&Calendar>, holds: impl Fn(DayWindow) -> bool) -> Answer {
        if let Ok(found) = self.exceptions.binary_search_by_key(&date, |exception| exception.date) {
            let open = self.exceptions[found].windows.iter().any(|window| holds(*window));
            return if open { Answer::Open } else { Answer::Holiday };
        }
        if let (Some(rule), Some(calendar)) = (&self.holidays, calendar)
            && calendar.has(date)
        {
            let open = rule.windows.iter().any(|window| holds(*window));
            return if open { Answer::Open } else { Answer::Holiday };
        }
        let weekday = date.weekday();
        let open = self.weekly.iter().any(|weekly| weekly.days.has(weekday) && holds(weekly.window));
        if open { Answer::Open } else { Answer::Outside }
    }

    pub fn check(&self) -> Result<(), &'static str> {
        let holiday_windows = self.holidays.iter().flat_map(|rule| &rule.windows);
        let exception_windows = self.exceptions.iter().flat_map(|exception| &exception.windows);
        let mut count = 0;
        for window in
            self.weekly.iter().map(|weekly| &weekly.window).chain(holiday_windows).chain(exception_windows)
        {
            count += 1;
            if !window.is_sound() {
                return Err(
                    "a window starts at minute 0 to 1,439, ends at minute 0 to 1,440 and is not empty",
                );
            }
        }
        if count > WINDOWS_MAX + DATES_MAX
            || self.weekly.len() > WINDOWS_MAX
            || self.exceptions.len() > DATES_MAX
        {
            return Err("a schedule holds at most 336 weekly windows and 3,660 exceptions");
        }
        if self.exceptions.windows(2).any(|pair| pair[0].date >= pair[1].date) {
            return Err("the exceptions of a schedule have to be sorted by date, each once");
        }
        Ok(())
    }
}
