//! A security group with all its rules, which are authoritative sets: a rule somebody adds by hand is found.
//! Rules may name other groups, even in a circle, because they arrive after creation.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Spec, Vpc};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub vpc: Ref<Vpc>,
    pub name: String,
    pub description: String,
    #[serde(default)]
    pub ingress: Vec<Rule>,
    #[serde(default)]
    pub egress: Vec<Rule>,
}

/// One permission: exactly one of `cidr`, `group` and `prefix_list` is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp` or `-1` for all.
    pub protocol: String,
    /// Absent for protocol `-1`, and for `icmp` of any type.
    pub from_port: Option<u16>,
    pub to_port: Option<u16>,
    pub cidr: Option<String>,
    /// Of another account (peering): `111122223333/sg-1`.
    pub group: Option<Ref<SecurityGroup>>,
    pub prefix_list: Option<String>,
    pub description: Option<String>,
}

/// What AWS puts into every new group of a VPC: everything may leave.
const DEFAULT_EGRESS: &str = r#"[{"protocol":"-1","cidr":"0.0.0.0/0"}]"#;

impl Kind for SecurityGroup {
    const ID: KindId = KindId::SecurityGroup;
    const SPEC: Spec = Spec::new(
        "security_group",
        "security group",
        Layer::Network,
        &[
            Field::fixed("vpc"),
            Field::fixed("name"),
            Field::fixed("description"),
            Field::after("ingress", "ingress", Some("[]")).set().released(),
            Field::after("egress", "egress", Some(DEFAULT_EGRESS)).set().released(),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["vpc", "name"])
    .create_first()
    .tells(&["ingress", "egress"]);
}
