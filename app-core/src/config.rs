//! Core's configuration as plain data: defaults, a file, environment variables, laid over each other and refused at the
//! start with all faults at once. Files and variables come in as values; nothing secret is ever printed.

use crate::store::{StoreError, StoreOptions};
use serde::Deserialize;
use std::net::SocketAddr;
use ws_gateway::config::{BusConfig, ConfigFaults, LogConfig, merge, set};

/// Core and gateways meet on one bus, so they are told of it in the same words.
pub use ws_gateway::config::BusKind;

/// Every variable of core starts with this; two underscores go one level down.
pub const PREFIX: &str = "KEYWAY_CORE_";
const DEFAULTS: &str = include_str!("config/default.toml");
/// Shorter secrets can be guessed.
const SECRET_CHARS_MIN: usize = 32;
/// An access token is not a credential for a working day.
const TOKEN_LIFE_S_MAX: u64 = 86_400;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub private_listen: SocketAddr,
    pub public_host: String,
    pub store: StoreConfig,
    pub bus: BusConfig,
    pub keys: KeysConfig,
    pub admin: AdminConfig,
    pub tokens: TokenConfig,
    pub gateway: GatewayConfig,
    pub relay: RelayConfig,
    pub embedded: EmbeddedConfig,
    pub log: LogConfig,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub url: String,
    pub password: String,
    pub migrate: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    pub root_secret: String,
    pub root_secret_file: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    pub key: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    pub issuer: String,
    pub audience: String,
    pub life_s: u64,
    pub rotate_days: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    pub socket_url: String,
}

impl GatewayConfig {
    /// Nobody has set it.
    pub fn is_usual(&self) -> bool {
        let usual: toml::Table = toml::from_str(DEFAULTS).expect("the defaults are TOML; a test reads them");
        let usual = usual.get("gateway").and_then(|section| section.get("socket_url"));
        usual.and_then(toml::Value::as_str) == Some(self.socket_url.as_str())
    }

    /// As a WebSocket's address: an environment knows its load balancer by https.
    pub fn address(&self) -> String {
        match self.socket_url.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => self.socket_url.clone(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    pub in_flight_max: usize,
    pub lease_ms: u64,
    pub presence_every_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    pub gateway_listen: SocketAddr,
    pub gateway_private_listen: SocketAddr,
    pub gateway_config: String,
}

impl Config {
    /// `file` is the text of the file and its name; `variables` are all of the process.
    pub fn load(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        let config = Self::read(file, variables)?;
        let faults = config.faults();
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }

    /// For the verbs that work on the store and end: keys and addresses of others are not their business.
    pub fn load_store(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        let config = Self::read(file, variables)?;
        let faults: Vec<String> = config.store_fault().into_iter().collect();
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }

    fn read(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        let mut merged: toml::Table =
            toml::from_str(DEFAULTS).expect("the defaults are TOML; a test reads them");
        let mut faults = Vec::new();
        let (ours, others): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|(name, _)| name.starts_with(PREFIX));
        for (path, value) in blueprint(&others) {
            set(&mut merged, path, &value).expect("the paths of the blueprint's names are ours");
        }
        if let Some((name, text)) = file {
            match toml::from_str::<toml::Table>(text) {
                Ok(over) => merge(&mut merged, over),
                Err(error) => faults.push(format!("{name}: {}", error.to_string().trim_end())),
            }
        }
        for (name, value) in ours {
            let path = name[PREFIX.len()..].to_lowercase();
            if path != "config"
                && let Err(fault) = set(&mut merged, &path, &value)
            {
                faults.push(format!("{name}: {fault}"));
            }
        }
        faults.extend(take_misfits(&mut merged));
        match Self::deserialize(merged) {
            // Everything that is wrong with what is left, together with what was not even readable.
            Ok(config) if !faults.is_empty() => {
                faults.extend(config.faults());
                Err(ConfigFaults(faults))
            }
            Ok(config) => Ok(config),
            Err(error) => {
                faults.push(one_line(&error));
                Err(ConfigFaults(faults))
            }
        }
    }

    fn store_fault(&self) -> Option<String> {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        let is_known = known.iter().any(|scheme| self.store.url.starts_with(scheme));
        if !is_known {
            return Some("store.url: must start with sqlite: or postgres://".to_owned());
        }
        match StoreOptions::at(self.store.url.clone()).check() {
            Err(StoreError::Address { why }) => Some(format!("store.url: {why}")),
            _ => None,
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.store_fault().into_iter().collect();
        let redis = ["redis://", "rediss://", "redis-sentinel://", "redis-cluster://", "rediss-cluster://"];
        if self.bus.kind == BusKind::Redis && !redis.iter().any(|scheme| self.bus.url.starts_with(scheme)) {
            faults.push("bus.url: must be an address like redis://127.0.0.1:6379".to_owned());
        }
        if self.bus.connections == 0 || self.bus.connections > 64 {
            faults.push(format!("bus.connections = {}: from 1 to 64", self.bus.connections));
        }
        match (self.keys.root_secret.len(), self.keys.root_secret_file.is_empty()) {
            (0, true) => faults.push(
                "keys: every stored key is sealed under a secret; set keys.root_secret (TOKEN_SIGNING_KEY) or \
                 keys.root_secret_file"
                    .to_owned(),
            ),
            (0, false) => {}
            (_, false) => {
                faults.push("keys.root_secret and keys.root_secret_file: give one of them".to_owned());
            }
            (chars, true) if chars < SECRET_CHARS_MIN => faults.push(format!(
                "keys.root_secret: shorter than {SECRET_CHARS_MIN} characters, which can be guessed; use random ones"
            )),
            (_, true) => {}
        }
        if !self.admin.key.is_empty() && self.admin.key.len() < SECRET_CHARS_MIN {
            faults.push(format!(
                "admin.key: shorter than {SECRET_CHARS_MIN} characters, which can be guessed; use random ones"
            ));
        }
        if self.tokens.issuer.is_empty() || self.tokens.audience.is_empty() {
            faults
                .push("tokens.issuer and tokens.audience: both must be set, gateways check them".to_owned());
        }
        if !(60..=TOKEN_LIFE_S_MAX).contains(&self.tokens.life_s) {
            faults.push(format!("tokens.life_s = {}: from 60 to {TOKEN_LIFE_S_MAX}", self.tokens.life_s));
        }
        if !(1..=366).contains(&self.tokens.rotate_days) {
            faults.push(format!("tokens.rotate_days = {}: from 1 to 366", self.tokens.rotate_days));
        }
        let schemes = ["ws://", "wss://", "http://", "https://"];
        if !schemes.iter().any(|scheme| self.gateway.socket_url.starts_with(scheme)) {
            faults.push(
                "gateway.socket_url: must start with wss:// or https:// (or ws:// on a private network)"
                    .to_owned(),
            );
        }
        if !(1..=65_536).contains(&self.relay.in_flight_max) {
            faults.push(format!("relay.in_flight_max = {}: from 1 to 65536", self.relay.in_flight_max));
        }
        if !(500..=60_000).contains(&self.relay.lease_ms) {
            faults.push(format!("relay.lease_ms = {}: from 500 to 60000", self.relay.lease_ms));
        }
        if !(100..=7_000).contains(&self.relay.presence_every_ms) {
            faults.push(format!(
                "relay.presence_every_ms = {}: from 100 to 7000, so that offline is known within 45 s",
                self.relay.presence_every_ms
            ));
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log.filter).is_err() {
            faults.push("log.filter: not a filter like info or app_core=debug,info".to_owned());
        }
        faults
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().trim_end().replace('\n', " ")
}

/// Takes out every field that is not known or of another type, puts the default in its place, and says what was wrong: each
/// is tried alone over the defaults, so that one does not hide the next.
fn take_misfits(merged: &mut toml::Table) -> Vec<String> {
    let defaults: toml::Table = toml::from_str(DEFAULTS).expect("the defaults are TOML; a test reads them");
    let mut faults = Vec::new();
    for (name, value) in merged.clone() {
        let fields: Vec<(Option<String>, toml::Value)> = match (&value, defaults.get(&name)) {
            (toml::Value::Table(section), Some(toml::Value::Table(_))) => {
                section.iter().map(|(field, value)| (Some(field.clone()), value.clone())).collect()
            }
            _ => vec![(None, value)],
        };
        for (field, value) in fields {
            let usual = match &field {
                Some(field) => defaults.get(&name).and_then(|section| section.get(field)),
                None => defaults.get(&name),
            };
            if usual == Some(&value) {
                continue;
            }
            let put = |table: &mut toml::Table, value: Option<toml::Value>| {
                let (table, key) = match (&field, table.get_mut(&name)) {
                    (Some(field), Some(toml::Value::Table(section))) => (section, field.clone()),
                    _ => (table, name.clone()),
                };
                match value {
                    Some(value) => table.insert(key, value),
                    None => table.remove(&key),
                };
            };
            let mut alone = defaults.clone();
            put(&mut alone, Some(value));
            if let Err(error) = Config::deserialize(alone) {
                faults.push(one_line(&error));
                put(merged, usual.cloned());
            }
        }
    }
    faults
}

/// The names that an environment's blueprint gives to every service, and the fields that they fill.
fn blueprint(variables: &[(String, String)]) -> Vec<(&'static str, String)> {
    let find =
        |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let mut filled = Vec::new();
    if let Some(host) = find("POSTGRES_HOST") {
        let port = find("POSTGRES_PORT").unwrap_or_else(|| "5432".to_owned());
        let user = find("POSTGRES_USER").unwrap_or_else(|| "keyway".to_owned());
        let database = find("POSTGRES_DATABASE").unwrap_or_else(|| "keyway".to_owned());
        filled.push(("store__url", format!("postgres://{user}@{host}:{port}/{database}")));
    }
    for (name, path) in [
        ("POSTGRES_PASSWORD", "store__password"),
        ("REDIS_URL", "bus__url"),
        ("REDIS_PASSWORD", "bus__password"),
        ("TOKEN_SIGNING_KEY", "keys__root_secret"),
    ] {
        filled.extend(find(name).map(|value| (path, value)));
    }
    filled
}

/// An address with its password in place, for the client library only.
pub fn with_password(url: &str, password: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|_| !password.is_empty()) else {
        return url.to_owned();
    };
    let escaped: String = password
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    match rest.split_once('@') {
        Some((user, place)) => {
            format!("{scheme}://{}:{escaped}@{place}", user.split(':').next().unwrap_or(""))
        }
        None => format!("{scheme}://:{escaped}@{rest}"),
    }
}

// URLs may hold passwords.
ws_gateway::hide_secrets! {
    StoreConfig: migrate; url, password;
    KeysConfig: root_secret_file; root_secret;
    AdminConfig: ; key;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(("core.toml", text)), variables)
    }

    #[test]
    fn the_blueprints_names_then_the_file_then_our_own() {
        let config = load(
            "[bus]\nconnections = 3\nkey_prefix = \"x\"",
            &[
                ("POSTGRES_HOST", "db.internal"),
                ("POSTGRES_PORT", "5433"),
                ("POSTGRES_DATABASE", "doors"),
                ("POSTGRES_USER", "app"),
                ("POSTGRES_PASSWORD", "p@ss/word-very-secret"),
                ("REDIS_URL", "rediss://cache:6379"),
                ("REDIS_PASSWORD", "hush-hush"),
                ("TOKEN_SIGNING_KEY", SECRET),
                ("KEYWAY_CORE_BUS__CONNECTIONS", "5"),
                ("KEYWAY_CORE_CONFIG", "ignored"),
            ],
        )
        .unwrap();
        let gateway = GatewayConfig { socket_url: "https://x.example/connection/websocket".into() };
        assert_eq!(gateway.address(), "wss://x.example/connection/websocket");
        assert_eq!(config.gateway.address(), "ws://127.0.0.1:8000/connection/websocket");
        assert_eq!(config.store.url, "postgres://app@db.internal:5433/doors");
        assert_eq!((config.bus.connections, config.bus.key_prefix.as_str()), (5, "x"));
        assert_eq!(
            with_password(&config.store.url, &config.store.password),
            "postgres://app:p%40ss%2Fword-very-secret@db.internal:5433/doors"
        );
        assert_eq!(with_password(&config.bus.url, &config.bus.password), "rediss://:hush-hush@cache:6379");
        let shown = format!("{config:?}");
        for secret in ["hush", "very-secret", SECRET] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn all_faults_at_once_and_mistakes_name_their_place() {
        let faults =
            load("[store]\nurl = \"mysql://x\"\n[tokens]\nlife_s = 1\n[admin]\nkey = \"short\"", &[])
                .unwrap_err();
        assert_eq!(faults.0.len(), 4, "{faults}");
        for (text, variables, expected) in [
            ("nonsense = 1", &[("TOKEN_SIGNING_KEY", SECRET)][..], "unknown field `nonsense`"),
            ("listen = ", &[], "core.toml: TOML parse error"),
            ("[tokens]\nlife_s = \"soon\"", &[("KEYWAY_CORE_LISTEN", "here")], "life_s"),
            ("[tokens]\nlife_s = \"soon\"", &[("KEYWAY_CORE_LISTEN", "here")], "invalid socket address"),
            ("tokens = 1\n[store]\nurl = \"mysql://x\"\nmore = 1", &[], "more"),
            ("tokens = 1\n[store]\nurl = \"mysql://x\"\nmore = 1", &[], "store.url: must start with"),
            ("tokens = 1\n[store]\nurl = \"mysql://x\"\nmore = 1", &[], "tokens"),
            ("", &[("KEYWAY_CORE_LISTEN__X", "1")], "KEYWAY_CORE_LISTEN__X: `listen` has no fields inside"),
            ("", &[], "TOKEN_SIGNING_KEY"),
        ] {
            let fault = load(text, variables).unwrap_err().to_string();
            assert!(fault.contains(expected), "{text:?} {variables:?}: {fault}");
        }
    }
}
