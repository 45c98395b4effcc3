//! The sockets: a public listener for WebSockets and a private one for health, metrics and the server API. The
//! only module that names axum. It moves bytes and status codes; what they mean is the session's business.

mod api;
mod connection;
mod health;
mod private;
mod public;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::node::Node;

/// What the public port needs to know beyond the node.
#[derive(Debug, Clone, Default)]
pub struct PublicOptions {
    /// Patterns of `Origin` headers accepted beside the host itself. Clients that are no browsers send none.
    pub allowed_origins: Vec<String>,
    /// Bytes the kernel may hold for a connection that does not read; 0 leaves it to the kernel.
    pub send_buffer_bytes: usize,
}

/// What the private port needs to know beyond the node.
#[derive(Clone, Default)]
pub struct PrivateOptions {
    /// Empty: the server API answers 404.
    pub api_key: String,
}

/// Both listeners, bound. Port 0 gives a free port.
pub struct Listeners {
    public: TcpListener,
    private: TcpListener,
}

impl Listeners {
    pub async fn bind(
        public: SocketAddr,
        private: SocketAddr,
        options: &PublicOptions,
    ) -> anyhow::Result<Listeners> {
        let public = public::bind(public, options.send_buffer_bytes)
            .with_context(|| format!("binding the public address {public}"))?;
        let private = TcpListener::bind(private)
            .await
            .with_context(|| format!("binding the private address {private}"))?;
        Ok(Listeners { public, private })
    }

    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    pub fn private_address(&self) -> std::io::Result<SocketAddr> {
        self.private.local_addr()
    }

    /// Serves until the future is dropped. Open connections live on in their own tasks.
    pub async fn serve(self, node: Arc<Node>, public: PublicOptions, private: PrivateOptions) {
        let sockets = public::serve(self.public, Arc::clone(&node), public);
        let operations = private::serve(self.private, node, private);
        futures::future::join(sockets, operations).await;
    }
}
