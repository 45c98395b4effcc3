//! The tables `secrets`, `redis`, `postgres` and `dns` of an environment file. Owns their keys; refuses to know how a
//! secret's value comes about (it is generated when the object is made and never held here).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Alias, yes};

/// A secret that infra generates once and never reads back, prints or stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// What it is for; shown in the console.
    #[schemars(length(min = 1, max = 200))]
    pub description: String,
    /// Characters to generate, 16 to 128.
    #[serde(default = "secret_length")]
    #[schemars(range(min = 16, max = 128))]
    pub length: u32,
    /// Days for which a deleted secret can be brought back: 0 (at once gone) or 7 to 30.
    #[serde(default = "recovery_days")]
    #[schemars(range(max = 30))]
    pub recovery_days: u32,
}

fn secret_length() -> u32 {
    48 // letters and digits: 285 bits, beyond any guessing
}
fn recovery_days() -> u32 {
    7 // the shortest that AWS allows besides none
}

/// A Valkey or Redis replication group in the data subnets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Valkey is the open successor and a fifth cheaper.
    #[serde(default)]
    pub engine: Engine,
    /// Version of the engine, such as `8.0`. AWS never goes back to a lower one.
    pub version: String,
    /// Node type, such as `cache.t4g.small`.
    #[schemars(extend("format" = "cache-node"))]
    pub node_type: String,
    /// Copies beside the primary, 0 to 5. With one or more, a failed primary is replaced automatically.
    #[serde(default)]
    #[schemars(range(max = 5))]
    pub replicas: u32,
    /// Encrypt connections. A change makes a new store.
    #[serde(default = "yes")]
    pub tls: bool,
    /// Clients must present a password, which is generated when the store is made and kept in a secret. Needs `tls`.
    #[serde(default = "yes")]
    pub auth: bool,
    /// Parameters of the engine that differ from AWS's defaults, such as `{ maxmemory-policy = "noeviction" }`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Days for which daily snapshots are kept; 0 for none.
    #[serde(default)]
    #[schemars(range(max = 35))]
    pub snapshot_retention_days: Option<u32>,
    /// Daily window for snapshots in UTC, such as `03:00-04:00`.
    #[serde(default)]
    #[schemars(extend("format" = "daily-window"))]
    pub snapshot_window: Option<String>,
    /// Weekly window for maintenance in UTC, such as `sun:04:00-sun:05:00`.
    #[serde(default)]
    #[schemars(extend("format" = "weekly-window"))]
    pub maintenance_window: Option<String>,
    /// Delete only with `--allow-delete`, leaving a final snapshot. Left out: as the environment's `protect`.
    #[serde(default)]
    pub protect: Option<bool>,
}

/// Engine of the store called `redis`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Valkey.
    #[default]
    Valkey,
    /// Redis OSS.
    Redis,
}

/// A Postgres instance in the data subnets: private, encrypted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Version, such as `17`; AWS picks the minor one.
    pub version: String,
    /// Instance class, such as `db.t4g.medium`.
    #[schemars(extend("format" = "db-class"))]
    pub class: String,
    /// Storage in GiB (gp3: 20 or more). It can grow, never shrink.
    #[schemars(range(min = 20, max = 65536))]
    pub storage_gib: u32,
    /// A second instance in another zone that takes over.
    #[serde(default)]
    pub multi_az: bool,
    /// Days for which backups are kept, 0 (none) to 35.
    #[serde(default = "backup_days")]
    #[schemars(range(max = 35))]
    pub backup_days: u32,
    /// Daily window for backups in UTC, such as `02:00-03:00`.
    #[serde(default)]
    #[schemars(extend("format" = "daily-window"))]
    pub backup_window: Option<String>,
    /// Weekly window for maintenance in UTC, such as `sun:03:00-sun:04:00`.
    #[serde(default)]
    #[schemars(extend("format" = "weekly-window"))]
    pub maintenance_window: Option<String>,
    /// Name of the first database.
    #[serde(default = "database")]
    #[schemars(extend("format" = "identifier"))]
    pub database: String,
    /// Name of the first user. RDS makes the password itself and keeps it in a secret of its own.
    #[serde(default = "user")]
    #[schemars(extend("format" = "identifier"))]
    pub user: String,
    /// Parameters that differ from AWS's defaults, such as `{ log_min_duration_statement = "500" }`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Make the instance from this snapshot. Looked at only when the instance is made.
    #[serde(default)]
    pub restore_from: Option<String>,
    /// Performance Insights.
    #[serde(default)]
    pub insights: Option<bool>,
    /// Delete only with `--allow-delete`, leaving a final snapshot. Left out: as the environment's `protect`.
    #[serde(default)]
    pub protect: Option<bool>,
}

fn backup_days() -> u32 {
    7
}
fn database() -> String {
    "keyway".to_owned()
}
fn user() -> String {
    "keyway".to_owned()
}

/// The DNS zone: an existing one by `zone_id`, or one that infra makes (`owned = true`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// Name of the zone, such as `staging.keyway.example`.
    #[schemars(extend("format" = "domain"))]
    pub zone: String,
    /// Make the zone. Its name servers must then be entered in the zone above; `infra outputs` prints them.
    #[serde(default)]
    pub owned: bool,
    /// An existing zone: records are written into it, the zone itself is never changed.
    #[serde(default)]
    #[schemars(extend("format" = "zone-id"))]
    pub zone_id: Option<String>,
    /// Records, by a name of your choice. Those that prove the certificate are derived.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub records: BTreeMap<String, Record>,
}

/// One DNS record: one of `alias` and `values`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Full name, inside the zone.
    #[schemars(extend("format" = "domain"))]
    pub name: String,
    /// Type of the record.
    #[serde(default, rename = "type")]
    pub kind: RecordType,
    /// Point at something of this environment.
    #[serde(default)]
    pub alias: Option<Alias>,
    /// Plain values.
    #[serde(default)]
    pub values: Vec<String>,
    /// Seconds for which resolvers may keep it. Not with `alias`.
    #[serde(default)]
    #[schemars(range(max = 604800))]
    pub ttl_s: Option<u32>,
}

/// Type of a DNS record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 address.
    #[default]
    A,
    /// IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// Text.
    Txt,
    /// Mail.
    Mx,
    /// Who may issue certificates.
    Caa,
}

impl RecordType {
    /// As Route 53 and zone files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::Caa => "CAA",
        }
    }
}
