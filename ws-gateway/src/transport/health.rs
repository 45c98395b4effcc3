//! Whether the process lives and takes connections, as routes that both ports have: the load balancer asks on the
//! public one, because a target is what it sends connections to.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::node::Node;

pub(super) fn routes(node: Arc<Node>) -> Router {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready)).with_state(node)
}

/// The process answers: nothing more, so that a Redis outage restarts nobody.
async fn live() -> &'static str {
    "live\n"
}

/// New connections may come here.
async fn ready(State(node): State<Arc<Node>>) -> (StatusCode, &'static str) {
    if node.is_ready() {
        (StatusCode::OK, "ready\n")
    } else if node.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the bus does not answer\n")
    }
}
