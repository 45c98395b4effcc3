//! What a node does by the clock: end interest in channels nobody hears, watch the bus. Ends with the node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Node;

/// Fine against the linger of three seconds, nothing against a core.
const ROUND_MS: u64 = 1_000;

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
