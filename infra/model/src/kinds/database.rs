//! A private, encrypted Postgres instance of RDS. Its id is the instance identifier. RDS makes the master
//! password itself and keeps it in a secret of its own, so no program of ours ever holds it.

use serde::{Deserialize, Serialize};

use super::{DbParameterGroup, DbSubnetGroup, Field, Kind, KindId, Layer, Losing, Ref, SecurityGroup, Spec, Wait};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// At most 63 characters.
    pub name: String,
    /// `postgres`.
    pub engine: String,
    /// `17`: AWS picks and upgrades the minor version, and only `17` is seen. `17.4`: kept, and seen whole.
    pub engine_version: String,
    pub class: String,
    pub storage_gib: u32,
    /// `gp3`.
    pub storage_type: String,
    pub database: String,
    pub master_user: String,
    pub subnet_group: Ref<DbSubnetGroup>,
    pub security_groups: Vec<Ref<SecurityGroup>>,
    pub parameter_group: Option<Ref<DbParameterGroup>>,
    pub multi_az: Option<bool>,
    pub public: bool,
    pub encrypted: bool,
    /// 0: none. An instance with backups also leaves a final snapshot when it is deleted.
    pub backup_days: Option<u32>,
    pub backup_window: Option<String>,
    pub maintenance_window: Option<String>,
    pub deletion_protection: Option<bool>,
    pub performance_insights: Option<bool>,
    /// Created from this snapshot instead of empty. The snapshot decides engine, database, user and encryption.
    pub restore_from: Option<String>,
}

impl Kind for Database {
    const ID: KindId = KindId::Database;
    const SPEC: Spec = Spec::new(
        "database",
        "Postgres",
        Layer::Data,
        &[
            Field::fixed("name"),
            Field::fixed("engine"),
            Field::live("engine_version", "modify").only_rises().interrupts("the database while it upgrades"),
            Field::live("class", "modify").interrupts("the database for a restart or failover"),
            Field::live("storage_gib", "modify").only_rises(),
            Field::live("storage_type", "modify"),
            Field::fixed("database"),
            Field::fixed("master_user"),
            Field::fixed("subnet_group").refers(&[KindId::DbSubnetGroup]),
            Field::live("security_groups", "modify").set(),
            Field::live("parameter_group", "modify").refers(&[KindId::DbParameterGroup]).interrupts("the database for a restart"),
            Field::live("multi_az", "modify"),
            Field::live("public", "modify"),
            Field::fixed("encrypted"),
            Field::live("backup_days", "modify").loses(Losing::Lowered, "the backups that are older than it keeps now"),
            Field::live("backup_window", "modify"),
            Field::live("maintenance_window", "modify"),
            Field::live("deletion_protection", "modify"),
            Field::live("performance_insights", "modify"),
            Field::create_only("restore_from"),
        ],
    )
    .attributes(&["arn"], &["endpoint", "port", "secret_arn"])
    .unique(&["name"])
    .named()
    .store()
    .settles(Wait::AtEnd, 360, 240)
    .loses_unless("all its data", "backup_days", "a final snapshot stays")
    .tells(&["engine", "engine_version", "class", "storage_gib", "multi_az", "backup_days"]);
}
