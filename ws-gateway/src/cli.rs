//! Arguments, logs and signals of the process: the only place that looks at the environment.

use std::future::Future;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use ws_gateway::Config;
use ws_gateway::config::{ConfigFaults, LogConfig, LogFormat};

const EXAMPLES: &str = "\
Examples:
  ws-gateway --insecure
      Development: loopback, memory bus, no tokens, every channel. Health on 127.0.0.1:8001.
  ws-gateway --config gateway.toml --check-config
      Says everything that is wrong with a configuration, and starts nothing.
  REDIS_URL=rediss://cache:6379 REDIS_PASSWORD=... \\
  KEYWAY_GATEWAY_TOKENS__JWKS_URL=https://keyway.example/.well-known/jwks.json ws-gateway
      Production: everything from the environment. The load balancer asks GET :8000/health/ready.
  curl -s 127.0.0.1:8000/health/ready; curl -s 127.0.0.1:8001/metrics
      Is it ready, and what does it do.

Any field can be set by a variable: KEYWAY_GATEWAY_<FIELD>, two underscores between a section and its field.
Exit codes: 0 after a drain, 1 when it could not start or was told to stop twice, 2 for a wrong configuration.";

/// The sockets of doors and phones: a WebSocket gateway in front of Redis.
#[derive(Parser)]
#[command(name = "ws-gateway", version, about, after_help = EXAMPLES)]
pub struct Arguments {
    /// A TOML file laid over the defaults
    #[arg(long, value_name = "FILE", env = "KEYWAY_GATEWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub check_config: bool,
    /// Development: no tokens needed, everything allowed; listens on 127.0.0.1:8000 unless configured, and
    /// refuses any address that is not loopback
    #[arg(long)]
    insecure: bool,
}

impl Arguments {
    pub fn config(&self) -> anyhow::Result<Config> {
        let mut variables: Vec<(String, String)> = std::env::vars().collect();
        if self.insecure {
            variables.push(("KEYWAY_GATEWAY_INSECURE".to_owned(), "true".to_owned()));
            let listens = variables.iter().any(|(name, _)| name == "KEYWAY_GATEWAY_LISTEN");
            if !listens && self.config.is_none() {
                variables.push(("KEYWAY_GATEWAY_LISTEN".to_owned(), "127.0.0.1:8000".to_owned()));
            }
        }
        if let Some((_, url)) = variables.iter().find(|(name, _)| name == "ECS_CONTAINER_METADATA_URI_V4") {
            variables.push(("KEYWAY_GATEWAY_DRAIN__ECS_METADATA_URL".to_owned(), url.clone()));
        }
        let file = match &self.config {
            None => None,
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
                Some((name, text))
            }
        };
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        let (config, mut faults) = Config::examine(file, variables);
        if self.check_config
            && let Err(fault) = check_files(&config)
        {
            faults.push(format!("{fault:#}"));
        }
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults).into()) }
    }
}

/// What a start would read besides the configuration.
fn check_files(config: &Config) -> anyhow::Result<()> {
    let path = &config.tokens.jwks_file;
    if !path.is_empty() {
        let jwks = std::fs::read(path).with_context(|| format!("tokens.jwks_file: reading {path}"))?;
        config.first_keys(Some(&jwks)).with_context(|| format!("tokens.jwks_file: {path}"))?;
    }
    Ok(())
}

pub fn start_logs(log: &LogConfig) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

/// SIGTERM from an orchestrator, or Ctrl-C. A second one ends the process where it stands: whoever says it twice does not
/// want to wait for the drain.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut next = async move || {
        futures::future::select(std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv())).await;
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            next().await;
            tracing::warn!("a second signal: the drain is given up");
            std::process::exit(1);
        });
    })
}
