//! Subscribing and unsubscribing: the right, the registration before the history read, the reply, and the live
//! events that came in between.

use std::sync::Arc;

use bytes::Bytes;
use keyway_bus::History;
use keyway_protocol::{
    ChannelFault, ChannelName, Close, ErrorReply, Push, Reply, SubscribePush, SubscribeRequest,
    SubscribeResult, close,
};

use super::connect::seconds_until;
use super::subscription::{Attaching, Origin, State, Subscription};
use super::{HistoryRead, Output, Phase, Session, SubscriptionKey, recovery};
use crate::auth::{Allow, SubscriptionGrant, TokenFault};
use crate::event::publication_on_wire;
use crate::limits::Now;
use crate::namespace::ChannelOptions;

/// What is asked of a new subscription, whoever asks.
#[derive(Default)]
pub(super) struct Wanted {
    pub recover: Option<(String, u64)>,
    pub reject_unrecovered: bool,
    pub hears_joins: bool,
    pub server_side: bool,
    pub chan_info: Bytes,
    /// For the push that tells of a subscription of the server's.
    pub data: Bytes,
    pub expires_at_s: u64,
}

impl Session {
    pub(super) fn subscribe(&mut self, id: u32, request: SubscribeRequest, now: Now, out: &mut Vec<Output>) {
        if let Err(fault) = ChannelName::parse(&request.channel) {
            return self.refuse_name(id, fault, out);
        }
        if self.subscriptions.find(&request.channel).is_some() {
            return self.reply(id, &ErrorReply::already_subscribed().into(), out);
        }
        if self.subscriptions.len() >= self.rules.limits.channels_max {
            return self.reply(id, &ErrorReply::limit_exceeded().into(), out);
        }
        // Filters, map and shared-poll subscriptions are not what this gateway is for.
        if request.tf.is_some() || request.kind > 0 {
            return self.reply(id, &ErrorReply::bad_request().into(), out);
        }
        let mut wanted = Wanted {
            recover: request.recover.then(|| (request.epoch.clone(), request.offset)),
            reject_unrecovered: request.flag & SubscribeRequest::FLAG_REJECT_UNRECOVERED != 0,
            hears_joins: request.join_leave,
            ..Wanted::default()
        };
        match self.may_subscribe(&request, now) {
            Ok(Some((info, expires_at_s))) => {
                wanted.chan_info = info;
                wanted.expires_at_s = expires_at_s;
            }
            Ok(None) => {}
            Err(error) => {
                if error.temporary {
                    out.push(Output::RefreshKeys);
                }
                return self.reply(id, &error.into(), out);
            }
        }
        self.attach(&request.channel, Origin::Command(id), wanted, now, out);
    }

    /// What a subscription token adds (channel info, end), nothing where a right exists without one.
    fn may_subscribe(
        &self,
        request: &SubscribeRequest,
        now: Now,
    ) -> Result<Option<(Bytes, u64)>, ErrorReply> {
        let options = self.options_of(&request.channel)?;
        if !request.token.is_empty() && self.rules.tokens {
            let grant =
                self.rules.authority.subscription(&request.token, now.unix_s()).map_err(token_error)?;
            if !self.is_granted(&grant, &request.channel) {
                return Err(ErrorReply::permission_denied());
            }
            return Ok(Some((grant.info, grant.expires_at_s)));
        }
        if self.may(Allow::Subscribe, options.allow_subscribe, &request.channel) {
            Ok(None)
        } else {
            Err(ErrorReply::permission_denied())
        }
    }

    /// A subscription token is for one channel and one subject; users of two tenants may have the same name.
    pub(super) fn is_granted(&self, grant: &SubscriptionGrant, channel: &str) -> bool {
        grant.channel == channel
            && grant.user == self.identity.user
            && (self.rules.insecure || grant.tenant == self.identity.tenant)
    }

    pub(super) fn options_of(&self, channel: &str) -> Result<&ChannelOptions, ErrorReply> {
        let name = ChannelName::parse(channel).map_err(|_| ErrorReply::bad_request())?;
        self.rules.namespaces.options(&name).ok_or_else(ErrorReply::unknown_channel)
    }

    /// Rights: by capability, or by the namespace for everybody of the channel's own tenant.
    pub(super) fn may(&self, action: Allow, everybody: bool, channel: &str) -> bool {
        if self.rules.insecure {
            return true;
        }
        let tenant = ChannelName::parse(channel).ok().and_then(|name| name.tenant());
        let own_tenant = tenant.is_none_or(|tenant| tenant == self.identity.tenant);
        if !own_tenant {
            return false;
        }
        if channel.starts_with('#') {
            // What is said on it comes from core: its person listens, and speaks only with a capability.
            let is_own =
                keyway_protocol::channel::personal(&self.identity.tenant, &self.identity.user) == channel;
            let may_speak = everybody || self.identity.capabilities.allows(action, channel);
            return is_own && !self.identity.user.is_empty() && (action != Allow::Publish || may_speak);
        }
        everybody || self.identity.capabilities.allows(action, channel)
    }

    /// Registers for the channel; the rest happens in `attached`.
    pub(super) fn attach(
        &mut self,
        channel: &str,
        origin: Origin,
        wanted: Wanted,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Ok(options) = self.options_of(channel).cloned() else { return };
        let recovery_max = self.rules.limits.recovery_publications_max;
        let asked = wanted.recover.is_some();
        // A server-side subscription in cache mode brings the latest state also to who has no position yet.
        let recover = match wanted.recover {
            None if options.cache && wanted.server_side => Some((String::new(), 0)),
            given => given,
        };
        let read = options.has_history().then(|| match &recover {
            None => HistoryRead { since: None, limit: 0, reverse: false },
            Some(_) if options.cache => HistoryRead { since: None, limit: 1, reverse: true },
            Some(position) => {
                HistoryRead { since: Some(position.clone()), limit: recovery_max + 1, reverse: false }
            }
        });
        let deadline_ms = now.mono_ms + self.rules.limits.call_deadline_ms;
        let channel: Arc<str> = Arc::from(channel);
        self.subscriptions.insert(|key| {
            out.push(Output::Attach { key, channel: Arc::clone(&channel), read });
            Subscription {
                key,
                channel,
                state: State::Attaching(Box::new(Attaching {
                    origin,
                    recover,
                    asked,
                    reject_unrecovered: wanted.reject_unrecovered,
                    data: wanted.data,
                    buffered: Vec::new(),
                    deadline_ms,
                })),
                server_side: wanted.server_side,
                positioned: options.has_history(),
                cache: options.cache,
                presence: options.presence,
                announces: options.join_leave,
                hears_joins: options.join_leave || wanted.hears_joins,
                chan_info: wanted.chan_info,
                expires_at_s: wanted.expires_at_s,
            }
        });
    }

    pub(super) fn attached(
        &mut self,
        key: SubscriptionKey,
        result: Result<History, ErrorReply>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let recovery_max = self.rules.limits.recovery_publications_max;
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let State::Attaching(attaching) = &subscription.state else { return };
        let origin = attaching.origin;
        let history = match result {
            Ok(history) => history,
            Err(error) => return self.attach_failed(key, origin, error, out),
        };
        let mut answer = SubscribeResult {
            expires: subscription.expires_at_s > 0,
            ttl: seconds_until(subscription.expires_at_s, now),
            ..SubscribeResult::default()
        };
        if subscription.positioned {
            answer.recoverable = true;
            answer.positioned = true;
            answer.epoch = history.top.epoch.as_str().to_owned();
            answer.offset = history.top.offset;
            if let Some((epoch, offset)) = &attaching.recover {
                let outcome = if subscription.cache {
                    recovery::cache(epoch, *offset, &history)
                } else {
                    recovery::stream(epoch, *offset, &history, recovery_max)
                };
                let outcome = outcome.within(self.recovery_bytes_left);
                let bytes = outcome.bytes();
                self.recovery_bytes_left -= bytes;
                // Nobody asked, and there is no latest state yet: nothing is missing.
                answer.was_recovering = attaching.asked || outcome.recovered;
                answer.recovered = outcome.recovered;
                if outcome.recovered {
                    // The client's own position: it advances while the SDK handles the publications.
                    answer.offset = *offset;
                    answer.publications =
                        outcome.publications.iter().map(|it| publication_on_wire(it)).collect();
                }
                if answer.was_recovering {
                    out.push(Output::Recovery { recovered: outcome.recovered, bytes });
                }
                if !outcome.recovered && attaching.reject_unrecovered {
                    return self.attach_failed(key, origin, ErrorReply::unrecoverable_position(), out);
                }
            }
        }
        let position = subscription.positioned.then_some(history.top);
        match origin {
            Origin::Command(id) => {
                let buffered = self.go_live(key, position);
                self.reply(id, &Reply::Subscribe(Box::new(answer)), out);
                self.announce(key, out);
                for event in buffered {
                    self.deliver(key, event, now, out);
                }
            }
            Origin::Server => {
                let channel = subscription.channel.clone();
                let push = SubscribePush {
                    recoverable: answer.recoverable,
                    epoch: answer.epoch,
                    offset: answer.offset,
                    positioned: answer.positioned,
                    data: attaching.data.clone(),
                };
                let buffered = self.go_live(key, position);
                self.push(&channel, &Push::Subscribe(&push), out);
                // The push has no room for what was missed since the position that the backend named.
                for publication in &answer.publications {
                    self.push(&channel, &Push::Publication(publication), out);
                }
                self.announce(key, out);
                for event in buffered {
                    self.deliver(key, event, now, out);
                }
            }
            Origin::Connect => {
                // Still buffering: pushes may only follow the connect reply.
                let channel = subscription.channel.to_string();
                let buffered = self.go_live(key, position);
                self.hold_buffered(key, buffered);
                if let Phase::Connecting(connecting) = &mut self.phase {
                    connecting.results.insert(channel, answer);
                    connecting.outstanding = connecting.outstanding.saturating_sub(1);
                }
                self.finish_connect(now, out);
            }
        }
    }

    fn attach_failed(
        &mut self,
        key: SubscriptionKey,
        origin: Origin,
        error: ErrorReply,
        out: &mut Vec<Output>,
    ) {
        if origin == Origin::Connect {
            return self.abandon_connect(error, out);
        }
        if let Some(subscription) = self.subscriptions.remove(key) {
            self.detach(subscription, out);
        }
        if let Origin::Command(id) = origin {
            self.reply(id, &error.into(), out);
        }
    }

    /// Presence and join, after the client has been told that it is in.
    pub(super) fn announce(&mut self, key: SubscriptionKey, out: &mut Vec<Output>) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let (channel, presence, announces, chan_info) = (
            subscription.channel.clone(),
            subscription.presence,
            subscription.announces,
            subscription.chan_info.clone(),
        );
        let info = self.client_info(chan_info);
        if presence {
            let ttl_ms = self.rules.limits.presence_ttl_ms;
            out.push(Output::PresenceAdd { channel: channel.clone(), info: info.clone(), ttl_ms });
        }
        if announces {
            out.push(Output::Join { channel, info });
        }
    }

    pub(super) fn unsubscribe(&mut self, id: u32, channel: &str, out: &mut Vec<Output>) {
        if channel.is_empty() {
            return self.close(Close::BAD_REQUEST, out);
        }
        if let Some(key) = self.subscriptions.find(channel).map(|subscription| subscription.key)
            && let Some(subscription) = self.subscriptions.remove(key)
        {
            self.detach(subscription, out);
        }
        self.reply(id, &Reply::Unsubscribe, out);
    }

    /// The server ends a subscription: push, then clean up.
    pub(super) fn end_subscription(
        &mut self,
        key: SubscriptionKey,
        (code, reason): (u32, &str),
        out: &mut Vec<Output>,
    ) {
        if let Some(subscription) = self.subscriptions.remove(key) {
            self.push(&subscription.channel.clone(), &Push::Unsubscribe { code, reason }, out);
            self.detach(subscription, out);
        }
    }

    pub(super) fn detach(&self, subscription: Subscription, out: &mut Vec<Output>) {
        let Subscription { key, channel, state, presence, announces, chan_info, .. } = subscription;
        if matches!(state, State::Live(_)) {
            if presence {
                out.push(Output::PresenceRemove { channel: channel.clone() });
            }
            if announces {
                out.push(Output::Leave { channel: channel.clone(), info: self.client_info(chan_info) });
            }
        }
        out.push(Output::Detach { key, channel });
    }

    pub(super) fn refuse_name(&mut self, id: u32, fault: ChannelFault, out: &mut Vec<Output>) {
        match fault {
            ChannelFault::Empty => self.close(Close::BAD_REQUEST, out),
            ChannelFault::TooLong | ChannelFault::Unprintable => {
                self.reply(id, &ErrorReply::bad_request().into(), out);
            }
        }
    }

    /// A gap: the SDK recovers by itself when it is told so.
    pub(super) fn insufficient(&mut self, key: SubscriptionKey, server_side: bool, out: &mut Vec<Output>) {
        if server_side {
            self.close(Close::INSUFFICIENT_STATE, out);
        } else {
            self.end_subscription(key, close::unsubscribe::INSUFFICIENT, out);
        }
    }
}

/// Subscription tokens: 103 for a bad one, 109 for a stale one.
pub(super) fn token_error(fault: TokenFault) -> ErrorReply {
    match fault {
        TokenFault::Invalid(_) | TokenFault::Revoked => ErrorReply::permission_denied(),
        TokenFault::Expired => ErrorReply::token_expired(),
        TokenFault::NotYet(_) => ErrorReply::internal(),
    }
}
