//! When something is due on one connection: the connect deadline, pings and pongs, the token's end, the age.

use keyway_protocol::{Close, ErrorReply, Push, encode_ping};

use super::subscription::State;
use super::{Output, Phase, Session};
use crate::limits::{Limits, Now};

const NEVER_MS: u64 = u64::MAX;

pub(super) struct Timing {
    next_ms: u64,
    connect_by_ms: u64,
    ping_at_ms: u64,
    /// A ping is out.
    pub(super) pong_by_ms: Option<u64>,
    /// On the monotonic clock, grace included.
    pub(super) expires_at_ms: u64,
    pub(super) drain_by_ms: u64,
    retire_at_ms: u64,
    /// 0..=65535: this connection's share of a jitter.
    jitter: u16,
}

impl Timing {
    pub(super) fn new(limits: &Limits, jitter: u16, now: Now) -> Timing {
        let connect_by_ms = now.mono_ms + limits.connect_within_ms;
        let retire_at_ms = if limits.connection_age_ms_max == 0 {
            NEVER_MS
        } else {
            // Between half and all of the age, so that connections opened together do not leave together.
            let half = limits.connection_age_ms_max / 2;
            now.mono_ms + half + share(half, jitter)
        };
        Timing {
            next_ms: connect_by_ms,
            connect_by_ms,
            ping_at_ms: NEVER_MS,
            pong_by_ms: None,
            expires_at_ms: NEVER_MS,
            drain_by_ms: NEVER_MS,
            retire_at_ms,
            jitter,
        }
    }

    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }
}

fn share(of_ms: u64, jitter: u16) -> u64 {
    of_ms * u64::from(jitter) / u64::from(u16::MAX)
}

impl Session {
    /// The first ping comes after half an interval to a whole one: a storm of connects is no storm of pings.
    pub(super) fn start_pings(&mut self, now: Now) {
        let half = self.rules.limits.ping_interval_ms / 2;
        self.timing.connect_by_ms = NEVER_MS;
        self.timing.ping_at_ms = now.mono_ms + half + share(half, self.timing.jitter);
    }

    /// Sets the end of the connection from its token.
    pub(super) fn set_expiry(&mut self, now: Now) {
        let expires_at_s = self.identity.expires_at_s;
        self.timing.expires_at_ms = if expires_at_s == 0 {
            NEVER_MS
        } else {
            let left_ms = (expires_at_s * 1000).saturating_sub(now.unix_ms);
            now.mono_ms + left_ms + self.rules.limits.expiry_grace_ms
        };
    }

    pub(super) fn pong(&mut self, out: &mut Vec<Output>) {
        match self.timing.pong_by_ms.take() {
            Some(_) => {
                self.recovery_bytes_left = self.rules.limits.recovery_bytes_max;
                self.plan();
            }
            None => self.close_for(Close::BAD_REQUEST, "a pong without a ping", out),
        }
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let due = |at_ms: u64| at_ms <= now.mono_ms;
        if matches!(self.phase, Phase::Fresh) && due(self.timing.connect_by_ms) {
            return self.close(Close::STALE, out);
        }
        if self.timing.pong_by_ms.is_some_and(due) {
            return self.close(Close::NO_PONG, out);
        }
        if due(self.timing.expires_at_ms) {
            return self.close(Close::CONNECTION_EXPIRED, out);
        }
        if due(self.timing.drain_by_ms) {
            return self.close(Close::SHUTDOWN, out);
        }
        if due(self.timing.retire_at_ms) {
            return self.close(Close::FORCE_RECONNECT, out);
        }
        self.expire_calls(now, out);
        self.expire_attaching(now, out);
        self.expire_subscriptions(now, out);
        if self.is_connected() && due(self.timing.ping_at_ms) {
            out.push(Output::Send(encode_ping(self.format)));
            self.timing.ping_at_ms = now.mono_ms + self.rules.limits.ping_interval_ms;
            self.timing.pong_by_ms = Some(now.mono_ms + self.rules.limits.pong_within_ms);
            self.refresh_presence(out);
        }
    }

    fn refresh_presence(&mut self, out: &mut Vec<Output>) {
        for subscription in self.subscriptions.iter() {
            if subscription.presence && matches!(subscription.state, State::Live(_)) {
                out.push(Output::PresenceAdd {
                    channel: subscription.channel.clone(),
                    info: self.client_info(subscription.chan_info.clone()),
                    ttl_ms: self.rules.limits.presence_ttl_ms,
                });
            }
        }
    }

    /// What could not be attached in time is answered with a temporary error; the SDK tries again.
    fn expire_attaching(&mut self, now: Now, out: &mut Vec<Output>) {
        let late: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|it| matches!(&it.state, State::Attaching(a) if a.deadline_ms <= now.mono_ms))
            .map(|it| it.key)
            .collect();
        for key in late {
            self.attached(key, Err(ErrorReply::internal()), now, out);
        }
    }

    fn expire_subscriptions(&mut self, now: Now, out: &mut Vec<Output>) {
        let grace_s = self.rules.limits.expiry_grace_ms / 1000;
        let ended: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|it| it.expires_at_s > 0 && it.expires_at_s + grace_s <= now.unix_s())
            .map(|it| it.key)
            .collect();
        for key in ended {
            if let Some(subscription) = self.subscriptions.remove(key) {
                let (code, reason) = keyway_protocol::close::unsubscribe::EXPIRED;
                self.push(&subscription.channel.clone(), &Push::Unsubscribe { code, reason }, out);
                self.detach(subscription, out);
            }
        }
    }

    /// Works out the next deadline. Called after everything but deliveries, which change none.
    pub(super) fn plan(&mut self) {
        let timing = &self.timing;
        let mut next =
            timing.ping_at_ms.min(timing.expires_at_ms).min(timing.drain_by_ms).min(timing.retire_at_ms);
        if matches!(self.phase, Phase::Fresh) {
            next = next.min(timing.connect_by_ms);
        }
        next = next.min(timing.pong_by_ms.unwrap_or(NEVER_MS));
        for call in &self.calls {
            next = next.min(call.deadline_ms);
        }
        for subscription in self.subscriptions.iter() {
            if let State::Attaching(attaching) = &subscription.state {
                next = next.min(attaching.deadline_ms);
            }
        }
        // Subscription tokens are looked at with every ping, which comes more often than their grace.
        self.timing.next_ms = next;
    }
}
