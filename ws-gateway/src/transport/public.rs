//! The public port: accepts TCP, lets HTTP/1.1 happen until the upgrade, says whether it is ready, and nothing
//! else. Bounded header time and size, so that a slow client holds a socket for seconds, not for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use super::upgrade::{UpgradeState, upgrade};
use super::{PublicOptions, health};
use crate::node::Node;

/// A request line and headers of a browser behind proxies stay below 8 KiB.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Slow networks deliver a request within seconds.
const HEADER_WITHIN_MS: u64 = 10_000;

/// Connections that the kernel holds while we accept: a reconnect storm of a node's whole share.
const BACKLOG: i32 = 4096;

pub(super) fn bind(address: SocketAddr, send_buffer_bytes: usize) -> std::io::Result<TcpListener> {
    let domain = if address.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    if send_buffer_bytes > 0 {
        socket.set_send_buffer_size(send_buffer_bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) async fn serve(listener: TcpListener, node: Arc<Node>, options: PublicOptions) {
    let health = health::routes(Arc::clone(&node));
    let state = UpgradeState { node, allowed_origins: options.allowed_origins.into() };
    let router = Router::new().route("/connection/websocket", get(upgrade)).with_state(state).merge(health);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: existing connections go on, new ones wait in the backlog.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_millis(HEADER_WITHIN_MS))
                .max_buf_size(HEADER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a request that came to nothing");
            }
        });
    }
}
