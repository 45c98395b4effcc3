//! Request queues in memory: 64 partitions, each leased to one consumer at a time under a growing fence.
//! A consumer that leaves or is dropped gives its unfinished requests back, first in line and counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::backend::{ReplyTo, RequestQueue, Taken};
use crate::error::{BusError, check_payload};
use crate::limits::{DEAD_LETTERS_MAX, PARTITIONS, partition_of};
use crate::pending::now_ms;
use crate::request::{DeadLetter, Delivery, Reply, ReplyError, Request};

/// How long `take` waits for work before it lets its caller look around.
const TAKE_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Requests {
    state: Mutex<State>,
    changed: Notify,
    partition_max: usize,
}

#[derive(Default)]
struct State {
    partitions: Vec<Partition>,
    /// In order of arrival: the holder of partition p is number p modulo their count.
    consumers: Vec<u64>,
    consumer_last: u64,
    entry_last: u64,
}

#[derive(Default)]
struct Partition {
    holder: Option<u64>,
    fence: u64,
    ready: VecDeque<Entry>,
    in_flight: BTreeMap<u64, Entry>,
    dead: VecDeque<(u64, DeadLetter)>,
}

#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    deliveries: u32,
    request: Request,
    reply_to: Option<ReplyTo>,
}

impl Requests {
    pub(crate) fn new(partition_max: usize) -> Requests {
        let partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
        let state = State { partitions, ..State::default() };
        Requests { state: Mutex::new(state), changed: Notify::new(), partition_max }
    }

    pub(crate) fn push(&self, request: Request, reply_to: Option<ReplyTo>) -> Result<(), BusError> {
        check_payload("request.data", request.data.len())?;
        let mut state = self.lock();
        state.entry_last += 1;
        let number = state.entry_last;
        let partition = &mut state.partitions[usize::from(partition_of(&request.partition_key))];
        if partition.ready.len() + partition.in_flight.len() >= self.partition_max {
            return Err(BusError::full("queueing a request", self.partition_max));
        }
        partition.ready.push_back(Entry { number, deliveries: 0, request, reply_to });
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(crate) fn dead_letters(&self, limit: usize) -> Vec<DeadLetter> {
        let state = self.lock();
        let dead = state.partitions.iter().flat_map(|partition| &partition.dead);
        dead.map(|(_, letter)| letter.clone()).take(limit).collect()
    }

    pub(crate) fn discard(&self, id: &str) -> Option<DeadLetter> {
        let (partition, number) = id.split_once(':')?;
        let (partition, number): (usize, u64) = (partition.parse().ok()?, number.parse().ok()?);
        let mut state = self.lock();
        let dead = &mut state.partitions.get_mut(partition)?.dead;
        let at = dead.iter().position(|(known, _)| *known == number)?;
        dead.remove(at).map(|(_, letter)| letter)
    }

    pub(crate) fn replay(&self, id: &str) -> Result<bool, BusError> {
        let Some(letter) = self.discard(id) else { return Ok(false) };
        self.push(letter.request, None).map(|()| true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives every partition to the consumer it belongs to, as soon as its present holder has nothing of it in
    /// work.
    fn assign(&mut self) {
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            let wanted = match self.consumers.len() {
                0 => None,
                count => Some(self.consumers[index % count]),
            };
            let holder_lives = partition.holder.is_some_and(|holder| self.consumers.contains(&holder));
            if partition.holder == wanted || (holder_lives && !partition.in_flight.is_empty()) {
                continue;
            }
            // What a dead holder had begun comes first again, in its old order.
            while let Some((_, entry)) = partition.in_flight.pop_last() {
                partition.ready.push_front(entry);
            }
            partition.holder = wanted;
            partition.fence += 1;
        }
    }
}

type Answer = Box<dyn Fn(&ReplyTo, Reply) + Send + Sync>;

/// One serving backend's membership.
pub(crate) struct Consumer {
    requests: Arc<Requests>,
    id: u64,
    answer: Answer,
}

impl Consumer {
    pub(crate) fn join(requests: Arc<Requests>, answer: Answer) -> Consumer {
        let mut state = requests.lock();
        state.consumer_last += 1;
        let id = state.consumer_last;
        state.consumers.push(id);
        state.assign();
        drop(state);
        requests.changed.notify_waiters();
        Consumer { requests, id, answer }
    }

    fn take_now(&self, max: usize) -> Vec<Taken> {
        let mut state = self.requests.lock();
        let State { partitions, consumers, .. } = &mut *state;
        let mut taken = Vec::new();
        for (index, partition) in partitions.iter_mut().enumerate() {
            // A partition on its way to another consumer drains first.
            let stays = consumers.get(index % consumers.len().max(1)) == Some(&self.id);
            if partition.holder != Some(self.id) || !stays {
                continue;
            }
            while taken.len() < max {
                let Some(mut entry) = partition.ready.pop_front() else { break };
                entry.deliveries += 1;
                taken.push(entry.taken(index as u16, partition.fence));
                partition.in_flight.insert(entry.number, entry);
            }
        }
        taken
    }

    fn remove(&self, taken: &Taken) -> Option<Entry> {
        let number: u64 = taken.entry.parse().ok()?;
        let mut state = self.requests.lock();
        let partition = &mut state.partitions[usize::from(taken.delivery.partition)];
        if partition.fence != taken.delivery.fence {
            return None;
        }
        let entry = partition.in_flight.remove(&number);
        state.assign();
        drop(state);
        self.requests.changed.notify_waiters();
        entry
    }

    fn part(&self) {
        let mut state = self.requests.lock();
        state.consumers.retain(|id| *id != self.id);
        state.assign();
        drop(state);
        self.requests.changed.notify_waiters();
    }
}

impl Entry {
    fn taken(&self, partition: u16, fence: u64) -> Taken {
        let delivery = Delivery {
            request: self.request.clone(),
            partition,
            fence,
            deliveries: self.deliveries,
            wants_reply: self.reply_to.is_some(),
        };
        Taken { entry: self.number.to_string(), reply_to: self.reply_to.clone(), delivery }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.part();
    }
}

#[async_trait]
impl RequestQueue for Consumer {
    async fn take(&self, max: usize) -> Result<Vec<Taken>, BusError> {
        let deadline = tokio::time::Instant::now() + TAKE_WAIT;
        loop {
            let changed = self.requests.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, or a push between the two would be slept over.
            changed.as_mut().enable();
            let taken = self.take_now(max);
            if !taken.is_empty() || max == 0 {
                return Ok(taken);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    fn holds(&self, taken: &Taken) -> bool {
        let state = self.requests.lock();
        let partition = &state.partitions[usize::from(taken.delivery.partition)];
        partition.holder == Some(self.id) && partition.fence == taken.delivery.fence
    }

    async fn finish(&self, taken: &Taken, reply: Reply) -> Result<(), BusError> {
        if let (Some(_), Some(to)) = (self.remove(taken), &taken.reply_to) {
            (self.answer)(to, reply);
        }
        Ok(())
    }

    async fn count(&self, taken: &Taken) -> Result<(), BusError> {
        let mut state = self.requests.lock();
        let partition = &mut state.partitions[usize::from(taken.delivery.partition)];
        let number = taken.entry.parse().ok();
        if let Some(entry) = number.and_then(|number: u64| partition.in_flight.get_mut(&number)) {
            entry.deliveries += 1;
        }
        Ok(())
    }

    async fn bury(&self, taken: &Taken, reason: &str) -> Result<(), BusError> {
        let Some(entry) = self.remove(taken) else { return Ok(()) };
        let letter = DeadLetter {
            id: format!("{}:{}", taken.delivery.partition, entry.number),
            request: entry.request,
            deliveries: taken.delivery.deliveries,
            reason: reason.to_owned(),
            buried_ms: now_ms(),
        };
        let mut state = self.requests.lock();
        let dead = &mut state.partitions[usize::from(taken.delivery.partition)].dead;
        dead.push_back((entry.number, letter));
        if dead.len() > DEAD_LETTERS_MAX {
            tracing::warn!(partition = taken.delivery.partition, "dead letters full; the oldest is dropped");
            dead.pop_front();
        }
        drop(state);
        if let Some(to) = &taken.reply_to {
            (self.answer)(to, Err(ReplyError::temporary("the request could not be completed")));
        }
        Ok(())
    }

    fn abandon(&self, _taken: &Taken) {
        // It stays in flight; whoever gets the partition next, gets it.
    }

    async fn leave(&self) -> Result<(), BusError> {
        self.part();
        Ok(())
    }
}
