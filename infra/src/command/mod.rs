//! The verbs: one file each. A verb takes values and an [`Output`], and answers with the exit status.

mod adopt;
mod apply;
mod completions;
mod destroy;
mod forget;
mod graph;
mod init;
mod outputs;
mod plan;
mod policy;
mod reconcile;
mod schema;
mod snapshot;
mod validate;

use std::time::Duration;

use anyhow::Context as _;
use infra_engine::account::{CallError, Caller, Class};
use infra_engine::run;
use infra_model::environment::{Environment, Loaded, Problems};
use infra_model::graph::Graph;
use infra_model::{blueprint, environment};

use crate::aws::{Aws, Connection, strange};
use crate::cli::{Cli, Command, Format};
use crate::files::Folders;
use crate::output::Output;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    Failed,
    /// A plan that would change something.
    Changes,
    /// Refused: a protection, a stale plan, a lease.
    Refused,
}

impl Exit {
    pub fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Changes => 2,
            Exit::Refused => 3,
        }
    }
}

pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let output = Output::new(&cli.global);
    let session = Session { cli, output: &output };
    if matches!(cli.global.format, Format::Mermaid | Format::Dot) && !matches!(cli.command, Command::Graph) {
        anyhow::bail!(
            "only `infra graph` draws; the other verbs answer with `--format text` or `--format json`"
        );
    }
    let exit = match &cli.command {
        Command::Init(arguments) => init::run(&session, arguments),
        Command::Validate => validate::run(&session),
        Command::Plan(arguments) => Box::pin(plan::run(&session, arguments)).await,
        Command::Apply(arguments) => Box::pin(apply::run(&session, arguments)).await,
        Command::Destroy(arguments) => Box::pin(destroy::run(&session, arguments)).await,
        Command::Outputs => Box::pin(outputs::run(&session)).await,
        Command::Snapshot(arguments) => Box::pin(snapshot::run(&session, arguments)).await,
        Command::Adopt(arguments) => Box::pin(adopt::run(&session, arguments)).await,
        Command::Forget(arguments) => Box::pin(forget::run(&session, arguments)).await,
        Command::Graph => graph::run(&session),
        Command::Schema => schema::run(&session),
        Command::Policy => policy::run(&session),
        Command::Completions(arguments) => completions::run(&session, arguments),
    };
    match output.lost() {
        Some(why) if exit.is_ok() => anyhow::bail!("standard output took only a part of the answer: {why}"),
        _ => exit,
    }
}

/// What every verb needs.
struct Session<'a> {
    cli: &'a Cli,
    output: &'a Output,
}

/// Another region than the environment's is asked for: one of both is a slip.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} is {region}, but the environment `{environment}` is in {wanted}; unset {name}, or correct `region` in the environment file"
)]
struct WrongRegion {
    name: &'static str,
    region: String,
    environment: String,
    wanted: String,
}

/// The environment file could not be used; everything that is wrong with it has been printed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadEnvironment(String);

impl Session<'_> {
    fn name(&self) -> anyhow::Result<&str> {
        self.cli.global.environment.as_deref().context(
            "which environment? Name it with `--environment NAME|PATH`, or in KEYWAY_ENVIRONMENT; `infra validate` lists those there are",
        )
    }

    /// The named environment, with its warnings told.
    fn load(&self) -> anyhow::Result<Loaded> {
        let (folders, name) = (Folders::find(), self.name()?);
        if folders.has_not(name) {
            // Not refused: a folder need not repeat what it does not change. But a deleted file is missed by somebody.
            self.output.note(&format!(
                "note: there is no {name}.toml in {}; this is the `{name}` that infra brings along",
                folders.environments
            ));
        }
        let loader = folders.loader();
        let loaded = Environment::load(name, &loader).map_err(|problems| self.bad(&problems))?;
        let beside = environment::neighbours(&loader, &loaded);
        if beside.has_errors() {
            return Err(self.bad(&beside).into());
        }
        if !loaded.warnings.is_empty() && !self.output.is_json() {
            self.output.note(&loaded.warnings.text(self.color()));
        }
        Ok(loaded)
    }

    fn graph(&self) -> anyhow::Result<Graph> {
        let loaded = self.load()?;
        let graph = blueprint::blueprint(&loaded).map_err(|problems| self.bad(&problems))?;
        if let Some(fault) = graph.check().first() {
            anyhow::bail!("the blueprint is at fault, not your environment file: {fault}");
        }
        Ok(graph)
    }

    fn bad(&self, problems: &Problems) -> BadEnvironment {
        if self.output.is_json() {
            let why = "the environment cannot be used";
            match self.cli.command {
                // Their answer is one line an event.
                Command::Apply(_) | Command::Destroy(_) => self
                    .output
                    .line(&serde_json::json!({ "event": "error", "why": why, "problems": problems.json() })),
                _ => self.output.json(&serde_json::json!({ "problems": problems.json() })),
            }
            return BadEnvironment(why.to_owned());
        }
        BadEnvironment(format!(
            "the environment cannot be used\n\n{}",
            problems.text(self.color()).trim_end()
        ))
    }

    fn color(&self) -> environment::Color {
        if self.output.error_style().color { environment::Color::Always } else { environment::Color::Never }
    }

    fn lag(&self) -> Duration {
        Duration::from_secs(self.cli.global.consistency_lag_s)
    }

    /// Clients for the graph's account and region, after asking the account whether it is the right one.
    async fn account(&self, graph: &Graph) -> anyhow::Result<(Aws, Caller)> {
        let set = |name: &'static str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty());
            value.map(|value| (name, value))
        };
        // The SDK's order. A profile's region is a default for those who say nothing; the environment file says it.
        if let Some((name, region)) = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"))
            && region != graph.scope.region
        {
            return Err(WrongRegion {
                name,
                region,
                environment: graph.scope.environment.clone(),
                wanted: graph.scope.region.clone(),
            }
            .into());
        }
        let aws = Aws::connect(&Connection {
            region: graph.scope.region.clone(),
            endpoint_url: self.cli.global.endpoint_url.clone(),
            profile: self.cli.global.profile.clone(),
        })
        .await?;
        let endpoint =
            self.cli.global.endpoint_url.clone().or_else(|| std::env::var("AWS_ENDPOINT_URL").ok());
        let caller = run::check_account(&aws, &graph.scope).await;
        let caller = match (caller, endpoint) {
            (Err(run::RunError::Call(error)), Some(url)) if error.class == Class::Unreachable => {
                return Err(anyhow::Error::new(error).context(format!("nobody answers at {url}")));
            }
            // Every AWS service gives its errors a code.
            (Err(run::RunError::Call(error)), Some(url)) if strange(&error) => {
                anyhow::bail!(
                    "what answers at {url} is not an AWS endpoint ({}); correct AWS_ENDPOINT_URL or --endpoint-url",
                    error.message
                );
            }
            (Err(run::RunError::Call(error)), _)
                if error.class == Class::Credentials && error.code.is_none() =>
            {
                tracing::info!(%error, "no credentials");
                anyhow::bail!(self.no_credentials(&error));
            }
            (caller, _) => caller?,
        };
        Ok((aws, caller))
    }
}

impl Session<'_> {
    /// The SDK tells the whole chain of places in which it looked; a person needs what to do.
    fn no_credentials(&self, error: &CallError) -> String {
        let profile = self.cli.global.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok());
        let whose = match &profile {
            Some(profile) => format!("for the profile `{profile}` (is it in ~/.aws/config?)"),
            None => "in the environment, in the default profile or from a role".to_owned(),
        };
        let last = error.message.rsplit(": ").find(|part| !part.contains("dispatch failure"));
        format!(
            "no AWS credentials {whose}: log in (`aws sso login`), set AWS_PROFILE or --profile, or set \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({})",
            last.unwrap_or("nothing else is known").lines().next().unwrap_or_default()
        )
    }
}

/// How a failed verb ends: a mismatch between the environment and the credentials is a refusal.
pub fn status(error: &anyhow::Error) -> Exit {
    let mismatch = error.is::<WrongRegion>()
        || matches!(error.downcast_ref::<run::RunError>(), Some(run::RunError::WrongAccount { .. }));
    if mismatch { Exit::Refused } else { Exit::Failed }
}

/// How a verb ended that did not: a message on standard error, and with `--format json` a last line on standard output.
pub fn tell(cli: &Cli, error: &anyhow::Error) {
    let (output, why) = (Output::new(&cli.global), message(error));
    output.note(&format!("error: {why}"));
    // A bad environment has told its problems as data already.
    if output.is_json() && !error.is::<BadEnvironment>() {
        let event = if status(error) == Exit::Refused { "refused" } else { "error" };
        output.line(&serde_json::json!({ "event": event, "why": why }));
    }
}

/// One message for a person: the error and its causes, each once, without the inner workings of an SDK.
pub fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        let wrapped = match cause.downcast_ref::<run::RunError>() {
            Some(run::RunError::Call(call)) => Some(call),
            _ => None,
        };
        if let Some(call) = wrapped.or_else(|| cause.downcast_ref::<CallError>()) {
            parts.extend(remedy(call).map(str::to_owned));
            break;
        }
    }
    parts.join(": ")
}

fn remedy(error: &CallError) -> Option<&'static str> {
    match error.class {
        Class::Credentials => Some(
            "log in again (`aws sso login`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        Class::Denied => Some("`infra policy` prints the permissions that infra needs"),
        Class::Unreachable => {
            Some("check the network, the region, and AWS_ENDPOINT_URL or --endpoint-url if one is set")
        }
        Class::Throttled => Some("run it again in a minute; what is done stays done"),
        _ => None,
    }
}
