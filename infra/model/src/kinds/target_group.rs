//! A target group of a load balancer. Its id is the ARN; ECS registers the targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Spec, Vpc};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// At most 32 characters. Ends in a hash of the fixed fields, so that a replacement can stand beside the old one.
    pub name: String,
    pub vpc: Ref<Vpc>,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    pub port: u16,
    /// `ip` for Fargate.
    pub target_type: String,
    pub health_check: HealthCheck,
    /// `deregistration_delay.timeout_seconds` and the like; only these keys are managed.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub path: String,
    pub interval_s: u32,
    pub timeout_s: u32,
    pub healthy_count: u32,
    pub unhealthy_count: u32,
    /// `200` or `200-299`.
    pub codes: String,
}

impl Kind for TargetGroup {
    const ID: KindId = KindId::TargetGroup;
    const SPEC: Spec = Spec::new(
        "target_group",
        "target group",
        Layer::Edge,
        &[
            Field::fixed("name"),
            Field::fixed("vpc"),
            Field::fixed("protocol"),
            Field::fixed("port"),
            Field::fixed("target_type"),
            Field::live("health_check", "health_check"),
            Field::after("attributes", "attributes", None).keys(),
        ],
    )
    .unique(&["name"])
    .create_first()
    .tells(&["protocol", "port", "health_check"]);
}
