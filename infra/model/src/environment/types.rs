//! What an environment file can say, as types: one struct per table of the file. Owns the keys, their meaning and their
//! documentation (the JSON Schema and docs/environment.md are generated from here). Refuses to know files, overlays and
//! AWS calls. `None` means "not managed": what the account has stays as it is.

mod compute;
mod data;
mod edge;
mod network;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use compute::{
    Architecture, Capacity, Cluster, Effect, Health, Insights, Logs, Repository, Rollout, Scaling, Service,
    Statement,
};
pub use data::{Dns, Engine, Postgres, Record, RecordType, Redis, Secret};
pub use edge::{
    Alias, Balancing, Certificate, DefaultAnswer, Fixed, HeaderMatch, LoadBalancer, Mode, Route, Scheme,
    ServiceRoute, Waf, WafDefault, WafLogging,
};
pub use network::{
    Cidr, Direction, FlowLogs, Nat, Network, Outbound, Protocol, Rule, Security, SubnetTier, Subnets, Tier,
    Traffic,
};

/// One whole environment: an account, a region, a network and everything that runs in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Name of the environment. It is part of every AWS name and of the tag `keyway:environment`, so it cannot be changed
    /// later without making everything anew. A file without a name is a base for others.
    #[schemars(extend("format" = "name"), length(max = 16))]
    pub name: String,
    /// Name of the project. First part of every AWS name and the tag `keyway:project`.
    #[schemars(extend("format" = "name"), length(max = 12))]
    pub project: String,
    /// The AWS account, twelve digits in quotes. With credentials of another account every command refuses.
    #[schemars(extend("format" = "account"))]
    pub account: String,
    /// The AWS region, such as `eu-central-1`. A mismatch with the region of the credentials refuses.
    #[schemars(extend("format" = "region"))]
    pub region: String,
    /// Keep what holds data: databases, Redis, the DNS zone and the load balancer are deleted only when named with
    /// `--allow-delete ADDRESS`. A store's own `protect` overrides this.
    #[serde(default)]
    pub protect: bool,
    /// Tags for every object, beside the `keyway:` ones that infra writes itself: at most 44, values of at most 256 characters.
    #[serde(default)]
    #[schemars(extend("format-keys" = "tag-key"))]
    pub tags: BTreeMap<String, String>,
    /// The VPC, its zones, subnets, way out and endpoints.
    pub network: Network,
    /// Who may talk to whom. The chain load balancer -> service -> store is derived; extra rules are declared here.
    #[serde(default)]
    pub security: Security,
    /// The public entrance. Without it the services have none.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// The web application firewall in front of the load balancer.
    #[serde(default)]
    pub waf: Option<Waf>,
    /// Where the containers run.
    #[serde(default)]
    pub cluster: Cluster,
    /// The services, by name. The name is part of AWS names, of the addresses `compute/service/<name>` and of `uses`.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub services: BTreeMap<String, Service>,
    /// Container image repositories, by name.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub repositories: BTreeMap<String, Repository>,
    /// Secrets that infra generates once and never reads back, by name.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub secrets: BTreeMap<String, Secret>,
    /// The Valkey or Redis store, called `redis` in `uses`.
    #[serde(default)]
    pub redis: Option<Redis>,
    /// The Postgres database, called `postgres` in `uses`.
    #[serde(default)]
    pub postgres: Option<Postgres>,
    /// The DNS zone and its records.
    #[serde(default)]
    pub dns: Option<Dns>,
    /// Renames: what stood at address `from` is wanted at `to`. The tag is rewritten, nothing is made anew. A second rename of
    /// the same thing is one more entry (`a` to `b`, `b` to `c`), so that accounts of different ages follow one list.
    #[serde(default)]
    #[schemars(extend("keyed-by" = "from"))]
    pub moved: Vec<Moved>,
}

/// A rename of an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The address until now, such as `compute/service/web`.
    #[schemars(extend("format" = "address"))]
    pub from: String,
    /// The address from now on, such as `compute/service/app`.
    #[schemars(extend("format" = "address"))]
    pub to: String,
}

/// A value, or the word who owns it: `image = "nginx:1.29"`, or `image = { owner = "ci", initial = "nginx:1.29" }`.
/// An owned value is used when the object is made and only shown afterwards: it never makes a plan dirty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Owned<T> {
    /// Managed here.
    Value(T),
    /// Managed by someone else after the object is made.
    By(OwnedBy<T>),
}

/// The long form of a value that someone else owns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnedBy<T> {
    /// Who changes the value after the object is made.
    pub owner: Owner,
    /// The value with which the object is made.
    pub initial: T,
}

/// Who changes a field besides infra.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The build pipeline (`infra deploy`).
    Ci,
    /// Application autoscaling.
    Autoscaler,
    /// ECS itself, which moves listener weights during a blue/green deployment.
    Ecs,
}

impl Owner {
    /// The word used in the file and in a plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Owner::Ci => "ci",
            Owner::Autoscaler => "autoscaler",
            Owner::Ecs => "ecs",
        }
    }
}

impl<T> Owned<T> {
    /// The value to make the object with; also the value to keep it at when nobody else owns it.
    pub fn value(&self) -> &T {
        match self {
            Owned::Value(value) => value,
            Owned::By(owned) => &owned.initial,
        }
    }

    /// Who else owns the value, if anybody.
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Owned::Value(_) => None,
            Owned::By(owned) => Some(owned.owner),
        }
    }
}

impl Environment {
    /// `project-name`: the beginning of every AWS name in this environment.
    pub fn prefix(&self) -> String {
        format!("{}-{}", self.project, self.name)
    }
}

pub(crate) fn yes() -> bool {
    true
}
