//! Arguments, logs and signals of the process: the only place that looks at the environment.

use anyhow::Context as _;
use app_core::command::{self, StoreVerb};
use app_core::config::Config;
use app_core::core::store_options;
use app_core::serve::Server;
use app_core::source::{Clock, random};
use clap::{Parser, Subcommand};
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use ws_gateway::config::{LogConfig, LogFormat};

const EXAMPLES: &str = "\
Examples:
  app-core --embedded
      Everything in one process: SQLite, gateway and keys in ./keyway-data (or --data FOLDER), made if it is not there.
  app-core --config core.toml --check-config
      Says everything that is wrong with a configuration, and starts nothing.
  KEYWAY_CORE_STORE__URL=postgres://keyway@db/keyway KEYWAY_CORE_STORE__PASSWORD=… \\
  KEYWAY_CORE_BUS__URL=redis://redis:6379 TOKEN_SIGNING_KEY=… app-core serve
      Apart from the gateways: everything from the environment.
  app-core migrate
  app-core backup --data ./keyway /backups/2028-02-29.ndjson
  app-core audit export --tenant ten_… chain.txt && app-core audit verify chain.txt --keys keys.json
      The store's verbs need store.url only; `audit verify` needs no database at all.

Any field can be set by a variable: KEYWAY_CORE_<FIELD>, two underscores between a section and its field.
Exit codes: 0 after stopping, 1 when something failed, 2 for a wrong configuration.";

/// Who may open which door: store, identity, relay and API of Keyway.
#[derive(Parser)]
#[command(name = "app-core", version, about, after_help = EXAMPLES)]
pub struct Arguments {
    /// A TOML file laid over the defaults
    #[arg(long, global = true, value_name = "FILE", env = "KEYWAY_CORE_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long, global = true)]
    pub check_config: bool,
    /// The folder of an embedded core: database, root secret and administrator's key; made where they are missing
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Run the gateway in this process, on a bus in memory and with SQLite unless the store is configured
    #[arg(long, global = true)]
    embedded: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve devices, phones and the API until SIGTERM; also what happens without a verb
    Serve,
    #[command(flatten)]
    Store(StoreVerb),
}

/// Where an embedded core keeps everything when nobody says where.
const DATA_DEFAULT: &str = "keyway-data";

impl Arguments {
    pub fn config(&self) -> anyhow::Result<Config> {
        let mut variables: Vec<(String, String)> = std::env::vars().collect();
        if self.embedded {
            usual(&mut variables, "BUS__KIND", "memory".to_owned());
            usual(&mut variables, "LISTEN", "127.0.0.1:8080".to_owned());
        }
        if let Some(folder) = &self.folder(&variables) {
            usual(&mut variables, "STORE__URL", format!("sqlite:{}", folder.join("keyway.db").display()));
            let preparing = || format!("preparing --data {}", folder.display());
            match &self.verb {
                Some(Verb::Store(verb)) if verb.begins() => private_folder(folder).with_context(preparing)?,
                Some(Verb::Store(_)) => {}
                _ => embedded_secrets(folder, &mut variables).with_context(preparing)?,
            }
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
        Ok(match &self.verb {
            Some(Verb::Store(_)) => Config::load_store(file, variables)?,
            Some(Verb::Serve) | None => Config::load(file, variables)?,
        })
    }

    /// The folder of an embedded core: the one given, or the usual one where no other store is configured.
    fn folder(&self, variables: &[(String, String)]) -> Option<PathBuf> {
        let store = format!("{}STORE__URL", app_core::config::PREFIX);
        let configured = self.config.is_some() || variables.iter().any(|(name, _)| *name == store);
        self.data.clone().or_else(|| (self.embedded && !configured).then(|| PathBuf::from(DATA_DEFAULT)))
    }
}

/// A value where the environment names none.
fn usual(variables: &mut Vec<(String, String)>, field: &str, value: String) {
    let name = format!("{}{field}", app_core::config::PREFIX);
    if !variables.iter().any(|(known, _)| *known == name) {
        variables.push((name, value));
    }
}

/// Root secret and administrator's key of a small company, each in a file that only its owner reads.
fn embedded_secrets(folder: &Path, variables: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    private_folder(folder)?;
    let secret = folder.join("root-secret");
    kept(&secret)?;
    let admin = kept(&folder.join("admin-key"))?;
    let given = |name: &str| variables.iter().any(|(known, _)| known == name);
    if !given("TOKEN_SIGNING_KEY") && !given("KEYWAY_CORE_KEYS__ROOT_SECRET") {
        usual(variables, "KEYS__ROOT_SECRET_FILE", secret.display().to_string());
    }
    usual(variables, "ADMIN__KEY", admin);
    Ok(())
}

/// Names and sealed keys are in the database: nobody else looks in here.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700).recursive(true).create(folder)
}

/// A secret in a file, made at the first start.
fn kept(path: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if !path.exists() {
        let secret: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{secret}")?;
        file.sync_all()?;
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}

pub async fn run(arguments: Arguments, config: Config) -> anyhow::Result<ExitCode> {
    start_logs(&config.log);
    match arguments.verb.unwrap_or(Verb::Serve) {
        Verb::Serve => serve(arguments.embedded, config).await,
        Verb::Store(verb) => {
            println!("{}", command::run(verb, store_options(&config.store)).await?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn serve(embedded: bool, config: Config) -> anyhow::Result<ExitCode> {
    // Heard from the start: whoever sees that core listens may end it at once.
    let stop = stop_signal()?;
    let _sole = sole(&config.store.url)?;
    let server = if embedded {
        Server::embedded(config, Clock::default()).await?
    } else {
        Server::start(config, Clock::default()).await?
    };
    tracing::info!(
        public = %server.public_address()?,
        private = %server.private_address()?,
        socket_url = server.socket_url(),
        embedded,
        "listening"
    );
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// A SQLite file has one core. The lock is the process's: it ends with it, however that ends.
fn sole(url: &str) -> anyhow::Result<Option<std::fs::File>> {
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = format!("{}.core-lock", path.strip_prefix("//").unwrap_or(path));
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("store.url: making {path}"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            anyhow::bail!("store.url: another core runs on this file ({path} is held); several need Postgres")
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {path}")),
    }
}

fn start_logs(log: &LogConfig) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

/// SIGTERM from an orchestrator, or Ctrl-C. A second one is left to the system: it kills.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        futures::future::select(std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv())).await;
    })
}
