//! Core's side of events: a contiguous watermark per device and epoch, what is missing, and the proof that the chain is
//! whole. Owns which items of a batch are new; refuses to store them: the caller commits items and state in one
//! transaction and answers with the watermark afterwards.

use super::{BATCH_ITEMS_MAX, ChainHash, DeviceEvent, EventBatch, SeqRange};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Runs beyond a gap that are remembered. One more is not taken: the device sends it again once the gap is closed.
pub const RUNS_MAX: usize = 32;
/// Ranges asked for in one answer.
pub const WANTED_MAX: usize = 8;

/// A run of events that is committed but lies beyond a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub from: u64,
    pub to: u64,
    pub before: ChainHash,
    pub after: ChainHash,
}

/// What core remembers of one (device, epoch). Stored beside the events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Intake {
    /// Everything up to here is committed or declared lost.
    pub watermark: u64,
    /// The chain after the watermark. `None` after a declared loss: the next run brings its own.
    pub head: Option<ChainHash>,
    /// Beyond the first gap, sorted, apart from each other.
    pub runs: Vec<Run>,
    /// Declared losses beyond the watermark, sorted.
    pub lost: Vec<SeqRange>,
    /// Where the chain did not hold, the first number of it. The events are kept, the tenant is told.
    pub broken_at: Option<u64>,
}

/// What a batch brought.
#[derive(Debug)]
pub struct Taken {
    /// New events with their exact bytes, in order.
    pub new: Vec<(DeviceEvent, Box<RawValue>)>,
    /// Losses declared for the first time, already cut to what is really missing.
    pub newly_lost: Vec<SeqRange>,
    pub duplicates: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    #[error("a batch of {0} items; at most 256 fit")]
    TooMany(usize),
    #[error("item {place} of the batch is not an event with the number {wanted}")]
    Item { place: usize, wanted: u64 },
    #[error("numbers beyond what a device can have counted")]
    Overflow,
    #[error("too many separate runs beyond a gap; send what is missing first")]
    TooManyRuns,
    #[error("a loss of events that were never numbered, or too many of them")]
    Loss,
}

impl Intake {
    pub fn begun() -> Self {
        Self { head: Some(ChainHash::default()), ..Self::default() }
    }

    /// The durable watermark and what is still missing below the last known event.
    pub fn wanted(&self) -> Vec<SeqRange> {
        let mut wanted = Vec::new();
        let mut next = self.watermark + 1;
        let mut covered: Vec<SeqRange> =
            self.runs.iter().map(|run| SeqRange { from: run.from, to: run.to }).collect();
        covered.extend(&self.lost);
        covered.sort_unstable();
        for range in covered {
            if range.from > next && wanted.len() < WANTED_MAX {
                wanted.push(SeqRange { from: next, to: range.from - 1 });
            }
            next = next.max(range.to + 1);
        }
        wanted
    }

    /// Takes a verified batch. On an error nothing has changed.
    pub fn take(&mut self, batch: &EventBatch) -> Result<Taken, IntakeError> {
        if batch.items.len() > BATCH_ITEMS_MAX {
            return Err(IntakeError::TooMany(batch.items.len()));
        }
        // One below the end, so that `+ 1` never overflows anywhere in here.
        let last = batch.first_seq.checked_add(batch.items.len() as u64).filter(|end| *end < u64::MAX);
        if last.is_none() || batch.first_seq == 0 {
            return Err(IntakeError::Overflow);
        }
        let mut next = self.clone();
        let newly_lost = next.declare(&batch.lost, batch.first_seq + batch.items.len() as u64)?;
        let mut taken = Taken { new: Vec::new(), newly_lost, duplicates: 0 };
        let mut chain = batch.before;
        for (place, item) in batch.items.iter().enumerate() {
            let seq = batch.first_seq + place as u64;
            let event: DeviceEvent =
                serde_json::from_str(item.get()).map_err(|_| IntakeError::Item { place, wanted: seq })?;
            if event.seq != seq {
                return Err(IntakeError::Item { place, wanted: seq });
            }
            let before = chain;
            chain = before.after(item.get().as_bytes());
            if next.has(seq) {
                taken.duplicates += 1;
            } else {
                next.recover(seq);
                next.add(Run { from: seq, to: seq, before, after: chain })?;
                taken.new.push((event, item.clone()));
            }
        }
        next.advance();
        *self = next;
        Ok(taken)
    }

    fn has(&self, seq: u64) -> bool {
        seq <= self.watermark || self.runs.iter().any(|run| (run.from..=run.to).contains(&seq))
    }

    /// Notes losses, cut to what core does not have: a device cannot unsay an event by declaring it lost.
    fn declare(&mut self, losses: &[SeqRange], end: u64) -> Result<Vec<SeqRange>, IntakeError> {
        if losses.len() > RUNS_MAX {
            return Err(IntakeError::Loss);
        }
        let mut new = Vec::new();
        for range in losses {
            if range.from == 0 || range.from > range.to || range.to >= end.max(1) {
                return Err(IntakeError::Loss);
            }
            let mut covered: Vec<SeqRange> =
                self.runs.iter().map(|run| SeqRange { from: run.from, to: run.to }).collect();
            covered.extend(&self.lost);
            covered.sort_unstable();
            let mut from = range.from.max(self.watermark + 1);
            for known in covered.into_iter().filter(|known| known.to >= range.from && known.from <= range.to)
            {
                if known.from > from {
                    new.push(SeqRange { from, to: known.from - 1 });
                }
                from = from.max(known.to + 1);
            }
            if from <= range.to {
                new.push(SeqRange { from, to: range.to });
            }
            self.lost.extend(&new);
            self.lost.sort_unstable();
            self.lost.dedup();
            self.join_losses();
        }
        Ok(new)
    }

    /// An event that was declared lost and has come after all, as a delayed copy: it is not lost.
    fn recover(&mut self, seq: u64) {
        if let Some(place) = self.lost.iter().position(|lost| (lost.from..=lost.to).contains(&seq)) {
            let lost = self.lost.remove(place);
            let rest = [SeqRange { from: lost.from, to: seq - 1 }, SeqRange { from: seq + 1, to: lost.to }];
            let rest = rest.into_iter().filter(|range| range.from <= range.to);
            self.lost.splice(place..place, rest);
        }
    }

    fn join_losses(&mut self) {
        let mut joined: Vec<SeqRange> = Vec::new();
        for range in self.lost.drain(..) {
            match joined.last_mut() {
                Some(last) if range.from <= last.to + 1 => last.to = last.to.max(range.to),
                _ => joined.push(range),
            }
        }
        self.lost = joined;
    }

    fn add(&mut self, run: Run) -> Result<(), IntakeError> {
        if run.from == self.watermark + 1 && self.runs.is_empty() && self.lost.is_empty() {
            self.follow(run);
            return Ok(());
        }
        let place = self.runs.partition_point(|known| known.from < run.from);
        if let Some(left) = place.checked_sub(1).map(|left| &mut self.runs[left])
            && left.to + 1 == run.from
        {
            if left.after != run.before {
                self.broken_at.get_or_insert(run.from);
            }
            left.to = run.to;
            left.after = run.after;
            return Ok(());
        }
        if self.runs.len() >= RUNS_MAX {
            return Err(IntakeError::TooManyRuns);
        }
        self.runs.insert(place, run);
        Ok(())
    }

    fn follow(&mut self, run: Run) {
        if self.head.is_some_and(|head| head != run.before) {
            self.broken_at.get_or_insert(run.from);
        }
        self.watermark = run.to;
        self.head = Some(run.after);
    }

    fn advance(&mut self) {
        loop {
            let next = self.watermark + 1;
            if self.runs.first().is_some_and(|run| run.from == next) {
                let run = self.runs.remove(0);
                self.follow(run);
            } else if self.lost.first().is_some_and(|lost| lost.from <= next) {
                let lost = self.lost.remove(0);
                // Runs inside a declared loss were cut out of it, so the watermark never jumps over an event.
                if lost.to >= next {
                    self.watermark = lost.to;
                    self.head = None;
                }
            } else {
                return;
            }
        }
    }
}
