//! A public hosted zone that the environment owns. Its id is the zone id without the `/hostedzone/` prefix.
//! Tags come in a second call (AWS takes none at creation), so creation uses a caller reference derived from
//! the address.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsZone {
    /// `staging.example.com`, without the final dot.
    pub name: String,
    pub comment: Option<String>,
}

impl Kind for DnsZone {
    const ID: KindId = KindId::DnsZone;
    const SPEC: Spec = Spec::new(
        "dns_zone",
        "DNS zone",
        Layer::Edge,
        &[Field::fixed("name"), Field::live("comment", "comment")],
    )
    .attributes(&["name_servers"], &[])
    .token()
    .loses("its name servers: what delegates to it leads nowhere")
    .tells(&["name"]);
}
