//! The way out for private subnets: one in a zone (with an address of ours), or one regional gateway that spans
//! the zones.

use serde::{Deserialize, Serialize};

use super::{ElasticIp, Field, Kind, KindId, Layer, Ref, Spec, Subnet, Vpc, Wait};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NatGateway {
    /// `zonal` or `regional`.
    pub availability: String,
    /// Of a zonal gateway.
    pub subnet: Option<Ref<Subnet>>,
    /// Of a zonal gateway.
    pub address: Option<Ref<ElasticIp>>,
    /// Of a regional gateway.
    pub vpc: Option<Ref<Vpc>>,
}

impl Kind for NatGateway {
    const ID: KindId = KindId::NatGateway;
    const SPEC: Spec = Spec::new(
        "nat_gateway",
        "NAT gateway",
        Layer::Network,
        &[
            Field::fixed("availability"),
            Field::fixed("subnet").interrupts("outgoing connections of the zone"),
            Field::fixed("address").interrupts("outgoing connections of the zone, and their public address"),
            Field::fixed("vpc").interrupts("outgoing connections of all zones"),
        ],
    )
    .attributes(&[], &["public_ip"])
    .token()
    .settles(Wait::BeforeUse, 105, 60)
    .tells(&["availability"]);
}
