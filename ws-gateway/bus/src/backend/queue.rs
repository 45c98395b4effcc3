//! What serving needs from a bus: take, finish, count another delivery, bury. Two implementations, in memory
//! and over Redis streams; neither knows lanes, handlers or pauses.

use async_trait::async_trait;

use crate::error::BusError;
use crate::request::{Delivery, Reply};

/// Where an answer goes: a node, and the number that node gave its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    pub node: String,
    pub number: u64,
}

/// A delivery with what its queue needs to settle it.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub entry: String,
    pub reply_to: Option<ReplyTo>,
    pub delivery: Delivery,
}

#[async_trait]
pub(crate) trait RequestQueue: Send + Sync + 'static {
    /// Waits for deliveries, about a second at most, and returns up to `max` of them.
    async fn take(&self, max: usize) -> Result<Vec<Taken>, BusError>;

    /// Whether the delivery's partition is still held under the fence it was taken with.
    fn holds(&self, taken: &Taken) -> bool;

    /// Acknowledges and answers. The answer of a requester that is gone is dropped.
    async fn finish(&self, taken: &Taken, reply: Reply) -> Result<(), BusError>;

    /// Counts one more delivery of an entry that this consumer keeps.
    async fn count(&self, taken: &Taken) -> Result<(), BusError>;

    /// Moves the entry to the dead letters and answers its requester with a temporary error.
    async fn bury(&self, taken: &Taken, reason: &str) -> Result<(), BusError>;

    /// Forgets an entry that this consumer gives up without settling: its next holder gets it.
    fn abandon(&self, taken: &Taken);

    /// Hands every partition over and leaves the group.
    async fn leave(&self) -> Result<(), BusError>;
}
