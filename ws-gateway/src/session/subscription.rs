//! The table of one connection's subscriptions. Slots and generations, so that an event finds its subscription
//! without hashing a channel name, and one for a subscription that is gone finds nothing.

use std::sync::Arc;

use bytes::Bytes;
use keyway_bus::Position;

use super::SubscriptionKey;
use crate::event::ChannelEvent;

pub(super) struct Subscription {
    pub key: SubscriptionKey,
    pub channel: Arc<str>,
    pub state: State,
    pub server_side: bool,
    pub positioned: bool,
    /// Only the latest publication matters: a jump in offsets is no gap.
    pub cache: bool,
    pub presence: bool,
    /// Joins and leaves of this client are announced.
    pub announces: bool,
    /// Joins and leaves of others are pushed to this client.
    pub hears_joins: bool,
    pub chan_info: Bytes,
    /// Zero when the subscription lives as long as the connection.
    pub expires_at_s: u64,
}

pub(super) enum State {
    Attaching(Box<Attaching>),
    /// Everything up to the position has been sent. None on channels without history.
    Live(Option<Position>),
}

pub(super) struct Attaching {
    pub origin: Origin,
    /// The position the client wants to recover from.
    pub recover: Option<(String, u64)>,
    /// The client asked to recover; otherwise the server brings the latest state by itself.
    pub asked: bool,
    pub reject_unrecovered: bool,
    /// For the push that tells of a subscription of the server's.
    pub data: Bytes,
    /// Live events that came before the history was read.
    pub buffered: Vec<Arc<ChannelEvent>>,
    pub deadline_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A subscribe command with this id.
    Command(u32),
    /// Part of the connect reply.
    Connect,
    /// A backend's instruction while the connection is open.
    Server,
}

#[derive(Default)]
pub(super) struct Subscriptions {
    slots: Vec<Option<Box<Subscription>>>,
    generation: u32,
    count: usize,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Reserves a key and stores what `make` makes of it.
    pub fn insert(&mut self, make: impl FnOnce(SubscriptionKey) -> Subscription) {
        self.generation = self.generation.wrapping_add(1);
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                // One at a time: most connections have one or two.
                self.slots.reserve_exact(1);
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        let key = SubscriptionKey { slot: slot as u32, generation: self.generation };
        self.slots[slot] = Some(Box::new(make(key)));
        self.count += 1;
    }

    pub fn get_mut(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.slots.get_mut(key.slot as usize)?.as_deref_mut().filter(|subscription| subscription.key == key)
    }

    pub fn find(&self, channel: &str) -> Option<&Subscription> {
        self.iter().find(|subscription| *subscription.channel == *channel)
    }

    pub fn find_mut(&mut self, channel: &str) -> Option<&mut Subscription> {
        self.slots
            .iter_mut()
            .flatten()
            .map(Box::as_mut)
            .find(|subscription| *subscription.channel == *channel)
    }

    pub fn is_attaching(&self, channel: &str) -> bool {
        self.find(channel).is_some_and(|subscription| matches!(subscription.state, State::Attaching(_)))
    }

    pub fn remove(&mut self, key: SubscriptionKey) -> Option<Subscription> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.as_ref().is_none_or(|subscription| subscription.key != key) {
            return None;
        }
        self.count -= 1;
        slot.take().map(|subscription| *subscription)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.slots.iter().flatten().map(Box::as_ref)
    }

    pub fn take_all(&mut self) -> Vec<Subscription> {
        self.count = 0;
        std::mem::take(&mut self.slots).into_iter().flatten().map(|subscription| *subscription).collect()
    }
}
