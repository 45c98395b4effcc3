//! A whole gateway from its configuration: bus, node, listeners, keys, drain. What the binary runs, and what a
//! test or a small server starts in its own process.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use keyway_bus::{Bus, EventSink, MemoryBroker, RedisBus, RedisOptions};

use crate::config::{BusConfig, BusKind, Config, EmfConfig};
use crate::node::Node;
use crate::transport::{Listeners, PrivateOptions, PublicOptions};

/// A gateway that listens.
pub struct Gateway {
    pub node: Arc<Node>,
    config: Arc<Config>,
    listeners: Listeners,
}

impl Gateway {
    /// Makes the bus, reads a key file if one is named, binds both ports.
    pub async fn start(
        config: Config,
        make_bus: impl AsyncFnOnce(EventSink) -> anyhow::Result<Arc<dyn Bus>>,
    ) -> anyhow::Result<Gateway> {
        let config = Arc::new(config);
        let jwks = match config.tokens.jwks_file.as_str() {
            "" => None,
            path => Some(
                tokio::fs::read(path).await.with_context(|| format!("reading tokens.jwks_file {path}"))?,
            ),
        };
        let keys = config.first_keys(jwks.as_deref()).context("tokens.jwks_file")?;
        let listeners =
            Listeners::bind(config.listen, config.private_listen, &public_options(&config)).await?;
        let node = Node::start(config.rules(keys), make_bus).await?;
        Ok(Gateway { node, config, listeners })
    }

    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.public_address()
    }

    pub fn private_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.private_address()
    }

    /// Serves until `stop` completes, then drains.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Gateway { node, config, listeners } = self;
        let public = public_options(&config);
        let private = PrivateOptions { api_key: config.server_api.key.clone() };
        let serving = async {
            let sockets = listeners.serve(Arc::clone(&node), public, private);
            let keys = crate::keys::keep(Arc::clone(&node), Arc::clone(&config));
            let measured = report(Arc::clone(&node), config.emf.clone());
            futures::future::join3(sockets, keys, measured).await;
        };
        let stopping = async {
            let early = crate::stopping::wanted(config.drain.ecs_metadata_url.clone());
            futures::future::select(std::pin::pin!(stop), std::pin::pin!(early)).await;
            node.drain(config.drain.window_ms).await;
        };
        futures::future::select(std::pin::pin!(serving), std::pin::pin!(stopping)).await;
    }
}

fn public_options(config: &Config) -> PublicOptions {
    let mut allowed_origins = config.allowed_origins.clone();
    if config.insecure {
        allowed_origins.push("*".to_owned());
    }
    PublicOptions { allowed_origins, send_buffer_bytes: config.send_buffer_bytes }
}

/// One EMF line a minute: the resolution of the alarms and of autoscaling.
async fn report(node: Arc<Node>, emf: EmfConfig) {
    if emf.namespace.is_empty() {
        return std::future::pending().await;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(60));
    loop {
        interval.tick().await;
        println!("{}", node.metrics.emf(&node.readings(), &emf));
    }
}

/// The bus that the configuration names.
pub async fn open_bus(config: &BusConfig, sink: EventSink) -> anyhow::Result<Arc<dyn Bus>> {
    match config.kind {
        BusKind::Memory => Ok(MemoryBroker::default().node(sink)),
        BusKind::Redis => {
            let options = RedisOptions {
                key_prefix: config.key_prefix.clone(),
                connections: config.connections,
                password: (!config.password.is_empty()).then(|| config.password.clone()),
                ..RedisOptions::new(&config.url)
            };
            let bus = RedisBus::connect(options, sink).await.context("connecting to Redis (bus.url)")?;
            Ok(bus)
        }
    }
}
