//! The bolt: what physically happened, which no record of core or door may contradict. The ground truth of every test.

use keyway_domain::id::{CommandId, GrantId};
use keyway_domain::time::UnixMs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Command(CommandId),
    /// A tap, decided by the door itself or by core's live answer.
    Tap(GrantId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Motion {
    pub cause: Cause,
    /// True time, which no device knows.
    pub at: UnixMs,
    pub open_ms: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Bolt {
    pub motions: Vec<Motion>,
    pub jammed: bool,
}

impl Bolt {
    /// Moves, unless it is jammed.
    pub fn open(&mut self, cause: Cause, open_ms: u32, at: UnixMs) -> bool {
        if !self.jammed {
            self.motions.push(Motion { cause, at, open_ms });
        }
        !self.jammed
    }
}
