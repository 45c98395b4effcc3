//! Request streams over Redis: one serving backend's leases, blocking reads, settlements. A partition is read
//! by its lease's holder only; a lease is renewed three times within its life, and what was read under one that
//! ran out is left to the next holder, who first takes over everything unfinished. Every settlement is fenced.

mod read;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fred::interfaces::SortedSetsInterface;
use fred::types::{Key, Value};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::backend::{ReplyTo, RequestQueue, ServeOptions, Taken};
use crate::envelope::{decode_request, encode_reply, encode_request};
use crate::error::BusError;
use crate::limits::{DEAD_LETTERS_MAX, PARTITIONS, partition_of};
use crate::pending::now_ms;
use crate::redis::address::Place;
use crate::redis::keys::GROUP;
use crate::redis::lease::{Lease, Phase, asking_order, share};
use crate::redis::scripts::{ACQUIRE, BURY, COUNT, FINISH, JOIN, RELEASE, RENEW, TAKE_OVER};
use crate::redis::send::Sender;
use crate::request::{Delivery, Reply, ReplyError};
use crate::tireless::tireless;

/// How long `take` waits before it lets its caller look around.
const TAKE_WAIT: Duration = Duration::from_secs(1);

/// Unfinished entries taken over at a time; the rest follows when these are done.
const TAKE_OVER_MAX: i64 = 100;

/// Streams that one blocking read waits for. Redis looks at all of them for each request: with 64 that is 90 us of
/// its one thread, with 8 a tenth, for eight connections a backend.
const PARTITIONS_PER_READ: usize = 8;

/// A stored entry as it was read: id, deliveries, the request's bytes.
type Stored = (String, u32, Bytes);

pub(crate) struct Consumer {
    shared: Arc<Shared>,
    /// Dropped with the consumer: its reads and renewals end, as in a crash.
    _tasks: Mutex<JoinSet<()>>,
}

pub(crate) struct Shared {
    sender: Arc<Sender>,
    place: Place,
    name: String,
    lease: Duration,
    in_flight_max: usize,
    state: Mutex<State>,
    /// A lease is to be read or taken over that was not before, or there is room again: rare, and many listen.
    changed: Notify,
    /// Something is ready: for each request, and one listens.
    arrived: Notify,
}

#[derive(Default)]
struct State {
    leases: BTreeMap<u16, Lease>,
    ready: VecDeque<Taken>,
    leaving: bool,
}

impl Consumer {
    pub(crate) async fn join(
        sender: Arc<Sender>,
        place: Place,
        options: &ServeOptions,
    ) -> Result<Consumer, BusError> {
        let name = if options.name.is_empty() { "backend" } else { &options.name };
        let shared = Arc::new(Shared {
            sender,
            place,
            name: format!("{name}-{}", &crate::fresh_id()[..12]),
            lease: Duration::from_millis(options.lease_ms.max(100)),
            in_flight_max: options.in_flight_max.max(1),
            state: Mutex::default(),
            changed: Notify::new(),
            arrived: Notify::new(),
        });
        shared.balance().await?;
        let mut tasks = JoinSet::new();
        let of = Arc::clone(&shared);
        tasks.spawn(async move { tireless("keeping leases", || Arc::clone(&of).keep()).await });
        let of = Arc::clone(&shared);
        tasks.spawn(async move { tireless("taking over", || Arc::clone(&of).recover()).await });
        // In a cluster each key needs a read of its own.
        let together = if shared.place.is_cluster() { 1 } else { PARTITIONS_PER_READ };
        let partitions: Vec<u16> = (0..PARTITIONS).collect();
        for group in partitions.chunks(together) {
            let (of, group) = (Arc::clone(&shared), group.to_vec());
            tasks.spawn(async move {
                tireless("reading requests", || Arc::clone(&of).read(group.clone())).await;
            });
        }
        Ok(Consumer { shared, _tasks: Mutex::new(tasks) })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, fence: u64) -> String {
        format!("{fence}:{}", self.name)
    }

    fn lease_ms(&self) -> Value {
        (self.lease.as_millis() as i64).into()
    }

    /// Renews and balances three times within a lease, for ever.
    async fn keep(self: Arc<Shared>) {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            self.renew().await;
            if self.state().leaving {
                continue;
            }
            if let Err(error) = self.balance().await {
                tracing::warn!(%error, "leases could not be balanced; trying again");
            }
        }
    }

    async fn renew(&self) {
        let held: Vec<(u16, u64)> =
            self.state().leases.iter().map(|(partition, lease)| (*partition, lease.fence)).collect();
        let sent = Instant::now();
        let renewals = held.into_iter().map(|(partition, fence)| async move {
            let keys = vec![self.sender.keys.lease(partition).into()];
            let arguments = vec![self.token(fence).into(), self.lease_ms()];
            (
                partition,
                fence,
                self.sender.run::<i64>("renewing a lease", partition, &RENEW, keys, arguments).await,
            )
        });
        for (partition, fence, renewed) in join_all(renewals).await {
            let mut state = self.state();
            let held = state.leases.get_mut(&partition).filter(|lease| lease.fence == fence);
            match (renewed, held) {
                (Ok(1), Some(lease)) => lease.until = sent + self.lease,
                (Ok(_), Some(_)) => {
                    tracing::warn!(partition, fence, "a lease was lost");
                    state.leases.remove(&partition);
                }
                // Not renewed: it runs out by our own clock unless the next attempt succeeds.
                (Err(error), _) => tracing::warn!(%error, partition, "a lease was not renewed"),
                (Ok(_), None) => {}
            }
        }
    }

    /// Announces this consumer, gives up what is above its share, and asks for what is below.
    async fn balance(&self) -> Result<(), BusError> {
        let keys: Vec<Key> = vec![self.sender.keys.consumers().into()];
        let arguments = vec![self.name.as_str().into(), self.lease_ms()];
        let consumers: Vec<String> = self.sender.run("joining", 0, &JOIN, keys, arguments).await?;
        let share = share(PARTITIONS, &consumers, &self.name);
        {
            let mut state = self.state();
            let kept = state.leases.values().filter(|lease| lease.phase != Phase::Releasing).count();
            let surplus = state.leases.values_mut().filter(|lease| lease.phase != Phase::Releasing);
            for lease in surplus.take(kept.saturating_sub(share)) {
                lease.phase = Phase::Releasing;
            }
        }
        let mut candidates = asking_order(PARTITIONS, &consumers, &self.name);
        // Each partition is asked for once at most.
        loop {
            let held: Vec<u16> = self.state().leases.keys().copied().collect();
            let missing = share.saturating_sub(held.len());
            let wave: Vec<u16> =
                candidates.by_ref().filter(|one| !held.contains(one)).take(missing).collect();
            if wave.is_empty() {
                return self.release().await;
            }
            join_all(wave.into_iter().map(|partition| self.acquire(partition))).await;
        }
    }

    async fn acquire(&self, partition: u16) {
        let keys = &self.sender.keys;
        let names =
            vec![keys.lease(partition).into(), keys.fence(partition).into(), keys.requests(partition).into()];
        let arguments = vec![self.name.as_str().into(), self.lease_ms(), GROUP.into()];
        let sent = Instant::now();
        match self.sender.run::<u64>("acquiring a lease", partition, &ACQUIRE, names, arguments).await {
            Ok(0) => {}
            Ok(fence) => {
                self.state().leases.insert(partition, Lease::new(fence, sent + self.lease));
                self.changed.notify_waiters();
            }
            Err(error) => tracing::warn!(%error, partition, "a lease was not acquired"),
        }
    }

    /// Hands over what is to be released and has nothing in work.
    async fn release(&self) -> Result<(), BusError> {
        let idle: Vec<(u16, u64)> = {
            let mut state = self.state();
            let idle = |lease: &Lease| lease.phase == Phase::Releasing && lease.is_idle();
            let found = state.leases.iter().filter(|(_, lease)| idle(lease));
            let found: Vec<(u16, u64)> = found.map(|(partition, lease)| (*partition, lease.fence)).collect();
            state.leases.retain(|_, lease| !idle(lease));
            found
        };
        let releases = idle.into_iter().map(|(partition, fence)| async move {
            let keys = vec![self.sender.keys.lease(partition).into()];
            let arguments = vec![self.token(fence).into()];
            self.sender.run::<i64>("releasing a lease", partition, &RELEASE, keys, arguments).await
        });
        join_all(releases).await.into_iter().try_for_each(|released| released.map(drop))
    }

    /// Takes over unfinished entries of partitions that are recovering, for ever.
    async fn recover(self: Arc<Shared>) {
        loop {
            let changed = self.changed.notified();
            let due: Vec<(u16, u64)> = {
                let state = self.state();
                let due = state.leases.iter().filter(|(_, lease)| lease.is_due());
                due.map(|(partition, lease)| (*partition, lease.fence)).collect()
            };
            join_all(due.into_iter().map(|(partition, fence)| self.take_over(partition, fence))).await;
            // A failed attempt changes nothing and is repeated with the next renewal at the latest.
            let _ = tokio::time::timeout(self.lease / 3, changed).await;
        }
    }

    async fn take_over(&self, partition: u16, fence: u64) {
        let keys = &self.sender.keys;
        let names = vec![keys.lease(partition).into(), keys.requests(partition).into()];
        let arguments =
            vec![self.token(fence).into(), GROUP.into(), self.name.as_str().into(), TAKE_OVER_MAX.into()];
        let taken: Result<(i64, Vec<Stored>), BusError> =
            self.sender.run("taking over", partition, &TAKE_OVER, names, arguments).await;
        match taken {
            Ok((1, entries)) => {
                let complete = entries.is_empty();
                if !self.add(partition, fence, entries).await {
                    // Not at once again: the next attempt comes with the next renewal.
                    return;
                }
                let mut state = self.state();
                if let Some(lease) = state.leases.get_mut(&partition).filter(|lease| lease.fence == fence)
                    && complete
                {
                    lease.recovered();
                }
            }
            // Both without waking anyone: the next attempt comes with the next renewal.
            Ok(_) => {
                return tracing::warn!(partition, fence, "a lease was lost before its partition was read");
            }
            Err(error) => return tracing::warn!(%error, partition, "unfinished requests were not taken over"),
        }
        self.changed.notify_waiters();
    }

    /// Puts entries in line. An entry nobody can read goes to the dead letters as it is; false: not even that.
    async fn add(&self, partition: u16, fence: u64, entries: Vec<Stored>) -> bool {
        let mut whole = true;
        for (entry, deliveries, stored) in entries {
            let Ok((request, node, number)) = decode_request(stored.clone()) else {
                tracing::error!(partition, entry, "an unreadable request goes to the dead letters");
                if let Err(error) =
                    self.bury_entry(partition, fence, &entry, stored, deliveries, "unreadable").await
                {
                    tracing::warn!(%error, entry, "burying failed; it will be redelivered");
                    let mut state = self.state();
                    let lease = state.leases.get_mut(&partition).filter(|lease| lease.fence == fence);
                    lease.map(Lease::gave_up);
                    whole = false;
                }
                continue;
            };
            let reply_to = (number > 0).then_some(ReplyTo { node, number });
            let wants_reply = reply_to.is_some();
            let delivery = Delivery { request, partition, fence, deliveries, wants_reply };
            let mut state = self.state();
            // Nobody takes from the line any more: what a last read brought is the next holder's, who takes it over.
            if state.leaving {
                return false;
            }
            let Some(lease) = state.leases.get_mut(&partition).filter(|lease| lease.fence == fence) else {
                return false;
            };
            lease.in_flight += 1;
            state.ready.push_back(Taken { entry, reply_to, delivery });
            drop(state);
            self.arrived.notify_one();
        }
        whole
    }

    async fn bury_entry(
        &self,
        partition: u16,
        fence: u64,
        entry: &str,
        stored: Bytes,
        deliveries: u32,
        reason: &str,
    ) -> Result<(), BusError> {
        let keys = &self.sender.keys;
        let names = vec![
            keys.lease(partition).into(),
            keys.requests(partition).into(),
            keys.graves(partition).into(),
        ];
        let arguments: Vec<Value> = vec![
            self.token(fence).into(),
            GROUP.into(),
            entry.into(),
            stored.into(),
            i64::from(deliveries).into(),
            reason.into(),
            (now_ms() as i64).into(),
            (DEAD_LETTERS_MAX as i64).into(),
        ];
        self.sender.run::<i64>("burying", partition, &BURY, names, arguments).await.map(drop)
    }

    /// One entry of the partition is no longer in work.
    fn freed(&self, taken: &Taken, settled: bool) {
        let mut state = self.state();
        let lease = state.leases.get_mut(&taken.delivery.partition);
        let lease = lease.filter(|lease| lease.fence == taken.delivery.fence);
        let changed = lease.is_some_and(|lease| lease.freed(settled));
        drop(state);
        if changed {
            self.changed.notify_waiters();
        }
    }

    async fn answer(&self, to: &ReplyTo, reply: &Reply) -> Result<(), BusError> {
        let partition = partition_of(&to.node);
        let name = self.sender.keys.node(partition, &to.node);
        self.sender.publish_live("answering", partition, name, encode_reply(to.number, reply)).await
    }
}

#[async_trait]
impl RequestQueue for Consumer {
    async fn take(&self, max: usize) -> Result<Vec<Taken>, BusError> {
        let deadline = tokio::time::Instant::now() + TAKE_WAIT;
        loop {
            let (taken, was_full) = {
                let mut state = self.shared.state();
                let was_full = state.ready.len() >= self.shared.in_flight_max;
                let count = state.ready.len().min(max);
                (state.ready.drain(..count).collect::<Vec<Taken>>(), was_full)
            };
            if was_full {
                // There is room for reading on.
                self.shared.changed.notify_waiters();
            }
            // What arrives between looking and waiting leaves a permit.
            let arrived = self.shared.arrived.notified();
            if !taken.is_empty() || tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return Ok(taken);
            }
        }
    }

    fn holds(&self, taken: &Taken) -> bool {
        let state = self.shared.state();
        let lease = state.leases.get(&taken.delivery.partition);
        lease.is_some_and(|lease| lease.fence == taken.delivery.fence && Instant::now() < lease.until)
    }

    async fn finish(&self, taken: &Taken, reply: Reply) -> Result<(), BusError> {
        let sender = &self.shared.sender;
        let Delivery { partition, fence, .. } = taken.delivery;
        let names = vec![sender.keys.lease(partition).into(), sender.keys.requests(partition).into()];
        let arguments: Vec<Value> =
            vec![self.shared.token(fence).into(), GROUP.into(), taken.entry.as_str().into()];
        let acknowledge = sender.run::<i64>("acknowledging", partition, &FINISH, names, arguments);
        let answer = async {
            match &taken.reply_to {
                Some(to) => self.shared.answer(to, &reply).await,
                None => Ok(()),
            }
        };
        let (answered, acknowledged) = futures::join!(answer, acknowledge);
        if let Err(error) = answered {
            // Done is done: the requester learns it when it repeats with the same id.
            tracing::warn!(%error, "an answer was not sent");
        }
        if acknowledged? < 0 {
            tracing::warn!(partition, fence, "finished under a lost lease; it will be redelivered");
        }
        self.shared.freed(taken, true);
        Ok(())
    }

    async fn count(&self, taken: &Taken) -> Result<(), BusError> {
        let sender = &self.shared.sender;
        let Delivery { partition, fence, .. } = taken.delivery;
        let names = vec![sender.keys.lease(partition).into(), sender.keys.requests(partition).into()];
        let arguments: Vec<Value> = vec![
            self.shared.token(fence).into(),
            GROUP.into(),
            self.shared.name.as_str().into(),
            taken.entry.as_str().into(),
        ];
        sender.run::<i64>("counting a delivery", partition, &COUNT, names, arguments).await.map(drop)
    }

    async fn bury(&self, taken: &Taken, reason: &str) -> Result<(), BusError> {
        let Delivery { partition, fence, deliveries, request, .. } = &taken.delivery;
        // Without its requester: a replayed request is nobody's question any more.
        let stored = encode_request(request, "", 0);
        self.shared.bury_entry(*partition, *fence, &taken.entry, stored, *deliveries, reason).await?;
        if let Some(to) = &taken.reply_to {
            let reply = Err(ReplyError::temporary("the request could not be completed"));
            if let Err(error) = self.shared.answer(to, &reply).await {
                tracing::warn!(%error, "an answer was not sent");
            }
        }
        self.shared.freed(taken, true);
        Ok(())
    }

    fn abandon(&self, taken: &Taken) {
        self.shared.freed(taken, false);
    }

    async fn leave(&self) -> Result<(), BusError> {
        {
            let mut state = self.shared.state();
            state.leaving = true;
            // What was read and not begun, or not finished in time, is the next holder's.
            state.ready.clear();
            for lease in state.leases.values_mut() {
                (lease.phase, lease.in_flight) = (Phase::Releasing, 0);
            }
        }
        let sender = &self.shared.sender;
        let left: Result<(), _> =
            sender.client(0).zrem(sender.keys.consumers(), self.shared.name.as_str()).await;
        left.map_err(|error| sender.failed("leaving", &error))?;
        // A blocking read ends within a quarter of a lease; then the last partition is handed over.
        let deadline = Instant::now() + self.shared.lease;
        loop {
            self.shared.release().await?;
            if self.shared.state().leases.is_empty() || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(self.shared.lease / 20).await;
        }
    }
}
