//! The autoscaling of one service: bounds and target-tracking policies, an authoritative set. Its id is the
//! scalable target's resource id, `service/<cluster>/<service>`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Service, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// The service's name on the cluster's name: `service/${...#name}/${...#name}`.
    pub resource: String,
    /// The service's ARN: it must exist first.
    pub service: Ref<Service>,
    pub minimum: u32,
    pub maximum: u32,
    #[serde(default)]
    pub policies: BTreeMap<String, Policy>,
}

/// Keeps one metric at a target by adding and removing tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// `ECSServiceAverageCPUUtilization`; absent when `custom` is set.
    pub predefined: Option<String>,
    pub custom: Option<CustomMetric>,
    pub target: f64,
    pub scale_in_cooldown_s: u32,
    pub scale_out_cooldown_s: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomMetric {
    pub namespace: String,
    pub name: String,
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// `Average`, `Sum`, `Maximum`.
    pub statistic: String,
}

impl Kind for Scaling {
    const ID: KindId = KindId::Scaling;
    const SPEC: Spec = Spec::new(
        "scaling",
        "autoscaling",
        Layer::Compute,
        &[
            Field::fixed("resource"),
            Field::create_only("service"),
            Field::live("minimum", "bounds"),
            Field::live("maximum", "bounds"),
            Field::after("policies", "policies", Some("{}")),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["resource"])
    .tells(&["minimum", "maximum"]);
}
