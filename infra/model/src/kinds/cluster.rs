//! An ECS cluster with its capacity providers. Its id is the ARN.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    /// `enabled`, `enhanced` or `disabled`.
    pub container_insights: Option<String>,
    /// `FARGATE`, `FARGATE_SPOT`.
    #[serde(default)]
    pub capacity_providers: Vec<String>,
}

impl Kind for Cluster {
    const ID: KindId = KindId::Cluster;
    const SPEC: Spec = Spec::new(
        "cluster",
        "ECS cluster",
        Layer::Compute,
        &[
            Field::fixed("name"),
            Field::live("container_insights", "settings"),
            Field::live("capacity_providers", "capacity").set(),
        ],
    )
    .attributes(&["name"], &[])
    .unique(&["name"])
    .tells(&["capacity_providers", "container_insights"]);
}
