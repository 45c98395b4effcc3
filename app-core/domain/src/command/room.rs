//! How many commands core may have under way at one door. Owns the bound and when a place is free again; refuses to know
//! how they are counted.
//!
//! A door that has no place in its ledger must ignore a command: it can neither do it nor refuse it, since it could not
//! write down either. So core stops before that, and says at once what the person would else learn from a deadline.

use super::ledger::ENTRIES_MAX;
use crate::clock::{DRIFT_PPM, FRESH_MS_MAX, ROUND_TRIP_MS_MAX};
use crate::time::UnixMs;

/// Places that core leaves free: for commands that a restored database has forgotten.
const SPARE: usize = 8;
/// Commands of one door whose places core counts as taken, at most.
pub const COMMANDS_MAX: usize = ENTRIES_MAX - SPARE;

/// A door throws an entry out once the earliest that its time may be has passed the deadline: that is twice its error
/// behind, and half a round trip is the error of an answer that it still takes, with the drift until the next one.
pub const LAG_MS_MAX: u64 = ROUND_TRIP_MS_MAX + 2 * (FRESH_MS_MAX * DRIFT_PPM / 1_000_000 + 1);

/// More are under way than the door could remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the door has {taken} commands under way and could not remember another; one is over in {again_ms} ms"
)]
pub struct DoorBusy {
    pub taken: usize,
    /// After this a place is free, unless somebody else takes it.
    pub again_ms: u64,
}

/// Commands with deadlines after this may still have their places.
pub fn taken_after(now: UnixMs) -> UnixMs {
    now.minus(LAG_MS_MAX)
}

/// Whether one more fits, where `taken` have their places and the first of them has this deadline.
pub fn room(taken: usize, first_deadline: UnixMs, now: UnixMs) -> Result<(), DoorBusy> {
    if taken < COMMANDS_MAX {
        return Ok(());
    }
    Err(DoorBusy { taken, again_ms: first_deadline.plus(LAG_MS_MAX).since(now).max(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Asked, MonoMs, SessionClock, TimeStatement};

    #[test]
    fn the_last_place_is_given_and_no_more() {
        let now = UnixMs(1_000_000);
        for taken in [0, 1, COMMANDS_MAX - 1] {
            assert_eq!(room(taken, now.plus(5), now), Ok(()));
        }
        let busy = room(COMMANDS_MAX, now.plus(5), now).unwrap_err();
        assert_eq!(busy, DoorBusy { taken: COMMANDS_MAX, again_ms: 5 + LAG_MS_MAX });
        // Then it is not counted any more.
        assert!(now.plus(5) <= taken_after(now.plus(busy.again_ms)));
        const { assert!(COMMANDS_MAX < ENTRIES_MAX) };
    }

    /// The slowest answer that a door takes, and the longest that it lives on it.
    #[test]
    fn what_core_counts_as_over_is_over_for_the_worst_clock() {
        let (truth, deadline) = (UnixMs(5_000_000), UnixMs(5_000_000));
        for behind in [0, ROUND_TRIP_MS_MAX] {
            // The statement was made at one end of the round trip or the other.
            let mono = |ms| MonoMs(1_000_000 + ms);
            let asked = Asked { nonce: "n".into(), at: mono(0) };
            let made = UnixMs(truth.0 - FRESH_MS_MAX - behind);
            let answer = TimeStatement { nonce: "n".into(), time: made };
            let clock = SessionClock::hear(&asked, &answer, mono(ROUND_TRIP_MS_MAX)).unwrap();
            let known = clock.now(mono(ROUND_TRIP_MS_MAX + FRESH_MS_MAX + LAG_MS_MAX));
            assert!(known.earliest() >= deadline, "{known:?}");
        }
    }
}
