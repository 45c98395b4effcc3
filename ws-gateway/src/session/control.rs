//! What backends, operators and the node itself tell a connection to do.

use std::sync::Arc;

use bytes::Bytes;
use keyway_protocol::{ChannelName, Close, Push};

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
    Subscribe { channel: String, recover: Option<(String, u64)> },
    /// From one channel, or with an empty name from all of them.
    Unsubscribe { channel: String, code: u32, reason: String },
    /// A backend prolongs, or ends, the connection without a new token.
    Refresh { expired: bool, expire_at_s: Option<u64>, info: Option<Bytes> },
}

impl Session {
    pub(super) fn instructed(&mut self, instruction: Instruction, now: Now, out: &mut Vec<Output>) {
        match instruction {
            Instruction::Disconnect(close) => self.close(close, out),
            Instruction::Drain => {
                self.draining = true;
                self.timing.drain_by_ms = now.mono_ms + self.rules.limits.call_deadline_ms;
            }
            Instruction::Subscribe { channel, recover } => {
                let known = ChannelName::parse(&channel)
                    .is_ok_and(|name| self.rules.namespaces.options(&name).is_some());
                let has_room = self.subscriptions.len() < self.rules.limits.channels_max;
                if known && has_room && self.is_connected() && self.subscriptions.find(&channel).is_none() {
                    let wanted = Wanted { recover, server_side: true, ..Wanted::default() };
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
