//! Core's time on a device: a signed instant, its own round trip, and a monotonic clock. Owns the bound of the error;
//! refuses to trust the real-time clock, and to read any clock.

use crate::time::{Moment, UnixMs};
use serde::{Deserialize, Serialize};

/// A slower answer tells too little about now to bound a deadline of seconds.
pub const ROUND_TRIP_MS_MAX: u64 = 4_000;
/// Commands are only judged with a time this fresh: ten minutes of drift are 60 ms.
pub const FRESH_MS_MAX: u64 = 10 * 60_000;
/// 100 ppm is twice what a cheap crystal does over its temperature range.
pub const DRIFT_PPM: u64 = 100;

/// Milliseconds of a clock that only goes forward, from an arbitrary start; it starts anew with every boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MonoMs(pub u64);

/// Core's answer to `time.sync`, signed. The nonce makes it an answer to this very question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeStatement {
    pub nonce: String,
    pub time: UnixMs,
}

/// A question under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub nonce: String,
    pub at: MonoMs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error("an answer to another question")]
    WrongNonce,
    #[error("the answer took too long to say what time it is")]
    TooSlow,
}

/// How sure a device is of the time that it writes on events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockQuality {
    Synced,
    Holdover,
    Unset,
}

/// Core's time as last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionClock {
    /// The truth was within `time ..= time + round_trip_ms` at `heard`.
    time: UnixMs,
    round_trip_ms: u64,
    heard: MonoMs,
}

impl SessionClock {
    pub fn hear(asked: &Asked, answer: &TimeStatement, heard: MonoMs) -> Result<Self, ClockError> {
        if answer.nonce != asked.nonce {
            return Err(ClockError::WrongNonce);
        }
        let round_trip_ms = heard.0.saturating_sub(asked.at.0);
        if round_trip_ms > ROUND_TRIP_MS_MAX {
            return Err(ClockError::TooSlow);
        }
        Ok(Self { time: answer.time, round_trip_ms, heard })
    }

    /// What time it may be. The error grows with the round trip and with what the crystal may have drifted since.
    pub fn now(&self, mono: MonoMs) -> Moment {
        let passed = mono.0.saturating_sub(self.heard.0);
        let drift_ms = passed / 1_000_000 * DRIFT_PPM + passed % 1_000_000 * DRIFT_PPM / 1_000_000;
        // Half the round trip to either side, rounded up, and one millisecond for the rounding of both clocks.
        let error_ms = self.round_trip_ms.div_ceil(2) + drift_ms + 1;
        Moment {
            at: self.time.plus(self.round_trip_ms / 2).plus(passed),
            error_ms: u32::try_from(error_ms).unwrap_or(u32::MAX),
        }
    }

    /// Fresh enough to judge a deadline.
    pub fn is_fresh(&self, mono: MonoMs) -> bool {
        mono.0.saturating_sub(self.heard.0) <= FRESH_MS_MAX
    }

    /// The better of two: the one with the smaller error now.
    pub fn better(self, other: Self, mono: MonoMs) -> Self {
        if other.now(mono).error_ms <= self.now(mono).error_ms { other } else { self }
    }
}
