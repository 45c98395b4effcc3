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

    /// May it be part of a blocking read that ends before `safe`?
    pub(crate) fn may_be_read(&self, safe: Instant) -> bool {
        self.phase == Phase::Reading && !self.unsettled && self.until > safe
    }

    /// Must what was left unfinished be taken over now?
    pub(crate) fn is_due(&self) -> bool {
        self.phase == Phase::Recovering && self.is_idle()
    }

    /// A read that included it ended. Without its answer Redis may have given us entries that we never saw. Answers
    /// whether there is something to take over now.
    pub(crate) fn read_ended(&mut self, whole: bool) -> bool {
        self.being_read = false;
        self.unsettled |= !whole;
        self.settle();
        self.is_due()
    }

    /// One entry is no longer in work. Answers whether that is worth waking whoever waits for the partition.
    pub(crate) fn freed(&mut self, settled: bool) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.unsettled |= !settled;
        self.settle();
        self.in_flight == 0 && self.phase != Phase::Reading
    }

    /// An entry that never came into work was left unsettled.
    pub(crate) fn gave_up(&mut self) {
        self.unsettled = true;
        self.settle();
    }

    /// Redis has nothing unfinished of it: what was given up before, also while recovering, is done.
    pub(crate) fn recovered(&mut self) {
        if self.is_due() {
            self.unsettled = false;
            self.phase = Phase::Reading;
        }
    }

    /// After work on it: unsettled entries send it back to recovery.
    fn settle(&mut self) {
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

    /// What can happen to a held partition, each only where the consumer does it.
    fn steps(lease: &Lease) -> Vec<Lease> {
        let past = Instant::now() - std::time::Duration::from_secs(3_600);
        let with = |step: &dyn Fn(&mut Lease)| {
            let mut next = lease.clone();
            step(&mut next);
            next
        };
        let mut next = Vec::new();
        if !lease.being_read && lease.may_be_read(past) {
            next.push(with(&|lease| lease.being_read = true));
        }
        if lease.being_read {
            next.push(with(&|lease| lease.in_flight += 1));
            next.push(with(&Lease::gave_up));
            next.push(with(&|lease| _ = lease.read_ended(true)));
            next.push(with(&|lease| _ = lease.read_ended(false)));
            // The group was gone.
            next.push(with(&|lease| lease.unsettled = true));
        }
        if lease.in_flight > 0 {
            for settled in [true, false] {
                next.push(with(&|lease| _ = lease.freed(settled)));
            }
        }
        if lease.is_due() {
            next.push(with(&|lease| lease.in_flight += 1));
            next.push(with(&Lease::gave_up));
            next.push(with(&Lease::recovered));
        }
        next.retain(|lease| lease.in_flight <= 2);
        next
    }

    #[test]
    fn whatever_happened_a_partition_is_read_again_once_all_goes_well() {
        let until = Instant::now() + std::time::Duration::from_secs(3_600);
        let seen = |lease: &Lease| (lease.phase as u8, lease.in_flight, lease.being_read, lease.unsettled);
        let (mut reached, mut next) = (std::collections::BTreeSet::new(), vec![Lease::new(1, until)]);
        while let Some(lease) = next.pop() {
            if !reached.insert(seen(&lease)) {
                continue;
            }
            let mut well = lease.clone();
            if well.being_read {
                well.read_ended(true);
            }
            while well.in_flight > 0 {
                well.freed(true);
            }
            well.recovered();
            assert!(well.may_be_read(Instant::now()), "never read again after {lease:?}, as {well:?}");
            next.extend(steps(&lease));
        }
        assert!(reached.len() > 10, "{reached:?}");
    }

    #[test]
    fn what_was_given_up_is_taken_over_before_anything_new_is_read() {
        let mut lease = Lease::new(1, Instant::now() + std::time::Duration::from_secs(3_600));
        lease.recovered();
        lease.being_read = true;
        lease.in_flight = 2;
        lease.read_ended(true);
        assert!(!lease.freed(false) && !lease.may_be_read(Instant::now()));
        assert!(lease.freed(true) && lease.is_due());
        // Given up once more while recovering: once taken over it is done.
        lease.in_flight = 1;
        assert!(lease.freed(false) && lease.is_due());
        lease.recovered();
        assert!(lease.may_be_read(Instant::now()));
    }
}
