//! How a node empties itself: in slices over a window, so that a deploy is no storm. Pure: counts and times.

/// The pause between slices: short against the window, long against a close.
pub const SLICE_MS: u64 = 250;

/// How many connections to close now, `elapsed_ms` into the window, when `open` of `at_start` are left. Never
/// behind an even schedule, and everything by three quarters of the window, so that the last ones still have
/// time to finish their calls.
pub fn slice(at_start: usize, open: usize, elapsed_ms: u64, window_ms: u64) -> usize {
    let spread_ms = (window_ms * 3 / 4).max(1);
    let next_ms = elapsed_ms + SLICE_MS;
    if next_ms >= spread_ms {
        return open;
    }
    let should_be_gone = (at_start as u128 * u128::from(next_ms)).div_ceil(u128::from(spread_ms)) as usize;
    open.saturating_sub(at_start.saturating_sub(should_be_gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_slices_and_nobody_left() {
        for (start, window_ms) in [(0, 30_000), (1, 30_000), (10_000, 30_000), (7, 0), (100_000, 60_000)] {
            let (mut open, mut elapsed_ms, mut largest) = (start, 0, 0);
            while open > 0 {
                assert!(elapsed_ms <= window_ms, "{open} of {start} left after {elapsed_ms} ms");
                let now = slice(start, open, elapsed_ms, window_ms);
                largest = largest.max(now);
                open -= now;
                elapsed_ms += SLICE_MS;
            }
            let slices = (window_ms * 3 / 4 / SLICE_MS).max(1) as usize;
            assert!(largest <= start.div_ceil(slices) + 1, "a slice of {largest} for {start} in {slices}");
        }
    }
}
