//! The VPC's flow log into a log group. AWS changes nothing of it in place.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, LogGroup, Ref, Role, Spec, Vpc};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowLog {
    pub vpc: Ref<Vpc>,
    pub log_group: Ref<LogGroup>,
    /// The role's `arn` attribute.
    pub role: Ref<Role>,
    /// `ALL`, `ACCEPT` or `REJECT`.
    pub traffic: String,
    /// 60 or 600.
    pub interval_s: u32,
}

impl Kind for FlowLog {
    const ID: KindId = KindId::FlowLog;
    const SPEC: Spec = Spec::new(
        "flow_log",
        "flow log",
        Layer::Network,
        &[
            Field::fixed("vpc"),
            Field::fixed("log_group").refers(&[KindId::LogGroup]),
            Field::fixed("role"),
            Field::fixed("traffic"),
            Field::fixed("interval_s"),
        ],
    )
    .token()
    .tells(&["traffic"]);
}
