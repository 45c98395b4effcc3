//! The sending half: fred clients, each with its own connection, that pipeline whatever many tasks ask at the
//! same time. It owns timeouts and the translation of errors; a command is written at most once, so that
//! nothing happens twice behind its caller's back.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface, PubsubInterface};
use fred::types::config::{ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, FromValue, Key, Value};

use crate::error::{BusError, Unavailable};
use crate::limits::partition_of;
use crate::redis::RedisOptions;
use crate::redis::address::Place;
use crate::redis::keys::Keys;
use crate::redis::scripts::{Publishing, Script};

/// The pause between attempts to reconnect: short, because the first second decides what clients notice.
const RECONNECT_MS_MIN: u32 = 50;
const RECONNECT_MS_MAX: u32 = 1_000;

pub(crate) struct Sender {
    /// A partition always uses the same client: what one task sends in order arrives in order.
    clients: Vec<Client>,
    pub keys: Keys,
    pub publishing: Publishing,
    pub sharded: bool,
    pub partition_requests_max: usize,
    timeout_ms: u64,
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
            client.init().await.map_err(|error| absent("connecting to Redis", &error))?;
            clients.push(client);
        }
        Ok(Sender {
            clients,
            keys: Keys::new(&options.key_prefix),
            publishing: Publishing::new(place.is_cluster()),
            sharded: place.is_cluster(),
            partition_requests_max: options.partition_requests_max,
            timeout_ms: options.command_timeout_ms,
        })
    }

    pub(crate) fn client(&self, partition: u16) -> &Client {
        &self.clients[usize::from(partition) % self.clients.len()]
    }

    pub(crate) fn client_of(&self, channel: &str) -> &Client {
        self.client(partition_of(channel))
    }

    /// Runs a script by its digest; a server that does not know it (restarted, failed over) learns it here.
    pub(crate) async fn run<R: FromValue>(
        &self,
        attempted: &str,
        client: &Client,
        script: &Script,
        keys: Vec<Key>,
        arguments: Vec<Value>,
    ) -> Result<R, BusError> {
        let known = client.evalsha(script.sha.as_str(), keys.clone(), arguments.clone()).await;
        let answer = match known {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(script.text.as_str(), keys, arguments).await
            }
            known => known,
        };
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
        published.map_err(|error| self.failed(attempted, &error))
    }

    pub(crate) async fn delete(&self, attempted: &str, channel: &str, key: String) -> Result<(), BusError> {
        let deleted: Result<(), Error> = self.client_of(channel).del(key).await;
        deleted.map_err(|error| self.failed(attempted, &error))
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
        for client in &self.clients {
            let client = client.clone();
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
