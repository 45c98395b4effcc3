//! The tables `cluster`, `services` and `repositories` of an environment file. Owns their keys; refuses to know task
//! definitions and roles as AWS objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Balancing, Owned, ServiceRoute, yes};

/// The ECS cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Container Insights: metrics per task, at a price per metric.
    #[serde(default)]
    pub insights: Insights,
}

/// Container Insights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Insights {
    /// Off.
    #[default]
    Disabled,
    /// Metrics per cluster and service.
    Enabled,
    /// Also per task and container.
    Enhanced,
}

/// Which capacity runs a service's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Tasks that always run on plain Fargate.
    #[serde(default)]
    pub on_demand_base: u32,
    /// Share of the tasks beyond the base on Fargate Spot (about a third of the price, may be stopped with two minutes'
    /// notice), 0 to 100.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub spot_percent: u32,
}

/// One service: a container image that runs as a number of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The image. Usually `{ owner = "ci", initial = "..." }`: made with the initial one, then the pipeline deploys. An image
    /// without a host and with the name of one of `repositories` comes from that repository (`app-core:1`).
    pub image: Owned<String>,
    /// Arguments instead of the image's own.
    #[serde(default)]
    pub command: Vec<String>,
    /// The port that the container listens on.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Processor. ARM is about a fifth cheaper.
    #[serde(default)]
    pub arch: Architecture,
    /// CPU units of a task; 1024 are one vCPU. Fargate knows 256, 512, 1024, 2048, 4096, 8192 and 16384.
    pub cpu: u32,
    /// Memory of a task in MiB. Fargate knows certain pairs of `cpu` and `memory_mib` only.
    pub memory_mib: u32,
    /// Number of tasks. With `scaling`, write `{ owner = "autoscaler", initial = 2 }`.
    pub count: Owned<u32>,
    /// Spot and on-demand shares.
    #[serde(default)]
    pub capacity: Capacity,
    /// Follow the load between a least and a most number of tasks. Left out, `count` is fixed.
    #[serde(default)]
    pub scaling: Option<Scaling>,
    /// How the load balancer asks whether a task is well.
    #[serde(default)]
    pub health: Health,
    /// Seconds for which a task that leaves may finish its requests, 0 to 3600. HTTP services 15-30, WebSockets 120-300.
    #[serde(default)]
    #[schemars(range(max = 3600))]
    pub deregistration_delay_s: Option<u32>,
    /// How the load balancer chooses a task.
    #[serde(default)]
    pub balancing: Balancing,
    /// Seconds between the stop signal and the kill, 2 to 120.
    #[serde(default)]
    #[schemars(range(min = 2, max = 120))]
    pub stop_timeout_s: Option<u32>,
    /// How a new version replaces the old.
    #[serde(default)]
    pub rollout: Rollout,
    /// Environment variables. Never a secret: those come by `uses`. A value may ask for `${environment}`, `${prefix}`
    /// (`keyway-staging`), `${region}`, `${redis.host}`, `${redis.url}`, `${postgres.host}`, `${postgres.database}`,
    /// `${postgres.user}`, `${load_balancer.host}`, `${load_balancer.url}` and `${load_balancer.socket_url}`.
    #[serde(default)]
    #[schemars(extend("format-keys" = "variable"))]
    pub variables: BTreeMap<String, String>,
    /// Stores (`redis`, `postgres`) and secrets (their names) that the service may reach. Opens the way in the security
    /// groups, grants reading the secret and sets `REDIS_*`, `POSTGRES_*` and one variable for each secret.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Other names for variables that hold secrets: variable to what it holds, a secret's name or the store whose password it
    /// is, such as `{ DB_PASS = "postgres" }`. It must be in `uses`.
    #[serde(default)]
    #[schemars(extend("format-keys" = "variable"))]
    pub secrets: BTreeMap<String, String>,
    /// Routes of the load balancer to this service, by name.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub routes: BTreeMap<String, ServiceRoute>,
    /// What the code in the container may do in AWS.
    #[serde(default)]
    #[schemars(extend("keyed-by" = "sid"))]
    pub iam: Vec<Statement>,
    /// Where its output goes.
    #[serde(default)]
    pub logs: Logs,
    /// The container cannot write to its own file system.
    #[serde(default)]
    pub read_only_root: Option<bool>,
    /// User and group in the container, such as `1000:1000`.
    #[serde(default)]
    #[schemars(extend("format" = "user"))]
    pub user: Option<String>,
    /// Most open files; every socket is one. AWS's default is 1024 soft, 65535 hard.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 1048576))]
    pub open_files: Option<u32>,
    /// Allow `aws ecs execute-command` into running tasks.
    #[serde(default)]
    pub execute_command: bool,
}

/// Processor of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Graviton.
    #[default]
    Arm64,
    /// Intel or AMD.
    #[serde(rename = "x86_64")]
    X86_64,
}

/// Autoscaling by target tracking. At least one of the targets is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Never fewer tasks.
    pub min: u32,
    /// Never more tasks: the bound on the bill.
    #[schemars(range(min = 1))]
    pub max: u32,
    /// Keep the average CPU at this percentage.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub cpu_percent: Option<u32>,
    /// Keep this many open sockets per task (the gateway's own metric). CPU says little about idle sockets.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub sockets_per_task: Option<u32>,
    /// Value of the dimension `Service` of that metric. Left out: the service's name.
    #[serde(default)]
    pub metric_service: Option<String>,
    /// Seconds to wait after adding tasks.
    #[serde(default)]
    #[schemars(range(max = 3600))]
    pub out_cooldown_s: Option<u32>,
    /// Seconds to wait after removing tasks.
    #[serde(default)]
    #[schemars(range(max = 3600))]
    pub in_cooldown_s: Option<u32>,
}

/// Health check of the target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path that answers when the task is well.
    #[serde(default = "health_path")]
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// Seconds between two checks, 5 to 300.
    #[serde(default = "health_interval_s")]
    #[schemars(range(min = 5, max = 300))]
    pub interval_s: u32,
    /// Seconds to wait for the answer, 2 to 120, less than the interval.
    #[serde(default = "health_timeout_s")]
    #[schemars(range(min = 2, max = 120))]
    pub timeout_s: u32,
    /// Good answers in a row until a task is well, 2 to 10.
    #[serde(default = "health_good")]
    #[schemars(range(min = 2, max = 10))]
    pub good: u32,
    /// Bad answers in a row until a task is not well, 2 to 10.
    #[serde(default = "health_bad")]
    #[schemars(range(min = 2, max = 10))]
    pub bad: u32,
    /// HTTP status codes that count as good, such as `200` or `200-299`.
    #[serde(default = "health_codes")]
    #[schemars(extend("format" = "codes"))]
    pub codes: String,
    /// Seconds after the start of a task during which bad answers do not count.
    #[serde(default = "health_grace_s")]
    pub grace_s: u32,
}

fn health_path() -> String {
    "/health/ready".to_owned()
}
fn health_interval_s() -> u32 {
    10 // a dead task leaves after 20 s with `bad` = 2; AWS's 30 s would be a minute
}
fn health_timeout_s() -> u32 {
    5
}
fn health_good() -> u32 {
    2
}
fn health_bad() -> u32 {
    2
}
fn health_codes() -> String {
    "200".to_owned()
}
fn health_grace_s() -> u32 {
    30
}

impl Default for Health {
    fn default() -> Self {
        Health {
            path: health_path(),
            interval_s: health_interval_s(),
            timeout_s: health_timeout_s(),
            good: health_good(),
            bad: health_bad(),
            codes: health_codes(),
            grace_s: health_grace_s(),
        }
    }
}

/// How a new version replaces the old.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Stop a roll-out whose tasks do not come up, and go back to the version before.
    #[serde(default = "yes")]
    pub circuit_breaker: bool,
    /// Least tasks during a roll-out, in percent of the count.
    #[serde(default = "rollout_min")]
    #[schemars(range(max = 100))]
    pub min_healthy_percent: u32,
    /// Most tasks during a roll-out, in percent of the count.
    #[serde(default = "rollout_max")]
    #[schemars(range(min = 100, max = 400))]
    pub max_percent: u32,
}

fn rollout_min() -> u32 {
    100
}
fn rollout_max() -> u32 {
    200
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout { circuit_breaker: true, min_healthy_percent: rollout_min(), max_percent: rollout_max() }
    }
}

/// What the code in a container may do: one statement of its role. Actions with a wildcard on everything (`*`, `arn:aws:*`), and
/// all actions of a service on all that it has, are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Name of the statement, letters and digits.
    #[schemars(extend("format" = "sid"))]
    pub sid: String,
    /// Allow or deny.
    #[serde(default)]
    pub effect: Effect,
    /// Actions, such as `["s3:GetObject"]`.
    #[schemars(length(min = 1), extend("format-items" = "action"))]
    pub actions: Vec<String>,
    /// ARNs, or `*` for actions that know no resource.
    #[schemars(length(min = 1))]
    pub resources: Vec<String>,
    /// Conditions: operator, key, values, as in IAM.
    #[serde(default)]
    pub conditions: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// Effect of a statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Allow.
    #[default]
    Allow,
    /// Deny, whatever else allows.
    Deny,
}

/// The log group of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// How long the log group keeps lines.
    #[serde(default = "retention_days")]
    #[schemars(extend("format" = "retention"))]
    pub retention_days: u32,
}

fn retention_days() -> u32 {
    30
}

impl Default for Logs {
    fn default() -> Self {
        Logs { retention_days: retention_days() }
    }
}

/// A container image repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// A tag can be pushed once only.
    #[serde(default = "yes")]
    pub immutable_tags: bool,
    /// Look for known weaknesses in each pushed image.
    #[serde(default = "yes")]
    pub scan_on_push: bool,
    /// Keep this many tagged images.
    #[serde(default = "keep_images")]
    #[schemars(range(min = 1))]
    pub keep_images: u32,
    /// Keep images without a tag for this many days.
    #[serde(default = "untagged_days")]
    #[schemars(range(min = 1))]
    pub untagged_days: u32,
}

fn keep_images() -> u32 {
    30
}
fn untagged_days() -> u32 {
    7
}
