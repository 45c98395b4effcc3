//! A public IPv4 address that stays when its user is replaced. Its id is the allocation id.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// Always `vpc`; EC2-Classic is gone.
    pub domain: String,
}

impl Kind for ElasticIp {
    const ID: KindId = KindId::ElasticIp;
    const SPEC: Spec = Spec::new("elastic_ip", "public address", Layer::Network, &[Field::fixed("domain")])
        .attributes(&["public_ip"], &[])
    .loses("its public address, which others may have allowed by number");
}
