//! A private way to an AWS service: a gateway endpoint in route tables, or an interface endpoint in subnets.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, RouteTable, SecurityGroup, Spec, Subnet, Vpc, Wait};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VpcEndpoint {
    pub vpc: Ref<Vpc>,
    /// `com.amazonaws.eu-central-1.s3`.
    pub service: String,
    /// `Gateway` or `Interface`.
    pub endpoint_type: String,
    pub private_dns: Option<bool>,
    /// Of a gateway endpoint.
    pub route_tables: Option<Vec<Ref<RouteTable>>>,
    /// Of an interface endpoint.
    pub subnets: Option<Vec<Ref<Subnet>>>,
    /// Of an interface endpoint.
    pub security_groups: Option<Vec<Ref<SecurityGroup>>>,
}

impl Kind for VpcEndpoint {
    const ID: KindId = KindId::VpcEndpoint;
    const SPEC: Spec = Spec::new(
        "vpc_endpoint",
        "VPC endpoint",
        Layer::Network,
        &[
            Field::fixed("vpc"),
            Field::fixed("service"),
            Field::fixed("endpoint_type"),
            Field::live("private_dns", "modify"),
            Field::live("route_tables", "modify").set().least_left(0),
            Field::live("subnets", "modify").set().least_left(1),
            Field::live("security_groups", "modify").set(),
        ],
    )
    .token()
    .settles(Wait::AtEnd, 60, 90)
    .tells(&["service", "endpoint_type"]);
}
