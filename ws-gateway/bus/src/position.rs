//! Where a stream stands: an epoch, new whenever the stream's numbering was lost, and an offset without holes.

use std::fmt;
use std::sync::Arc;

/// The identity of one numbering. Empty for publications without history.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(Arc<str>);

impl Epoch {
    pub fn new(text: &str) -> Epoch {
        Epoch(Arc::from(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Epoch {
    fn default() -> Epoch {
        Epoch::new("")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in one channel's stream: everything up to and including `offset` has been seen.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: u64,
}

impl Position {
    pub fn new(epoch: Epoch, offset: u64) -> Position {
        Position { epoch, offset }
    }

    /// True for the publications of a channel with history.
    pub fn is_positioned(&self) -> bool {
        !self.epoch.is_empty()
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.offset, self.epoch)
    }
}
