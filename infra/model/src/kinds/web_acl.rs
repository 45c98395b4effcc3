//! A web ACL: the firewall in front of load balancers, with its logging and what it protects. Its id is the
//! ARN. Rules are AWS's own JSON shape (`Name`, `Priority`, `Statement`, ...), so that every statement AWS
//! knows can be written.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Any, Field, Kind, KindId, Layer, LogGroup, Ref, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WebAcl {
    pub name: String,
    pub description: Option<String>,
    /// `allow` or `block`.
    pub default_action: String,
    /// Whether AWS keeps samples of requests for the console.
    pub samples: bool,
    /// In order of priority, as the WAFv2 API writes a rule in JSON.
    #[serde(default)]
    pub rules: Vec<Value>,
    /// The log group's `arn` attribute; its name must begin with `aws-waf-logs-`. None, or the one that AWS allows: logging
    /// that nobody wants any more is taken away.
    #[serde(default)]
    pub log_groups: Vec<Ref<LogGroup>>,
    /// Whether every request is logged: no filter leaves some out.
    pub logs_all: Option<bool>,
    /// Request headers that the log holds as `REDACTED`, in lower case: those that carry secrets.
    pub redacted_headers: Option<BTreeSet<String>>,
    /// ARNs of the load balancers it stands before.
    #[serde(default)]
    pub protects: Vec<Ref<Any>>,
}

impl Kind for WebAcl {
    const ID: KindId = KindId::WebAcl;
    const SPEC: Spec = Spec::new(
        "web_acl",
        "web ACL",
        Layer::Firewall,
        &[
            Field::fixed("name"),
            Field::live("description", "acl"),
            Field::live("default_action", "acl"),
            Field::live("samples", "acl"),
            Field::live("rules", "acl"),
            Field::after("log_groups", "logging", Some("[]")).set().least_left(0),
            Field::after("logs_all", "logging", None),
            Field::after("redacted_headers", "logging", None).set(),
            Field::after("protects", "protects", Some("[]")).set().least_left(0),
        ],
    )
    .unique(&["name"])
    .tells(&["default_action", "rules", "log_groups"]);
}
