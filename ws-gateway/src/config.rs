//! The gateway's configuration as plain data: defaults, a file, environment variables, laid over each other and
//! refused at the start with all faults at once. Files and variables come in as values.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::auth::{Authority, Expectations, KeyFault, KeySet};
use crate::limits::Limits;
use crate::namespace::{ChannelOptions, Namespaces, PLAIN};
use crate::session::Rules;

mod layers;

pub use layers::{Layers, merge, set};

/// Every variable of the gateway starts with this; two underscores go one level down.
pub const PREFIX: &str = "KEYWAY_GATEWAY_";

const DEFAULTS: &str = include_str!("config/default.toml");

/// What the platform gives to every service that uses Redis, taken as text. A file and the gateway's own
/// variables are laid over it.
const PLATFORM: [(&str, &str); 2] = [("REDIS_URL", "url"), ("REDIS_PASSWORD", "password")];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub private_listen: SocketAddr,
    pub allowed_origins: Vec<String>,
    pub send_buffer_bytes: usize,
    /// Threads that serve sockets; 0 is one for each core.
    pub workers: usize,
    pub insecure: bool,
    pub anonymous: bool,
    pub anonymous_user: String,
    pub personal: bool,
    pub rpc: bool,
    pub send: bool,
    pub bus: BusConfig,
    pub tokens: TokenConfig,
    pub server_api: ServerApiConfig,
    pub drain: DrainConfig,
    pub log: LogConfig,
    pub emf: EmfConfig,
    pub limits: Limits,
    pub namespaces: BTreeMap<String, ChannelOptions>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    Memory,
    Redis,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    pub kind: BusKind,
    pub url: String,
    /// Of the Redis user in the URL, or of the default one. Apart from the URL, which ends up in logs.
    pub password: String,
    /// Starts every key in Redis.
    pub key_prefix: String,
    /// Sending connections to Redis.
    pub connections: usize,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    pub issuer: String,
    pub audience: String,
    pub jwks_url: String,
    pub jwks_file: String,
    pub refresh_s: u64,
    pub hmac_secret: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerApiConfig {
    pub key: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    pub window_ms: u64,
    /// The ECS task metadata address; filled in from the container's environment.
    pub ecs_metadata_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmfConfig {
    pub namespace: String,
    /// The dimension `Service`; autoscaling looks the metric up by it.
    pub service: String,
}

/// Everything that is wrong, each with its field and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:{}", .0.iter().map(|fault| format!("\n  - {fault}")).collect::<String>())]
pub struct ConfigFaults(pub Vec<String>);

impl Config {
    /// `file` is the text of the file and its name; `variables` are all of the process.
    pub fn load(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigFaults> {
        let (config, faults) = Config::examine(file, variables);
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }

    /// The configuration without what cannot be read in it, and everything that is wrong.
    pub fn examine(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> (Config, Vec<String>) {
        let mut defaults: toml::Table =
            toml::from_str(DEFAULTS).expect("the defaults are TOML; a test reads them");
        let variables: Vec<(String, String)> = variables.into_iter().collect();
        lay_platform(&mut defaults, &variables);
        let mut layers = Layers::<Config>::over(defaults);
        if let Some((name, text)) = file {
            layers.file(name, text);
        }
        for (name, value) in &variables {
            if let Some(path) = name.strip_prefix(PREFIX)
                && path != "CONFIG"
            {
                layers.variable(name, &path.to_lowercase(), value);
            }
        }
        let (mut config, mut faults) = layers.end();
        if config.insecure {
            config.namespaces.entry(PLAIN.to_owned()).or_insert_with(ChannelOptions::development);
        }
        faults.extend(config.faults());
        (config, faults)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.limits.faults();
        faults.extend(Namespaces::new(self.namespaces.clone()).faults());
        let is_local = self.listen.ip().is_loopback();
        if self.insecure && !is_local {
            faults.push(format!(
                "insecure = true with listen = \"{}\": only a loopback address may go without tokens; \
                 use 127.0.0.1, or configure [tokens]",
                self.listen
            ));
        }
        if !self.tokens.hmac_secret.is_empty() && !is_local {
            faults.push(format!(
                "tokens.hmac_secret with listen = \"{}\": a shared secret is for development on loopback; \
                 use tokens.jwks_url",
                self.listen
            ));
        }
        if !self.tokens.hmac_secret.is_empty() && self.tokens.hmac_secret.len() < 32 {
            faults.push(
                "tokens.hmac_secret: shorter than 32 bytes, which can be guessed; use 32 random ones"
                    .to_owned(),
            );
        }
        if !self.tokens.jwks_url.is_empty() && !self.tokens.jwks_file.is_empty() {
            faults.push("tokens.jwks_url and tokens.jwks_file: give one of them".to_owned());
        }
        let scheme_known =
            ["http://", "https://"].iter().any(|scheme| self.tokens.jwks_url.starts_with(scheme));
        if !self.tokens.jwks_url.is_empty() && !scheme_known {
            faults.push(
                "tokens.jwks_url: must start with https:// (or http:// inside a private network)".to_owned(),
            );
        }
        if !self.has_tokens() && !self.insecure && !self.anonymous {
            faults.push(
                "tokens: nobody could connect; set tokens.jwks_url (or jwks_file), or insecure = true on loopback"
                    .to_owned(),
            );
        }
        if self.has_tokens() && (self.tokens.issuer.is_empty() || self.tokens.audience.is_empty()) {
            faults.push(
                "tokens.issuer and tokens.audience: both must be set, every token is checked for them"
                    .to_owned(),
            );
        }
        if self.tokens.refresh_s < 10 {
            faults.push(format!(
                "tokens.refresh_s = {}: must be at least 10, core is not to be flooded",
                self.tokens.refresh_s
            ));
        }
        if self.bus.kind == BusKind::Redis && self.bus.url.is_empty() {
            faults.push(
                "bus.url: must be set for bus.kind = \"redis\", for example redis://127.0.0.1:6379"
                    .to_owned(),
            );
        }
        if self.bus.kind == BusKind::Redis && !self.bus.url.is_empty() {
            if let Err(fault) = keyway_bus::RedisOptions::new(&self.bus.url).check() {
                faults.push(format!("bus.url: {fault}"));
            }
            if !self.bus.password.is_empty() && has_password(&self.bus.url) {
                faults.push(
                    "bus.password (or REDIS_PASSWORD) and a password in bus.url: take it out of the URL"
                        .to_owned(),
                );
            }
        }
        if self.workers > 64 {
            faults.push(format!("workers = {}: at most 64, or 0 for one a core", self.workers));
        }
        if self.bus.connections == 0 || self.bus.connections > 64 {
            faults.push(format!("bus.connections = {}: from 1 to 64", self.bus.connections));
        }
        if !self.server_api.key.is_empty() && self.server_api.key.len() < 16 {
            faults.push(
                "server_api.key: shorter than 16 bytes, which can be guessed; use a random one".to_owned(),
            );
        }
        if let Err(error) = EnvFilter::try_new(&self.log.filter) {
            faults.push(format!(
                "log.filter = \"{}\": {error}; for example info or ws_gateway=debug",
                self.log.filter
            ));
        }
        if self.drain.window_ms > 110_000 {
            faults.push(format!(
                "drain.window_ms = {}: at most 110000, Fargate kills after 120 s",
                self.drain.window_ms
            ));
        }
        faults
    }

    pub fn has_tokens(&self) -> bool {
        let tokens = &self.tokens;
        !(tokens.jwks_url.is_empty() && tokens.jwks_file.is_empty() && tokens.hmac_secret.is_empty())
    }

    /// The keys known without asking anybody: the development secret, and the file's text if one is named.
    pub fn first_keys(&self, jwks: Option<&[u8]>) -> Result<KeySet, KeyFault> {
        self.with_secret(jwks.map(KeySet::parse_jwks).transpose()?.unwrap_or_default())
    }

    /// Adds the development secret to a set that was read.
    pub fn with_secret(&self, keys: KeySet) -> Result<KeySet, KeyFault> {
        let secret = &self.tokens.hmac_secret;
        Ok(if secret.is_empty() { keys } else { keys.with_secret(secret.as_bytes()) })
    }

    pub fn rules(&self, keys: KeySet) -> Rules {
        let expected =
            Expectations { issuer: self.tokens.issuer.clone(), audience: self.tokens.audience.clone() };
        Rules {
            limits: self.limits.clone(),
            namespaces: Namespaces::new(self.namespaces.clone()),
            authority: Authority::new(expected, keys).into(),
            insecure: self.insecure,
            tokens: self.has_tokens(),
            anonymous: self.anonymous,
            anonymous_user: self.anonymous_user.clone(),
            personal: self.personal,
            rpc: self.rpc,
            send: self.send,
        }
    }
}

fn lay_platform(into: &mut toml::Table, variables: &[(String, String)]) {
    let Some(toml::Value::Table(bus)) = into.get_mut("bus") else { return };
    for (variable, field) in PLATFORM {
        let given = variables.iter().find(|(name, value)| name == variable && !value.is_empty());
        if let Some((_, value)) = given {
            bus.insert(field.to_owned(), toml::Value::String(value.clone()));
            if field == "url" {
                bus.insert("kind".to_owned(), toml::Value::String("redis".to_owned()));
            }
        }
    }
}

/// Whether a URL names a password: `scheme://user:password@host`.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
}

// URLs of Redis hold passwords.
crate::hide_secrets! {
    BusConfig: kind, key_prefix, connections; url, password;
    TokenConfig: issuer, audience, jwks_url, jwks_file, refresh_s; hmac_secret;
    ServerApiConfig: ; key;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(("gateway.toml", text)), variables)
    }

    #[test]
    fn file_over_defaults_and_variables_over_both() {
        let config = load(
            "insecure = true\nlisten = \"127.0.0.1:9000\"\n[limits]\nchannels_max = 5\n[namespaces.site]\npresence = false",
            &[
                ("KEYWAY_GATEWAY_LIMITS__CHANNELS_MAX", "7"),
                ("KEYWAY_GATEWAY_SERVER_API__KEY", "12345678901234567890"),
                ("KEYWAY_GATEWAY_ALLOWED_ORIGINS", "[\"https://a.example\"]"),
                ("KEYWAY_GATEWAY_BUS__URL", "redis://x"),
                ("KEYWAY_GATEWAY_CONFIG", "ignored"),
                ("OTHER", "ignored"),
            ],
        )
        .unwrap();
        assert_eq!(config.limits.channels_max, 7);
        assert_eq!(
            config.server_api.key, "12345678901234567890",
            "a text that looks like a number stays a text"
        );
        assert_eq!(config.allowed_origins, ["https://a.example"]);
        assert!(!config.namespaces["site"].presence && config.namespaces["site"].history_size == 300);
        assert!(!format!("{config:?}").contains("1234567890"), "secrets are not printed");
    }

    #[test]
    fn what_the_platform_gives_is_taken_and_can_be_overruled() {
        let platform = [
            ("KEYWAY_ENVIRONMENT", "staging"),
            ("KEYWAY_SERVICE", "gateway"),
            ("REDIS_URL", "rediss://cache.local:6379"),
            ("REDIS_PASSWORD", "\"12345\""),
        ];
        let config = load("insecure = true\nlisten = \"127.0.0.1:1\"", &platform).unwrap();
        assert_eq!((config.bus.kind, &*config.bus.url), (BusKind::Redis, "rediss://cache.local:6379"));
        assert_eq!(config.bus.password, "\"12345\"", "taken letter by letter");
        assert!(!format!("{config:?}").contains("12345"));
        let own = [platform.as_slice(), &[("KEYWAY_GATEWAY_BUS__URL", "redis://other")]].concat();
        assert_eq!(load("anonymous = true", &own).unwrap().bus.url, "redis://other");
        let memory = load("anonymous = true\n[bus]\nkind = \"memory\"", &platform).unwrap();
        assert_eq!(memory.bus.kind, BusKind::Memory, "a file that says so");
        let twice = [platform.as_slice(), &[("KEYWAY_GATEWAY_BUS__URL", "redis://u:hunter2@other")]].concat();
        let fault = load("anonymous = true", &twice).unwrap_err().to_string();
        assert!(fault.contains("take it out of the URL") && !fault.contains("hunter2"), "{fault}");
        assert!(
            load("anonymous = true", &[("REDIS_URL", "cache")]).unwrap_err().0[0].starts_with("bus.url: ")
        );
    }

    #[test]
    fn development_has_plain_channels() {
        let of = |text: &str| load(text, &[]).unwrap().namespaces.get(PLAIN).cloned();
        assert!(of("insecure = true\nlisten = \"127.0.0.1:1\"").is_some_and(|options| options.has_history()));
        assert_eq!(of("anonymous = true"), None, "production has its catalogue only");
        let own =
            of("insecure = true\nlisten = \"127.0.0.1:1\"\n[namespaces.\"\"]\npresence = true").unwrap();
        assert!(own.presence && !own.has_history(), "unless it is configured");
    }

    #[test]
    fn all_faults_at_once() {
        let faults = load(
            "insecure = true\n[tokens]\nhmac_secret = \"short\"\nrefresh_s = 1\n[bus]\nkind = \"redis\"\n[limits]\nchannels_max = 0\n[namespaces.x]\ncache = true",
            &[],
        )
        .unwrap_err();
        assert_eq!(faults.0.len(), 7, "{faults}");
        // What cannot even be read does not hide the rest.
        let faults = load(
            "insecure = \"yes\"\nnonsense = 1\n[limits]\nchannels_max = \"many\"\nwheels = 4\n[bus]\nkind = \"kafka\"\n[namespaces.site]\ncolour = 1\n[tokens]\nrefresh_s = 1\n[log]\nfilter = \"a=b=c\"",
            &[("KEYWAY_GATEWAY_LISTEN", "here"), ("KEYWAY_GATEWAY_LIMITS__CHANNELS_MAX", "0")],
        )
        .unwrap_err();
        for place in [
            "`insecure`",
            "`nonsense`",
            "`limits.channels_max`",
            "`wheels`",
            "`bus.kind`",
            "`colour`",
            "refresh_s",
            "log.filter",
            "KEYWAY_GATEWAY_LISTEN",
            "limits.channels_max = 0",
            "nobody could connect",
        ] {
            assert!(faults.0.iter().any(|fault| fault.contains(place)), "{place} is not in {faults}");
        }
        assert_eq!(faults.0.len(), 11, "{faults}");
    }

    #[test]
    fn mistakes_name_their_place() {
        for (text, variables, expected) in [
            ("nonsense = 1\ninsecure = true\nlisten = \"127.0.0.1:1\"", &[][..], "unknown field `nonsense`"),
            ("listen = ", &[], "gateway.toml: TOML parse error at line 1"),
            ("[bus]\npassword = 771177", &[], "expected a string in `bus.password`"),
            ("[bus]\npassword = \"771177", &[], "gateway.toml: TOML parse error at line 2"),
            ("", &[], "nobody could connect"),
            ("", &[("KEYWAY_GATEWAY_RPC__X", "1")], "KEYWAY_GATEWAY_RPC__X: `rpc` has no fields inside"),
            ("", &[("KEYWAY_GATEWAY_LIMITS__PING_INTERVAL_MS", "soon")], "invalid type: string"),
        ] {
            let fault = load(text, variables).unwrap_err().to_string();
            assert!(fault.contains(expected), "{text:?} {variables:?}: {fault}");
            assert!(!fault.contains("771177"), "a secret is not shown: {fault}");
        }
    }
}
