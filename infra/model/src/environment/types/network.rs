//! The tables `network` and `security` of an environment file. Owns their keys; refuses to know how CIDRs are derived
//! (`subnets.rs`) or which groups exist (the blueprint).

use std::collections::BTreeMap;
use std::fmt;

use ipnet::Ipv4Net;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::yes;

/// An IPv4 network such as `10.20.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cidr(pub Ipv4Net);

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cidr".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "cidr" })
    }
}

/// The VPC and what makes it a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Address range of the VPC, between /16 and /22. Environments in one folder may not overlap, so that they can be
    /// peered one day.
    pub cidr: Cidr,
    /// Two or three availability zones by name, such as `["eu-central-1a", "eu-central-1b"]`. A zone can be added later
    /// without moving the subnets that exist.
    #[schemars(length(min = 2, max = 3), extend("format-items" = "zone"))]
    pub zones: Vec<String>,
    /// How the private subnets reach the internet.
    #[serde(default)]
    pub nat: Nat,
    /// Sizes of the subnets. Left out, they are derived: the VPC is cut into 32 equal blocks, eight for each tier, and a
    /// zone's letter says which block is whose.
    #[serde(default)]
    pub subnets: Subnets,
    /// The free gateway endpoint for S3. Image layers come from S3, so it also saves NAT traffic.
    #[serde(default = "yes")]
    pub s3_endpoint: bool,
    /// Interface endpoints by service name, such as `["ecr.api", "ecr.dkr", "logs", "secretsmanager"]`. Each costs per zone
    /// and hour; with `nat = "none"` these four are what Fargate needs to start a task.
    #[serde(default)]
    #[schemars(extend("format-items" = "endpoint"))]
    pub interface_endpoints: Vec<String>,
    /// Flow logs of the VPC. Left out, there are none.
    #[serde(default)]
    pub flow_logs: Option<FlowLogs>,
}

/// How private subnets reach the internet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Not at all: only through endpoints.
    #[default]
    None,
    /// One NAT gateway in the first zone: cheap; if that zone fails nobody gets out.
    Single,
    /// One NAT gateway in each zone: a zone fails alone.
    PerZone,
    /// One NAT gateway that AWS spreads over the zones.
    Regional,
}

/// The three tiers of subnets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subnets {
    /// Load balancer and NAT gateways.
    #[serde(default)]
    pub public: SubnetTier,
    /// Containers and interface endpoints.
    #[serde(default)]
    pub private: SubnetTier,
    /// Redis and Postgres; no route to the internet.
    #[serde(default)]
    pub data: SubnetTier,
}

/// The subnets of one tier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubnetTier {
    /// Given ranges, one for each zone in the order of `network.zones`. Left out, they are derived.
    #[serde(default)]
    pub cidrs: Vec<Cidr>,
}

/// Which of the three tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Public,
    Private,
    Data,
}

impl Tier {
    /// All tiers, in the order in which the VPC is cut.
    pub const ALL: [Tier; 3] = [Tier::Public, Tier::Private, Tier::Data];

    /// The word used in the file and in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Public => "public",
            Tier::Private => "private",
            Tier::Data => "data",
        }
    }
}

impl Subnets {
    /// The tier's table.
    pub fn tier(&self, tier: Tier) -> &SubnetTier {
        match tier {
            Tier::Public => &self.public,
            Tier::Private => &self.private,
            Tier::Data => &self.data,
        }
    }
}

/// Flow logs of the VPC, written to a log group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowLogs {
    /// How long the log group keeps them.
    #[schemars(extend("format" = "retention"))]
    pub retention_days: u32,
    /// Which traffic is logged.
    #[serde(default)]
    pub traffic: Traffic,
    /// Seconds over which packets are summed up: 60 or 600.
    #[serde(default = "aggregation_s")]
    #[schemars(extend("enum" = [60, 600]))]
    pub aggregation_s: u32,
}

fn aggregation_s() -> u32 {
    600 // AWS's own default; 60 makes ten times the records
}

/// Which traffic flow logs record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// Accepted and rejected.
    #[default]
    All,
    /// Only what a group or network list let through.
    Accept,
    /// Only what was refused.
    Reject,
}

/// Security groups beyond the derived chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Where containers may connect to, besides their stores.
    #[serde(default)]
    pub outbound: Outbound,
    /// Extra rules, by name.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub rules: BTreeMap<String, Rule>,
}

/// Where containers may connect to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outbound {
    /// TCP 443 to anywhere: AWS, web hooks, push services.
    #[default]
    Https,
    /// Anything to anywhere.
    All,
}

/// One extra rule of a security group. Exactly one of `cidrs` and `peer` says the other side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The group that gets the rule: `load_balancer`, `endpoints`, `redis`, `postgres` or a service's name.
    pub group: String,
    /// In or out.
    #[serde(default)]
    pub direction: Direction,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// First port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Last port, where it is a range.
    #[serde(default)]
    pub port_last: Option<u16>,
    /// The other side as address ranges.
    #[serde(default)]
    pub cidrs: Vec<Cidr>,
    /// The other side as a group, named as in `group`.
    #[serde(default)]
    pub peer: Option<String>,
    /// Why the rule exists; written into the rule in AWS.
    #[schemars(length(min = 1, max = 255))]
    pub reason: String,
}

/// Direction of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Connections to the group.
    #[default]
    Ingress,
    /// Connections from the group.
    Egress,
}

/// Protocol of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// Every protocol and port.
    All,
}
