//! The library for backends: publish, serve requests with leased partitions, reply, disconnect, revoke, look at
//! dead letters. It owns what a backend author sees; how requests are queued is the business of each bus.

mod queue;
mod serve;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

pub(crate) use queue::{ReplyTo, RequestQueue, Taken};
pub(crate) use serve::serve;

use crate::error::BusError;
use crate::event::{Control, Target};
use crate::limits::DELIVERIES_MAX;
use crate::request::{DeadLetter, Delivery, Reply};
use crate::{Channels, ReplyError};

/// A backend's side of the bus.
#[async_trait]
pub trait Backend: Channels {
    /// Takes part in serving requests until `stop` completes: leases its share of the partitions, gives every
    /// request to `handler`, one at a time and in order per partition key, and sends the answers. On `stop` it
    /// finishes what it has begun and hands its partitions over. Dropping the future is a crash: another
    /// backend gets the unfinished requests once the leases have run out.
    async fn serve(
        &self,
        options: ServeOptions,
        handler: Handler,
        stop: BoxFuture<'static, ()>,
    ) -> Result<(), BusError>;

    /// The dead letters, oldest first per partition.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError>;

    /// Queues a dead letter again as a new request without a waiting requester. False when there is none.
    async fn replay(&self, id: &str) -> Result<bool, BusError>;

    /// Removes a dead letter for good. False when there is none.
    async fn discard(&self, id: &str) -> Result<bool, BusError>;

    /// Closes the matching connections on every node.
    async fn disconnect(&self, target: Target, code: u32, reason: &str) -> Result<(), BusError> {
        self.control(Control::Disconnect { target, code, reason: reason.to_owned(), keep: Vec::new() }).await
    }

    /// Hands a signed revocation to every node, which verifies it and closes what it names.
    async fn revoke(&self, statement: Bytes) -> Result<(), BusError> {
        self.control(Control::Revoke { statement }).await
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// The name in leases and logs; a random suffix keeps two processes apart. Empty means `backend`.
    pub name: String,
    /// Requests taken and not finished. Each costs a task; 256 keeps a database pool of dozens busy.
    pub in_flight_max: usize,
    /// A holder that cannot renew for this long loses its partitions: how long a crash is felt. Renewed three
    /// times within it.
    pub lease_ms: u64,
    /// The wait before a failed request's second delivery; doubles with each.
    pub retry_first_ms: u64,
    pub deliveries_max: u32,
    /// How long a handler may take for one delivery. One that takes longer is dropped and counts as
    /// [`Outcome::Retry`]: it would hold its lane, and with it everything of that device, for ever. Its requester gave
    /// up long before.
    pub handler_ms_max: u64,
    /// How long `stop` waits for handlers before it leaves their requests to the next holder.
    pub drain_ms_max: u64,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            name: String::new(),
            in_flight_max: 256,
            lease_ms: 3_000,
            retry_first_ms: 100,
            deliveries_max: DELIVERIES_MAX,
            handler_ms_max: 20_000,
            drain_ms_max: 10_000,
        }
    }
}

/// What a handler made of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done (committed, or refused for good): the request is acknowledged and the requester gets this.
    Reply(Reply),
    /// Not done: deliver it again after a pause, before any later request of its partition key. After
    /// [`ServeOptions::deliveries_max`] deliveries it is buried with this reason.
    Retry(String),
}

impl From<Result<Bytes, ReplyError>> for Outcome {
    fn from(reply: Result<Bytes, ReplyError>) -> Outcome {
        Outcome::Reply(reply)
    }
}

type HandlerFn = dyn Fn(Delivery) -> BoxFuture<'static, Outcome> + Send + Sync;

/// The function that answers requests. A panic in it counts as [`Outcome::Retry`].
#[derive(Clone)]
pub struct Handler(Arc<HandlerFn>);

impl Handler {
    pub fn new<F, Fut>(answer: F) -> Handler
    where
        F: Fn(Delivery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Handler(Arc::new(move |delivery| answer(delivery).boxed()))
    }

    /// Runs the function once: for a handler that wraps another.
    pub fn call(&self, delivery: Delivery) -> BoxFuture<'static, Outcome> {
        (self.0)(delivery)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}
