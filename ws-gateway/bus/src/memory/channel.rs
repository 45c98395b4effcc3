//! The channels of one partition in memory: numbering, stored publications, idempotency keys, presence and the
//! nodes that listen. Time comes in as a value. It delivers under its caller's lock, which is what keeps order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{BusEvent, EventSink};
use crate::limits::{HISTORY_READ_MAX, POSITION_TTL_MS};
use crate::message::{
    ClientInfo, History, HistoryFilter, NewPublication, PresenceStats, Publication, PublishOptions, Published,
};
use crate::position::{Epoch, Position};

/// Idempotency keys remembered per channel; the oldest are forgotten first. At ten publications a second this
/// is longer than the default five minutes.
const KEYS_MAX: usize = 4_096;

/// After this many operations the shard throws out what has expired.
const SWEEP_EVERY: u32 = 4_096;

#[derive(Default)]
pub(crate) struct Shard {
    channels: HashMap<Arc<str>, Channel>,
    operations: u32,
}

#[derive(Default)]
struct Channel {
    numbering: Option<Numbering>,
    stored: VecDeque<Arc<Publication>>,
    stored_until: Option<Instant>,
    keys: HashMap<String, (Published, Instant)>,
    keys_by_age: VecDeque<(Instant, String)>,
    nodes: Vec<(String, EventSink)>,
    presence: HashMap<String, (ClientInfo, Instant)>,
}

struct Numbering {
    epoch: Epoch,
    offset: u64,
    until: Instant,
}

impl Shard {
    pub(crate) fn publish(
        &mut self,
        name: &str,
        publication: NewPublication,
        options: &PublishOptions,
        now: Instant,
    ) -> Published {
        self.sweep(now);
        let (name, channel) = self.entry(name);
        channel.expire(now);
        if let Some(known) = options.idempotency_key.as_ref().and_then(|key| channel.known(key, now)) {
            return Published { duplicate: true, ..known.clone() };
        }
        let position = match options.history {
            Some(_) => channel.next_position(now),
            None => Position::default(),
        };
        let NewPublication { data, info, tags, time_ms } = publication;
        let publication = Arc::new(Publication { offset: position.offset, data, info, tags, time_ms });
        if let Some(history) = options.history {
            channel.stored.push_back(Arc::clone(&publication));
            let surplus = channel.stored.len().saturating_sub(history.size.max(1) as usize);
            channel.stored.drain(..surplus);
            channel.stored_until = Some(now + Duration::from_millis(history.ttl_ms));
        }
        let published = Published { position: position.clone(), duplicate: false };
        if let Some(key) = &options.idempotency_key {
            channel.remember(key, &published, now + Duration::from_millis(options.idempotency_ttl()));
        }
        for (_, sink) in &channel.nodes {
            sink(BusEvent::Publication {
                channel: Arc::clone(&name),
                publication: Arc::clone(&publication),
                position: position.clone(),
            });
        }
        published
    }

    pub(crate) fn deliver(&self, name: &str, event: impl Fn(&Arc<str>) -> BusEvent) {
        if let Some((name, channel)) = self.channels.get_key_value(name) {
            for (_, sink) in &channel.nodes {
                sink(event(name));
            }
        }
    }

    pub(crate) fn history(&mut self, name: &str, filter: &HistoryFilter, now: Instant) -> History {
        self.sweep(now);
        let (_, channel) = self.entry(name);
        channel.expire(now);
        let top = channel.top(now);
        let limit = filter.limit.min(HISTORY_READ_MAX);
        let mut matching: Vec<_> = match &filter.since {
            Some(since) if !since.epoch.is_empty() && since.epoch != top.epoch => Vec::new(),
            Some(since) if filter.reverse => {
                channel.stored.iter().filter(|one| one.offset < since.offset).cloned().collect()
            }
            Some(since) => channel.stored.iter().filter(|one| one.offset > since.offset).cloned().collect(),
            None => channel.stored.iter().cloned().collect(),
        };
        if filter.reverse {
            matching.reverse();
        }
        matching.truncate(limit);
        History { publications: matching, top }
    }

    pub(crate) fn remove_history(&mut self, name: &str) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.stored.clear();
        }
    }

    pub(crate) fn subscribe(&mut self, name: &str, node: &str, sink: &EventSink, now: Instant) {
        self.sweep(now);
        let (_, channel) = self.entry(name);
        if !channel.nodes.iter().any(|(id, _)| id == node) {
            channel.nodes.push((node.to_owned(), Arc::clone(sink)));
        }
    }

    pub(crate) fn unsubscribe(&mut self, name: &str, node: &str) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.nodes.retain(|(id, _)| id != node);
            if channel.is_idle() {
                self.channels.remove(name);
            }
        }
    }

    pub(crate) fn forget_node(&mut self, node: &str) {
        for channel in self.channels.values_mut() {
            channel.nodes.retain(|(id, _)| id != node);
        }
    }

    pub(crate) fn presence_add(&mut self, name: &str, info: &ClientInfo, ttl_ms: u64, now: Instant) {
        self.sweep(now);
        let until = now + Duration::from_millis(ttl_ms);
        self.entry(name).1.presence.insert(info.client.clone(), (info.clone(), until));
    }

    pub(crate) fn presence_remove(&mut self, name: &str, client: &str) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.presence.remove(client);
        }
    }

    pub(crate) fn presence(&self, name: &str, now: Instant) -> Vec<ClientInfo> {
        self.present(name, now).cloned().collect()
    }

    pub(crate) fn presence_stats(&self, name: &str, now: Instant) -> PresenceStats {
        let users: HashSet<&str> = self.present(name, now).map(|info| info.user.as_str()).collect();
        PresenceStats { clients: self.present(name, now).count() as u64, users: users.len() as u64 }
    }

    fn present(&self, name: &str, now: Instant) -> impl Iterator<Item = &ClientInfo> {
        let channel = self.channels.get(name);
        channel
            .into_iter()
            .flat_map(|one| one.presence.values())
            .filter(move |(_, until)| *until > now)
            .map(|(info, _)| info)
    }

    fn entry(&mut self, name: &str) -> (Arc<str>, &mut Channel) {
        let name = match self.channels.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        };
        let channel = self.channels.entry(Arc::clone(&name)).or_default();
        (name, channel)
    }

    fn sweep(&mut self, now: Instant) {
        self.operations += 1;
        if self.operations < SWEEP_EVERY {
            return;
        }
        self.operations = 0;
        self.channels.retain(|_, channel| {
            channel.expire(now);
            channel.presence.retain(|_, (_, until)| *until > now);
            !channel.is_idle()
        });
    }
}

impl Channel {
    fn expire(&mut self, now: Instant) {
        if self.stored_until.is_some_and(|until| until <= now) {
            self.stored.clear();
            self.stored_until = None;
        }
        if self.numbering.as_ref().is_some_and(|numbering| numbering.until <= now) {
            self.numbering = None;
        }
        while self.keys_by_age.front().is_some_and(|(until, _)| *until <= now) || self.keys.len() > KEYS_MAX {
            let Some((until, key)) = self.keys_by_age.pop_front() else { break };
            // Unless the key was remembered again since.
            if self.keys.get(&key).is_some_and(|(_, kept_until)| *kept_until == until) {
                self.keys.remove(&key);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.numbering.is_none()
            && self.stored.is_empty()
            && self.keys.is_empty()
            && self.nodes.is_empty()
            && self.presence.is_empty()
    }

    fn top(&mut self, now: Instant) -> Position {
        let until = now + Duration::from_millis(POSITION_TTL_MS);
        let numbering = self.numbering.get_or_insert_with(|| Numbering {
            epoch: Epoch::new(&crate::fresh_epoch()),
            offset: 0,
            until,
        });
        numbering.until = until;
        Position::new(numbering.epoch.clone(), numbering.offset)
    }

    fn next_position(&mut self, now: Instant) -> Position {
        let mut position = self.top(now);
        position.offset += 1;
        if let Some(numbering) = &mut self.numbering {
            numbering.offset = position.offset;
        }
        position
    }

    fn known(&self, key: &str, now: Instant) -> Option<&Published> {
        self.keys.get(key).filter(|(_, until)| *until > now).map(|(published, _)| published)
    }

    fn remember(&mut self, key: &str, published: &Published, until: Instant) {
        self.keys.insert(key.to_owned(), (published.clone(), until));
        self.keys_by_age.push_back((until, key.to_owned()));
    }
}
