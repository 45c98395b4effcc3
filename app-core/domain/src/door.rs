//! A door: its wanted mode apart from what is observed of it, its timings and how much proof it asks for. Owns the
//! vocabulary (ONVIF door control); refuses to know people and grants. Leaving and fire release are wired, not here.

use crate::id::ScheduleId;
use crate::place::Place;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// What the door is meant to do. Wanted state: versioned, it converges, it is never an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorMode {
    #[default]
    Normal,
    /// Held unlocked; a card still gets its own decision.
    Unlocked,
    /// Refuses every momentary access.
    Blocked,
    /// Refuses everyone but responders whose grant overrides it.
    Lockdown,
    /// Held open, for evacuation. From the entry side only.
    LockedOpen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    Open,
    Closed,
    Fault,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    #[default]
    Normal,
    ForcedOpen,
    OpenTooLong,
}

/// What was last seen of the door. Unknown stays unknown: nothing here is assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observed {
    pub position: Position,
    pub bolt: Bolt,
    pub alarm: Alarm,
    pub tampered: bool,
    pub at: Option<UnixMs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bolt {
    Locked,
    Unlocked,
    Jammed,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    pub access_ms: u32,
    /// For people who need longer.
    pub extended_ms: u32,
    /// Open longer than this is an alarm.
    pub held_open_ms: u32,
}

impl Default for Timings {
    /// Five seconds to pull the handle is the field's usual setting; half a minute of open door is an alarm.
    fn default() -> Self {
        Self { access_ms: 5_000, extended_ms: 15_000, held_open_ms: 30_000 }
    }
}

/// Kinds of proof that came together. Bits, so that sets compare without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Factors(pub u8);

impl Factors {
    pub const CARD: Self = Self(1);
    pub const CODE: Self = Self(2);
    /// A key that the phone keeps, proven by signature.
    pub const KEY: Self = Self(4);
    pub const PIN: Self = Self(8);

    pub const ALL: Self = Self(15);

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn holds(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// While `when` is open (always, if it names none) one of these sets of factors has to be complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityLevel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<ScheduleId>,
    pub any_of: Vec<Factors>,
}

/// Two different people, each permitted by themselves, within this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwoPersonRule {
    pub within_ms: u32,
}

/// Who has the first word on a tap at the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The door, from its bundle.
    #[default]
    Bundle,
    /// Core, live. Without an answer only grants that are `offline_ok` hold.
    Online,
}

/// The rules of one door, the same words in core's facts and in its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorRules {
    pub place: Place,
    pub timings: Timings,
    /// The first level whose schedule is open counts; with none, any single factor is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<SecurityLevel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_person: Option<TwoPersonRule>,
}
