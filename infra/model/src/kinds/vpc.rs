//! The virtual network that holds everything with an address.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vpc {
    pub cidr: Ipv4Net,
    pub dns_support: Option<bool>,
    pub dns_hostnames: Option<bool>,
}

impl Kind for Vpc {
    const ID: KindId = KindId::Vpc;
    const SPEC: Spec = Spec::new(
        "vpc",
        "VPC",
        Layer::Network,
        &[
            Field::fixed("cidr"),
            Field::after("dns_support", "dns_support", Some("true")),
            Field::after("dns_hostnames", "dns_hostnames", Some("false")),
        ],
    )
    .tells(&["cidr"]);
}
