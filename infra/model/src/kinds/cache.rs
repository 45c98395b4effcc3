//! A Valkey or Redis replication group with TLS and an auth token. Its id is the replication group id. The
//! token is generated at creation, written to a secret, and never read back.

use serde::{Deserialize, Serialize};

use super::{
    CacheParameterGroup, CacheSubnetGroup, Field, Kind, KindId, Layer, Losing, Ref, Secret, SecurityGroup, Spec, Wait,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// At most 40 characters.
    pub name: String,
    pub description: String,
    /// `valkey` or `redis`.
    pub engine: String,
    /// `8.0`; AWS picks the patch. `8` would leave the minor version to AWS, too.
    pub engine_version: String,
    pub node_type: String,
    /// Nodes in all: one primary and its replicas.
    pub nodes: u32,
    pub subnet_group: Ref<CacheSubnetGroup>,
    pub security_groups: Vec<Ref<SecurityGroup>>,
    pub parameter_group: Option<Ref<CacheParameterGroup>>,
    pub multi_az: Option<bool>,
    pub failover: Option<bool>,
    pub tls: bool,
    pub encrypted: bool,
    /// Whether clients need the token. AWS tells this, never the token.
    pub auth: bool,
    /// 0: none. A cache with snapshots also leaves a final one when it is deleted.
    pub snapshot_days: Option<u32>,
    pub snapshot_window: Option<String>,
    pub maintenance_window: Option<String>,
    /// The secret that receives the generated auth token.
    pub auth_secret: Option<Ref<Secret>>,
}

impl Kind for Cache {
    const ID: KindId = KindId::Cache;
    const SPEC: Spec = Spec::new(
        "cache",
        "Redis",
        Layer::Data,
        &[
            Field::fixed("name"),
            Field::live("description", "modify"),
            Field::fixed("engine").interrupts("the relay between gateways and the monolith"),
            Field::live("engine_version", "modify").only_rises().interrupts("a failover of some seconds"),
            Field::live("node_type", "modify").interrupts("a failover of some seconds"),
            Field::live("nodes", "nodes"),
            Field::fixed("subnet_group").refers(&[KindId::CacheSubnetGroup]),
            Field::live("security_groups", "modify").set(),
            Field::live("parameter_group", "modify").refers(&[KindId::CacheParameterGroup]),
            Field::live("multi_az", "modify"),
            Field::live("failover", "modify"),
            Field::fixed("tls"),
            Field::fixed("encrypted"),
            Field::fixed("auth").interrupts("every client, which has another password then, or none"),
            Field::live("snapshot_days", "modify").loses(Losing::Lowered, "the snapshots that are older than it keeps now"),
            Field::live("snapshot_window", "modify"),
            Field::live("maintenance_window", "modify"),
            Field::create_only("auth_secret"),
        ],
    )
    .attributes(&["arn"], &["endpoint", "reader_endpoint", "port"])
    .unique(&["name"])
    .named()
    .store()
    .settles(Wait::AtEnd, 480, 300)
    .loses_unless("all its data", "snapshot_days", "a final snapshot stays")
    .tells(&["engine", "engine_version", "node_type", "nodes", "multi_az", "tls", "auth"]);
}
