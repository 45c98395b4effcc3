//! A whole core from its configuration: store, bus, relay, API, and in one process with the gateway when it is
//! embedded. What the binary runs, and what a test starts in its own process.

use crate::config::{BusKind, Config, with_password};
use crate::core::Core;
use crate::source::Clock;
use crate::{api, relay};
use anyhow::Context as _;
use futures::FutureExt as _;
use keyway_bus::{Backend, Bus, BusError, Channels, MemoryBroker, RedisBackend, RedisOptions};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use ws_gateway::Gateway;

/// Requests in work when it is time to stop: answered, or left to the next core after this.
const DRAIN_MAX: Duration = Duration::from_secs(12);
/// Gateways are told of a device's end by its missing presence: this is how long an entry outlives its socket's node,
/// a little more than the ping that refreshes it.
const PRESENCE_TTL_MS: u64 = 32_000;

/// The pause between two attempts to reach Redis at the start: a second after it is there is soon enough, and the log stays readable.
const REACH_AGAIN: Duration = Duration::from_secs(1);

/// The way to the gateways.
enum Link {
    Ready(Arc<dyn Backend>),
    /// Redis was away when core began. Whoever may open which door can be said and changed without it.
    Awaited(RedisOptions),
}

impl Link {
    async fn to(options: RedisOptions) -> anyhow::Result<Self> {
        match RedisBackend::connect(options.clone()).await {
            Ok(backend) => Ok(Self::Ready(backend)),
            Err(error @ BusError::Unavailable { .. }) => {
                tracing::error!(%error, "no Redis (bus.url): no door and no phone is served; trying again");
                Ok(Self::Awaited(options))
            }
            Err(error) => Err(error).context("connecting to Redis (bus.url)"),
        }
    }

    /// Waits for Redis for as long as it takes: what else core does goes on.
    async fn ready(self) -> Arc<dyn Backend> {
        let options = match self {
            Self::Ready(backend) => return backend,
            Self::Awaited(options) => options,
        };
        loop {
            tokio::time::sleep(REACH_AGAIN).await;
            match RedisBackend::connect(options.clone()).await {
                Ok(backend) => {
                    tracing::info!("Redis is there: doors and phones are served");
                    return backend;
                }
                Err(error) => tracing::error!(%error, "still no Redis (bus.url)"),
            }
        }
    }
}

/// A core that listens.
pub struct Server {
    pub core: Arc<Core>,
    link: Link,
    gateway: Option<Gateway>,
    public: TcpListener,
    private: TcpListener,
    config: Config,
}

impl Server {
    /// Apart: the gateways are other processes, found over Redis.
    pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Self> {
        anyhow::ensure!(
            config.bus.kind == BusKind::Redis,
            "bus.kind = \"memory\": only with --embedded; gateways of other processes are found over Redis"
        );
        let options = RedisOptions {
            key_prefix: config.bus.key_prefix.clone(),
            connections: config.bus.connections,
            ..RedisOptions::new(with_password(&config.bus.url, &config.bus.password))
        };
        Self::over(config, clock, Link::to(options).await?).await
    }

    /// On a bus that is there, whoever holds its other end.
    pub async fn on(config: Config, clock: Clock, backend: Arc<dyn Backend>) -> anyhow::Result<Self> {
        Self::over(config, clock, Link::Ready(backend)).await
    }

    async fn over(config: Config, clock: Clock, link: Link) -> anyhow::Result<Self> {
        let (public, private) = listen(&config).await?;
        let core = Core::open(&config, clock).await?;
        Ok(Self { core, link, gateway: None, public, private, config })
    }

    /// With the gateway, on a bus in memory.
    pub async fn embedded(mut config: Config, clock: Clock) -> anyhow::Result<Self> {
        let broker = MemoryBroker::default();
        let (public, private) = listen(&config).await?;
        let jwks_url = format!("http://{}/.well-known/jwks.json", loopback(public.local_addr()?));
        let gateway_config = gateway_config(&config, &jwks_url)?;
        let for_bus = broker.clone();
        let gateway =
            Gateway::start(gateway_config, async |sink| Ok(for_bus.node(sink) as Arc<dyn Bus>)).await?;
        // Where nobody said how it is reached from outside, it is reached where it listens.
        if config.gateway.is_usual() {
            let address = loopback(gateway.public_address()?);
            config.gateway.socket_url = format!("ws://{address}/connection/websocket");
        }
        let core = Core::open(&config, clock).await?;
        let link = Link::Ready(broker.backend());
        Ok(Self { core, link, gateway: Some(gateway), public, private, config })
    }

    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    pub fn private_address(&self) -> std::io::Result<SocketAddr> {
        self.private.local_addr()
    }

    pub fn socket_url(&self) -> &str {
        &self.core.socket_url
    }

    /// Serves until `stop` completes; then answers what is begun and ends.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { core, link, gateway, public, private, config } = self;
        let (stopper, stopped) = watch::channel(false);
        let told = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let mut tasks = JoinSet::new();
        let http = api::serve(public, api::public(&core), told(stopped.clone()));
        tasks.spawn(async move { http.await.context("the public port") });
        let http = api::serve(private, api::private(&core), told(stopped.clone()));
        tasks.spawn(async move { http.await.context("the private port") });
        if let Some(gateway) = gateway {
            let stopped = told(stopped.clone());
            tasks.spawn(async move {
                gateway.run(stopped).await;
                Ok(())
            });
        }
        let (linked, on_link) = oneshot::channel();
        let (serving, every_ms) = (Arc::clone(&core), config.relay.presence_every_ms);
        let (stop_waiting, stop_serving) = (told(stopped.clone()), told(stopped));
        tasks.spawn(async move {
            let backend = tokio::select! {
                backend = link.ready() => backend,
                () = stop_waiting => return Ok(()),
            };
            let _ = linked.send(Arc::clone(&backend));
            let (in_flight_max, lease_ms) = (config.relay.in_flight_max, config.relay.lease_ms);
            let served = relay::serve(serving, backend, in_flight_max, lease_ms, stop_serving.boxed());
            served.await.context("serving requests")
        });
        // These have nothing to finish: the outbox is in the database.
        let mut loops = JoinSet::new();
        let leading = Arc::clone(&core);
        loops.spawn(async move { leading.store.lead().await });
        loops.spawn(relay::timers::upkeep(Arc::clone(&core)));
        let telling = Arc::clone(&core);
        loops.spawn(async move {
            if let Ok(backend) = on_link.await {
                tell(telling, backend, every_ms).await;
            }
        });
        let failed = tokio::select! {
            () = stop => None,
            Some(ended) = tasks.join_next() => Some(ended),
        };
        core.stop();
        let _ = stopper.send(true);
        let finishing = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_MAX, finishing).await.is_err() {
            tracing::warn!("stopping with requests unfinished");
        }
        loops.abort_all();
        core.store.close().await;
        match failed {
            None => Ok(()),
            Some(Ok(Ok(()))) => anyhow::bail!("a part of core ended by itself"),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error).context("a part of core"),
        }
    }
}

/// What core tells and asks over the bus by itself, side by side, until the future is dropped.
async fn tell(core: Arc<Core>, backend: Arc<dyn Backend>, presence_every_ms: u64) {
    let channels: Arc<dyn Channels> = backend.clone();
    let mut loops = JoinSet::new();
    loops.spawn(relay::outbox::run(Arc::clone(&core), Arc::clone(&channels)));
    loops.spawn(relay::timers::commands(Arc::clone(&core), Arc::clone(&channels)));
    loops.spawn(relay::presence::watch(Arc::clone(&core), Arc::clone(&channels), presence_every_ms));
    loops.spawn(relay::presence::nudge(Arc::clone(&core), channels));
    loops.spawn(core.send_revocations(backend));
    while loops.join_next().await.is_some() {}
}

async fn listen(config: &Config) -> anyhow::Result<(TcpListener, TcpListener)> {
    let bind = async |address: SocketAddr, field: &str| {
        TcpListener::bind(address).await.with_context(|| format!("listening on {address} ({field})"))
    };
    Ok((bind(config.listen, "listen").await?, bind(config.private_listen, "private_listen").await?))
}

/// Where this process reaches itself.
fn loopback(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}

/// The gateway's own configuration, with what it has to share with this core.
fn gateway_config(config: &Config, jwks_url: &str) -> anyhow::Result<ws_gateway::Config> {
    let file = match config.embedded.gateway_config.as_str() {
        "" => None,
        path => {
            let text = std::fs::read_to_string(Path::new(path))
                .with_context(|| format!("reading embedded.gateway_config {path}"))?;
            Some((path, text))
        }
    };
    let shared = [
        ("LISTEN", config.embedded.gateway_listen.to_string()),
        ("PRIVATE_LISTEN", config.embedded.gateway_private_listen.to_string()),
        ("TOKENS__JWKS_URL", jwks_url.to_owned()),
        ("TOKENS__ISSUER", config.tokens.issuer.clone()),
        ("TOKENS__AUDIENCE", config.tokens.audience.clone()),
        // The core beside it goes too: there is no other node to move clients to slowly.
        ("DRAIN__WINDOW_MS", "2000".to_owned()),
        ("NAMESPACES__DEVICE__PRESENCE", "true".to_owned()),
        ("LIMITS__PRESENCE_TTL_MS", PRESENCE_TTL_MS.to_string()),
    ];
    let variables = shared.map(|(name, value)| (format!("{}{name}", ws_gateway::config::PREFIX), value));
    let file = file.as_ref().map(|(name, text)| (*name, text.as_str()));
    Ok(ws_gateway::Config::load(file, variables)?)
}
