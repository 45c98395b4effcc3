//! An application load balancer. Its id is the ARN.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, SecurityGroup, Spec, Subnet, Wait};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// At most 32 characters.
    pub name: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    pub subnets: Vec<Ref<Subnet>>,
    pub security_groups: Vec<Ref<SecurityGroup>>,
    /// `idle_timeout.timeout_seconds` and the like, as AWS names them; only these keys are managed.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Ports of listeners that do not carry our tags. Wanted empty: such a listener was added by hand.
    #[serde(default)]
    pub foreign_listeners: BTreeSet<u16>,
}

impl Kind for LoadBalancer {
    const ID: KindId = KindId::LoadBalancer;
    const SPEC: Spec = Spec::new(
        "load_balancer",
        "load balancer",
        Layer::Edge,
        &[
            Field::fixed("name"),
            Field::fixed("scheme").interrupts("every connection; its DNS name changes"),
            // AWS wants two zones at any time.
            Field::live("subnets", "subnets").set().least_left(2),
            Field::live("security_groups", "security_groups").set(),
            Field::after("attributes", "attributes", None).keys(),
            Field::after("foreign_listeners", "foreign_listeners", Some("[]")).set(),
        ],
    )
    .attributes(&["dns_name", "zone_id"], &[])
    .unique(&["name"])
    .settles(Wait::AtEnd, 155, 30)
    .tells(&["scheme", "name"]);
}
