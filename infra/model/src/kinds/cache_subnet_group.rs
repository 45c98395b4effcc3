//! The subnets in which ElastiCache may place nodes. Its id is its name.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Spec, Subnet};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheSubnetGroup {
    pub name: String,
    pub description: String,
    pub subnets: Vec<Ref<Subnet>>,
}

impl Kind for CacheSubnetGroup {
    const ID: KindId = KindId::CacheSubnetGroup;
    const SPEC: Spec = Spec::new(
        "cache_subnet_group",
        "cache subnet group",
        Layer::Data,
        &[Field::fixed("name"), Field::live("description", "subnets"), Field::live("subnets", "subnets").set()],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"])
    .named()
    .tells(&["name"]);
}
