//! The subnets in which RDS may place instances. Its id is its name.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Spec, Subnet};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DbSubnetGroup {
    pub name: String,
    pub description: String,
    pub subnets: Vec<Ref<Subnet>>,
}

impl Kind for DbSubnetGroup {
    const ID: KindId = KindId::DbSubnetGroup;
    const SPEC: Spec = Spec::new(
        "db_subnet_group",
        "database subnet group",
        Layer::Data,
        &[Field::fixed("name"), Field::live("description", "subnets"), Field::live("subnets", "subnets").set()],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"])
    .named()
    .tells(&["name"]);
}
