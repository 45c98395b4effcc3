//! The sending half: fred clients, each with its own connection, that pipeline whatever many tasks ask at the
//! same time. It owns timeouts, the suspicion that a connection is dead without saying so, and the translation
//! of errors; a command is written at most once, so that nothing happens twice behind its caller's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface, PubsubInterface};
use fred::types::config::{ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, FromValue, Key, Value};

use crate::error::{BusError, Unavailable};
use crate::limits::{PARTITIONS, partition_of};
use crate::redis::RedisOptions;
use crate::redis::address::Place;
use crate::redis::keys::Keys;
use crate::redis::scripts::{Publishing, Script};
use crate::tireless::is_panic;

/// The pause between attempts to reconnect: short, because the first second decides what clients notice.
const RECONNECT_MS_MIN: u32 = 50;
const RECONNECT_MS_MAX: u32 = 1_000;

/// A connection on which commands of one partition have timed out for this long, none answered in between, is made
/// anew. fred's own check starts again with every write: a node that writes a canary each second never sees it.
const SILENT_MS_MAX: u64 = 2_500;

/// A connection attempt, its handshake included, takes no longer; then the next timeout asks for another one.
const RECONNECT_WITHIN: Duration = Duration::from_secs(10);

pub(crate) struct Sender {
    /// A partition always uses the same client: what one task sends in order arrives in order.
    clients: Vec<Line>,
    /// By partition: since when nothing was answered, in milliseconds since `started`; 0 while all is well.
    silent_since_ms: Vec<AtomicU64>,
    started: Instant,
    pub keys: Keys,
    pub publishing: Publishing,
    pub sharded: bool,
    pub partition_requests_max: usize,
    timeout_ms: u64,
}

/// A client, and whether it is being connected anew.
struct Line {
    client: Client,
    renewing: Arc<AtomicBool>,
}

impl Sender {
    pub(crate) async fn connect(place: &Place, options: &RedisOptions) -> Result<Sender, BusError> {
        let timeout = Duration::from_millis(options.command_timeout_ms);
        let mut builder = Builder::from_config(place.config.clone());
        builder
            .with_performance_config(|config| config.default_command_timeout = timeout)
            .with_connection_config(|config| {
                config.max_command_attempts = 1;
                config.connection_timeout = crate::redis::address::CONNECT_TIMEOUT;
                config.internal_command_timeout = crate::redis::address::CONNECT_TIMEOUT;
                config.max_command_buffer_len = options.commands_waiting_max;
                config.reconnect_on_auth_error = true;
                config.tcp.nodelay = Some(true);
                // A connection that swallows commands is dropped, not waited for.
                config.unresponsive =
                    UnresponsiveConfig { max_timeout: Some(timeout * 4), interval: timeout };
            })
            .set_policy(ReconnectPolicy::new_exponential(0, RECONNECT_MS_MIN, RECONNECT_MS_MAX, 2));
        let mut clients = Vec::new();
        for _ in 0..options.connections.max(1) {
            let client = builder.build().map_err(|error| BusError::Config(error.details().to_owned()))?;
            let ready = tokio::time::timeout(RECONNECT_WITHIN, client.init()).await;
            let ready =
                ready.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "connecting took too long")));
            ready.map_err(|error| absent("connecting to Redis", &error))?;
            clients.push(Line { client, renewing: Arc::default() });
        }
        Ok(Sender {
            clients,
            silent_since_ms: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
            started: Instant::now(),
            keys: Keys::new(&options.key_prefix),
            publishing: Publishing::new(place.is_cluster()),
            sharded: place.is_cluster(),
            partition_requests_max: options.partition_requests_max,
            timeout_ms: options.command_timeout_ms,
        })
    }

    fn line(&self, partition: u16) -> &Line {
        &self.clients[usize::from(partition) % self.clients.len()]
    }

    pub(crate) fn client(&self, partition: u16) -> &Client {
        &self.line(partition).client
    }

    /// Runs a script by its digest; a server that does not know it (restarted, failed over) learns it here.
    pub(crate) async fn run<R: FromValue>(
        &self,
        attempted: &str,
        partition: u16,
        script: &Script,
        keys: Vec<Key>,
        arguments: Vec<Value>,
    ) -> Result<R, BusError> {
        let client = self.client(partition);
        let known = client.evalsha(script.sha.as_str(), keys.clone(), arguments.clone()).await;
        let answer = match known {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(script.text.as_str(), keys, arguments).await
            }
            known => known,
        };
        self.listen(partition, &answer);
        answer.map_err(|error| self.failed(attempted, &error))
    }

    /// Publishes a ready message without a script.
    pub(crate) async fn publish_live(
        &self,
        attempted: &str,
        partition: u16,
        live: String,
        message: Bytes,
    ) -> Result<(), BusError> {
        let client = self.client(partition);
        let published: Result<(), Error> = match self.sharded {
            true => client.spublish(live, message).await,
            false => client.publish(live, message).await,
        };
        self.listen(partition, &published);
        published.map_err(|error| self.failed(attempted, &error))
    }

    pub(crate) async fn delete(&self, attempted: &str, channel: &str, key: String) -> Result<(), BusError> {
        let deleted: Result<(), Error> = self.client(partition_of(channel)).del(key).await;
        deleted.map_err(|error| self.failed(attempted, &error))
    }

    /// Suspects the connection of a partition whose commands time out one after the other.
    fn listen<T>(&self, partition: u16, answer: &Result<T, Error>) {
        let since = &self.silent_since_ms[usize::from(partition)];
        if !answer.as_ref().is_err_and(|error| *error.kind() == ErrorKind::Timeout) {
            if since.load(Ordering::Relaxed) != 0 {
                since.store(0, Ordering::Relaxed);
            }
            return;
        }
        // Never zero, which means that all is well.
        let now_ms = self.started.elapsed().as_millis() as u64 + 1;
        let began = since.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        let line = self.line(partition);
        if began.is_err_and(|began| now_ms.saturating_sub(began) >= SILENT_MS_MAX)
            && !line.renewing.swap(true, Ordering::Relaxed)
        {
            since.store(0, Ordering::Relaxed);
            let (client, renewing) = (line.client.clone(), Arc::clone(&line.renewing));
            tracing::warn!(partition, "a connection to Redis is silent; connecting anew");
            tokio::spawn(async move {
                let renewed = is_panic(async {
                    let renewed = tokio::time::timeout(RECONNECT_WITHIN, client.force_reconnection()).await;
                    if !matches!(renewed, Ok(Ok(()))) {
                        tracing::warn!("no new connection to Redis yet");
                    }
                });
                // However it ended: a mark that stays would be the last attempt for ever.
                renewed.await;
                renewing.store(false, Ordering::Relaxed);
            });
        }
    }

    pub(crate) fn failed(&self, attempted: &str, error: &Error) -> BusError {
        match error.kind() {
            ErrorKind::Timeout => BusError::Unavailable {
                attempted: attempted.to_owned(),
                why: Unavailable::Slow { waited_ms: self.timeout_ms },
            },
            _ => absent(attempted, error),
        }
    }

    /// Ends the connections; what is still queued fails.
    pub(crate) fn close(&self) {
        for line in &self.clients {
            let client = line.client.clone();
            // Without a runtime there is nobody left to wait for either.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { client.quit().await });
            }
        }
    }
}

fn absent(attempted: &str, error: &Error) -> BusError {
    BusError::Unavailable {
        attempted: attempted.to_owned(),
        why: Unavailable::Absent { reason: error.to_string() },
    }
}
