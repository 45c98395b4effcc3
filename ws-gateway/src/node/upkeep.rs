//! What a node does by the clock: end interest in channels nobody hears, try revocations again, watch the bus. Ends with
//! the node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Node;

/// Fine against the linger of three seconds, nothing against a core.
const ROUND_MS: u64 = 1_000;

/// Revocations tried again in a round: 100 us each, so this is a hundredth of a core at the worst.
const VERIFIED_PER_ROUND: usize = 100;

pub(super) fn start(node: &Arc<Node>) {
    let node = Arc::downgrade(node);
    tokio::spawn(async move {
        let mut was_healthy = true;
        let mut interval = tokio::time::interval(Duration::from_millis(ROUND_MS));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Some(node) = Weak::upgrade(&node) else { return };
            node.hub.sweep(node.bus(), node.now().mono_ms);
            node.verify_again(&node.rules.authority.keys(), VERIFIED_PER_ROUND);
            let health = node.bus().health();
            node.metrics.bus_round_trip.observe_us(health.round_trip_us);
            if health.healthy != was_healthy {
                was_healthy = health.healthy;
                tracing::warn!(
                    healthy = was_healthy,
                    missing = health.canaries_missing,
                    "the bus changed its health"
                );
            }
        }
    });
}
