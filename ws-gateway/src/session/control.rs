//! What backends, operators and the node itself tell a connection to do.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyway_protocol::{ChannelName, Close, Push};
use serde::{Deserialize, Serialize};

use super::connect::seconds_until;
use super::subscribe::Wanted;
use super::subscription::Origin;
use super::{Output, Session};
use crate::limits::Now;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// With this close code, now.
    Disconnect(Close),
    /// Finish what is in flight, then 3001.
    Drain,
    /// A server-side subscription while the connection is open.
    Subscribe { channel: String, options: SubscribeOptions },
    /// From one channel, or with an empty name from all of them.
    Unsubscribe { channel: String, code: u32, reason: String },
    /// A backend prolongs, or ends, the connection without a new token.
    Refresh { expired: bool, expire_at_s: Option<u64>, info: Option<Bytes> },
}

/// What a backend says with a subscription that it makes. All fields may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Epoch and offset that the client is known to have.
    pub recover_since: Option<(String, u64)>,
    /// What others see as `chan_info`.
    pub info: Bytes,
    /// Handed to the client with the push.
    pub data: Bytes,
    /// Zero: as long as the connection.
    pub expire_at_s: u64,
}

/// As nodes tell it each other.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct OptionsOnTheBus {
    #[serde(skip_serializing_if = "Option::is_none")]
    recover_since: Option<Since>,
    info: String,
    data: String,
    expire_at: u64,
}

#[derive(Serialize, Deserialize)]
struct Since {
    offset: u64,
    epoch: String,
}

impl SubscribeOptions {
    pub fn encode(&self) -> Bytes {
        let since = self.recover_since.clone().map(|(epoch, offset)| Since { offset, epoch });
        let on_the_bus = OptionsOnTheBus {
            recover_since: since,
            info: STANDARD.encode(&self.info),
            data: STANDARD.encode(&self.data),
            expire_at: self.expire_at_s,
        };
        serde_json::to_vec(&on_the_bus).expect("texts and numbers are JSON").into()
    }

    /// Nothing is all defaults. None: unreadable.
    pub fn decode(bytes: &[u8]) -> Option<SubscribeOptions> {
        if bytes.is_empty() {
            return Some(SubscribeOptions::default());
        }
        let read: OptionsOnTheBus = serde_json::from_slice(bytes).ok()?;
        Some(SubscribeOptions {
            recover_since: read.recover_since.map(|since| (since.epoch, since.offset)),
            info: STANDARD.decode(read.info).ok()?.into(),
            data: STANDARD.decode(read.data).ok()?.into(),
            expire_at_s: read.expire_at,
        })
    }
}

impl Session {
    pub(super) fn instructed(&mut self, instruction: Instruction, now: Now, out: &mut Vec<Output>) {
        match instruction {
            Instruction::Disconnect(close) => self.close(close, out),
            Instruction::Drain => {
                self.draining = true;
                self.timing.drain_by_ms = now.mono_ms + self.rules.limits.call_deadline_ms;
            }
            Instruction::Subscribe { channel, options } => {
                let known = ChannelName::parse(&channel)
                    .is_ok_and(|name| self.rules.namespaces.options(&name).is_some());
                let has_room = self.subscriptions.len() < self.rules.limits.channels_max;
                if known && has_room && self.is_connected() && self.subscriptions.find(&channel).is_none() {
                    let wanted = Wanted {
                        recover: options.recover_since,
                        chan_info: options.info,
                        data: options.data,
                        expires_at_s: options.expire_at_s,
                        server_side: true,
                        ..Wanted::default()
                    };
                    self.attach(&channel, Origin::Server, wanted, now, out);
                }
            }
            Instruction::Unsubscribe { channel, code, reason } => {
                let keys: Vec<_> = self
                    .subscriptions
                    .iter()
                    .filter(|it| channel.is_empty() || *it.channel == *channel)
                    .map(|it| it.key)
                    .collect();
                for key in keys {
                    self.end_subscription(key, (code, &reason), out);
                }
            }
            Instruction::Refresh { expired, expire_at_s, info } => {
                if expired {
                    return self.close(Close::CONNECTION_EXPIRED, out);
                }
                let mut identity = (*self.identity).clone();
                identity.expires_at_s = expire_at_s.unwrap_or(0);
                identity.info = info.unwrap_or(identity.info);
                let ttl = seconds_until(identity.expires_at_s, now);
                self.identity = Arc::new(identity);
                self.set_expiry(now);
                self.push("", &Push::Refresh { expires: ttl > 0, ttl }, out);
            }
        }
    }
}
