//! A CloudWatch log group: where services, flow logs and the firewall write.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Losing, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogGroup {
    pub name: String,
    /// One of the day counts AWS allows; `None` keeps for ever and is then not managed.
    pub retention_days: Option<u32>,
}

impl Kind for LogGroup {
    const ID: KindId = KindId::LogGroup;
    const SPEC: Spec = Spec::new(
        "log_group",
        "log group",
        Layer::Identity,
        &[
            Field::fixed("name"),
            Field::after("retention_days", "retention", None)
                .loses(Losing::LoweredOrSet, "what was logged earlier than it keeps now"),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"])
    .named()
    .loses("everything that was logged to it")
    .tells(&["name", "retention_days"]);
}
