//! Positions: 40 seconds after its last traffic and every 40 seconds from then on, and at once after a link was rebuilt or a queue ran over, each subscribed
//! channel is compared with its stream, once per node; what is missing is read from the stream and handed on in
//! order. Only what the stream cannot give back becomes a gap for the sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::{Notify, mpsc};

use crate::error::BusError;
use crate::limits::{CONTROL_CHANNEL, HISTORY_READ_MAX, PARTITIONS, partition_of};
use crate::message::HistoryFilter;
use crate::position::Position;
use crate::redis::receive::Receiver;
use crate::redis::send::Sender;
use crate::redis::track::{Repaired, TURNS_PER_CHECK, Track};
use crate::tireless::is_panic;

/// Checks and repairs side by side: 10,000 channels take a few hundred round trips' time, Redis stays free.
const SIDE_BY_SIDE: usize = 64;

/// The pause before a check that Redis did not answer is repeated.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Attempts to read a stream that cannot be reached, with growing pauses: about half a minute, then the
/// sessions are told; after that nobody waits for these publications any more.
const READ_ATTEMPTS_MAX: u32 = 20;
const READ_PAUSE_MIN: Duration = Duration::from_millis(100);
const READ_PAUSE_MAX: Duration = Duration::from_secs(2);

pub(crate) struct Positions {
    pub receiver: Arc<Receiver>,
    pub sender: Arc<Sender>,
    pub every: Duration,
    pub suspect: Arc<Notify>,
}

impl Positions {
    /// Repairs what workers ask for.
    pub(crate) async fn keep_repairing(self: Arc<Positions>, repairs: mpsc::Receiver<Arc<str>>) {
        let repairs = stream::unfold(repairs, async |mut repairs| Some((repairs.recv().await?, repairs)));
        let repaired = async |channel: Arc<str>| {
            if is_panic(self.repair(Arc::clone(&channel))).await {
                tracing::error!(%channel, "a repair panicked; its sessions are told");
                // Or everything that comes would wait for this repair, for ever.
                self.give_up(&channel);
            }
        };
        repairs.for_each_concurrent(SIDE_BY_SIDE, repaired).await;
    }

    pub(crate) async fn keep_checking(self: Arc<Positions>) {
        let overflow = Arc::clone(&self.receiver.overflow);
        loop {
            let all = tokio::select! {
                () = tokio::time::sleep(self.every / TURNS_PER_CHECK) => false,
                () = self.suspect.notified() => true,
                () = overflow.notified() => true,
            };
            if !self.check(all).await {
                // Redis did not answer for some: not forgotten, asked again.
                tokio::time::sleep(CHECK_AGAIN).await;
                self.suspect.notify_one();
            }
        }
    }

    /// Compares every channel that is due; without `all` those with traffic have checked themselves.
    async fn check(&self, all: bool) -> bool {
        let mut checked = true;
        for partition in 0..PARTITIONS {
            let due: Vec<Arc<str>> = {
                let mut interest = self.receiver.interest(partition);
                let due = interest
                    .tracks
                    .iter_mut()
                    .filter_map(|(channel, track)| track.due(all).then_some(channel));
                due.cloned().collect()
            };
            let checks =
                stream::iter(due).map(|channel| self.check_one(channel)).buffer_unordered(SIDE_BY_SIDE);
            checked &= checks.all(async |checked| checked).await;
            if !checked {
                return false;
            }
        }
        checked
    }

    async fn check_one(&self, channel: Arc<str>) -> bool {
        let top = match self.sender.read(&channel, &HistoryFilter::top()).await {
            Ok(read) => read.top,
            Err(error) => {
                tracing::debug!(%error, %channel, "position not checked");
                return false;
            }
        };
        let mut interest = self.receiver.interest(partition_of(&channel));
        if let Some(track) = interest.tracks.get_mut(&channel)
            && track.check(&top)
        {
            self.receiver.want_repair(track, channel);
        }
        true
    }

    /// Reads until the channel is whole again, or tells its sessions. Bounded by the track and by attempts.
    async fn repair(&self, channel: Arc<str>) {
        let partition = partition_of(&channel);
        loop {
            let wanted = |track: Option<&Track>| track.and_then(Track::wanted);
            let Some(since) = wanted(self.receiver.interest(partition).tracks.get(&channel)) else { return };
            let before = since.offset;
            let filter = HistoryFilter::since(since.clone(), HISTORY_READ_MAX);
            let Ok(read) = self.read(&channel, filter).await else {
                return self.give_up(&channel);
            };
            let mut interest = self.receiver.interest(partition);
            // Unsubscribed, subscribed again, or numbered anew meanwhile: this is not what is missing now.
            if wanted(interest.tracks.get(&channel)) != Some(since) {
                continue;
            }
            let Some(track) = interest.tracks.get_mut(&channel) else { return };
            let mut complete = true;
            // The lock is held while events are handed on: a live publication cannot overtake them.
            for (offset, message) in read.messages {
                match track.advance(offset) {
                    Some(true) => {
                        let position = Position::new(track.epoch().clone(), offset);
                        self.receiver.deliver(&channel, message, position);
                    }
                    Some(false) => {}
                    None => {
                        complete = false;
                        break;
                    }
                }
            }
            // The top is ahead and the stream gave nothing: expired or removed.
            let after = track.wanted().map_or(before, |reached| reached.offset);
            complete &= after > before || read.top.offset <= before;
            let new_epoch = track.epoch() != &read.top.epoch;
            match track.repaired(&read.top, complete) {
                Repaired::Again => continue,
                // Of controls nothing may be skipped: the new numbering is read from its start.
                Repaired::Lost(_) if new_epoch && &*channel == CONTROL_CHANNEL => {
                    track.follow(read.top.epoch.clone(), read.top.offset);
                    continue;
                }
                Repaired::Done => {
                    self.receiver.counters.gaps_repaired.fetch_add(1, Ordering::Relaxed);
                }
                Repaired::Lost(top) => {
                    self.receiver.counters.gaps_unrepaired.fetch_add(1, Ordering::Relaxed);
                    self.receiver.gap(&channel, top);
                }
            }
            // Ends above, unless something came during the reading that it did not bring.
        }
    }

    async fn read(
        &self,
        channel: &str,
        filter: HistoryFilter,
    ) -> Result<crate::redis::channels::Read, BusError> {
        let mut pause = READ_PAUSE_MIN;
        let mut attempt = 1;
        loop {
            match self.sender.read(channel, &filter).await {
                Err(error) if error.is_temporary() && attempt < READ_ATTEMPTS_MAX => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(READ_PAUSE_MAX);
                    attempt += 1;
                }
                read => return read,
            }
        }
    }

    fn give_up(&self, channel: &Arc<str>) {
        let mut interest = self.receiver.interest(partition_of(channel));
        if let Some(track) = interest.tracks.get_mut(channel) {
            self.receiver.counters.gaps_unrepaired.fetch_add(1, Ordering::Relaxed);
            let top = track.give_up();
            self.receiver.gap(channel, top);
        }
    }
}
