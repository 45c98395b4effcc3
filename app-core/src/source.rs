//! Where time and randomness enter: everything below takes them as values. A clock can be shifted, so that a test
//! lives through an hour without waiting for it.

use keyway_domain::time::UnixMs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time as core counts it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    pub fn now(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shift = self.shift_ms.load(Ordering::Relaxed);
        UnixMs((since.as_millis() as u64).saturating_add_signed(shift))
    }

    /// Moves this clock and all its copies.
    pub fn shift(&self, ms: i64) {
        self.shift_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Random bytes of the system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness no key, code or id may be made: there is nothing sensible to go on with.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
