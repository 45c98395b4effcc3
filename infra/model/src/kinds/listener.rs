//! A listener with its rules, an authoritative ordered set: priorities are managed, and a rule added by hand is
//! found. Its id is the ARN.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use super::{Certificate, Field, Kind, KindId, Layer, LoadBalancer, Ref, Spec, TargetGroup};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    pub load_balancer: Ref<LoadBalancer>,
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Of an HTTPS listener.
    pub certificate: Option<Ref<Certificate>>,
    /// Certificates beside that one; a listener of ours has none, so one that somebody added is found.
    #[serde(default)]
    pub more_certificates: BTreeSet<String>,
    /// Of an HTTPS listener: `ELBSecurityPolicy-TLS13-1-2-2021-06`.
    pub tls_policy: Option<String>,
    pub default_action: Action,
    #[serde(default)]
    pub rules: Vec<ListenerRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerRule {
    pub priority: u32,
    /// Written sorted: their order means nothing, and AWS keeps none.
    #[serde(serialize_with = "sorted")]
    pub conditions: Vec<Condition>,
    pub action: Action,
}

/// All values of one condition are alternatives; all conditions of a rule must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Condition {
    Path {
        #[serde(serialize_with = "sorted")]
        values: Vec<String>,
    },
    Host {
        #[serde(serialize_with = "sorted")]
        values: Vec<String>,
    },
    Header {
        name: String,
        #[serde(serialize_with = "sorted")]
        values: Vec<String>,
    },
    Method {
        #[serde(serialize_with = "sorted")]
        values: Vec<String>,
    },
    /// Each with `value` and perhaps `key`.
    Query {
        #[serde(serialize_with = "sorted")]
        values: Vec<BTreeMap<String, String>>,
    },
    SourceIp {
        #[serde(serialize_with = "sorted")]
        values: Vec<String>,
    },
    /// What infra does not write, seen on a rule that somebody made by hand: AWS's word for it.
    Other { what: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    Forward { targets: Vec<WeightedTarget> },
    Redirect { protocol: String, port: String, status: String },
    Fixed { status: String, content_type: Option<String>, body: Option<String> },
    /// What infra does not write, seen on a rule that somebody made by hand: AWS's words for it.
    Other { what: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedTarget {
    pub target_group: Ref<TargetGroup>,
    pub weight: u32,
}

/// Lists without an order are written in one, so that equal means equal.
fn sorted<T: Serialize, S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let mut values: Vec<serde_json::Value> = items
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .map_err(serde::ser::Error::custom)?;
    values.sort_by_cached_key(serde_json::Value::to_string);
    values.serialize(serializer)
}

impl Kind for Listener {
    const ID: KindId = KindId::Listener;
    const SPEC: Spec = Spec::new(
        "listener",
        "listener",
        Layer::Edge,
        &[
            Field::fixed("load_balancer"),
            Field::fixed("port"),
            Field::live("protocol", "listener").interrupts("new connections while it changes"),
            Field::live("certificate", "listener"),
            Field::live("tls_policy", "listener"),
            Field::live("default_action", "listener"),
            Field::after("more_certificates", "certificates", Some("[]")).set(),
            Field::after("rules", "rules", Some("[]")).set(),
        ],
    )
    .unique(&["load_balancer", "port"])
    .tells(&["protocol", "port", "tls_policy"]);
}
