//! Channel -> connections of this node, sharded; and this node's interest in each channel on the bus, which
//! begins with the first subscriber and ends a little after the last. No await under a lock: waiting is done on
//! shared futures outside. It knows no session rule; receivers sort out order and gaps.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use indexmap::IndexMap;
use keyway_bus::{Bus, BusError, BusEvent};
use keyway_protocol::{ConnectionId, ErrorReply};

use crate::event::{ChannelEvent, EventKind};
use crate::link::Link;
use crate::session::{Input, SubscriptionKey};

/// Enough that two cores rarely meet; few enough that idle shards cost nothing.
const SHARDS: usize = 64;

/// Interest outlives the last subscriber by this much: a client that reconnects, or a phone that changes pages,
/// costs the bus nothing.
pub const LINGER_MS: u64 = 3_000;

type Joining = Shared<BoxFuture<'static, Result<(), ErrorReply>>>;
type Leaving = Shared<BoxFuture<'static, ()>>;

pub struct Hub {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

type Shard = HashMap<Arc<str>, Channel>;

struct Channel {
    subscribers: IndexMap<(ConnectionId, SubscriptionKey), Arc<Link>>,
    interest: Interest,
    empty_since_ms: u64,
}

enum Interest {
    /// The bus does not know that we listen.
    None,
    Joining(Joining),
    Active,
    Leaving(Leaving),
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), hasher: RandomState::new() }
    }
}

impl Hub {
    fn shard(&self, channel: &str) -> &RwLock<Shard> {
        &self.shards[self.hasher.hash_one(channel) as usize % SHARDS]
    }

    fn write(&self, channel: &str) -> RwLockWriteGuard<'_, Shard> {
        self.shard(channel).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, channel: &str) -> RwLockReadGuard<'_, Shard> {
        self.shard(channel).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a subscriber. From now on it gets the channel's events, as far as the bus sends them; the
    /// returned future says when it surely does. None: already.
    pub fn add(
        self: &Arc<Hub>,
        bus: &Arc<dyn Bus>,
        channel: &Arc<str>,
        key: SubscriptionKey,
        link: &Arc<Link>,
    ) -> Option<Joining> {
        let mut shard = self.write(channel);
        let entry = shard.entry(Arc::clone(channel)).or_insert_with(|| Channel {
            subscribers: IndexMap::new(),
            interest: Interest::None,
            empty_since_ms: 0,
        });
        entry.subscribers.insert((link.id, key), Arc::clone(link));
        let before = match &entry.interest {
            Interest::Active => return None,
            Interest::Joining(joining) => return Some(joining.clone()),
            Interest::Leaving(leaving) => Some(leaving.clone()),
            Interest::None => None,
        };
        let joining = join(Arc::clone(bus), Arc::clone(channel), before);
        entry.interest = Interest::Joining(joining.clone());
        drop(shard);
        self.settle_joining(Arc::clone(channel), joining.clone());
        Some(joining)
    }

    /// Drives the bus subscription to its end, also when the subscriber that asked for it is gone.
    fn settle_joining(self: &Arc<Hub>, channel: Arc<str>, joining: Joining) {
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = joining.clone().await;
            if let Some(entry) = hub.write(&channel).get_mut(&channel)
                && matches!(&entry.interest, Interest::Joining(current) if current.ptr_eq(&joining))
            {
                entry.interest = if outcome.is_ok() { Interest::Active } else { Interest::None };
            }
        });
    }

    pub fn remove(&self, channel: &str, key: SubscriptionKey, link: &Link, mono_ms: u64) {
        if let Some(entry) = self.write(channel).get_mut(channel) {
            entry.subscribers.swap_remove(&(link.id, key));
            if entry.subscribers.is_empty() {
                entry.empty_since_ms = mono_ms;
            } else if entry.subscribers.capacity() > 64
                && entry.subscribers.len() * 4 < entry.subscribers.capacity()
            {
                entry.subscribers.shrink_to(entry.subscribers.len() * 2);
            }
        }
    }

    /// Ends the interest in channels that nobody has listened to for a while. Called every second or so.
    pub fn sweep(self: &Arc<Hub>, bus: &Arc<dyn Bus>, mono_ms: u64) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|channel, entry| {
                let idle = entry.subscribers.is_empty() && entry.empty_since_ms + LINGER_MS <= mono_ms;
                match entry.interest {
                    Interest::None => !idle,
                    Interest::Active if idle => {
                        let leaving = leave(Arc::clone(bus), Arc::clone(channel));
                        entry.interest = Interest::Leaving(leaving.clone());
                        self.settle_leaving(Arc::clone(channel), leaving);
                        true
                    }
                    _ => true,
                }
            });
            if shard.capacity() > 1024 && shard.len() * 4 < shard.capacity() {
                shard.shrink_to_fit();
            }
        }
    }

    fn settle_leaving(self: &Arc<Hub>, channel: Arc<str>, leaving: Leaving) {
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            leaving.clone().await;
            if let Some(entry) = hub.write(&channel).get_mut(&channel)
                && matches!(&entry.interest, Interest::Leaving(current) if current.ptr_eq(&leaving))
            {
                entry.interest = Interest::None;
            }
        });
    }

    /// Hands one event to every subscriber of its channel. Gives how many there were.
    pub fn fan_out(&self, channel: &Arc<str>, kind: EventKind) -> usize {
        let shard = self.read(channel);
        let Some(entry) = shard.get(channel) else { return 0 };
        if entry.subscribers.is_empty() {
            return 0;
        }
        let event = Arc::new(ChannelEvent::new(Arc::clone(channel), kind));
        let bytes = event.bytes();
        for ((_, key), link) in &entry.subscribers {
            link.push(Input::Event { key: *key, event: Arc::clone(&event) }, bytes);
        }
        entry.subscribers.len()
    }

    /// A bus event that concerns a channel; others are nobody's here. Gives how many connections got it.
    pub fn accept(&self, event: BusEvent) -> usize {
        match event {
            BusEvent::Publication { channel, publication, position } => {
                self.fan_out(&channel, EventKind::Publication { publication, position })
            }
            BusEvent::Join { channel, info } => self.fan_out(&channel, EventKind::Join(info)),
            BusEvent::Leave { channel, info } => self.fan_out(&channel, EventKind::Leave(info)),
            BusEvent::Gap { channel, top } => self.fan_out(&channel, EventKind::Gap { top }),
            BusEvent::Control(_) | BusEvent::PositionsSuspect => 0,
        }
    }

    /// Channels with at least one subscriber here, with their numbers.
    pub fn channels(&self) -> Vec<(Arc<str>, usize)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            found.extend(
                shard
                    .iter()
                    .filter(|(_, entry)| !entry.subscribers.is_empty())
                    .map(|(channel, entry)| (Arc::clone(channel), entry.subscribers.len())),
            );
        }
        found
    }
}

fn join(bus: Arc<dyn Bus>, channel: Arc<str>, after: Option<Leaving>) -> Joining {
    async move {
        if let Some(leaving) = after {
            leaving.await;
        }
        bus.subscribe(&channel).await.map_err(|error| {
            tracing::warn!(channel = &*channel, %error, "cannot subscribe on the bus");
            bus_error(&error)
        })
    }
    .boxed()
    .shared()
}

fn leave(bus: Arc<dyn Bus>, channel: Arc<str>) -> Leaving {
    async move {
        // A failure leaves a subscription too many, which costs little and is dropped with the next link.
        if let Err(error) = bus.unsubscribe(&channel).await {
            tracing::debug!(channel = &*channel, %error, "cannot unsubscribe on the bus");
        }
    }
    .boxed()
    .shared()
}

/// What a client is told when the bus fails: only its own fault is final.
pub fn bus_error(error: &BusError) -> ErrorReply {
    match error {
        BusError::Invalid { .. } => ErrorReply::bad_request(),
        _ => ErrorReply::internal(),
    }
}
