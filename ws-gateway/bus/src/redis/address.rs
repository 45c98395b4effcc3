//! Where Redis is: one server, a master behind Sentinels, or a cluster; with or without TLS. It reads the URL,
//! and asks Sentinels or the cluster which server owns which partition now.

use std::collections::BTreeMap;
use std::time::Duration;

use fred::types::config::{Config, Server, ServerConfig};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    RedisError, Value,
};

use crate::error::BusError;
use crate::limits::PARTITIONS;
use crate::redis::RedisOptions;
use crate::redis::keys::slot_of;

/// Connecting to a server in the same region takes a few milliseconds; above this it is down.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers on the receiving connections: generous, because a rebuild is dearer than a wait.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
}

/// Which partitions each server owns.
pub(crate) type Topology = BTreeMap<Address, Vec<u16>>;

#[derive(Clone)]
pub(crate) struct Place {
    pub config: Config,
    seeds: Vec<Address>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Single,
    Sentinel { service: String, username: Option<String>, password: Option<String> },
    Cluster,
}

impl Place {
    pub(crate) fn parse(options: &RedisOptions) -> Result<Place, BusError> {
        // Two TLS providers may be linked into one program, and then rustls wants to be told which.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The URL itself may hold a password: only the parser's own words are passed on.
        let mut config = Config::from_url(&options.url).map_err(|error| {
            BusError::Config(format!(
                "redis URL: {}; use redis://, rediss://, redis-sentinel:// or redis-cluster://",
                error.details()
            ))
        })?;
        if let Some(password) = &options.password {
            config.password = Some(password.clone());
        }
        let (seeds, kind) = match &config.server {
            ServerConfig::Centralized { server } => (vec![Address::of(server)], Kind::Single),
            ServerConfig::Clustered { hosts, .. } => (hosts.iter().map(Address::of).collect(), Kind::Cluster),
            ServerConfig::Sentinel { hosts, service_name, username, password } => {
                let (username, password) = (username.clone(), password.clone());
                let kind = Kind::Sentinel { service: service_name.clone(), username, password };
                (hosts.iter().map(Address::of).collect(), kind)
            }
        };
        Ok(Place { config, seeds, kind })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster)
    }

    /// Who owns what now. `known` are servers of an earlier answer: the seeds may be gone by then.
    pub(crate) async fn resolve(&self, known: &[Address]) -> Result<Topology, BusError> {
        let all = || (0..PARTITIONS).collect::<Vec<u16>>();
        let mut last = BusError::Config("no server named".to_owned());
        for seed in self.seeds.iter().chain(known) {
            let topology = match &self.kind {
                Kind::Single => Ok(Topology::from([(seed.clone(), all())])),
                Kind::Sentinel { service, username, password } => {
                    let login = (username.as_deref(), password.as_deref());
                    self.ask_sentinel(seed, service, login)
                        .await
                        .map(|master| Topology::from([(master, all())]))
                }
                Kind::Cluster => self.ask_cluster(seed).await,
            };
            match topology {
                Ok(topology) => return Ok(topology),
                Err(error) => last = unavailable(&format!("asking {seed} for the topology"), &error),
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &Address,
        service: &str,
        login: (Option<&str>, Option<&str>),
    ) -> Result<Address, RedisError> {
        let settings = settings(login.0, login.1, 0);
        let mut connection = self.open(sentinel, settings, plain()).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let (host, port): (String, u16) = command.query_async(&mut connection).await?;
        Ok(Address { host, port })
    }

    async fn ask_cluster(&self, seed: &Address) -> Result<Topology, RedisError> {
        let mut connection = self.connect(seed, plain()).await?;
        let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        let mut topology = Topology::new();
        for range in &ranges {
            let [first, last, owner, ..] = range.as_slice() else { continue };
            let (first, last): (u16, u16) =
                (redis::from_redis_value(first.clone())?, redis::from_redis_value(last.clone())?);
            let Value::Array(owner) = owner else { continue };
            let [host, port, ..] = owner.as_slice() else { continue };
            let host: Option<String> = redis::from_redis_value(host.clone())?;
            // A node that does not know its own name leaves it out: it is the one we asked.
            let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| seed.host.clone());
            let address = Address { host, port: redis::from_redis_value(port.clone())? };
            let owned = (0..PARTITIONS).filter(|partition| (first..=last).contains(&slot_of(*partition)));
            topology.entry(address).or_default().extend(owned);
        }
        topology.retain(|_, owned| !owned.is_empty());
        if topology.values().map(Vec::len).sum::<usize>() < usize::from(PARTITIONS) {
            return Err((redis::ErrorKind::Io, "the cluster does not cover every slot").into());
        }
        Ok(topology)
    }

    /// A connection of the receiving side to one server.
    pub(crate) async fn connect(
        &self,
        address: &Address,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let database = i64::from(self.config.database.unwrap_or(0));
        let settings = settings(self.config.username.as_deref(), self.config.password.as_deref(), database);
        self.open(address, settings, config).await
    }

    async fn open(
        &self,
        address: &Address,
        settings: RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let Address { host, port } = address.clone();
        let addr = match &self.config.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        // A request does not wait until the one before is acknowledged; what can be written together is a pipeline.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = addr.into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp);
        Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Whether a server is what we want to talk to: after a failover Sentinels may still name the old master.
    pub(crate) async fn check_master(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        if !matches!(self.kind, Kind::Sentinel { .. }) {
            return Ok(());
        }
        let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
        let role: Option<String> =
            role.into_iter().next().and_then(|role| redis::from_redis_value(role).ok());
        if role.as_deref() == Some("master") {
            return Ok(());
        }
        Err((redis::ErrorKind::Io, "the server named by the sentinel is not a master").into())
    }
}

pub(crate) fn plain() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
}

fn settings(username: Option<&str>, password: Option<&str>, database: i64) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(database)
        .set_skip_set_lib_name();
    if let Some(username) = username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    settings
}

pub(crate) fn unavailable(attempted: &str, error: &RedisError) -> BusError {
    BusError::Unavailable {
        attempted: attempted.to_owned(),
        why: crate::Unavailable::Absent { reason: error.to_string() },
    }
}

impl Address {
    fn of(server: &Server) -> Address {
        Address { host: server.host.to_string(), port: server.port }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_url_is_read() {
        let check = |url: &str, cluster: bool, seeds: &[&str], tls: bool| {
            let place = Place::parse(&RedisOptions::new(url)).unwrap();
            let found: Vec<String> = place.seeds.iter().map(Address::to_string).collect();
            assert_eq!(found, seeds, "{url}");
            assert_eq!((place.is_cluster(), place.config.tls.is_some()), (cluster, tls), "{url}");
        };
        check("redis://cache.local", false, &["cache.local:6379"], false);
        check("redis://user:pass@cache.local:7000/3", false, &["cache.local:7000"], false);
        check("redis-cluster://a:7000?node=b:7001", true, &["b:7001", "a:7000"], false);
        check(
            "redis-sentinel://a:26379?sentinelServiceName=main&node=b:26379",
            false,
            &["b:26379", "a:26379"],
            false,
        );
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in ["", "cache", "redis-sentinel://u:hunter2@a:1", "redis://u:hunter2@:0:0"] {
            let error = Place::parse(&RedisOptions::new(url))
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(error.contains("redis URL"), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
