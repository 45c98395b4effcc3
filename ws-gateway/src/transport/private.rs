//! The private port: health, metrics, the server API. Never reachable from outside the network it runs in.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::{PrivateOptions, api, health};
use crate::node::Node;

pub(super) async fn serve(listener: TcpListener, node: Arc<Node>, options: PrivateOptions) {
    let mut router = Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&node))
        .merge(health::routes(Arc::clone(&node)));
    if !options.api_key.is_empty() {
        let state = api::ApiState { node, key: options.api_key.into() };
        router = router.merge(Router::new().route("/api/{method}", post(api::call)).with_state(state));
    }
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the private port ended");
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let text = node.metrics.prometheus(&node.readings());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
