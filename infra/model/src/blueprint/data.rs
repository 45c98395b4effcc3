//! The stores that an environment wants: Redis and Postgres in the data subnets, with their groups of subnets and parameters.
//! Owns their shape; refuses to know who uses them.

use crate::address::{Address, Ref};
use crate::environment::{Engine, Postgres, Redis, Tier};
use crate::kinds::{
    Cache, CacheParameterGroup, CacheSubnetGroup, Database, DbParameterGroup, DbSubnetGroup, Secret,
};

use super::{Draft, POSTGRES, POSTGRES_PORT, REDIS, REDIS_PORT, identity, network};

pub(super) fn redis() -> Address {
    Address::new("data/redis")
}

pub(super) fn postgres() -> Address {
    Address::new("data/postgres")
}

pub(super) fn draw(draft: &mut Draft<'_>) {
    if let Some(table) = &draft.environment.redis {
        draw_redis(draft, table);
    }
    if let Some(table) = &draft.environment.postgres {
        draw_postgres(draft, table);
    }
}

fn draw_redis(draft: &mut Draft<'_>, table: &Redis) {
    let environment = draft.environment;
    let name = draft.names.environment();
    let subnets = CacheSubnetGroup {
        name: name.clone(),
        description: "Data subnets".into(),
        subnets: draft.subnets(Tier::Data),
    };
    let subnets = draft.add("data/redis/subnet_group", &subnets, REDIS, &[("subnets", "network.zones")]);
    let parameters = (!table.parameters.is_empty()).then(|| {
        let family = redis_family(table);
        let group = CacheParameterGroup {
            // Of another family is another group, which stands before a major upgrade and beside the old one.
            name: draft.names.part(&family),
            family,
            description: "Parameters of Redis".into(),
            parameters: table.parameters.clone(),
        };
        let elsewhere = [("parameters", "redis.parameters"), ("family", "redis.version")];
        draft.add("data/redis/parameter_group", &group, REDIS, &elsewhere)
    });
    let auth = table.auth.then(|| {
        let days = if table.protect.unwrap_or(environment.protect) { 30 } else { 0 };
        let secret = Secret {
            name: draft.names.path("redis-auth"),
            description: Some("Password of Redis, generated when it was made".into()),
            generate: None,
            recovery_days: Some(days),
        };
        draft.add(identity::redis_auth().as_str(), &secret, "redis.auth", &[])
    });
    let replicated = table.replicas > 0;
    let cache = Cache {
        name,
        description: format!("Redis of {}", environment.prefix()),
        engine: engine(table.engine).into(),
        engine_version: table.version.clone(),
        node_type: table.node_type.clone(),
        nodes: 1 + table.replicas,
        subnet_group: Ref::to(&subnets),
        security_groups: vec![Ref::to(&network::group(REDIS))],
        parameter_group: parameters.as_ref().map(Ref::to),
        multi_az: Some(replicated),
        failover: Some(replicated),
        tls: table.tls,
        encrypted: true,
        auth: table.auth,
        snapshot_days: table.snapshot_retention_days,
        snapshot_window: table.snapshot_window.clone(),
        maintenance_window: table.maintenance_window.clone(),
        auth_secret: auth.as_ref().map(Ref::to),
    };
    let elsewhere = [
        ("engine", "redis.engine"),
        ("engine_version", "redis.version"),
        ("node_type", "redis.node_type"),
        ("nodes", "redis.replicas"),
        ("multi_az", "redis.replicas"),
        ("failover", "redis.replicas"),
        ("parameter_group", "redis.parameters"),
        ("tls", "redis.tls"),
        ("snapshot_days", "redis.snapshot_retention_days"),
        ("snapshot_window", "redis.snapshot_window"),
        ("maintenance_window", "redis.maintenance_window"),
        ("auth", "redis.auth"),
        ("auth_secret", "redis.auth"),
    ];
    let wanted =
        draft.wanted(&cache, REDIS, &elsewhere).protect(table.protect.unwrap_or(environment.protect));
    draft.graph.add(redis(), wanted);
    let endpoint = Ref::<Cache>::attribute(&redis(), "endpoint");
    draft.output("redis_endpoint", format!("{endpoint}:{REDIS_PORT}"));
}

fn engine(engine: Engine) -> &'static str {
    match engine {
        Engine::Valkey => "valkey",
        Engine::Redis => "redis",
    }
}

/// The family of parameters: `valkey8`, `redis7`.
fn redis_family(table: &Redis) -> String {
    let major = table.version.split('.').next().unwrap_or_default();
    format!("{}{major}", engine(table.engine))
}

fn draw_postgres(draft: &mut Draft<'_>, table: &Postgres) {
    let environment = draft.environment;
    let name = draft.names.environment();
    let protect = table.protect.unwrap_or(environment.protect);
    let subnets = DbSubnetGroup {
        name: name.clone(),
        description: "Data subnets".into(),
        subnets: draft.subnets(Tier::Data),
    };
    let subnets =
        draft.add("data/postgres/subnet_group", &subnets, POSTGRES, &[("subnets", "network.zones")]);
    let parameters = (!table.parameters.is_empty()).then(|| {
        let major = table.version.split('.').next().unwrap_or_default();
        let family = format!("postgres{major}");
        let group = DbParameterGroup {
            name: draft.names.part(&family),
            family,
            description: "Parameters of Postgres".into(),
            parameters: table.parameters.clone(),
        };
        let elsewhere = [("parameters", "postgres.parameters"), ("family", "postgres.version")];
        draft.add("data/postgres/parameter_group", &group, POSTGRES, &elsewhere)
    });
    let database = Database {
        name,
        engine: "postgres".into(),
        engine_version: table.version.clone(),
        class: table.class.clone(),
        storage_gib: table.storage_gib,
        storage_type: "gp3".into(),
        database: table.database.clone(),
        master_user: table.user.clone(),
        subnet_group: Ref::to(&subnets),
        security_groups: vec![Ref::to(&network::group(POSTGRES))],
        parameter_group: parameters.as_ref().map(Ref::to),
        multi_az: Some(table.multi_az),
        public: false,
        encrypted: true,
        backup_days: Some(table.backup_days),
        backup_window: table.backup_window.clone(),
        maintenance_window: table.maintenance_window.clone(),
        deletion_protection: Some(protect),
        performance_insights: table.insights,
        restore_from: table.restore_from.clone(),
    };
    let elsewhere = [
        ("engine_version", "postgres.version"),
        ("class", "postgres.class"),
        ("storage_gib", "postgres.storage_gib"),
        ("database", "postgres.database"),
        ("master_user", "postgres.user"),
        ("parameter_group", "postgres.parameters"),
        ("multi_az", "postgres.multi_az"),
        ("backup_days", "postgres.backup_days"),
        ("backup_window", "postgres.backup_window"),
        ("maintenance_window", "postgres.maintenance_window"),
        ("deletion_protection", if table.protect.is_some() { "postgres.protect" } else { "protect" }),
        ("performance_insights", "postgres.insights"),
        ("restore_from", "postgres.restore_from"),
    ];
    let wanted = draft.wanted(&database, POSTGRES, &elsewhere).protect(protect);
    draft.graph.add(postgres(), wanted);
    let endpoint = Ref::<Database>::attribute(&postgres(), "endpoint");
    draft.output("postgres_endpoint", format!("{endpoint}:{POSTGRES_PORT}"));
}
