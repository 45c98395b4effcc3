//! The receiving half: what this node is interested in, the bounded queues between Redis's links and the node's
//! sink, and the workers that hand events on in order. At the bound of a queue a message is refused and
//! counted: in a channel with history that is a gap like any other and is read again from the stream; what has
//! no history is lost and the node is told with `PositionsSuspect`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::envelope::{Message, decode_message, parse_frame};
use crate::event::{BusEvent, EventSink};
use crate::limits::{CONTROL_CHANNEL, PARTITIONS};
use crate::pending::Pending;
use crate::position::{Epoch, Position};
use crate::redis::keys::{Keys, Live};
use crate::redis::track::{Track, Verdict};

/// What a worker takes from its queue at once: enough to amortise a wake-up, small enough to stay fair.
const BATCH: usize = 256;

/// The channels of one partition this node wants.
#[derive(Default)]
pub(crate) struct Interest {
    pub tracks: HashMap<Arc<str>, Track>,
    /// To be subscribed and unsubscribed on the link; bounded by the tracks there are and were.
    pub joining: Vec<Arc<str>>,
    pub leaving: Vec<Arc<str>>,
}

/// A message as it came from a link, not yet looked at.
pub(crate) struct Incoming {
    pub name: Vec<u8>,
    pub message: Vec<u8>,
    pub canaries: Arc<Canaries>,
}

/// The canaries of one link: sent, and come back.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    pub sent: AtomicU64,
    pub returned: AtomicU64,
    /// When the newest was sent, in microseconds since the receiver's start.
    pub sent_at_us: AtomicU64,
    /// When one last came back, or the link began.
    pub heard_at_us: AtomicU64,
    pub round_trip_us: AtomicU64,
}

impl Canaries {
    pub(crate) fn missing(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.returned.load(Ordering::Relaxed))
    }

    /// The same for who does not trust the task that sends them: also those that should have come back by the clock, but
    /// for one that is on its way.
    pub(crate) fn overdue(&self, now_us: u64, every: Duration) -> u64 {
        let silent_us = now_us.saturating_sub(self.heard_at_us.load(Ordering::Relaxed));
        let turns = silent_us / (every.as_micros() as u64).max(1);
        self.missing().max(turns.saturating_sub(1))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub overflowed: AtomicU64,
    pub gaps_repaired: AtomicU64,
    pub gaps_unrepaired: AtomicU64,
    pub reconnects: AtomicU64,
}

pub(crate) struct Receiver {
    pub keys: Keys,
    pub sink: EventSink,
    pub pending: Arc<Pending>,
    pub counters: Counters,
    interests: Vec<Mutex<Interest>>,
    /// Woken when subscriptions of the partition have been confirmed.
    pub confirmed: Vec<Notify>,
    /// Woken when the partition's link has something to do.
    nudges: Vec<Mutex<Option<Arc<Notify>>>>,
    queues: Vec<mpsc::Sender<Incoming>>,
    /// Repairs wanted: channel names, read by the position keeper.
    repairs: mpsc::Sender<Arc<str>>,
    /// A queue ran over: positions are to be checked at once.
    pub overflow: Arc<Notify>,
    overflowing: AtomicBool,
    started: std::time::Instant,
}

pub(crate) struct Queues {
    pub incoming: Vec<mpsc::Receiver<Incoming>>,
    pub repairs: mpsc::Receiver<Arc<str>>,
}

impl Receiver {
    pub(crate) fn new(
        keys: Keys,
        sink: EventSink,
        queue_max: usize,
        repairs_max: usize,
    ) -> (Receiver, Queues) {
        // More workers than cores would only take turns; more than four, one hub hardly feeds.
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
        let (queues, incoming) = (0..workers).map(|_| mpsc::channel((queue_max / workers).max(1))).unzip();
        let (repairs, repairs_wanted) = mpsc::channel(repairs_max);
        let receiver = Receiver {
            keys,
            sink,
            pending: Arc::default(),
            counters: Counters::default(),
            interests: (0..PARTITIONS).map(|_| Mutex::default()).collect(),
            confirmed: (0..PARTITIONS).map(|_| Notify::new()).collect(),
            nudges: (0..PARTITIONS).map(|_| Mutex::default()).collect(),
            queues,
            repairs,
            overflow: Arc::default(),
            overflowing: AtomicBool::new(false),
            started: std::time::Instant::now(),
        };
        (receiver, Queues { incoming, repairs: repairs_wanted })
    }

    pub(crate) fn interest(&self, partition: u16) -> MutexGuard<'_, Interest> {
        self.interests[usize::from(partition)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn nudge(&self, partition: u16) {
        let nudge = self.nudges[usize::from(partition)].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nudge) = &*nudge {
            nudge.notify_one();
        }
    }

    pub(crate) fn set_nudge(&self, partition: u16, nudge: Arc<Notify>) {
        *self.nudges[usize::from(partition)].lock().unwrap_or_else(PoisonError::into_inner) = Some(nudge);
    }

    pub(crate) fn clock_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Takes a message from a link. Called by the link's own task: it must not wait.
    pub(crate) fn accept(&self, incoming: Incoming) {
        // Partition 10 and 11 differ in the last byte before `}`; any spread over few workers will do, as long
        // as one channel has always the same one.
        let close = incoming.name.iter().position(|byte| *byte == b'}').unwrap_or(0);
        let worker =
            usize::from(incoming.name.get(close.wrapping_sub(1)).copied().unwrap_or(0)) % self.queues.len();
        if self.queues[worker].try_send(incoming).is_err() {
            self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
            self.overflowing.store(true, Ordering::Relaxed);
        }
    }

    /// Hands events on, in order per channel, until the links are gone.
    pub(crate) async fn work(self: Arc<Receiver>, mut incoming: mpsc::Receiver<Incoming>) {
        let mut batch = Vec::with_capacity(BATCH);
        while incoming.recv_many(&mut batch, BATCH).await > 0 {
            for one in batch.drain(..) {
                // One message that the sink cannot take must not deafen the node for all channels of this worker.
                if catch_unwind(AssertUnwindSafe(|| self.handle(one))).is_err() {
                    tracing::error!("handing on a message panicked; it is lost to this node");
                }
            }
            if incoming.is_empty() && self.overflowing.swap(false, Ordering::Relaxed) {
                (self.sink)(BusEvent::PositionsSuspect);
                self.overflow.notify_one();
            }
            // A full queue must not keep other tasks of this thread from running.
            tokio::task::yield_now().await;
        }
    }

    fn handle(&self, incoming: Incoming) {
        let Incoming { name, message, canaries } = incoming;
        let live = std::str::from_utf8(&name).ok().and_then(|name| self.keys.parse_live(name));
        let (Some(live), Ok(frame)) = (live, parse_frame(Bytes::from(message))) else {
            tracing::warn!("unreadable message dropped");
            return;
        };
        let Ok(message) = decode_message(frame.payload, frame.offset) else {
            tracing::warn!("message of an unknown kind dropped");
            return;
        };
        match live {
            Live::Node { .. } => self.handle_own(message, &canaries),
            Live::Channel { partition, channel } => {
                let mut interest = self.interest(partition);
                self.handle_channel(&mut interest, channel, frame.offset, &frame.epoch, message);
            }
        }
    }

    fn handle_own(&self, message: Message, canaries: &Canaries) {
        match message {
            Message::Reply { number, reply } => self.pending.answer(number, reply),
            Message::Canary { number } => {
                canaries.returned.fetch_max(number, Ordering::Relaxed);
                canaries.heard_at_us.store(self.clock_us(), Ordering::Relaxed);
                if number == canaries.sent.load(Ordering::Relaxed) {
                    let took = self.clock_us().saturating_sub(canaries.sent_at_us.load(Ordering::Relaxed));
                    canaries.round_trip_us.store(took, Ordering::Relaxed);
                }
            }
            _ => tracing::warn!("a message that is not for nodes was dropped"),
        }
    }

    fn handle_channel(
        &self,
        interest: &mut Interest,
        name: &str,
        offset: u64,
        epoch: &[u8],
        message: Message,
    ) {
        let Some((channel, _)) = interest.tracks.get_key_value(name) else { return };
        let channel = Arc::clone(channel);
        let Some(track) = interest.tracks.get_mut(name) else { return };
        match track.judge(epoch, offset) {
            Verdict::Deliver => {}
            Verdict::Drop => return,
            Verdict::StartRepair => return self.want_repair(track, channel),
            Verdict::NewEpoch if &*channel == CONTROL_CHANNEL => {
                // Of controls nothing may be skipped: the new numbering is read from its start.
                track.follow(track.epoch().clone(), offset);
                return self.want_repair(track, channel);
            }
            Verdict::NewEpoch => {
                self.counters.gaps_unrepaired.fetch_add(1, Ordering::Relaxed);
                let top = Position::new(track.epoch().clone(), offset);
                self.gap(&channel, top);
            }
        }
        let epoch = if offset == 0 { Epoch::default() } else { track.epoch().clone() };
        self.deliver(&channel, message, Position::new(epoch, offset));
    }

    /// Asks for a repair; when too many are under way the gap goes to the sessions.
    pub(crate) fn want_repair(&self, track: &mut Track, channel: Arc<str>) {
        if let Err(refused) = self.repairs.try_send(channel) {
            self.counters.gaps_unrepaired.fetch_add(1, Ordering::Relaxed);
            let top = track.give_up();
            self.gap(&refused.into_inner(), top);
        }
    }

    pub(crate) fn gap(&self, channel: &Arc<str>, top: Position) {
        if &**channel == CONTROL_CHANNEL {
            tracing::error!(
                "controls were missed and cannot be read again; revocations may have been among them"
            );
            return (self.sink)(BusEvent::PositionsSuspect);
        }
        (self.sink)(BusEvent::Gap { channel: Arc::clone(channel), top });
    }

    pub(crate) fn deliver(&self, channel: &Arc<str>, message: Message, position: Position) {
        let channel = Arc::clone(channel);
        let event = match message {
            Message::Publication(publication) => {
                BusEvent::Publication { channel, publication: Arc::new(publication), position }
            }
            Message::Join(info) => BusEvent::Join { channel, info: Arc::new(info) },
            Message::Leave(info) => BusEvent::Leave { channel, info: Arc::new(info) },
            Message::Control(control) => BusEvent::Control(control),
            Message::Reply { .. } | Message::Canary { .. } => {
                return tracing::warn!(%channel, "a message for nodes in a client channel was dropped");
            }
        };
        (self.sink)(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_missed_by_count_and_by_the_clock() {
        let canaries = Canaries::default();
        canaries.heard_at_us.store(1_000_000, Ordering::Relaxed);
        let every = Duration::from_secs(1);
        let check = |sent: u64, now_us: u64, overdue: u64| {
            canaries.sent.store(sent, Ordering::Relaxed);
            canaries.returned.store(7, Ordering::Relaxed);
            assert_eq!(canaries.overdue(now_us, every), overdue, "{sent} sent, at {now_us}");
        };
        check(7, 1_000_000, 0);
        check(8, 2_900_000, 1);
        check(10, 2_900_000, 3);
        // Nobody sends any more.
        check(7, 3_900_000, 1);
        check(7, 5_100_000, 3);
        check(7, 0, 0);
    }
}
