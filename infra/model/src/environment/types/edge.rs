//! The tables `load_balancer` and `waf` of an environment file, and the routes of services. Owns their keys; refuses to
//! know listeners, rules and web ACLs as AWS objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cidr, Owned, yes};

/// The application load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// Reachable from the internet, or only from inside the VPC. A change makes a new load balancer.
    #[serde(default)]
    pub scheme: Scheme,
    /// Address ranges that may connect. Left out: everybody (`0.0.0.0/0`).
    #[serde(default)]
    pub access: Vec<Cidr>,
    /// Seconds after which a silent connection is cut, 1 to 4000. Must be longer than the ping interval of WebSockets.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4000))]
    pub idle_timeout_s: Option<u32>,
    /// Seconds for which a client's connection is kept for further requests, 60 to 604800.
    #[serde(default)]
    #[schemars(range(min = 60, max = 604800))]
    pub client_keep_alive_s: Option<u32>,
    /// Drop headers that are not valid HTTP instead of passing them on.
    #[serde(default)]
    pub drop_invalid_headers: Option<bool>,
    /// AWS refuses to delete the load balancer while this is on. Left out: as `protect`.
    #[serde(default)]
    pub deletion_protection: Option<bool>,
    /// Answer requests on port 80 with a redirect to HTTPS. Needs a certificate.
    #[serde(default = "yes")]
    pub redirect_http: bool,
    /// Security policy of the HTTPS listener.
    #[serde(default = "tls_policy")]
    pub tls_policy: String,
    /// The certificate. Left out, there is no HTTPS listener and port 80 serves the routes: for throw-away environments.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// What answers when no route matches. Left out: 404.
    #[serde(default)]
    pub default: DefaultAnswer,
    /// Routes that belong to no single service, by name: weighted forwards, fixed answers.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub routes: BTreeMap<String, Route>,
}

fn tls_policy() -> String {
    "ELBSecurityPolicy-TLS13-1-2-2021-06".to_owned() // TLS 1.2 and 1.3, forward secrecy: AWS's recommended policy
}

/// Where the load balancer can be reached from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From the internet.
    #[default]
    InternetFacing,
    /// From inside the VPC.
    Internal,
}

/// A certificate: requested for `domains` (proved by records in the zone of `dns`), or an existing one by `arn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Domain names to request a certificate for; the first is the main one. They must lie in the zone of `dns`.
    #[serde(default)]
    #[schemars(extend("format-items" = "domain"))]
    pub domains: Vec<String>,
    /// An existing certificate, used but never changed.
    #[serde(default)]
    #[schemars(extend("format" = "arn"))]
    pub arn: Option<String>,
}

/// What answers when no route matches: one of `service` and `fixed`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefaultAnswer {
    /// A service.
    #[serde(default)]
    pub service: Option<String>,
    /// A fixed answer.
    #[serde(default)]
    pub fixed: Option<Fixed>,
}

/// A fixed answer of the load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// HTTP status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Type of the body.
    #[serde(default = "content_type")]
    #[schemars(extend("enum" = ["text/plain", "text/css", "text/html", "application/javascript", "application/json"]))]
    pub content_type: String,
    /// The body, at most 1024 characters.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub body: String,
}

fn content_type() -> String {
    "text/plain".to_owned()
}

/// A route to the service in whose table it stands. All given conditions must hold; of a list, one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceRoute {
    /// Order among all routes of the load balancer: lower is asked first. Leave gaps of ten.
    #[schemars(range(min = 1, max = 50000))]
    pub priority: u32,
    /// Paths, with `*` and `?`, such as `/connection/*`.
    #[serde(default)]
    #[schemars(extend("format-items" = "path"))]
    pub paths: Vec<String>,
    /// Host names, with `*` and `?`.
    #[serde(default)]
    #[schemars(extend("format-items" = "host"))]
    pub hosts: Vec<String>,
    /// A header that must have one of some values.
    #[serde(default)]
    pub header: Option<HeaderMatch>,
}

/// A condition on a request header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    /// Name of the header.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Values, with `*` and `?`.
    #[schemars(length(min = 1, max = 5))]
    pub values: Vec<String>,
}

/// A route of the load balancer itself: conditions, and one of `forward` and `fixed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Order among all routes of the load balancer: lower is asked first. Leave gaps of ten.
    #[schemars(range(min = 1, max = 50000))]
    pub priority: u32,
    /// Paths, with `*` and `?`.
    #[serde(default)]
    #[schemars(extend("format-items" = "path"))]
    pub paths: Vec<String>,
    /// Host names, with `*` and `?`.
    #[serde(default)]
    #[schemars(extend("format-items" = "host"))]
    pub hosts: Vec<String>,
    /// A header that must have one of some values.
    #[serde(default)]
    pub header: Option<HeaderMatch>,
    /// Services by weight, such as `{ app = 95, app-next = 5 }`; `{ owner = "ecs", initial = {...} }` where ECS moves them.
    #[serde(default)]
    pub forward: Option<Owned<BTreeMap<String, u32>>>,
    /// A fixed answer.
    #[serde(default)]
    pub fixed: Option<Fixed>,
}

/// How the load balancer chooses a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balancing {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest open requests: right for WebSockets, where connections live for hours.
    LeastOutstandingRequests,
}

/// An alias target of a DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alias {
    /// The environment's load balancer.
    LoadBalancer,
}

/// The web application firewall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waf {
    /// Rule sets in order, by name of their file in `policies/waf`, such as `["baseline"]`.
    #[schemars(length(min = 1), extend("format-items" = "name"))]
    pub rule_sets: Vec<String>,
    /// What happens to a request that no rule decides.
    #[serde(default)]
    pub default_action: WafDefault,
    /// Promote or demote rules: a rule's name, or `rule/PartOfAManagedGroup`, to `count` or `block`. Start in count, look at the
    /// metrics, then block.
    #[serde(default)]
    pub modes: BTreeMap<String, Mode>,
    /// Contents of the address sets that the rule sets name, such as `{ block = ["203.0.113.0/24"] }`.
    #[serde(default)]
    pub addresses: BTreeMap<String, Vec<Cidr>>,
    /// Requests per address that the rate rules allow, by name of the rule; overrides the rule set.
    #[serde(default)]
    pub rate_limits: BTreeMap<String, u32>,
    /// Logging of requests. Left out, there is none.
    #[serde(default)]
    pub logging: Option<WafLogging>,
}

/// What happens to a request that no rule decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WafDefault {
    /// Let it pass.
    #[default]
    Allow,
    /// Refuse it.
    Block,
}

/// What a rule does with a request that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only count it, in metrics and logs.
    Count,
    /// Refuse it.
    Block,
}

/// Logging of the web ACL. The log holds the headers of requests, tokens included: keep it short, and let few read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WafLogging {
    /// How long the log group keeps requests.
    #[schemars(extend("format" = "retention"))]
    pub retention_days: u32,
}
