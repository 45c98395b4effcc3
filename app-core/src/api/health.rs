//! Whether the process lives, whether requests may come here, what it has counted, and the key set.

use crate::core::Core;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

pub fn routes() -> Router<Arc<Core>> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
}

pub fn metrics_route() -> Router<Arc<Core>> {
    Router::new().route("/metrics", get(metrics))
}

/// The process answers: nothing more, so that an outage of the database restarts nobody.
async fn live() -> &'static str {
    "live\n"
}

/// Requests may come here: the store answers and core is not stopping. Redis is not asked: without it the API works.
async fn ready(State(core): State<Arc<Core>>) -> Response {
    if core.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match core.store.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n").into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

async fn metrics(State(core): State<Arc<Core>>) -> Response {
    let text = core.metrics.prometheus(core.waiting.count(), core.store.leads(), core.store.ways());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Gateways read it every five minutes and when they meet an unknown key: caches in between must not hold it longer.
pub async fn jwks(State(core): State<Arc<Core>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=60")];
    (headers, core.jwks()).into_response()
}
