//! The command line: verbs and their arguments as types. What a verb does stands in its own file under `command`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use infra_model::address::Address;

#[derive(Debug, Parser)]
#[command(
    name = "infra",
    version,
    about = "One environment file to a whole AWS environment, reconciled without a state file",
    after_help = "Examples:\n  infra init                                  write commented environments to start from\n  infra plan --environment staging            what would change\n  infra apply --environment staging           change it\n  infra apply -e staging --plan plan.json     exactly what was reviewed\n\nExit status: 0 nothing to do or done, 2 changes (plan), 1 error, 3 refused."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// The environment: a name in the folder of environments, or a path to a .toml file
    #[arg(short, long, global = true, value_name = "NAME|PATH", env = "KEYWAY_ENVIRONMENT")]
    pub environment: Option<String>,
    /// How to answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Another endpoint for all AWS services, such as an emulator; AWS_ENDPOINT_URL does the same
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// The AWS profile to use
    #[arg(long, global = true)]
    pub profile: Option<String>,
    /// Colour; `auto` looks at the terminal and at NO_COLOR
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show all values of a plan, and tell every call to AWS on standard error; twice for all that happens
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The longest that AWS may take to show a change to a reader, in seconds
    #[arg(
        long,
        global = true,
        default_value_t = 30,
        value_name = "SECONDS",
        hide_short_help = true,
        env = "KEYWAY_INFRA_CONSISTENCY_LAG_S"
    )]
    pub consistency_lag_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    /// Of `graph` only
    Mermaid,
    /// Of `graph` only
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// The verbs, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write commented environments and policies into a folder; overwrites nothing
    Init(Init),
    /// Check environment files, all of them or the one named
    Validate,
    /// Show what an apply would change
    Plan(Plan),
    /// Make the account as the environment says
    Apply(Apply),
    /// Delete everything the environment owns
    Destroy(Destroy),
    /// Show addresses and endpoints of what stands
    Outputs,
    /// Write what the account holds of the environment as a file
    Snapshot(Snapshot),
    /// Take an existing object into the environment by tagging it
    Adopt(Adopt),
    /// Let an object go: it stays, but is no longer the environment's
    Forget(Forget),
    /// Draw what depends on what
    #[command(
        after_help = "Examples:\n  infra graph -e staging                    Mermaid\n  infra graph -e staging --format dot | dot -Tsvg > staging.svg\n  infra graph -e staging --format json      every wanted resource with its fields"
    )]
    Graph,
    /// Print the JSON Schema of environment files
    Schema,
    /// Print a least-privilege IAM policy for whoever runs infra on the environment
    Policy,
    /// Print a completion script for a shell
    Completions(Completions),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mkdir doors && cd doors && infra init && infra validate")]
pub struct Init {
    /// Where to write
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  infra plan -e staging\n  infra plan -e staging --out plan.json\n  infra plan -e staging --snapshot snapshot.json     without an account\n  infra plan -e staging --explain data/redis\n\nExit status: 0 nothing to do, 2 changes, 1 error, 3 refused."
)]
pub struct Plan {
    /// Store the plan, for `apply --plan`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Compare with a snapshot file; no account is needed
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Only this address, with what it depends on
    #[arg(long, value_name = "ADDRESS")]
    pub only: Option<Address>,
    /// Show every wanted value of an address and where it was written
    #[arg(long, value_name = "ADDRESS")]
    pub explain: Option<Address>,
    /// Allow deleting this address although it holds data or is protected
    #[arg(long, value_name = "ADDRESS")]
    pub allow_delete: Vec<Address>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  infra apply -e staging\n  infra apply -e staging --yes                 in a pipeline\n  infra apply -e staging --plan plan.json      exactly what was reviewed, or refuse"
)]
pub struct Apply {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Apply exactly this plan; refused when the account has moved since
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Only this address, with what it depends on
    #[arg(long, value_name = "ADDRESS", conflicts_with = "plan")]
    pub only: Option<Address>,
    /// Allow deleting this address although it holds data or is protected
    #[arg(long, value_name = "ADDRESS")]
    pub allow_delete: Vec<Address>,
    #[command(flatten)]
    pub lease: Lease,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  infra destroy -e dev --allow-delete data/postgres --allow-delete data/redis"
)]
pub struct Destroy {
    /// Do not ask for the environment's name
    #[arg(long)]
    pub yes: bool,
    /// Allow deleting this address although it holds data or is protected
    #[arg(long, value_name = "ADDRESS")]
    pub allow_delete: Vec<Address>,
    /// Allow deleting everything, stores and protected objects too
    #[arg(long)]
    pub allow_delete_all: bool,
    #[command(flatten)]
    pub lease: Lease,
}

#[derive(Debug, Args)]
pub struct Lease {
    /// Wait this long for somebody else's apply to end
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub wait_s: u64,
    /// Work without a lease: nothing then keeps two applies apart
    #[arg(long)]
    pub no_lease: bool,
}

#[derive(Debug, Args)]
pub struct Snapshot {
    /// Where to write; standard output if absent
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  infra adopt -e staging network/vpc vpc-0a1b2c3d")]
pub struct Adopt {
    /// The wanted address it shall have
    pub address: Address,
    /// The object's id, as AWS names it
    pub id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  infra forget -e staging vpc-0a1b2c3d")]
pub struct Forget {
    /// An address or the id of an object
    pub address_or_id: String,
}

#[derive(Debug, Args)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}
