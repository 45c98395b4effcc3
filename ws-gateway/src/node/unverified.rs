//! Revocations that could not be verified when they came: kept for a while and tried again, because a revocation that is
//! forgotten is a token that is good again. It verifies nothing itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// As long as the bus keeps them: longer than any token that one of them may void.
pub(super) const KEPT_MS: u64 = 25 * 3_600_000;

/// Every revocation that the bus keeps for a node that starts; above it somebody writes nonsense into Redis, and the
/// oldest goes.
const STATEMENTS_MAX: usize = 16_384;

/// A signed statement is under 1 KiB; what is far above is none.
const STATEMENT_BYTES_MAX: usize = 8 * 1024;

#[derive(Default)]
pub(super) struct Unverified {
    waiting: Mutex<VecDeque<(Bytes, u64)>>,
}

impl Unverified {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Bytes, u64)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, statement: Bytes, until_ms: u64) {
        if statement.len() > STATEMENT_BYTES_MAX {
            return tracing::error!(bytes = statement.len(), "too long for a revocation; dropped");
        }
        let mut waiting = self.waiting();
        if waiting.len() >= STATEMENTS_MAX {
            tracing::error!("too many revocations that cannot be verified; the oldest is dropped");
            waiting.pop_front();
        }
        waiting.push_back((statement, until_ms));
    }

    /// The oldest of them, each with the end of its time; without those whose time is over.
    pub(super) fn take(&self, count: usize, now_ms: u64) -> Vec<(Bytes, u64)> {
        let mut waiting = self.waiting();
        let count = count.min(waiting.len());
        waiting.drain(..count).filter(|(_, until_ms)| *until_ms > now_ms).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_come_first_and_all_have_an_end() {
        let unverified = Unverified::default();
        for n in 0..=STATEMENTS_MAX as u64 {
            unverified.keep(Bytes::from(n.to_string()), n);
        }
        unverified.keep(vec![0; STATEMENT_BYTES_MAX + 1].into(), u64::MAX);
        let taken = unverified.take(5, 3);
        assert_eq!(
            taken,
            [4u64, 5].map(|n| (Bytes::from(n.to_string()), n)),
            "the first five, less what is over"
        );
        assert_eq!(unverified.take(usize::MAX, 0).len(), STATEMENTS_MAX - 5);
        assert!(unverified.take(1, 0).is_empty());
    }
}
