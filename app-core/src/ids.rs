//! Ids of one decision: drawn in order from one seed and one instant, so that a decision is a function of its inputs.

use keyway_domain::id::{AuditId, CommandId, EventId};
use keyway_domain::time::UnixMs;
use sha2::{Digest as _, Sha256};

pub struct Ids {
    pub now: UnixMs,
    seed: [u8; 32],
    count: u64,
}

impl Ids {
    pub fn new(now: UnixMs, seed: [u8; 32]) -> Self {
        Self { now, seed, count: 0 }
    }

    /// The random part of one id.
    pub fn draw(&mut self) -> [u8; 10] {
        self.count += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.count.to_be_bytes());
        let full = hash.finalize();
        std::array::from_fn(|place| full[place])
    }

    pub fn event(&mut self) -> EventId {
        EventId::mint(self.now, self.draw())
    }

    pub fn audit(&mut self) -> AuditId {
        AuditId::mint(self.now, self.draw())
    }

    pub fn command(&mut self) -> CommandId {
        CommandId::mint(self.now, self.draw())
    }
}
