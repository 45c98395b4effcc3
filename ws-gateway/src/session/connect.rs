//! Connecting: who is it, may it, and the subscriptions that come with the token. Registered before confirmed:
//! the connect reply leaves when every server-side subscription is in force.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyway_protocol::{
    ChannelName, Close, ConnectRequest, ConnectResult, ErrorReply, Reply, SubscribeRequest, SubscribeResult,
    channel,
};

use super::subscribe::Wanted;
use super::subscription::Origin;
use super::{Output, Phase, Session};
use crate::auth::{Identity, TokenFault};
use crate::limits::{Bucket, Now};

pub(super) struct Connecting {
    pub id: u32,
    positions: BTreeMap<String, SubscribeRequest>,
    pub outstanding: usize,
    pub results: BTreeMap<String, SubscribeResult>,
}

impl Session {
    pub(super) fn connect(&mut self, id: u32, request: ConnectRequest, now: Now, out: &mut Vec<Output>) {
        let identity = match self.identify(&request.token, now) {
            Ok(identity) => identity,
            Err(fault @ (TokenFault::Invalid(_) | TokenFault::Revoked)) => {
                return self.close_for(Close::INVALID_TOKEN, fault.why(), out);
            }
            Err(TokenFault::Expired) => return self.reply(id, &ErrorReply::token_expired().into(), out),
            Err(TokenFault::NotYet(_)) => {
                out.push(Output::RefreshKeys);
                return self.reply(id, &ErrorReply::internal().into(), out);
            }
        };
        self.identity = Arc::new(identity);
        self.phase = Phase::Connecting(Box::new(Connecting {
            id,
            positions: request.subs,
            outstanding: 0,
            results: BTreeMap::new(),
        }));
        out.push(Output::Admit(Arc::clone(&self.identity)));
    }

    fn identify(&self, token: &str, now: Now) -> Result<Identity, TokenFault> {
        if token.is_empty() || (self.rules.insecure && !self.rules.tokens) {
            if self.rules.insecure || self.rules.anonymous {
                return Ok(Identity { user: self.rules.anonymous_user.clone(), ..Identity::default() });
            }
            return Err(TokenFault::Invalid("no token"));
        }
        self.rules.authority.connection(token, now.unix_s())
    }

    pub(super) fn admitted(
        &mut self,
        answer: Result<Arc<Mutex<Bucket>>, Close>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Phase::Connecting(connecting) = &mut self.phase else { return };
        match answer {
            Ok(bucket) => self.user_bucket = Some(bucket),
            Err(close) => return self.close(close, out),
        }
        let mut channels: Vec<String> = self.identity.channels.clone();
        if self.rules.personal && !self.identity.user.is_empty() {
            channels.push(channel::personal(&self.identity.tenant, &self.identity.user));
        }
        channels.sort_unstable();
        channels.dedup();
        if channels.len() > self.rules.limits.channels_max {
            return self.close(Close::CHANNEL_LIMIT, out);
        }
        // A token that names a channel this gateway does not have was made by a core with another catalogue.
        channels.retain(|name| {
            ChannelName::parse(name).is_ok_and(|name| self.rules.namespaces.options(&name).is_some())
        });
        connecting.outstanding = channels.len();
        let mut positions = std::mem::take(&mut connecting.positions);
        for name in channels {
            let position = positions.remove(&name).filter(|position| position.recover);
            let wanted = Wanted {
                recover: position.map(|position| (position.epoch, position.offset)),
                server_side: true,
                ..Wanted::default()
            };
            self.attach(&name, Origin::Connect, wanted, now, out);
        }
        self.finish_connect(now, out);
    }

    /// Sends the connect reply once nothing is outstanding.
    pub(super) fn finish_connect(&mut self, now: Now, out: &mut Vec<Output>) {
        let Phase::Connecting(connecting) = &mut self.phase else { return };
        if connecting.outstanding > 0 {
            return;
        }
        let id = connecting.id;
        let subs = std::mem::take(&mut connecting.results);
        let expires_at_s = self.identity.expires_at_s;
        let result = ConnectResult {
            client: self.id.to_string(),
            expires: expires_at_s > 0,
            ttl: seconds_until(expires_at_s, now),
            subs,
            ping: (self.rules.limits.ping_interval_ms / 1000) as u32,
            pong: true,
            ..ConnectResult::default()
        };
        self.phase = Phase::Connected;
        self.start_pings(now);
        self.set_expiry(now);
        self.reply(id, &Reply::Connect(Box::new(result)), out);
        self.release_buffered(out);
    }

    /// A server-side subscription could not be made: the client is told to try again, nothing stays behind.
    pub(super) fn abandon_connect(&mut self, error: ErrorReply, out: &mut Vec<Output>) {
        let Phase::Connecting(connecting) = &self.phase else { return };
        let id = connecting.id;
        for subscription in self.subscriptions.take_all() {
            self.detach(subscription, out);
        }
        self.phase = Phase::Fresh;
        self.reply(id, &error.into(), out);
    }
}

/// At least one second for what has not ended: zero would mean that it never does.
pub(super) fn seconds_until(expires_at_s: u64, now: Now) -> u32 {
    if expires_at_s == 0 {
        return 0;
    }
    u32::try_from(expires_at_s.saturating_sub(now.unix_s()).max(1)).unwrap_or(u32::MAX)
}
