//! A set of addresses that firewall rules name. Its id is the ARN.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpSet {
    pub name: String,
    pub description: Option<String>,
    /// `IPV4` or `IPV6`.
    pub ip_version: String,
    #[serde(default)]
    pub addresses: BTreeSet<String>,
}

impl Kind for IpSet {
    const ID: KindId = KindId::IpSet;
    const SPEC: Spec = Spec::new(
        "ip_set",
        "IP set",
        Layer::Firewall,
        &[
            Field::fixed("name"),
            Field::fixed("ip_version"),
            Field::live("description", "addresses"),
            Field::live("addresses", "addresses").set(),
        ],
    )
    .unique(&["name"])
    .tells(&["addresses"]);
}
