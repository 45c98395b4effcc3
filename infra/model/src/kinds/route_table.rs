//! A route table with its routes and the subnets that use it, both authoritative sets. The local route and the
//! prefix-list routes of gateway endpoints are AWS's own and are left out.

use serde::{Deserialize, Serialize};

use super::{Any, Field, Kind, KindId, Layer, Ref, Spec, Subnet, Vpc};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    pub vpc: Ref<Vpc>,
    #[serde(default)]
    pub routes: Vec<Route>,
    #[serde(default)]
    pub subnets: Vec<Ref<Subnet>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// A CIDR: `0.0.0.0/0`.
    pub destination: String,
    /// An internet gateway, NAT gateway, peering connection or network interface.
    pub target: Ref<Any>,
}

impl Kind for RouteTable {
    const ID: KindId = KindId::RouteTable;
    const SPEC: Spec = Spec::new(
        "route_table",
        "route table",
        Layer::Network,
        &[
            Field::fixed("vpc"),
            Field::after("routes", "routes", Some("[]"))
                .set()
                .least_left(0)
                .interrupts("traffic over a changed route"),
            Field::after("subnets", "subnets", Some("[]")).set().least_left(0),
        ],
    )
    .token()
    .tells(&["routes"]);
}
