//! One subscriber connection to one server, and the supervisor that keeps a link to every server that owns
//! partitions. A link subscribes what its partitions want, publishes a canary every second through the real
//! path, and ends at the first doubt; the supervisor asks again who owns what and builds it anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::envelope::encode_canary;
use crate::error::BusError;
use crate::event::BusEvent;
use crate::redis::address::{Address, Place, Topology, plain, unavailable};
use crate::redis::receive::{Canaries, Incoming, Receiver};
use crate::redis::send::Sender;
use crate::redis::write::{WAITING_MAX, Writers};

/// Subscriptions per round trip: a node with 100,000 channels is back after 200 of them, and Redis serves
/// others in between.
const SUBSCRIBE_BATCH: usize = 512;

/// Canaries missing before a link is rebuilt (and the node not healthy).
pub(crate) const CANARIES_MISSING_MAX: u64 = 3;

/// The pause between attempts to build links.
const REBUILD_PAUSE_MIN: Duration = Duration::from_millis(50);
const REBUILD_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How often a cluster is asked who owns what, besides after every failure.
const TOPOLOGY_EVERY: Duration = Duration::from_secs(10);

/// The running link of each server, with what it serves.
type Handles = HashMap<Address, (Vec<u16>, tokio::task::AbortHandle)>;

pub(crate) struct Links {
    pub receiver: Arc<Receiver>,
    pub sender: Arc<Sender>,
    pub place: Place,
    pub node: String,
    pub canary_every: Duration,
    /// Positions are to be checked at once.
    pub suspect: Arc<Notify>,
    /// Also links that are being rebuilt, not ready.
    pub live: Mutex<HashMap<Address, Live>>,
    /// Partitions that had a link before, a bit each: whoever serves one again, at whatever address, may have missed
    /// something.
    pub served: AtomicU64,
    pub writers: Arc<Writers>,
}

/// A link as health sees it.
#[derive(Clone)]
pub(crate) struct Live {
    pub partitions: Vec<u16>,
    pub canaries: Arc<Canaries>,
    /// Subscribed to everything that was wanted when it was built.
    pub ready: bool,
}

/// `served` has a bit for each.
const _: () = assert!(crate::limits::PARTITIONS <= 64);

impl Links {
    pub(crate) fn live(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a link to every server, for ever. Each turn either waits for something to happen or pauses.
    pub(crate) async fn supervise(self: Arc<Links>) {
        let mut running: JoinSet<()> = JoinSet::new();
        let mut handles = Handles::new();
        let mut pause = REBUILD_PAUSE_MIN;
        loop {
            let known: Vec<Address> = handles.keys().cloned().collect();
            match self.place.resolve(&known).await {
                Ok(topology) => self.adjust(&topology, &mut handles, &mut running),
                Err(error) => tracing::warn!(%error, "the topology is unknown; trying again"),
            }
            let wait = if self.place.is_cluster() { TOPOLOGY_EVERY } else { TOPOLOGY_EVERY * 360 };
            let ended = tokio::select! {
                ended = running.join_next_with_id(), if !running.is_empty() => ended,
                () = tokio::time::sleep(wait), if !running.is_empty() => None,
                () = std::future::ready(()), if running.is_empty() => None,
            };
            let id =
                ended.as_ref().map(|ended| ended.as_ref().map_or_else(|error| error.id(), |(id, ())| *id));
            // A link that was replaced has no handle any more.
            let address =
                handles.iter().find(|(_, (_, handle))| Some(handle.id()) == id).map(|(one, _)| one.clone());
            if let Some(address) = address {
                handles.remove(&address);
                if let Some(live) = self.live().get_mut(&address)
                    && std::mem::take(&mut live.ready)
                {
                    pause = REBUILD_PAUSE_MIN;
                }
            }
            if ended.is_some() || running.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(REBUILD_PAUSE_MAX);
            }
        }
    }

    fn adjust(self: &Arc<Links>, wanted: &Topology, handles: &mut Handles, running: &mut JoinSet<()>) {
        handles.retain(|address, (partitions, handle)| {
            let stays = wanted.get(address) == Some(partitions);
            if !stays {
                handle.abort();
                self.live().remove(address);
            }
            stays
        });
        // Of a server that serves nothing any more, nothing is awaited.
        self.live().retain(|address, _| wanted.contains_key(address));
        for (address, partitions) in wanted {
            if handles.contains_key(address) {
                continue;
            }
            let (links, address, partitions) = (Arc::clone(self), address.clone(), partitions.clone());
            let handle = running.spawn({
                let (address, partitions) = (address.clone(), partitions.clone());
                async move {
                    if let Err(error) = links.run(&address, &partitions).await {
                        tracing::warn!(%address, %error, "the link to Redis ended; building it anew");
                    }
                }
            });
            handles.insert(address, (partitions, handle));
        }
    }

    /// One link's life; it ends with the reason for its end.
    async fn run(&self, address: &Address, partitions: &[u16]) -> Result<(), BusError> {
        let canaries: Arc<Canaries> = Arc::default();
        let (nudge, ended): (Arc<Notify>, Arc<Notify>) = Default::default();
        let config = plain()
            .set_push_sender(self.push_sender(&canaries, &ended))
            .set_pipeline_buffer_size(WAITING_MAX);
        let failed = |error: RedisError| unavailable(&format!("subscribing at {address}"), &error);
        let mut connection = self.place.connect(address, config).await.map_err(failed)?;
        self.place.check_master(&mut connection).await.map_err(failed)?;
        let own = self.own_channels(partitions);
        self.subscribe_names(&connection, &own).await.map_err(failed)?;
        for partition in partitions {
            let mut interest = self.receiver.interest(*partition);
            let interest = &mut *interest;
            interest.leaving.clear();
            interest.joining = interest.tracks.keys().cloned().collect();
            interest.tracks.values_mut().for_each(|track| track.confirmed = false);
            self.receiver.set_nudge(*partition, Arc::clone(&nudge));
        }
        canaries.heard_at_us.store(self.receiver.clock_us(), Ordering::Relaxed);
        let live = Live { partitions: partitions.to_vec(), canaries: Arc::clone(&canaries), ready: false };
        self.live().insert(address.clone(), live);
        let bits = partitions.iter().fold(0, |bits, partition| bits | 1 << partition);
        let rebuilt = self.served.fetch_or(bits, Ordering::Relaxed) & bits != 0;
        self.settle(&connection, partitions).await.map_err(failed)?;
        let _lent = Arc::clone(&self.writers).lend(partitions, &connection).await;
        if let Some(live) = self.live().get_mut(address) {
            live.ready = true;
        }
        if rebuilt {
            self.receiver.counters.reconnects.fetch_add(1, Ordering::Relaxed);
            (self.receiver.sink)(BusEvent::PositionsSuspect);
            self.suspect.notify_one();
        }
        let mut tick = tokio::time::interval(self.canary_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = nudge.notified() => self.settle(&connection, partitions).await.map_err(failed)?,
                () = ended.notified() => return Err(failed((redis::ErrorKind::Io, "connection lost").into())),
                _ = tick.tick() => {
                    if canaries.missing() >= CANARIES_MISSING_MAX {
                        return Err(failed((redis::ErrorKind::Io, "canaries do not come back").into()));
                    }
                    self.send_canary(partitions[0], &canaries);
                }
            }
        }
    }

    /// Runs inside the connection's own task, for every push: it only sorts.
    fn push_sender(
        &self,
        canaries: &Arc<Canaries>,
        ended: &Arc<Notify>,
    ) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
        let (receiver, canaries, ended) =
            (Arc::clone(&self.receiver), Arc::clone(canaries), Arc::clone(ended));
        move |push: PushInfo| {
            match push.kind {
                PushKind::Message | PushKind::SMessage => {
                    let mut data = push.data.into_iter();
                    if let (Some(Value::BulkString(name)), Some(Value::BulkString(message))) =
                        (data.next(), data.next())
                    {
                        receiver.accept(Incoming { name, message, canaries: Arc::clone(&canaries) });
                    }
                }
                PushKind::Disconnection => ended.notify_one(),
                // A slot has moved away: the server unsubscribes what we still want.
                PushKind::SUnsubscribe if lost_interest(&receiver, &push.data) => ended.notify_one(),
                _ => {}
            }
            Ok(())
        }
    }

    /// The node's own channel on this link, for canaries; and the one replies go to, where this link serves it.
    fn own_channels(&self, partitions: &[u16]) -> Vec<String> {
        let reply = crate::limits::partition_of(&self.node);
        let mut own = vec![partitions[0]];
        if partitions.contains(&reply) && reply != partitions[0] {
            own.push(reply);
        }
        own.into_iter().map(|partition| self.receiver.keys.node(partition, &self.node)).collect()
    }

    fn send_canary(&self, partition: u16, canaries: &Canaries) {
        let number = canaries.sent.fetch_add(1, Ordering::Relaxed) + 1;
        canaries.sent_at_us.store(self.receiver.clock_us(), Ordering::Relaxed);
        let (sender, name) = (Arc::clone(&self.sender), self.receiver.keys.node(partition, &self.node));
        // Not awaited here: a canary that cannot be sent is a missing one. The command's timeout ends the task.
        tokio::spawn(async move {
            let sent = sender.publish_live("sending a canary", partition, name, encode_canary(number)).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "a canary was not sent");
            }
        });
    }

    /// Subscribes and unsubscribes until nothing is wanted any more.
    async fn settle(&self, connection: &MultiplexedConnection, partitions: &[u16]) -> Result<(), RedisError> {
        loop {
            let (mut joining, mut leaving) = (Vec::new(), Vec::new());
            for partition in partitions {
                let mut interest = self.receiver.interest(*partition);
                let room = SUBSCRIBE_BATCH - joining.len();
                let keep = interest.joining.len().saturating_sub(room);
                joining.extend(interest.joining.drain(keep..).map(|channel| (*partition, channel)));
                let room = SUBSCRIBE_BATCH - leaving.len();
                let keep = interest.leaving.len().saturating_sub(room);
                leaving.extend(interest.leaving.drain(keep..));
            }
            if joining.is_empty() && leaving.is_empty() {
                return Ok(());
            }
            let names: Vec<String> = leaving.iter().map(|channel| self.receiver.keys.live(channel)).collect();
            self.command(
                connection,
                if self.sender.sharded { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" },
                &names,
            )
            .await?;
            let names: Vec<String> =
                joining.iter().map(|(_, channel)| self.receiver.keys.live(channel)).collect();
            self.subscribe_names(connection, &names).await?;
            let mut served: Vec<u16> = joining.iter().map(|(partition, _)| *partition).collect();
            for (partition, channel) in joining {
                if let Some(track) = self.receiver.interest(partition).tracks.get_mut(&channel) {
                    track.confirmed = true;
                }
            }
            served.dedup();
            for partition in served {
                self.receiver.confirmed[usize::from(partition)].notify_waiters();
            }
        }
    }

    async fn subscribe_names(
        &self,
        connection: &MultiplexedConnection,
        names: &[String],
    ) -> Result<(), RedisError> {
        self.command(connection, if self.sender.sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" }, names).await
    }

    /// One command a channel, in one write: each is confirmed by itself, which a shared slot is not needed for.
    async fn command(
        &self,
        connection: &MultiplexedConnection,
        command: &str,
        names: &[String],
    ) -> Result<(), RedisError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for name in names {
            pipeline.cmd(command).arg(name);
        }
        let answers: Vec<Value> = pipeline.query_async(&mut connection.clone()).await?;
        answers.into_iter().try_for_each(|answer| match answer {
            Value::ServerError(error) => Err(error.into()),
            _ => Ok(()),
        })
    }
}

fn lost_interest(receiver: &Receiver, data: &[Value]) -> bool {
    let Some(Value::BulkString(name)) = data.first() else { return false };
    let live = std::str::from_utf8(name).ok().and_then(|name| receiver.keys.parse_live(name));
    match live {
        Some(crate::redis::keys::Live::Channel { partition, channel }) => {
            receiver.interest(partition).tracks.get(channel).is_some_and(|track| track.confirmed)
        }
        Some(crate::redis::keys::Live::Node { .. }) => true,
        None => false,
    }
}
