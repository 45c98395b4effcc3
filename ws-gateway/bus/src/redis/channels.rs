//! Channels over Redis: one script per publication, history, presence, controls. Everything here is a call to
//! the sending half; what comes back through subscriptions is the business of the receiving half.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fred::types::{Key, Value};

use crate::Channels;
use crate::envelope::{
    Message, UNPOSITIONED, decode_info, decode_message, encode_control, encode_info, encode_presence_change,
    encode_publication,
};
use crate::error::{BusError, check_channel, check_key, check_payload};
use crate::event::Control;
use crate::limits::{
    CONTROL_CHANNEL, CONTROLS_KEPT, CONTROLS_TTL_MS, HISTORY_READ_MAX, POSITION_TTL_MS, partition_of,
};
use crate::message::{
    ClientInfo, History, HistoryFilter, HistoryOptions, NewPublication, PresenceStats, PublishOptions,
    Published,
};
use crate::position::{Epoch, Position};
use crate::redis::scripts::{HISTORY, PRESENCE_ADD, PRESENCE_LIST, PRESENCE_REMOVE, PRESENCE_STATS, Script};
use crate::redis::send::Sender;

/// One read of a channel's stream: what is stored, and where it ends.
pub(crate) struct Read {
    pub messages: Vec<(u64, Message)>,
    pub top: Position,
}

impl Sender {
    async fn publish_stored(
        &self,
        channel: &str,
        payload: Bytes,
        history: HistoryOptions,
        once: Option<(&str, u64)>,
    ) -> Result<Published, BusError> {
        let keys = &self.keys;
        let mut names: Vec<Key> =
            vec![keys.numbering(channel).into(), keys.stream(channel).into(), keys.live(channel).into()];
        let ttl_ms = history.ttl_ms.max(1);
        let mut arguments: Vec<Value> = vec![
            payload.into(),
            crate::fresh_epoch().into(),
            i64::from(history.size.max(1)).into(),
            (ttl_ms as i64).into(),
            (ttl_ms.saturating_mul(2).max(POSITION_TTL_MS) as i64).into(),
        ];
        if let Some((key, key_ttl_ms)) = once {
            names.push(keys.once(channel, key).into());
            arguments.push((key_ttl_ms as i64).into());
        }
        let script = &self.publishing.stored;
        let answer: Bytes = self.run("publishing", partition_of(channel), script, names, arguments).await?;
        parse_published(&answer).ok_or_else(|| unreadable("answer of publishing", channel))
    }

    async fn publish_once(
        &self,
        channel: &str,
        message: Bytes,
        key: &str,
        key_ttl_ms: u64,
    ) -> Result<Published, BusError> {
        let names = vec![self.keys.once(channel, key).into(), self.keys.live(channel).into()];
        let arguments = vec![message.into(), (key_ttl_ms as i64).into()];
        let answer: Bytes =
            self.run("publishing", partition_of(channel), &self.publishing.once, names, arguments).await?;
        parse_published(&answer).ok_or_else(|| unreadable("answer of publishing", channel))
    }

    /// Reads stored messages of any kind. Unreadable ones are left out: a newer version wrote them.
    pub(crate) async fn read(&self, channel: &str, filter: &HistoryFilter) -> Result<Read, BusError> {
        let names = vec![self.keys.numbering(channel).into(), self.keys.stream(channel).into()];
        let since = filter.since.as_ref();
        let arguments = vec![
            Value::from(crate::fresh_epoch()),
            (POSITION_TTL_MS as i64).into(),
            (filter.limit.min(HISTORY_READ_MAX) as i64).into(),
            since.map_or(String::new(), |since| since.offset.to_string()).into(),
            since.map_or(String::new(), |since| since.epoch.to_string()).into(),
            if filter.reverse { "1" } else { "" }.into(),
        ];
        let answer: (String, String, Vec<(String, Vec<Bytes>)>) =
            self.run("reading history", partition_of(channel), &HISTORY, names, arguments).await?;
        let (epoch, top, entries) = answer;
        let top = top.parse().map_err(|_| unreadable("offset", channel))?;
        let mut messages = Vec::with_capacity(entries.len());
        for (id, mut fields) in entries {
            let offset = id.split_once('-').and_then(|(offset, _)| offset.parse().ok());
            let payload = fields.pop();
            let (Some(offset), Some(payload)) = (offset, payload) else {
                return Err(unreadable("stream entry", channel));
            };
            match decode_message(payload, offset) {
                Ok(message) => messages.push((offset, message)),
                Err(_) => tracing::warn!(channel, offset, "unreadable stored message left out"),
            }
        }
        Ok(Read { messages, top: Position::new(Epoch::new(&epoch), top) })
    }

    async fn publish_live_in(&self, channel: &str, message: Bytes) -> Result<(), BusError> {
        self.publish_live("publishing", partition_of(channel), self.keys.live(channel), message).await
    }

    async fn presence_script<R: fred::types::FromValue>(
        &self,
        channel: &str,
        script: &Script,
        arguments: Vec<Value>,
    ) -> Result<R, BusError> {
        check_channel(channel)?;
        let names = self.keys.presence(channel).map(Key::from).to_vec();
        self.run("keeping presence", partition_of(channel), script, names, arguments).await
    }
}

#[async_trait]
impl Channels for Sender {
    async fn publish(
        &self,
        channel: &str,
        publication: NewPublication,
        options: &PublishOptions,
    ) -> Result<Published, BusError> {
        check_channel(channel)?;
        check_payload("publication.data", publication.data.len())?;
        check_key(options.idempotency_key.as_deref())?;
        let once = options.idempotency_key.as_deref().map(|key| (key, options.idempotency_ttl()));
        match (options.history, once) {
            (Some(history), once) => {
                let payload = encode_publication(b"", &publication);
                self.publish_stored(channel, payload, history, once).await
            }
            (None, Some((key, key_ttl_ms))) => {
                let message = encode_publication(UNPOSITIONED, &publication);
                self.publish_once(channel, message, key, key_ttl_ms).await
            }
            (None, None) => {
                self.publish_live_in(channel, encode_publication(UNPOSITIONED, &publication)).await?;
                Ok(Published::default())
            }
        }
    }

    async fn publish_join(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError> {
        check_channel(channel)?;
        self.publish_live_in(channel, encode_presence_change(true, info)).await
    }

    async fn publish_leave(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError> {
        check_channel(channel)?;
        self.publish_live_in(channel, encode_presence_change(false, info)).await
    }

    async fn history(&self, channel: &str, filter: HistoryFilter) -> Result<History, BusError> {
        check_channel(channel)?;
        let read = self.read(channel, &filter).await?;
        let publications = read.messages.into_iter().filter_map(|(_, message)| match message {
            Message::Publication(publication) => Some(Arc::new(publication)),
            _ => None,
        });
        Ok(History { publications: publications.collect(), top: read.top })
    }

    async fn remove_history(&self, channel: &str) -> Result<(), BusError> {
        check_channel(channel)?;
        self.delete("removing history", channel, self.keys.stream(channel)).await
    }

    async fn presence_add(&self, channel: &str, info: &ClientInfo, ttl_ms: u64) -> Result<(), BusError> {
        let encoded = encode_info(info);
        let mut stored = format!("{:08x}{}", info.user.len(), info.user).into_bytes();
        stored.extend_from_slice(&encoded);
        let arguments = vec![info.client.as_str().into(), Bytes::from(stored).into(), (ttl_ms as i64).into()];
        self.presence_script(channel, &PRESENCE_ADD, arguments).await
    }

    async fn presence_remove(&self, channel: &str, client: &str) -> Result<(), BusError> {
        self.presence_script(channel, &PRESENCE_REMOVE, vec![client.into()]).await
    }

    async fn presence(&self, channel: &str) -> Result<Vec<ClientInfo>, BusError> {
        let stored: Vec<Bytes> = self.presence_script(channel, &PRESENCE_LIST, Vec::new()).await?;
        let read = |stored: Bytes| {
            let length = std::str::from_utf8(stored.get(..8)?).ok()?;
            let user = usize::from_str_radix(length, 16).ok()?;
            decode_info(stored.slice(stored.len().min(8 + user)..)).ok()
        };
        stored.into_iter().map(|stored| read(stored).ok_or_else(|| unreadable("presence", channel))).collect()
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, BusError> {
        let (clients, users) = self.presence_script(channel, &PRESENCE_STATS, Vec::new()).await?;
        Ok(PresenceStats { clients, users })
    }

    async fn control(&self, control: Control) -> Result<(), BusError> {
        let history = HistoryOptions { size: CONTROLS_KEPT, ttl_ms: CONTROLS_TTL_MS };
        self.publish_stored(CONTROL_CHANNEL, encode_control(&control), history, None).await.map(drop)
    }
}

/// Reads `offset:epoch`, with a leading `=` for a duplicate.
fn parse_published(answer: &[u8]) -> Option<Published> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (duplicate, place) = match answer.strip_prefix('=') {
        Some(place) => (true, place),
        None => (false, answer),
    };
    let (offset, epoch) = place.split_once(':')?;
    Some(Published { position: Position::new(Epoch::new(epoch), offset.parse().ok()?), duplicate })
}

pub(crate) fn unreadable(what: &'static str, place: &str) -> BusError {
    BusError::Unreadable { what, place: place.to_owned() }
}
