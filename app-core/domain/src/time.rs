//! Instants, calendar dates and the bounded error of a door's clock. Owns the arithmetic; refuses to read a clock.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z, as core counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// The last instant that has a four-digit year. Anything later in an input is hostile and is cut down to it.
pub const LAST_INSTANT: UnixMs = UnixMs(253_402_300_799_999);

impl UnixMs {
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    pub fn minus(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with milliseconds, as CloudEvents want it.
    pub fn to_rfc3339(self) -> String {
        let at = self.min(LAST_INSTANT).0;
        let seconds = at / 1000;
        let date = Date((seconds / 86_400) as i32);
        let rest = seconds % 86_400;
        format!("{date}T{:02}:{:02}:{:02}.{:03}Z", rest / 3600, rest / 60 % 60, rest % 60, at % 1000)
    }
}

/// An instant as far as its reader knows it: the truth lies within `error_ms` of `at`. Core's own error is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub at: UnixMs,
    pub error_ms: u32,
}

impl Moment {
    pub fn exact(at: UnixMs) -> Self {
        Self { at, error_ms: 0 }
    }

    pub fn earliest(self) -> UnixMs {
        self.at.minus(u64::from(self.error_ms))
    }

    pub fn latest(self) -> UnixMs {
        self.at.plus(u64::from(self.error_ms))
    }
}

/// A calendar date as days since 1970-01-01. Written `2028-02-29`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

impl Date {
    /// Proleptic Gregorian; `None` for a date that does not exist.
    pub fn from_civil(year: i32, month: u32, day: u32) -> Option<Self> {
        if !(1970..=9999).contains(&year)
            || !(1..=12).contains(&month)
            || day == 0
            || day > days_in(year, month)
        {
            return None;
        }
        // Howard Hinnant's days_from_civil: years begin in March, so that the leap day is the last of its year.
        let y = i64::from(year) - i64::from(month <= 2);
        let era = y / 400;
        let year_of_era = y - era * 400;
        let month_from_march = (i64::from(month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(Self((era * 146_097 + day_of_era - 719_468) as i32))
    }

    pub fn civil(self) -> (i32, u32, u32) {
        let z = i64::from(self.0) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year as i32, month, day)
    }

    /// 0 is Monday, as ISO 8601 counts.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        (i64::from(self.0) + 3).rem_euclid(7) as u8
    }

    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let number = |part: &[u8]| {
            part.iter().try_fold(0u32, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0'))
            })
        };
        Self::from_civil(number(&bytes[..4])? as i32, number(&bytes[5..7])?, number(&bytes[8..])?)
    }
}

fn days_in(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(out, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("expected a date like 2028-02-29, year 1970 to 9999"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_three_centuries_comes_back() {
        let first = Date::from_civil(1970, 1, 1).unwrap();
        assert_eq!((first.0, first.weekday()), (0, 3));
        for day in 0..110_000 {
            let (year, month, of_month) = Date(day).civil();
            assert_eq!(Date::from_civil(year, month, of_month), Some(Date(day)));
            assert_eq!(Date::parse(&Date(day).to_string()), Some(Date(day)));
        }
    }

    #[test]
    fn dates_that_are_none() {
        for bad in [
            "2027-02-29",
            "2100-02-29",
            "2028-13-01",
            "2028-00-01",
            "2028-1-1",
            "28-01-01",
            "2028-02-3x",
            "+028-01-01",
            "",
        ] {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
        assert!(Date::parse("2028-02-29").is_some() && Date::parse("2000-02-29").is_some());
    }

    #[test]
    fn instants_as_text() {
        assert_eq!(UnixMs(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(UnixMs(1_835_438_399_987).to_rfc3339(), "2028-02-29T11:59:59.987Z");
        assert_eq!(UnixMs(u64::MAX).to_rfc3339(), "9999-12-31T23:59:59.999Z");
    }
}
