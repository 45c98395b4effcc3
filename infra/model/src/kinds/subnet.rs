//! One subnet in one zone.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Spec, Vpc};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    pub vpc: Ref<Vpc>,
    pub cidr: Ipv4Net,
    /// `eu-central-1a`.
    pub zone: String,
    pub public_addresses: Option<bool>,
}

impl Kind for Subnet {
    const ID: KindId = KindId::Subnet;
    const SPEC: Spec = Spec::new(
        "subnet",
        "subnet",
        Layer::Network,
        &[
            Field::fixed("vpc"),
            Field::fixed("cidr"),
            Field::fixed("zone"),
            Field::after("public_addresses", "public_addresses", Some("false")),
        ],
    )
    .tells(&["cidr", "zone"]);
}
