//! The bus over Redis. It wires the sending half (fred), the receiving half (redis), position checks and the
//! request streams together, and owns their start and end. Neither client crate's types leave this module.

mod address;
mod channels;
mod check;
mod consume;
mod graves;
mod keys;
mod lease;
mod link;
mod receive;
mod scripts;
mod send;
mod track;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::backend::{Backend, Handler, RequestQueue, ServeOptions, serve};
use crate::delegate::channels_of_broker;
use crate::envelope::{Message, encode_request};
use crate::error::{BusError, Unavailable, check_channel, check_payload};
use crate::event::{BusEvent, Control, EventSink};
use crate::limits::{CONTROL_CHANNEL, CONTROLS_KEPT, HISTORY_READ_MAX, PARTITION_REQUESTS_MAX, partition_of};
use crate::message::HistoryFilter;
use crate::position::Position;
use crate::redis::address::Place;
use crate::redis::check::Positions;
use crate::redis::consume::Consumer;
use crate::redis::link::{CANARIES_MISSING_MAX, Links};
use crate::redis::receive::{Interest, Receiver};
use crate::redis::send::Sender;
use crate::redis::write::{Asked, Confirm, Writers};
use crate::request::{DeadLetter, Reply, Request};
use crate::tireless::tireless;
use crate::{Answered, Bus, BusHealth, Channels};

/// Where Redis is, and the bounds of this process's use of it. The URL may hold a password: it is not printed.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://`, `redis-sentinel://host:26379?sentinelServiceName=main`, `redis-cluster://a?node=b`.
    pub url: String,
    /// Beside the URL, so that none needs to hold it; of the user named there, or of the default one. Sentinels
    /// that want a password of their own take it from the URL.
    pub password: Option<String>,
    /// Starts every key: several environments may share one server.
    pub key_prefix: String,
    /// Sending connections. One carries about 400,000 commands a second.
    pub connections: usize,
    /// A slower Redis is an absent one: clients are told `temporary` at four seconds, and may ask twice by then.
    pub command_timeout_ms: u64,
    /// Commands waiting for a connection; beyond it they fail at once.
    pub commands_waiting_max: usize,
    pub partition_requests_max: usize,
    /// Received messages not yet handed on. At 1 KiB each 64 MiB.
    pub receive_queue_max: usize,
    pub canary_every_ms: u64,
    pub check_every_ms: u64,
}

impl RedisOptions {
    pub fn new(url: impl Into<String>) -> RedisOptions {
        RedisOptions {
            url: url.into(),
            password: None,
            key_prefix: "kw".to_owned(),
            connections: 1,
            command_timeout_ms: 1_000,
            commands_waiting_max: 65_536,
            partition_requests_max: PARTITION_REQUESTS_MAX,
            receive_queue_max: 65_536,
            canary_every_ms: 1_000,
            check_every_ms: 40_000,
        }
    }

    /// Whether the URL can be understood, without asking anybody.
    pub fn check(&self) -> Result<(), BusError> {
        Place::parse(self).map(drop)
    }
}

/// Repairs waiting at a time; beyond it gaps go to the sessions, which recover by themselves.
const REPAIRS_WAITING_MAX: usize = 65_536;

/// A node's end of the bus over Redis.
pub struct RedisBus {
    broker: Arc<Sender>,
    receiver: Arc<Receiver>,
    links: Arc<Links>,
    node: String,
    timeout: Duration,
    /// Dropped with the bus: its tasks end.
    _tasks: Mutex<JoinSet<()>>,
}

impl RedisBus {
    /// Connects a node. Returns when its first link is up and controls reach it; later losses are repaired.
    pub async fn connect(options: RedisOptions, sink: EventSink) -> Result<Arc<RedisBus>, BusError> {
        let place = Place::parse(&options)?;
        let sender = Arc::new(Sender::connect(&place, &options).await?);
        let node = crate::fresh_id();
        let (receiver, queues) =
            Receiver::new(sender.keys.clone(), sink, options.receive_queue_max, REPAIRS_WAITING_MAX);
        let receiver = Arc::new(receiver);
        let suspect: Arc<Notify> = Arc::default();
        let links = Arc::new(Links {
            receiver: Arc::clone(&receiver),
            sender: Arc::clone(&sender),
            place,
            node: node.clone(),
            canary_every: Duration::from_millis(options.canary_every_ms),
            suspect: Arc::clone(&suspect),
            live: Mutex::default(),
            served: AtomicU64::new(0),
            writers: Arc::new(Writers::new(
                Duration::from_millis(options.command_timeout_ms),
                Arc::clone(&sender),
                Arc::clone(&receiver.pending),
            )),
        });
        let positions = Arc::new(Positions {
            receiver: Arc::clone(&receiver),
            sender: Arc::clone(&sender),
            every: Duration::from_millis(options.check_every_ms),
            suspect,
        });
        let mut tasks = JoinSet::new();
        for incoming in queues.incoming {
            tasks.spawn(Arc::clone(&receiver).work(incoming));
        }
        let of = Arc::clone(&links);
        tasks.spawn(async move { tireless("supervising links", || Arc::clone(&of).supervise()).await });
        tasks.spawn(Arc::clone(&positions).keep_repairing(queues.repairs));
        tasks.spawn(async move {
            tireless("checking positions", || Arc::clone(&positions).keep_checking()).await
        });
        let pending = Arc::clone(&receiver.pending);
        tasks.spawn(async move {
            tireless("ending overdue questions", || Arc::clone(&pending).keep_sweeping()).await
        });
        let timeout = Duration::from_millis(options.command_timeout_ms);
        let bus = RedisBus { broker: sender, receiver, links, node, timeout, _tasks: Mutex::new(tasks) };
        bus.listen(CONTROL_CHANNEL, address::CONNECT_TIMEOUT + timeout).await?;
        bus.hear_past_controls().await?;
        Ok(Arc::new(bus))
    }

    /// Revocations outlive nodes: the tokens that they void would be good again on a node that started later. What else
    /// was told before concerned connections that this node never had.
    async fn hear_past_controls(&self) -> Result<(), BusError> {
        let mut after = None;
        // Each page is of what was there before the page; the bound is what is kept at all.
        for _ in 0..=CONTROLS_KEPT as usize / HISTORY_READ_MAX {
            let filter = HistoryFilter { since: after.take(), limit: HISTORY_READ_MAX, reverse: false };
            let read = self.broker.read(CONTROL_CHANNEL, &filter).await?;
            // From here on nothing may be missing.
            self.note(CONTROL_CHANNEL, &read.top);
            let Some((last, _)) = read.messages.last() else { break };
            after = Some(Position::new(read.top.epoch.clone(), *last));
            for (_, message) in read.messages {
                if let Message::Control(control @ Control::Revoke { .. }) = message {
                    (self.receiver.sink)(BusEvent::Control(control));
                }
            }
        }
        Ok(())
    }

    async fn listen(&self, channel: &str, timeout: Duration) -> Result<(), BusError> {
        let partition = partition_of(channel);
        {
            let mut interest = self.receiver.interest(partition);
            if !interest.tracks.contains_key(channel) {
                let channel: Arc<str> = Arc::from(channel);
                interest.leaving.retain(|leaving| *leaving != channel);
                interest.joining.push(Arc::clone(&channel));
                interest.tracks.insert(channel, Default::default());
            }
        }
        self.receiver.nudge(partition);
        let confirmed = async {
            loop {
                let changed = self.receiver.confirmed[usize::from(partition)].notified();
                tokio::pin!(changed);
                // Registered before looking, or a confirmation between the two would be slept over.
                changed.as_mut().enable();
                let confirmed =
                    self.receiver.interest(partition).tracks.get(channel).map(|track| track.confirmed);
                match confirmed {
                    Some(false) => changed.await,
                    Some(true) => return Ok(()),
                    None => return Err(Unavailable::Absent { reason: "unsubscribed meanwhile".to_owned() }),
                }
            }
        };
        let waited = tokio::time::timeout(timeout, confirmed).await.unwrap_or_else(|_| {
            self.forget(channel);
            Err(Unavailable::Slow { waited_ms: timeout.as_millis() as u64 })
        });
        waited.map_err(|why| BusError::Unavailable { attempted: format!("subscribing to `{channel}`"), why })
    }

    fn forget(&self, channel: &str) {
        let partition = partition_of(channel);
        {
            let mut interest = self.receiver.interest(partition);
            let Interest { tracks, joining, leaving } = &mut *interest;
            if let Some((channel, _)) = tracks.remove_entry(channel) {
                joining.retain(|joining| *joining != channel);
                leaving.push(channel);
            }
        }
        self.receiver.nudge(partition);
    }

    /// Remembers where a channel stood when a session began: from there on nothing may be missing.
    fn note(&self, channel: &str, top: &crate::Position) {
        let mut interest = self.receiver.interest(partition_of(channel));
        let Some((name, _)) = interest.tracks.get_key_value(channel) else { return };
        let name = Arc::clone(name);
        if interest.tracks.get_mut(channel).is_some_and(|track| track.note(top)) {
            self.receiver.gap(&name, top.clone());
        }
    }

    /// Queues a request behind what was queued before. Number 0 wants no reply.
    fn queue(&self, request: &Request, number: u64, confirm: Option<Confirm>) -> Result<(), BusError> {
        check_payload("request.data", request.data.len())?;
        let node = if number == 0 { "" } else { &self.node };
        let stored = encode_request(request, node, number);
        let partition = partition_of(&request.partition_key);
        self.links.writers.queue(Asked { partition, stored, number, confirm })
    }
}

#[async_trait]
impl Channels for RedisBus {
    async fn publish(
        &self,
        channel: &str,
        publication: crate::NewPublication,
        options: &crate::PublishOptions,
    ) -> Result<crate::Published, BusError> {
        self.broker.publish(channel, publication, options).await
    }

    async fn publish_join(&self, channel: &str, info: &crate::ClientInfo) -> Result<(), BusError> {
        self.broker.publish_join(channel, info).await
    }

    async fn publish_leave(&self, channel: &str, info: &crate::ClientInfo) -> Result<(), BusError> {
        self.broker.publish_leave(channel, info).await
    }

    async fn history(&self, channel: &str, filter: HistoryFilter) -> Result<crate::History, BusError> {
        let history = self.broker.history(channel, filter).await?;
        self.note(channel, &history.top);
        Ok(history)
    }

    async fn remove_history(&self, channel: &str) -> Result<(), BusError> {
        self.broker.remove_history(channel).await
    }

    async fn presence_add(
        &self,
        channel: &str,
        info: &crate::ClientInfo,
        ttl_ms: u64,
    ) -> Result<(), BusError> {
        self.broker.presence_add(channel, info, ttl_ms).await
    }

    async fn presence_remove(&self, channel: &str, client: &str) -> Result<(), BusError> {
        self.broker.presence_remove(channel, client).await
    }

    async fn presence(&self, channel: &str) -> Result<Vec<crate::ClientInfo>, BusError> {
        self.broker.presence(channel).await
    }

    async fn presence_stats(&self, channel: &str) -> Result<crate::PresenceStats, BusError> {
        self.broker.presence_stats(channel).await
    }

    async fn control(&self, control: crate::Control) -> Result<(), BusError> {
        self.broker.control(control).await
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn node_id(&self) -> &str {
        &self.node
    }

    async fn subscribe(&self, channel: &str) -> Result<(), BusError> {
        check_channel(channel)?;
        self.listen(channel, self.timeout).await
    }

    async fn unsubscribe(&self, channel: &str) -> Result<(), BusError> {
        check_channel(channel)?;
        self.forget(channel);
        Ok(())
    }

    async fn request(&self, request: Request) -> Result<Reply, BusError> {
        let question = self.receiver.pending.ask(&request.method, request.deadline_ms)?;
        self.queue(&request, question.number, None)?;
        question.wait(&request.method, request.deadline_ms).await
    }

    fn ask(&self, request: Request, done: Answered) {
        let pending = &self.receiver.pending;
        match pending.expect(&request.method, request.deadline_ms, done) {
            Err((done, error)) => done(Err(error)),
            Ok(number) => {
                if let Err(error) = self.queue(&request, number, None) {
                    pending.fail(number, error);
                }
            }
        }
    }

    async fn send(&self, request: Request) -> Result<(), BusError> {
        let (confirm, confirmed) = oneshot::channel();
        self.queue(&request, 0, Some(confirm))?;
        let stopped = || BusError::Unavailable {
            attempted: "queueing a request".to_owned(),
            why: Unavailable::Stopped,
        };
        confirmed.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn health(&self) -> BusHealth {
        let links = self.links.live();
        let canaries = || links.values().map(|live| &live.canaries);
        let (now_us, every) = (self.receiver.clock_us(), self.links.canary_every);
        let missing = canaries().map(|canaries| canaries.overdue(now_us, every)).max();
        let missing = missing.unwrap_or(CANARIES_MISSING_MAX);
        let served: usize = links.values().filter(|live| live.ready).map(|live| live.partitions.len()).sum();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.receiver.counters;
        BusHealth {
            healthy: missing < CANARIES_MISSING_MAX && served == usize::from(crate::PARTITIONS),
            canaries_missing: missing as u32,
            round_trip_us: canaries().map(|canaries| count(&canaries.round_trip_us)).max().unwrap_or(0),
            overflowed: count(&counters.overflowed),
            gaps_repaired: count(&counters.gaps_repaired),
            gaps_unrepaired: count(&counters.gaps_unrepaired),
            reconnects: count(&counters.reconnects),
            replies_unclaimed: self.receiver.pending.unclaimed(),
        }
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.broker.close();
    }
}

/// A backend's end of the bus over Redis.
pub struct RedisBackend {
    broker: Arc<Sender>,
    place: Place,
}

impl RedisBackend {
    pub async fn connect(options: RedisOptions) -> Result<Arc<RedisBackend>, BusError> {
        let place = Place::parse(&options)?;
        let broker = Arc::new(Sender::connect(&place, &options).await?);
        Ok(Arc::new(RedisBackend { broker, place }))
    }
}

channels_of_broker!(RedisBackend);

#[async_trait]
impl Backend for RedisBackend {
    async fn serve(
        &self,
        options: ServeOptions,
        handler: Handler,
        stop: BoxFuture<'static, ()>,
    ) -> Result<(), BusError> {
        let consumer = Consumer::join(Arc::clone(&self.broker), self.place.clone(), &options).await?;
        let queue: Arc<dyn RequestQueue> = Arc::new(consumer);
        serve(queue, options, handler, stop).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        self.broker.dead_letters(limit).await
    }

    async fn replay(&self, id: &str) -> Result<bool, BusError> {
        self.broker.replay(id).await
    }

    async fn discard(&self, id: &str) -> Result<bool, BusError> {
        self.broker.discard(id).await
    }
}

impl Drop for RedisBackend {
    fn drop(&mut self) {
        self.broker.close();
    }
}
