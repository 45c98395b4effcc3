//! The VPC's door to the internet. Its attachment is a field: AWS keeps no tags on it.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Ref, Spec, Vpc};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// The VPC it is attached to.
    pub vpc: Option<Ref<Vpc>>,
}

impl Kind for InternetGateway {
    const ID: KindId = KindId::InternetGateway;
    const SPEC: Spec = Spec::new(
        "internet_gateway",
        "internet gateway",
        Layer::Network,
        &[Field::after("vpc", "attachment", None)
            .least_left(0)
            .interrupts("all traffic to and from the internet")],
    )
    .usable_when_set()
    // AWS refuses to detach it while the VPC still has mapped public addresses.
    .delete_after(&[KindId::NatGateway, KindId::LoadBalancer, KindId::Service]);
}
