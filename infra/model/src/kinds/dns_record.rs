//! One DNS record. Route 53 keeps no tags on records: the shell writes a TXT record `_keyway.<name>` beside it,
//! in the same atomic change, that says whose it is. Its id is `<zone>/<name>/<type>`.

use serde::{Deserialize, Serialize};

use super::{DnsZone, Field, Kind, KindId, Layer, Ref, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsRecord {
    pub zone: Ref<DnsZone>,
    /// Without the final dot. May hold a reference (certificate validation).
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT`.
    pub record_type: String,
    /// Of a record with values.
    pub ttl_s: Option<u32>,
    pub values: Option<Vec<String>>,
    /// Of an alias.
    pub alias: Option<Alias>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// A load balancer's `dns_name`.
    pub dns_name: String,
    /// A load balancer's `zone_id`.
    pub zone_id: String,
}

impl Kind for DnsRecord {
    const ID: KindId = KindId::DnsRecord;
    const SPEC: Spec = Spec::new(
        "dns_record",
        "DNS record",
        Layer::Edge,
        &[
            Field::fixed("zone"),
            Field::fixed("name"),
            Field::fixed("record_type"),
            Field::live("ttl_s", "record"),
            Field::live("values", "record").set(),
            Field::live("alias", "record"),
        ],
    )
    .untagged()
    .unique(&["zone", "name", "record_type"])
    .tells(&["name", "record_type", "values"]);
}
