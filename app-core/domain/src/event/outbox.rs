//! The device's side of events: numbering, chaining, keeping until core has committed, and saying so when memory was
//! too small. Owns the buffer's rules; refuses to know flash, links and keys.

use super::{
    BATCH_BYTES_MAX, BATCH_ITEMS_MAX, ChainHash, DeviceEvent, Epoch, EventBatch, EventKind, Occurred,
    SeqRange,
};
use crate::id::{DeviceId, TenantId};
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Separate losses that a device remembers; beyond it neighbours are joined, which declares more lost, never less.
const LOSSES_MAX: usize = 16;

#[derive(Debug, Clone)]
struct Kept {
    seq: u64,
    before: ChainHash,
    item: Box<RawValue>,
}

/// Events that core has not committed yet.
#[derive(Debug, Clone)]
pub struct EventOutbox {
    epoch: Epoch,
    next_seq: u64,
    head: ChainHash,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    bytes_max: usize,
    lost: Vec<SeqRange>,
    /// Core's durable watermark as last heard.
    committed: u64,
}

/// What of an event the caller fills in; number and chain are the outbox's.
pub type Draft = DeviceEvent;

impl EventOutbox {
    /// Empty, from the first number on.
    pub fn begun(epoch: Epoch, bytes_max: usize) -> Self {
        Self {
            epoch,
            next_seq: 1,
            head: ChainHash::default(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            bytes_max,
            lost: Vec::new(),
            committed: 0,
        }
    }

    pub fn draft(kind: EventKind, occurred: Occurred) -> Draft {
        DeviceEvent {
            seq: 0,
            kind,
            occurred,
            credential: None,
            person: None,
            grant: None,
            command: None,
            reason: None,
            lost: None,
            offline: false,
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Numbers and keeps an event; gives its number. When memory is full the oldest go, and an event says which.
    pub fn append(&mut self, draft: Draft) -> u64 {
        let occurred = draft.occurred;
        let seq = self.keep(draft);
        if let Some(lost) = self.make_room() {
            let overflow =
                DeviceEvent { lost: Some(lost), ..Self::draft(EventKind::DeviceBufferOverflow, occurred) };
            self.keep(overflow);
        }
        seq
    }

    fn keep(&mut self, draft: Draft) -> u64 {
        let seq = self.next_seq;
        let event = DeviceEvent { seq, ..draft };
        let item = serde_json::value::to_raw_value(&event).expect("an event has string keys only");
        let before = self.head;
        self.head = before.after(item.get().as_bytes());
        self.kept_bytes += item.get().len();
        self.kept.push_back(Kept { seq, before, item });
        self.next_seq += 1;
        seq
    }

    /// Throws out the oldest quarter, so that a full memory does not declare a loss with every single event.
    fn make_room(&mut self) -> Option<SeqRange> {
        if self.kept_bytes <= self.bytes_max || self.kept.len() < 2 {
            return None;
        }
        let goal = self.bytes_max / 4 * 3;
        let mut range: Option<SeqRange> = None;
        while self.kept_bytes > goal && self.kept.len() > 1 {
            let Some(gone) = self.kept.pop_front() else { break };
            self.kept_bytes -= gone.item.get().len();
            range = Some(SeqRange { from: range.map_or(gone.seq, |known| known.from), to: gone.seq });
        }
        let range = range?;
        let full = self.lost.len() >= LOSSES_MAX;
        match self.lost.last_mut() {
            Some(last) if full || last.to + 1 >= range.from => last.to = range.to,
            _ => self.lost.push(range),
        }
        Some(range)
    }

    /// From durable memory: the events that were kept, each with the chain before it, and core's watermark. The newest
    /// event has to be among them even if it is committed: numbers and chain go on from it.
    pub fn restored(
        epoch: Epoch,
        bytes_max: usize,
        events: Vec<(ChainHash, DeviceEvent)>,
        committed: u64,
    ) -> Self {
        let mut outbox = Self::begun(epoch, usize::MAX);
        for (before, event) in events {
            outbox.head = before;
            outbox.next_seq = event.seq;
            outbox.keep(event);
        }
        outbox.bytes_max = bytes_max;
        outbox.committed(committed);
        if let Some(lost) = outbox.make_room() {
            outbox.lost_at_start(lost);
        }
        outbox
    }

    fn lost_at_start(&mut self, lost: SeqRange) {
        let occurred = Occurred { at: None, clock: crate::clock::ClockQuality::Unset, error_ms: 0 };
        self.keep(DeviceEvent { lost: Some(lost), ..Self::draft(EventKind::DeviceBufferOverflow, occurred) });
    }

    /// Core has committed everything up to here. Only now may it be forgotten.
    pub fn committed(&mut self, watermark: u64) {
        // A watermark beyond what was ever numbered is not ours.
        if watermark >= self.next_seq || watermark <= self.committed {
            return;
        }
        self.committed = watermark;
        while let Some(first) = self.kept.front().filter(|first| first.seq <= watermark) {
            self.kept_bytes -= first.item.get().len();
            self.kept.pop_front();
        }
        self.lost.retain(|range| range.to > watermark);
    }

    /// Core asks for these. What it has acknowledged before is not here any more: a core that lives on from an older
    /// backup has lost them, and hears so with the next batch instead of asking for ever.
    pub fn asked_for(&mut self, wanted: SeqRange) {
        let gone = SeqRange { from: wanted.from, to: wanted.to.min(self.committed) };
        let known = self.lost.iter().any(|range| range.from <= gone.from && gone.to <= range.to);
        if gone.from == 0 || gone.from > gone.to || known {
            return;
        }
        self.lost.push(gone);
        self.lost.sort_unstable();
        let mut joined: Vec<SeqRange> = Vec::with_capacity(self.lost.len());
        for range in self.lost.drain(..) {
            match joined.last_mut() {
                Some(last) if range.from <= last.to + 1 => last.to = last.to.max(range.to),
                _ => joined.push(range),
            }
        }
        // Beyond the bound the later ones wait: core asks again for what is still missing.
        joined.truncate(LOSSES_MAX);
        self.lost = joined;
    }

    /// The events from this number on, each with the chain before it, for durable memory.
    pub fn since(&self, seq: u64) -> Vec<(ChainHash, DeviceEvent)> {
        let first = self.kept.partition_point(|kept| kept.seq < seq);
        let read = |kept: &Kept| {
            serde_json::from_str(kept.item.get())
                .map(|event| (kept.before, event))
                .expect("we wrote it ourselves")
        };
        self.kept.iter().skip(first).map(read).collect()
    }

    /// What is kept, as a range for `device.sync`.
    pub fn held(&self) -> Option<SeqRange> {
        Some(SeqRange { from: self.kept.front()?.seq, to: self.kept.back()?.seq })
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The next run to send, from `from` on, as large as a frame takes. `None` when nothing is left from there.
    pub fn batch(&self, tenant: TenantId, device: DeviceId, from: u64) -> Option<EventBatch> {
        let first = self.kept.partition_point(|kept| kept.seq < from);
        let before = self.kept.get(first)?.before;
        let first_seq = self.kept[first].seq;
        let mut bytes = 0;
        let mut items = Vec::new();
        for kept in self.kept.iter().skip(first).take(BATCH_ITEMS_MAX) {
            bytes += kept.item.get().len() + 1;
            if bytes > BATCH_BYTES_MAX && !items.is_empty() {
                break;
            }
            items.push(kept.item.clone());
        }
        Some(EventBatch {
            tenant,
            device,
            epoch: self.epoch,
            first_seq,
            before,
            lost: self.lost.clone(),
            items,
        })
    }
}
