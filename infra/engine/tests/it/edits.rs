//! What people change in a standing environment, one edit at a time, there and back: the run ends complete, nothing is
//! doubled or left behind, the next plan is empty; or it is refused in a sentence before anything is touched.

use std::collections::BTreeMap;

use infra_engine::account::Account as _;
use infra_engine::memory::Memory;
use infra_model::address::Address;
use infra_model::environment::{Environment, Loader};
use infra_model::graph::Graph;
use infra_model::kinds::KindId;
use infra_model::plan::{Options, Problem, plan};

use crate::world::{Ended, apply_all, behaviour, run};

/// Done whole, there and back.
const DONE: &[&str] = &[
    "network.zones = ['eu-central-1a', 'eu-central-1b']",
    "network.nat = 'single'",
    "network.nat = 'none'",
    "network.nat = 'regional'",
    "network.s3_endpoint = false",
    "network.interface_endpoints = []",
    "network.interface_endpoints = ['ecr.api', 'ecr.dkr', 'logs', 'secretsmanager', 'ssm']",
    "network.flow_logs.traffic = 'all'",
    "network.flow_logs.retention_days = 30",
    "security.outbound = 'all'",
    "services.app.port = 8081",
    "services.app.health.path = '/health/live'",
    "services.app.cpu = 1024\nservices.app.memory_mib = 2048",
    "services.app.capacity.spot_percent = 0",
    "services.gateway.port = 9000\nservices.gateway.variables.KEYWAY_GATEWAY_LISTEN = '0.0.0.0:9000'",
    "services.gateway.routes.connection.paths = ['/connection/*', '/ws/*']",
    "services.app.routes.api.priority = 101",
    "services.app.scaling.max = 9",
    "services.app.uses = ['postgres', 'token-signing-key']",
    "services.app.variables.KEYWAY_CORE_LOG = 'debug'",
    "services.third = { image = 'third:1', port = 7000, cpu = 256, memory_mib = 512, count = 1, health = { path = '/' }, routes = { all = { priority = 300, paths = ['/third/*'] } } }",
    "load_balancer.idle_timeout_s = 60",
    "load_balancer.scheme = 'internal'",
    "load_balancer.certificate.domains = ['staging.keyway.example']",
    "load_balancer.certificate.domains = ['other.staging.keyway.example']",
    "load_balancer.redirect_http = false",
    "dns.records.entrance.name = 'www.staging.keyway.example'",
    "dns.records.authorities.ttl_s = 60",
    "waf.rule_sets = ['baseline']",
    "waf.addresses.allow = []",
    "waf.logging.retention_days = 14",
    "waf.default_action = 'block'",
    "remove = ['waf.logging']",
    "remove = ['waf']",
    "remove = ['services.app.scaling']\nservices.app.count = 2",
    "remove = ['network.flow_logs']",
    "remove = ['services.app.iam', 'services.app.variables']",
    "remove = ['dns.records.api', 'services.app.routes.api-host']",
    "secrets.token-signing-key.length = 48",
    "secrets.another = { description = 'another', length = 32 }",
    "redis.version = '8.1'",
    "redis.replicas = 2",
    "redis.node_type = 'cache.t4g.small'",
    "redis.engine = 'redis'\nredis.version = '7.1'",
    "redis.version = '7.2'",
    "postgres.version = '16'",
    "redis.parameters.maxmemory-policy = 'allkeys-lru'",
    "redis.auth = false",
    "postgres.version = '18'",
    "postgres.class = 'db.t4g.medium'",
    "postgres.storage_gib = 40",
    "postgres.parameters.log_min_duration_statement = '100'",
    "repositories.third = { keep_images = 3 }",
    "cluster.insights = 'disabled'",
    "tags.team = 'doors'",
];

/// AWS has no order for these while the environment stands.
const REFUSED: &[&str] = &[
    "network.cidr = '10.30.0.0/16'",
    "network.subnets.private.cidrs = ['10.20.200.0/24', '10.20.201.0/24', '10.20.202.0/24']",
    "network.subnets.public.cidrs = ['10.20.200.0/24', '10.20.201.0/24', '10.20.202.0/24']",
    "network.subnets.data.cidrs = ['10.20.200.0/24', '10.20.201.0/24', '10.20.202.0/24']",
];

fn edited(edit: &str) -> Graph {
    let text = format!("extends = 'staging'\nname = 'staging'\n{edit}\n");
    let files = BTreeMap::from([("environments/edited.toml".to_owned(), text)]);
    let read = |path: &str| Ok(files.get(path).cloned());
    let list = |_: &str| files.keys().cloned().collect();
    let loader = Loader { read: &read, list: &list, ..Loader::shipped() };
    let loaded = Environment::load("edited", &loader).unwrap_or_else(|problems| panic!("{edit}: {problems}"));
    infra_model::blueprint::blueprint(&loaded).unwrap_or_else(|problems| panic!("{edit}: {problems}"))
}

/// `None` when it ended as wanted.
async fn moved(account: &Memory, to: &Graph) -> Option<String> {
    let ended = apply_all(account, to).await;
    if !ended.complete() {
        return Some(ended.describe());
    }
    let snapshot = account.discover(&to.scope, KindId::ALL).await.unwrap();
    let left = plan(to, &snapshot, &Options::default());
    if !left.is_empty() {
        let steps: Vec<_> =
            left.steps.iter().map(|step| format!("{} {:?}", step.address, step.reasons)).collect();
        return Some(format!("the next plan is not empty: {steps:?} {:?}", left.problems));
    }
    let (there, wanted) = (account.everything().len(), to.resources.len());
    (there != wanted).then(|| format!("{there} things stand, {wanted} are wanted"))
}

#[test]
fn are_done_there_and_back() {
    let staging = edited("");
    let mut faults = Vec::new();
    for edit in DONE {
        let wanted = edited(edit);
        run(async {
            let account = Memory::new(behaviour(false));
            assert_eq!(moved(&account, &staging).await, None);
            for (way, to) in [("there", &wanted), ("back", &staging)] {
                if let Some(fault) = moved(&account, to).await {
                    faults.push(format!("{edit} ({way}): {fault}"));
                    break;
                }
            }
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The gateway's service under another name, with everything that carries it; `moved` where the file says so.
fn renamed(moved: bool) -> Graph {
    const PARTS: [&str; 8] = [
        "compute/service/*",
        "compute/task_definition/*",
        "compute/log_group/*",
        "compute/scaling/*",
        "edge/target_group/*",
        "identity/role/*-start",
        "identity/role/*-task",
        "network/group/*",
    ];
    let of = |name: &str| {
        let (_, text) = infra_model::shipped::FILES.iter().find(|(path, _)| path.ends_with(name)).unwrap();
        text.replace("[services.gateway", "[services.socket")
            .replace("\"gateway\"", "\"socket\"")
            .replace("gateway = 10", "socket = 10")
    };
    let moves = PARTS.iter().filter(|_| moved).map(|part| {
        let at = |name: &str| part.replace('*', name);
        format!("\n[[moved]]\nfrom = '{}'\nto = '{}'\n", at("gateway"), at("socket"))
    });
    let staging = of("environments/staging.toml") + &moves.collect::<String>();
    let files = BTreeMap::from([
        ("environments/base.toml", of("environments/base.toml")),
        ("environments/renamed.toml", staging),
    ]);
    let read = |path: &str| Ok(files.get(path).cloned());
    let list = |_: &str| files.keys().map(|path| (*path).to_owned()).collect();
    let loader = Loader { read: &read, list: &list, ..Loader::shipped() };
    let loaded = Environment::load("renamed", &loader).unwrap_or_else(|problems| panic!("{problems}"));
    infra_model::blueprint::blueprint(&loaded).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_service_is_renamed_with_or_without_a_word_about_it() {
    for word in [true, false] {
        run(async {
            let (account, staging) = (Memory::new(behaviour(false)), edited(""));
            assert_eq!(moved(&account, &staging).await, None);
            assert_eq!(moved(&account, &renamed(word)).await, None, "moved: {word}");
            assert_eq!(moved(&account, &staging).await, None, "back, moved: {word}");
        });
    }
}

#[test]
fn are_refused_before_anything_is_touched() {
    for edit in REFUSED {
        run(async {
            let account = Memory::new(behaviour(false));
            assert_eq!(moved(&account, &edited("")).await, None);
            let before = account.everything();
            let ended = apply_all(&account, &edited(edit)).await;
            let Ended::Refused(plan) = ended else { panic!("{edit}: {}", ended.describe()) };
            assert!(matches!(plan.problems.as_slice(), [Problem::NoOrder { .. }]), "{:?}", plan.problems);
            assert_eq!(account.everything(), before);
        });
    }
}

/// Stands for one that has failed: it is replaced, and its successor needs its address.
#[test]
fn a_gateway_that_is_replaced_is_let_go_by_its_routes() {
    run(async {
        let (account, staging) = (Memory::new(behaviour(false)), edited(""));
        assert_eq!(moved(&account, &staging).await, None);
        for place in ["network/nat/b", "network/subnet/public/b", "network/subnet/private/c"] {
            let snapshot = account.discover(&staging.scope, KindId::ALL).await.unwrap();
            let id = snapshot.at(&Address::new(place)).next().unwrap().id.clone();
            let field = if place.contains("nat") { "availability" } else { "cidr" };
            account.tamper(&id, |fields, _| {
                fields.insert(field.to_owned(), "another".into());
            });
            assert_eq!(moved(&account, &staging).await, None, "{place}");
        }
    });
}
