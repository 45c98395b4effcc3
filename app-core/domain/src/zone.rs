//! A site's time zone as a table of offsets that has been expanded for a limited time. Owns the step from an instant to
//! local wall-clock time; refuses to know the time zone database, except in `expand`, which core runs and devices do not.

use crate::time::{Date, LAST_INSTANT, UnixMs};
use serde::{Deserialize, Serialize};

/// A year of any zone in use today has at most 4 transitions (Morocco around Ramadan); 64 leaves room for many years.
pub const TRANSITIONS_MAX: usize = 64;
/// ISO 8601 offsets stay below a day; a table with more is refused.
const OFFSET_S_MAX: i32 = 86_399;

/// From `at` on, local time is `offset_s` ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub at: UnixMs,
    pub offset_s: i32,
}

/// The rules of one zone from `from` until `until`. Outside of it nothing is known and nothing is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneTable {
    /// IANA name, for people and logs only.
    pub name: String,
    pub from: UnixMs,
    pub until: UnixMs,
    /// The offset at `from`.
    pub offset_s: i32,
    /// Strictly rising, all within (`from`, `until`).
    pub transitions: Vec<Transition>,
}

/// Wall-clock time at the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    pub date: Date,
    pub second: u32,
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    #[error("time zone `{0}` is not in the database; use an IANA name like Europe/Tallinn")]
    Unknown(String),
    #[error("zone table: {0}")]
    Malformed(&'static str),
}

impl ZoneTable {
    /// UTC for ever: the zone of tests and of places without one.
    pub fn utc() -> Self {
        Self {
            name: "UTC".into(),
            from: UnixMs(0),
            until: LAST_INSTANT,
            offset_s: 0,
            transitions: Vec::new(),
        }
    }

    pub fn check(&self) -> Result<(), ZoneError> {
        if self.from >= self.until || self.until > LAST_INSTANT {
            return Err(ZoneError::Malformed(
                "`from` has to come before `until`, and `until` before the year 10000",
            ));
        }
        if self.transitions.len() > TRANSITIONS_MAX {
            return Err(ZoneError::Malformed("more than 64 transitions"));
        }
        let mut last = self.from;
        for transition in &self.transitions {
            if transition.at <= last || transition.at >= self.until {
                return Err(ZoneError::Malformed(
                    "transitions have to rise strictly and lie inside the table",
                ));
            }
            last = transition.at;
        }
        let offsets = self.transitions.iter().map(|t| t.offset_s).chain([self.offset_s]);
        if offsets.into_iter().any(|offset| !(-OFFSET_S_MAX..=OFFSET_S_MAX).contains(&offset)) {
            return Err(ZoneError::Malformed("an offset of a day or more"));
        }
        Ok(())
    }

    /// `None` outside of the table.
    pub fn local(&self, at: UnixMs) -> Option<LocalTime> {
        if at < self.from || at >= self.until {
            return None;
        }
        let passed = self.transitions.partition_point(|transition| transition.at <= at);
        let offset_s = passed.checked_sub(1).map_or(self.offset_s, |last| self.transitions[last].offset_s);
        let seconds = (at.0 / 1000) as i64 + i64::from(offset_s);
        Some(LocalTime {
            date: Date(seconds.div_euclid(86_400) as i32),
            second: seconds.rem_euclid(86_400) as u32,
        })
    }

    /// Expands a zone of the embedded database.
    #[cfg(feature = "tzdb")]
    pub fn expand(name: &str, from: UnixMs, until: UnixMs) -> Result<Self, ZoneError> {
        let zone =
            jiff::tz::TimeZoneDatabase::bundled().get(name).map_err(|_| ZoneError::Unknown(name.into()))?;
        let instant = |at: UnixMs| {
            jiff::Timestamp::from_millisecond(at.min(LAST_INSTANT).0 as i64)
                .map_err(|_| ZoneError::Malformed("an instant out of range"))
        };
        let mut table = Self {
            name: name.into(),
            from,
            until,
            offset_s: zone.to_offset(instant(from)?).seconds(),
            transitions: Vec::new(),
        };
        let mut offset_s = table.offset_s;
        for step in zone.following(instant(from)?) {
            let at = UnixMs(u64::try_from(step.timestamp().as_millisecond()).unwrap_or(0));
            if at >= until {
                break;
            }
            // The database also lists changes of name or of the daylight flag alone; those move no clock.
            if step.offset().seconds() != offset_s && at > from {
                offset_s = step.offset().seconds();
                table.transitions.push(Transition { at, offset_s });
            }
        }
        table.check()?;
        Ok(table)
    }
}
