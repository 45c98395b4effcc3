//! Who holds which partitions: pure. From the living consumers and what this one holds it decides what to give
//! up and how much to ask for; and it knows what a held partition is doing. The calls are the consumer's.

use std::time::Instant;

/// What this consumer may have at most: an even share, the rest to the first in order. All shares together are
/// all partitions.
pub(crate) fn share(partitions: u16, consumers: &[String], own: &str) -> usize {
    let mut sorted: Vec<&str> = consumers.iter().map(String::as_str).collect();
    if !sorted.contains(&own) {
        sorted.push(own);
    }
    sorted.sort_unstable();
    let count = sorted.len();
    let rank = sorted.iter().position(|one| *one == own).unwrap_or(0);
    let (each, rest) = (usize::from(partitions) / count, usize::from(partitions) % count);
    each + usize::from(rank < rest)
}

/// In which order to ask for partitions: each consumer starts elsewhere, so that they rarely ask for the same.
pub(crate) fn asking_order(partitions: u16, consumers: &[String], own: &str) -> impl Iterator<Item = u16> {
    let mut sorted: Vec<&str> = consumers.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let rank = sorted.iter().position(|one| *one == own).unwrap_or(0);
    let start = (usize::from(partitions) * rank / sorted.len().max(1)) as u16;
    (0..partitions).map(move |step| (start + step) % partitions)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// What earlier holders, or failed acknowledgements, left unfinished comes first.
    Recovering,
    Reading,
    /// To be handed over as soon as nothing of it is in work.
    Releasing,
}

/// A held partition.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub fence: u64,
    /// By our clock, counted from before the renewal was sent: never later than the server's end.
    pub until: Instant,
    pub phase: Phase,
    pub in_flight: usize,
    /// A blocking read that includes it is under way.
    pub being_read: bool,
    /// An entry was given up unsettled: recover once nothing is in work.
    pub unsettled: bool,
}

impl Lease {
    pub(crate) fn new(fence: u64, until: Instant) -> Lease {
        let phase = Phase::Recovering;
        Lease { fence, until, phase, in_flight: 0, being_read: false, unsettled: false }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.being_read
    }

    /// After work on it: unsettled entries send it back to recovery.
    pub(crate) fn settle(&mut self) {
        if self.unsettled && self.is_idle() && self.phase == Phase::Reading {
            self.unsettled = false;
            self.phase = Phase::Recovering;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_partition_once() {
        for count in 1..=70 {
            let consumers: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
            let shares: Vec<usize> = consumers.iter().map(|own| share(64, &consumers, own)).collect();
            assert_eq!(shares.iter().sum::<usize>(), 64);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
        assert_eq!(share(64, &[], "alone"), 64, "a consumer not yet listed counts itself");
    }

    #[test]
    fn everyone_asks_for_everything_from_elsewhere() {
        let consumers = ["a".to_owned(), "b".to_owned()];
        let order: Vec<u16> = asking_order(64, &consumers, "b").collect();
        assert_eq!((order.len(), order[0], order[63]), (64, 32, 31));
    }
}
