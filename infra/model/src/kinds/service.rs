//! An ECS service on Fargate. Its id is the ARN.

use serde::{Deserialize, Serialize};

use super::{
    Cluster, Field, Kind, KindId, Layer, Ref, SecurityGroup, Spec, Subnet, TargetGroup, TaskDefinition, Wait,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub cluster: Ref<Cluster>,
    pub task_definition: Ref<TaskDefinition>,
    pub desired_count: Option<u32>,
    pub capacity: Vec<Capacity>,
    pub subnets: Vec<Ref<Subnet>>,
    pub security_groups: Vec<Ref<SecurityGroup>>,
    pub public_address: bool,
    #[serde(default)]
    pub targets: Vec<Target>,
    pub health_grace_s: Option<u32>,
    pub minimum_percent: Option<u32>,
    pub maximum_percent: Option<u32>,
    /// Stop a failing roll-out, and go back to the last good one.
    pub circuit_breaker: Option<bool>,
    pub execute_command: Option<bool>,
}

/// A share of tasks on one capacity provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// `FARGATE` or `FARGATE_SPOT`.
    pub provider: String,
    /// Tasks placed here before weights count.
    pub base: u32,
    pub weight: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub target_group: Ref<TargetGroup>,
    pub container: String,
    pub port: u16,
}

impl Kind for Service {
    const ID: KindId = KindId::Service;
    const SPEC: Spec = Spec::new(
        "service",
        "service",
        Layer::Compute,
        &[
            Field::fixed("name"),
            Field::fixed("cluster"),
            Field::live("task_definition", "service").interrupts("nothing while the roll-out is healthy: tasks are replaced in turn"),
            Field::live("desired_count", "service"),
            Field::live("capacity", "service").set(),
            Field::live("subnets", "service").set().least_left(1),
            Field::live("security_groups", "service").set(),
            Field::live("public_address", "service"),
            Field::live("targets", "service").set(),
            Field::live("health_grace_s", "service"),
            Field::live("minimum_percent", "service"),
            Field::live("maximum_percent", "service"),
            Field::live("circuit_breaker", "service"),
            Field::live("execute_command", "service"),
        ],
    )
    .attributes(&["name"], &[])
    .unique(&["cluster", "name"])
    .token()
    .settles(Wait::AtEnd, 150, 60)
    .tells(&["desired_count", "capacity", "public_address"]);
}
