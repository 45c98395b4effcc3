//! The bus of one process: nodes and backends share a [`MemoryBroker`]. The embedded default, with the promises
//! of the Redis bus except survival of the process. It owns wiring only; channels and requests are below it.

mod channel;
mod requests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::backend::{Backend, Handler, ReplyTo, RequestQueue, ServeOptions, serve};
use crate::delegate::channels_of_broker;
use crate::error::{BusError, check_channel, check_key, check_payload};
use crate::event::{BusEvent, Control, EventSink};
use crate::limits::{CONTROLS_KEPT, CONTROLS_TTL_MS, PARTITION_REQUESTS_MAX, PARTITIONS, partition_of};
use crate::memory::channel::Shard;
use crate::memory::requests::{Consumer, Requests};
use crate::message::{
    ClientInfo, History, HistoryFilter, NewPublication, PresenceStats, PublishOptions, Published,
};
use crate::pending::Pending;
use crate::request::{DeadLetter, Reply, Request};
use crate::{Answered, Bus, BusHealth, Channels};

/// The bounds that tests reach with smaller numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryOptions {
    pub partition_requests_max: usize,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions { partition_requests_max: PARTITION_REQUESTS_MAX }
    }
}

#[derive(Clone)]
pub struct MemoryBroker(Arc<Broker>);

struct Broker {
    /// By partition, so that publishing to different channels does not contend.
    shards: Vec<Mutex<Shard>>,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// Kept for nodes that start later; taken after `nodes`, so that none hears of one too late or never.
    revocations: Mutex<VecDeque<(Instant, Bytes)>>,
    requests: Arc<Requests>,
}

struct Node {
    id: String,
    sink: EventSink,
    pending: Arc<Pending>,
}

impl MemoryBroker {
    pub fn new(options: MemoryOptions) -> MemoryBroker {
        let shards = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        let requests = Arc::new(Requests::new(options.partition_requests_max));
        MemoryBroker(Arc::new(Broker {
            shards,
            nodes: Mutex::default(),
            revocations: Mutex::default(),
            requests,
        }))
    }

    /// Attaches a node. Its events go to `sink` until the returned bus is dropped.
    pub fn node(&self, sink: EventSink) -> Arc<MemoryBus> {
        let node = Arc::new(Node { id: crate::fresh_id(), sink, pending: Arc::default() });
        let mut nodes = lock(&self.0.nodes);
        for (_, statement) in lock(&self.0.revocations).iter() {
            (node.sink)(BusEvent::Control(Control::Revoke { statement: statement.clone() }));
        }
        nodes.push(Arc::clone(&node));
        drop(nodes);
        Arc::new(MemoryBus { broker: Arc::clone(&self.0), node })
    }

    pub fn backend(&self) -> Arc<MemoryBackend> {
        Arc::new(MemoryBackend { broker: Arc::clone(&self.0) })
    }
}

impl Default for MemoryBroker {
    fn default() -> MemoryBroker {
        MemoryBroker::new(MemoryOptions::default())
    }
}

impl Broker {
    fn shard(&self, channel: &str) -> Result<MutexGuard<'_, Shard>, BusError> {
        check_channel(channel)?;
        Ok(lock(&self.shards[usize::from(partition_of(channel))]))
    }

    fn answer(&self, to: &ReplyTo, reply: Reply) {
        let node = lock(&self.nodes).iter().find(|node| node.id == to.node).cloned();
        // A node that is gone needs no answer.
        if let Some(node) = node {
            node.pending.answer(to.number, reply);
        }
    }
}

/// A node's end of a [`MemoryBroker`].
pub struct MemoryBus {
    broker: Arc<Broker>,
    node: Arc<Node>,
}

/// A backend's end of a [`MemoryBroker`].
pub struct MemoryBackend {
    broker: Arc<Broker>,
}

#[async_trait]
impl Channels for Broker {
    async fn publish(
        &self,
        channel: &str,
        publication: NewPublication,
        options: &PublishOptions,
    ) -> Result<Published, BusError> {
        check_payload("publication.data", publication.data.len())?;
        check_key(options.idempotency_key.as_deref())?;
        Ok(self.shard(channel)?.publish(channel, publication, options, Instant::now()))
    }

    async fn publish_join(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError> {
        let info = Arc::new(info.clone());
        self.shard(channel)?.deliver(channel, |channel| BusEvent::Join {
            channel: Arc::clone(channel),
            info: Arc::clone(&info),
        });
        Ok(())
    }

    async fn publish_leave(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError> {
        let info = Arc::new(info.clone());
        self.shard(channel)?.deliver(channel, |channel| BusEvent::Leave {
            channel: Arc::clone(channel),
            info: Arc::clone(&info),
        });
        Ok(())
    }

    async fn history(&self, channel: &str, filter: HistoryFilter) -> Result<History, BusError> {
        Ok(self.shard(channel)?.history(channel, &filter, Instant::now()))
    }

    async fn remove_history(&self, channel: &str) -> Result<(), BusError> {
        self.shard(channel)?.remove_history(channel);
        Ok(())
    }

    async fn presence_add(&self, channel: &str, info: &ClientInfo, ttl_ms: u64) -> Result<(), BusError> {
        self.shard(channel)?.presence_add(channel, info, ttl_ms, Instant::now());
        Ok(())
    }

    async fn presence_remove(&self, channel: &str, client: &str) -> Result<(), BusError> {
        self.shard(channel)?.presence_remove(channel, client);
        Ok(())
    }

    async fn presence(&self, channel: &str) -> Result<Vec<ClientInfo>, BusError> {
        Ok(self.shard(channel)?.presence(channel, Instant::now()))
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, BusError> {
        Ok(self.shard(channel)?.presence_stats(channel, Instant::now()))
    }

    async fn control(&self, control: Control) -> Result<(), BusError> {
        let nodes = lock(&self.nodes);
        if let Control::Revoke { statement } = &control {
            let (mut kept, now) = (lock(&self.revocations), Instant::now());
            kept.push_back((now + Duration::from_millis(CONTROLS_TTL_MS), statement.clone()));
            while kept.len() > CONTROLS_KEPT as usize || kept.front().is_some_and(|(until, _)| *until <= now)
            {
                kept.pop_front();
            }
        }
        for node in nodes.iter() {
            (node.sink)(BusEvent::Control(control.clone()));
        }
        Ok(())
    }
}

channels_of_broker!(MemoryBus);
channels_of_broker!(MemoryBackend);

#[async_trait]
impl Bus for MemoryBus {
    fn node_id(&self) -> &str {
        &self.node.id
    }

    async fn subscribe(&self, channel: &str) -> Result<(), BusError> {
        self.broker.shard(channel)?.subscribe(channel, &self.node.id, &self.node.sink, Instant::now());
        Ok(())
    }

    async fn unsubscribe(&self, channel: &str) -> Result<(), BusError> {
        self.broker.shard(channel)?.unsubscribe(channel, &self.node.id);
        Ok(())
    }

    async fn request(&self, request: Request) -> Result<Reply, BusError> {
        let (method, deadline_ms) = (request.method.clone(), request.deadline_ms);
        let question = self.node.pending.ask(&method, deadline_ms)?;
        let reply_to = ReplyTo { node: self.node.id.clone(), number: question.number };
        self.broker.requests.push(request, Some(reply_to))?;
        question.wait(&method, deadline_ms).await
    }

    fn ask(&self, request: Request, done: Answered) {
        match self.node.pending.expect(&request.method, request.deadline_ms, done) {
            Err((done, error)) => done(Err(error)),
            Ok(number) => {
                let reply_to = ReplyTo { node: self.node.id.clone(), number };
                if let Err(error) = self.broker.requests.push(request, Some(reply_to)) {
                    self.node.pending.fail(number, error);
                }
            }
        }
    }

    async fn send(&self, request: Request) -> Result<(), BusError> {
        self.broker.requests.push(request, None)
    }

    fn health(&self) -> BusHealth {
        BusHealth { healthy: true, replies_unclaimed: self.node.pending.unclaimed(), ..BusHealth::default() }
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        lock(&self.broker.nodes).retain(|node| node.id != self.node.id);
        for shard in &self.broker.shards {
            lock(shard).forget_node(&self.node.id);
        }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn serve(
        &self,
        options: ServeOptions,
        handler: Handler,
        stop: BoxFuture<'static, ()>,
    ) -> Result<(), BusError> {
        let broker = Arc::clone(&self.broker);
        let consumer = Consumer::join(
            Arc::clone(&self.broker.requests),
            Box::new(move |to, reply| broker.answer(to, reply)),
        );
        let queue: Arc<dyn RequestQueue> = Arc::new(consumer);
        serve(queue, options, handler, stop).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        Ok(self.broker.requests.dead_letters(limit))
    }

    async fn replay(&self, id: &str) -> Result<bool, BusError> {
        self.broker.requests.replay(id)
    }

    async fn discard(&self, id: &str) -> Result<bool, BusError> {
        Ok(self.broker.requests.discard(id).is_some())
    }
}

/// A panic of one holder must not stop the others: the state is consistent between calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
