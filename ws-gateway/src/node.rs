//! One gateway process without its sockets: rules, hub, registry and bus tied together, and the execution of
//! what sessions decide. It owns no listener and no timer of a connection.

mod effects;
mod unverified;
mod upkeep;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use keyway_bus::{Bus, BusEvent, Control, EventSink};
use keyway_protocol::Close;
use tokio::sync::Notify;

use crate::auth::{KeySet, TokenFault};
use crate::hub::Hub;
use crate::limits::{Bucket, Now};
use crate::metrics::{Metrics, Readings};
use crate::registry::Registry;
use crate::session::{Instruction, Rules};

pub use crate::session::SubscribeOptions;
pub use effects::Effects;
use unverified::Unverified;

pub struct Node {
    pub rules: Arc<Rules>,
    pub hub: Arc<Hub>,
    pub registry: Registry,
    pub metrics: Metrics,
    /// Rung when a token names a key that is not known.
    pub keys_wanted: Notify,
    unverified: Unverified,
    bus: OnceLock<Arc<dyn Bus>>,
    accepts: Mutex<Bucket>,
    draining: AtomicBool,
    started: Instant,
}

/// Why a socket is turned away before the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Draining,
    Full,
    Rate,
}

impl Node {
    /// `make_bus` gets the sink for the bus's events and gives the bus.
    pub async fn start<E>(
        rules: Rules,
        make_bus: impl AsyncFnOnce(EventSink) -> Result<Arc<dyn Bus>, E>,
    ) -> Result<Arc<Node>, E> {
        let started = Instant::now();
        let limits = &rules.limits;
        let accepts = Bucket::new(limits.accepts_per_s, limits.accepts_burst, Now::default());
        let node = Arc::new(Node {
            rules: Arc::new(rules),
            hub: Arc::default(),
            registry: Registry::default(),
            metrics: Metrics::default(),
            keys_wanted: Notify::new(),
            unverified: Unverified::default(),
            bus: OnceLock::new(),
            accepts: Mutex::new(accepts),
            draining: AtomicBool::new(false),
            started,
        });
        let receiver = Arc::downgrade(&node);
        let sink: EventSink = Arc::new(move |event| {
            if let Some(node) = receiver.upgrade() {
                node.receive(event);
            }
        });
        let bus = make_bus(sink).await?;
        assert!(node.bus.set(bus).is_ok(), "the bus is set once, here");
        upkeep::start(&node);
        Ok(node)
    }

    pub fn bus(&self) -> &Arc<dyn Bus> {
        self.bus.get().expect("the bus is set before anybody can ask")
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: self.started.elapsed().as_millis() as u64, unix_ms: unix.as_millis() as u64 }
    }

    /// The instant that a monotonic deadline of this node means.
    pub fn instant(&self, mono_ms: u64) -> Instant {
        // A deadline of "never" is a year: timers cannot hold more.
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let elapsed_ms = self.started.elapsed().as_millis() as u64;
        self.started + std::time::Duration::from_millis(mono_ms.min(elapsed_ms + YEAR_MS))
    }

    /// Takes a place for a new socket, or says why not.
    pub fn accept(&self) -> Result<(), Refusal> {
        if self.is_draining() {
            self.metrics.refused_draining.add(1);
            return Err(Refusal::Draining);
        }
        let now = self.now();
        if !self.accepts.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
            self.metrics.refused_rate.add(1);
            return Err(Refusal::Rate);
        }
        if !self.registry.reserve(self.rules.limits.connections_max) {
            self.metrics.refused_full.add(1);
            return Err(Refusal::Full);
        }
        Ok(())
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// New connections go here.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.bus().health().healthy
    }

    pub fn readings(&self) -> Readings {
        let channels = self.hub.channels();
        Readings {
            connections: self.registry.len(),
            users: self.registry.user_count(),
            channels: channels.len(),
            subscriptions: channels.iter().map(|(_, count)| count).sum(),
            bus: self.bus().health(),
            ready: self.is_ready(),
            unix_ms: self.now().unix_ms,
        }
    }

    /// Not ready at once; then closes everything in slices and returns when the last socket is gone or the
    /// window is over.
    pub async fn drain(&self, window_ms: u64) {
        self.draining.store(true, Ordering::Release);
        let at_start = self.registry.len();
        let begun = Instant::now();
        tracing::info!(connections = at_start, window_ms, "draining");
        while !self.registry.is_empty() {
            let elapsed_ms = begun.elapsed().as_millis() as u64;
            if elapsed_ms > window_ms {
                break;
            }
            let count = crate::drain::slice(at_start, self.registry.len(), elapsed_ms, window_ms);
            for link in self.registry.some(count) {
                link.push(crate::session::Input::Instruction(Instruction::Drain), 0);
            }
            tokio::time::sleep(std::time::Duration::from_millis(crate::drain::SLICE_MS)).await;
        }
        tracing::info!(left = self.registry.len(), "drained");
    }

    /// Called by the bus: must not block, must not call back.
    fn receive(&self, event: BusEvent) {
        self.metrics.events_in.add(1);
        match event {
            BusEvent::Control(control) => self.control(control),
            BusEvent::PositionsSuspect => tracing::info!("a bus link was rebuilt"),
            event => self.metrics.deliveries.add(self.hub.accept(event) as u64),
        }
    }

    fn control(&self, control: Control) {
        match control {
            Control::Disconnect { target, code, reason, keep } => {
                let close = close_of(code, &reason);
                self.registry.instruct(&target, &keep, &Instruction::Disconnect(close));
            }
            Control::Subscribe { target, channel, options } => {
                let Some(options) = SubscribeOptions::decode(&options) else {
                    return tracing::warn!(channel, "a subscription with options this version cannot read");
                };
                self.registry.instruct(&target, &[], &Instruction::Subscribe { channel, options });
            }
            Control::Unsubscribe { target, channel, code, reason } => {
                let (code, reason) = match code {
                    0 => (keyway_protocol::close::unsubscribe::SERVER.0, "server unsubscribe".to_owned()),
                    code => (code, reason),
                };
                self.registry.instruct(&target, &[], &Instruction::Unsubscribe { channel, code, reason });
            }
            Control::Refresh { target, expired, expire_at_s, info } => {
                self.registry.instruct(&target, &[], &Instruction::Refresh { expired, expire_at_s, info });
            }
            Control::Revoke { statement } => {
                let until_ms = self.now().mono_ms + unverified::KEPT_MS;
                self.revoke(&self.rules.authority.keys(), statement, until_ms);
            }
            Control::Custom { name, .. } => tracing::debug!(name, "a control this version does not know"),
        }
    }

    /// New keys of core's. What could not be verified without them may be now, and comes before the tokens that they make
    /// good.
    pub fn replace_keys(&self, keys: KeySet) {
        self.verify_again(&keys, usize::MAX);
        self.rules.authority.replace_keys(keys);
    }

    /// Tries at most `count` of the revocations that could not be verified when they came.
    fn verify_again(&self, keys: &KeySet, count: usize) {
        for (statement, until_ms) in self.unverified.take(count, self.now().mono_ms) {
            self.revoke(keys, statement, until_ms);
        }
    }

    fn revoke(&self, keys: &KeySet, statement: Bytes, until_ms: u64) {
        let Ok(text) = std::str::from_utf8(&statement) else {
            return tracing::warn!("a revocation that is no text");
        };
        match self.rules.authority.revoke(keys, text, self.now().unix_s()) {
            Ok(revocation) => {
                let closed = self.registry.revoke(&revocation);
                tracing::info!(tenant = revocation.tenant, user = revocation.user, closed, "revoked");
            }
            // Signed with a key that we have not read yet, as every one of the past is for a node that starts; or by a
            // clock that is ahead of ours.
            Err(TokenFault::NotYet(why)) => {
                tracing::warn!(why, "a revocation that cannot be verified yet");
                self.unverified.keep(statement, until_ms);
                self.keys_wanted.notify_one();
            }
            // No token that it voids is alive.
            Err(TokenFault::Expired) => {}
            // Not believed: whoever can write to Redis cannot close sockets with it.
            Err(fault) => tracing::warn!(%fault, "a revocation that does not verify"),
        }
    }
}

/// A backend's close code, kept inside what SDKs understand.
fn close_of(code: u32, reason: &str) -> Close {
    match u16::try_from(code) {
        Ok(code @ 3000..=4999) => keyway_protocol::close::CLOSES
            .iter()
            .find(|close| close.code == code && reason.is_empty())
            .cloned()
            .unwrap_or_else(|| Close::custom(code, reason)),
        _ => Close::FORCE_DISCONNECT,
    }
}
