//! The bus between the nodes that hold sockets and the backends that decide: publications down, requests up.
//! It owns channels, positions, history, presence, control messages and the request streams, in memory
//! ([`MemoryBroker`]) and over Redis. It knows no session, no token and no business rule;
//! payloads are opaque bytes.

pub mod backend;
mod delegate;
mod envelope;
mod error;
mod event;
mod limits;
mod memory;
mod message;
mod pending;
mod position;
mod redis;
mod request;
mod tireless;

pub use backend::{Backend, Handler, Outcome, ServeOptions};
pub use error::{BusError, Unavailable};
pub use event::{BusEvent, Control, EventSink, Target};
pub use limits::{
    CHANNEL_BYTES_MAX, DELIVERIES_MAX, HISTORY_READ_MAX, PARTITIONS, PAYLOAD_BYTES_MAX, partition_of,
};
pub use memory::{MemoryBackend, MemoryBroker, MemoryBus, MemoryOptions};
pub use message::{
    ClientInfo, History, HistoryFilter, HistoryOptions, NewPublication, PresenceStats, Publication,
    PublishOptions, Published, Tags,
};
pub use position::{Epoch, Position};
pub use redis::{RedisBackend, RedisBus, RedisOptions};
pub use request::{DeadLetter, Delivery, Reply, ReplyError, Request};

use async_trait::async_trait;

/// What nodes and backends both do with channels. Every call either took effect, or says with
/// [`BusError::Unavailable`] that it may not have: repeating a publication with the same idempotency key is safe.
#[async_trait]
pub trait Channels: Send + Sync + 'static {
    /// Publishes to every node subscribed to `channel`. With history the publication has a position and is
    /// stored before anyone sees it; without it is sent once and forgotten.
    async fn publish(
        &self,
        channel: &str,
        publication: NewPublication,
        options: &PublishOptions,
    ) -> Result<Published, BusError>;

    async fn publish_join(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError>;

    async fn publish_leave(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError>;

    /// Reads stored publications and the current top, atomically. A channel never seen gets its epoch here.
    async fn history(&self, channel: &str, filter: HistoryFilter) -> Result<History, BusError>;

    /// Drops the stored publications; the position goes on counting.
    async fn remove_history(&self, channel: &str) -> Result<(), BusError>;

    /// Adds or refreshes one client of the channel. It disappears by itself after `ttl_ms`.
    async fn presence_add(&self, channel: &str, info: &ClientInfo, ttl_ms: u64) -> Result<(), BusError>;

    async fn presence_remove(&self, channel: &str, client: &str) -> Result<(), BusError>;

    async fn presence(&self, channel: &str) -> Result<Vec<ClientInfo>, BusError>;

    /// Counts kept by the bus itself: no node is asked.
    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, BusError>;

    /// Sends `control` to every node, this one included. Controls are kept for a day: a node whose link was
    /// down reads what it missed, one that starts the revocations (none is lost with a connection or a process).
    async fn control(&self, control: Control) -> Result<(), BusError>;
}

/// What is done with the outcome of a request.
pub type Answered = Box<dyn FnOnce(Result<Reply, BusError>) + Send>;

/// A node's side: subscriptions down, requests up. Events arrive at the [`EventSink`] given at construction.
#[async_trait]
pub trait Bus: Channels {
    /// The name under which replies reach this node: random per start, so that an answer to a node that is
    /// gone reaches nobody.
    fn node_id(&self) -> &str;

    /// Registers this node's interest; returns when it is in force, so a history read afterwards misses
    /// nothing. Calling it twice is harmless; counting the channel's sessions is the hub's work.
    async fn subscribe(&self, channel: &str) -> Result<(), BusError>;

    /// Ends this node's interest. Events already under way may still arrive.
    async fn unsubscribe(&self, channel: &str) -> Result<(), BusError>;

    /// Sends a request to the backend that holds the partition and waits for its answer until
    /// `request.deadline_ms`. [`BusError::NoReply`] means *unknown*: the request may still be executed.
    async fn request(&self, request: Request) -> Result<Reply, BusError>;

    /// As [`Bus::request`], for who has many under way: it returns at once, and `done` is called exactly once, with the
    /// answer, with the reason why there is none, or with [`BusError::NoReply`] some time after the deadline.
    /// What one task asks in order is queued in order. `done` must not block.
    fn ask(&self, request: Request, done: Answered);

    /// Sends a request without an answer. It is queued like any other but its loss is nobody's alarm.
    async fn send(&self, request: Request) -> Result<(), BusError>;

    fn health(&self) -> BusHealth;
}

/// Whether the real path works, proved by the node's own canaries, not by an open TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BusHealth {
    pub healthy: bool,
    /// Canaries published and not come back, worst link.
    pub canaries_missing: u32,
    /// Round trip of the last canary through the bus, in microseconds.
    pub round_trip_us: u64,
    /// Publications that the node's bounded receive queue refused; positioned channels reread them.
    pub overflowed: u64,
    /// Gaps closed by rereading the stream, and gaps handed on as [`BusEvent::Gap`].
    pub gaps_repaired: u64,
    pub gaps_unrepaired: u64,
    /// Times a subscriber link was rebuilt.
    pub reconnects: u64,
    /// Replies whose requester was no longer waiting.
    pub replies_unclaimed: u64,
}

/// 128 random bits in hex: epochs, node ids. Randomness of the standard hasher's keys, seeded by the system.
pub(crate) fn fresh_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(std::time::Instant::now());
    format!("{:016x}{:016x}", half(), half())
}

/// A fresh epoch: 48 random bits, short because every positioned message carries it.
pub(crate) fn fresh_epoch() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:012x}", RandomState::new().hash_one(std::time::Instant::now()) >> 16)
}
