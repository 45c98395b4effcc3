//! Live events of one subscription: in order, once, without holes, or not at all.

use std::sync::Arc;

use bytes::Bytes;
use keyway_bus::Position;
use keyway_protocol::{Close, ErrorReply};

use super::subscription::{Attaching, Origin, State};
use super::{Output, Phase, Session, SubscriptionKey};
use crate::event::{ChannelEvent, EventKind};
use crate::limits::Now;

/// Live events held back while history is read or connect is being answered. Above it the subscription starts
/// again: at hundreds of events per read the client is better served by recovery.
const BUFFERED_EVENTS_MAX: usize = 512;

enum Verdict {
    Deliver,
    Drop,
    Gap,
}

impl Session {
    pub(super) fn deliver(
        &mut self,
        key: SubscriptionKey,
        event: Arc<ChannelEvent>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let connected = matches!(self.phase, Phase::Connected);
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let server_side = subscription.server_side;
        let verdict = match (&mut subscription.state, &event.kind) {
            (State::Attaching(attaching), _) => {
                if attaching.buffered.len() < BUFFERED_EVENTS_MAX {
                    attaching.buffered.push(event);
                    return;
                }
                if matches!(attaching.origin, Origin::Command(_)) {
                    // Its command waits for an answer: the SDK tries again after a pause.
                    return self.attached(key, Err(ErrorReply::internal()), now, out);
                }
                Verdict::Gap
            }
            (State::Live(_), EventKind::Join(_) | EventKind::Leave(_)) => {
                if subscription.hears_joins {
                    Verdict::Deliver
                } else {
                    Verdict::Drop
                }
            }
            (State::Live(None), EventKind::Publication { .. }) => Verdict::Deliver,
            (State::Live(None), EventKind::Gap { .. }) => Verdict::Drop,
            (State::Live(Some(at)), EventKind::Publication { position, .. }) => {
                advance(at, position, subscription.cache)
            }
            (State::Live(Some(at)), EventKind::Gap { top }) => {
                if at.epoch == top.epoch && at.offset >= top.offset { Verdict::Drop } else { Verdict::Gap }
            }
        };
        match verdict {
            Verdict::Drop => {}
            Verdict::Gap => self.insufficient(key, server_side, out),
            Verdict::Deliver if connected => match event.encoded(self.format) {
                Ok(bytes) => out.push(Output::Send(bytes)),
                Err(_) => self.close(Close::INAPPROPRIATE_PROTOCOL, out),
            },
            Verdict::Deliver => {}
        }
    }

    /// The subscription is in force from `position` on; gives what was buffered before.
    pub(super) fn go_live(
        &mut self,
        key: SubscriptionKey,
        position: Option<Position>,
    ) -> Vec<Arc<ChannelEvent>> {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return Vec::new() };
        match std::mem::replace(&mut subscription.state, State::Live(position)) {
            State::Attaching(attaching) => attaching.buffered,
            State::Live(_) => Vec::new(),
        }
    }

    /// A server-side subscription is ready before the connect reply is: it goes on buffering until then.
    pub(super) fn hold_buffered(&mut self, key: SubscriptionKey, buffered: Vec<Arc<ChannelEvent>>) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        if let State::Live(position) = std::mem::replace(&mut subscription.state, State::Live(None)) {
            subscription.state = State::Attaching(Box::new(Attaching {
                origin: Origin::Connect,
                recover: position.map(|position| (position.epoch.as_str().to_owned(), position.offset)),
                asked: false,
                reject_unrecovered: false,
                data: Bytes::new(),
                buffered,
                deadline_ms: u64::MAX,
            }));
        }
    }

    /// The connect reply is out: server-side subscriptions go live for good.
    pub(super) fn release_buffered(&mut self, out: &mut Vec<Output>) {
        let held: Vec<SubscriptionKey> = self
            .subscriptions
            .iter()
            .filter(|it| matches!(&it.state, State::Attaching(a) if a.origin == Origin::Connect))
            .map(|it| it.key)
            .collect();
        for key in held {
            let Some(subscription) = self.subscriptions.get_mut(key) else { continue };
            let State::Attaching(attaching) = &mut subscription.state else { continue };
            let position = attaching
                .recover
                .take()
                .map(|(epoch, offset)| Position::new(keyway_bus::Epoch::new(&epoch), offset));
            let buffered = self.go_live(key, position);
            self.announce(key, out);
            for event in buffered {
                self.deliver(key, event, Now::default(), out);
            }
        }
    }
}

fn advance(at: &mut Position, next: &Position, cache: bool) -> Verdict {
    if at.epoch != next.epoch {
        // A publication without a position on a positioned channel was made with other options: pass it on.
        if !next.is_positioned() {
            return Verdict::Deliver;
        }
        // Only the latest counts in cache mode, whatever numbering it has.
        if cache {
            *at = next.clone();
            return Verdict::Deliver;
        }
        return Verdict::Gap;
    }
    if next.offset <= at.offset {
        Verdict::Drop
    } else if next.offset == at.offset + 1 || cache {
        at.offset = next.offset;
        Verdict::Deliver
    } else {
        Verdict::Gap
    }
}
