//! A small whole environment, strangers beside it, and a run from lease to lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use infra_engine::account::Account;
use infra_engine::lease::{Applicant, Lease, LeaseError};
use infra_engine::memory::{Behaviour, Memory};
use infra_engine::run::{self, Finished, Surroundings};
use infra_model::address::{Address, Ref};
use infra_model::graph::{Graph, Scope, Wanted};
use infra_model::kinds::listener::{Action, Condition, ListenerRule, WeightedTarget};
use infra_model::kinds::route_table::Route;
use infra_model::kinds::security_group::Rule;
use infra_model::kinds::service::Target;
use infra_model::kinds::target_group::HealthCheck;
use infra_model::kinds::task_definition::Container;
use infra_model::kinds::*;
use infra_model::plan::{Options, Plan, plan};
use infra_model::snapshot::Observed;
use infra_model::value::to_fields;
use serde_json::json;
use tokio::sync::watch;

pub const LAG: Duration = Duration::from_secs(30);

pub fn scope() -> Scope {
    Scope {
        project: "keyway".to_owned(),
        environment: "test".to_owned(),
        account: "123456789012".to_owned(),
        region: "eu-central-1".to_owned(),
        shared_zones: BTreeSet::new(),
    }
}

pub fn at(path: &str) -> Address {
    Address::new(path)
}

fn to<K>(path: &str) -> Ref<K> {
    Ref::to(&at(path))
}

fn rule(port: u16, group: &str) -> Rule {
    Rule {
        protocol: "tcp".to_owned(),
        from_port: Some(port),
        to_port: Some(port),
        cidr: None,
        group: Some(to(group)),
        prefix_list: None,
        description: None,
    }
}

/// One of everything that orders matter for: groups in a circle, a certificate that waits for its record, a NAT that
/// holds an address, names that must be unique.
pub fn graph() -> Graph {
    let mut graph = Graph::new(scope());
    network(&mut graph);
    edge(&mut graph);
    stores(&mut graph);
    compute(&mut graph);
    assert_eq!(graph.check(), []);
    graph
}

fn network(graph: &mut Graph) {
    let cidr = |text: &str| text.parse().unwrap();
    let vpc = Vpc { cidr: cidr("10.0.0.0/16"), dns_support: Some(true), dns_hostnames: Some(true) };
    graph.add(at("net/vpc"), Wanted::new(&vpc));
    graph.add(at("net/igw"), Wanted::new(&InternetGateway { vpc: Some(to("net/vpc")) }));
    for (name, block, public) in [("public", "10.0.0.0/24", true), ("private", "10.0.1.0/24", false)] {
        let subnet = Subnet {
            vpc: to("net/vpc"),
            cidr: cidr(block),
            zone: "eu-central-1a".to_owned(),
            public_addresses: Some(public),
        };
        graph.add(at(&format!("net/subnet/{name}")), Wanted::new(&subnet));
    }
    graph.add(at("net/nat/address"), Wanted::new(&ElasticIp { domain: "vpc".to_owned() }));
    let nat = NatGateway {
        availability: "zonal".to_owned(),
        subnet: Some(to("net/subnet/public")),
        address: Some(to("net/nat/address")),
        vpc: None,
    };
    graph.add(at("net/nat"), Wanted::new(&nat).after([at("net/igw")]));
    for (name, target) in [("public", "net/igw"), ("private", "net/nat")] {
        let route = Route { destination: "0.0.0.0/0".to_owned(), target: to(target) };
        let table = RouteTable {
            vpc: to("net/vpc"),
            routes: vec![route],
            subnets: vec![to(&format!("net/subnet/{name}"))],
        };
        graph.add(at(&format!("net/routes/{name}")), Wanted::new(&table));
    }
    for (name, ingress, egress) in [
        ("alb", vec![], vec![rule(8000, "net/group/app")]),
        ("app", vec![rule(8000, "net/group/alb")], vec![rule(6379, "net/group/redis")]),
        ("redis", vec![rule(6379, "net/group/app")], vec![]),
    ] {
        let group = SecurityGroup {
            vpc: to("net/vpc"),
            name: format!("keyway-test-{name}"),
            description: name.to_owned(),
            ingress,
            egress,
        };
        graph.add(at(&format!("net/group/{name}")), Wanted::new(&group));
    }
    let endpoint = VpcEndpoint {
        vpc: to("net/vpc"),
        service: "com.amazonaws.eu-central-1.s3".to_owned(),
        endpoint_type: "Gateway".to_owned(),
        private_dns: None,
        route_tables: Some(vec![to("net/routes/private")]),
        subnets: None,
        security_groups: None,
    };
    graph.add(at("net/endpoint/s3"), Wanted::new(&endpoint));
}

fn edge(graph: &mut Graph) {
    graph.add(at("edge/zone"), Wanted::new(&DnsZone { name: "test.example.com".to_owned(), comment: None }));
    let certificate = Certificate { domain: "test.example.com".to_owned(), alternative_names: vec![] };
    graph
        .add(at("edge/certificate"), Wanted::new(&certificate).settle_after([at("edge/certificate/record")]));
    let record = DnsRecord {
        zone: to("edge/zone"),
        name: "${edge/certificate#validation_name:test.example.com}".to_owned(),
        record_type: "CNAME".to_owned(),
        ttl_s: Some(300),
        values: Some(vec!["${edge/certificate#validation_value:test.example.com}".to_owned()]),
        alias: None,
    };
    graph.add(at("edge/certificate/record"), Wanted::new(&record));
    let balancer = LoadBalancer {
        name: "keyway-test".to_owned(),
        scheme: "internet-facing".to_owned(),
        subnets: vec![to("net/subnet/public")],
        security_groups: vec![to("net/group/alb")],
        attributes: BTreeMap::from([("idle_timeout.timeout_seconds".to_owned(), "300".to_owned())]),
        foreign_listeners: BTreeSet::new(),
    };
    graph.add(at("edge/balancer"), Wanted::new(&balancer).after([at("net/igw")]));
    let health = HealthCheck {
        path: "/health".to_owned(),
        interval_s: 15,
        timeout_s: 5,
        healthy_count: 2,
        unhealthy_count: 3,
        codes: "200".to_owned(),
    };
    let target = TargetGroup {
        name: "keyway-test-app-1".to_owned(),
        vpc: to("net/vpc"),
        protocol: "HTTP".to_owned(),
        port: 8000,
        target_type: "ip".to_owned(),
        health_check: health,
        attributes: BTreeMap::new(),
    };
    graph.add(at("edge/targets/app"), Wanted::new(&target));
    let forward = || Action::Forward {
        targets: vec![WeightedTarget { target_group: to("edge/targets/app"), weight: 1 }],
    };
    let listener = Listener {
        load_balancer: to("edge/balancer"),
        port: 443,
        protocol: "HTTPS".to_owned(),
        certificate: Some(to("edge/certificate")),
        more_certificates: std::collections::BTreeSet::new(),
        tls_policy: None,
        default_action: Action::Fixed { status: "404".to_owned(), content_type: None, body: None },
        rules: vec![ListenerRule {
            priority: 10,
            conditions: vec![Condition::Path { values: vec!["/v1/*".to_owned()] }],
            action: forward(),
        }],
    };
    graph.add(at("edge/listener"), Wanted::new(&listener));
    let acl = WebAcl {
        name: "keyway-test".to_owned(),
        description: None,
        default_action: "allow".to_owned(),
        rules: vec![
            json!({"Name": "block", "Priority": 1, "Statement": {"IPSetReferenceStatement": {"ARN": "${fire/blocked}"}}}),
        ],
        samples: true,
        log_groups: Vec::new(),
        logs_all: None,
        redacted_headers: None,
        protects: vec![to("edge/balancer")],
    };
    let blocked = IpSet {
        name: "keyway-test-blocked".to_owned(),
        description: None,
        ip_version: "IPV4".to_owned(),
        addresses: BTreeSet::from(["192.0.2.1/32".to_owned()]),
    };
    graph.add(at("fire/blocked"), Wanted::new(&blocked));
    graph.add(at("fire/acl"), Wanted::new(&acl));
}

fn stores(graph: &mut Graph) {
    let secret = Secret {
        name: "keyway/test/redis".to_owned(),
        description: None,
        generate: None,
        recovery_days: Some(7),
    };
    graph.add(at("data/redis/secret"), Wanted::new(&secret));
    let subnets = CacheSubnetGroup {
        name: "keyway-test".to_owned(),
        description: "private".to_owned(),
        subnets: vec![to("net/subnet/private")],
    };
    graph.add(at("data/redis/subnets"), Wanted::new(&subnets));
    let cache = Cache {
        name: "keyway-test".to_owned(),
        description: "relay".to_owned(),
        engine: "valkey".to_owned(),
        engine_version: "8.0".to_owned(),
        node_type: "cache.t4g.micro".to_owned(),
        nodes: 1,
        subnet_group: to("data/redis/subnets"),
        security_groups: vec![to("net/group/redis")],
        parameter_group: None,
        multi_az: None,
        failover: None,
        tls: true,
        encrypted: true,
        auth: true,
        snapshot_days: None,
        snapshot_window: None,
        maintenance_window: None,
        auth_secret: Some(to("data/redis/secret")),
    };
    graph.add(at("data/redis"), Wanted::new(&cache));
}

fn compute(graph: &mut Graph) {
    let group = LogGroup { name: "/keyway/test/app".to_owned(), retention_days: Some(30) };
    graph.add(at("app/logs"), Wanted::new(&group));
    let role = Role {
        name: "keyway-test-app".to_owned(),
        path: "/keyway/test/".to_owned(),
        description: None,
        trust: json!({"Statement": [{"Effect": "Allow"}]}),
        inline: BTreeMap::from([("logs".to_owned(), json!({"Resource": "${app/logs#arn}"}))]),
        attached: BTreeSet::new(),
    };
    graph.add(at("app/role"), Wanted::new(&role));
    let cluster = Cluster {
        name: "keyway-test".to_owned(),
        container_insights: None,
        capacity_providers: vec!["FARGATE".to_owned()],
    };
    graph.add(at("app/cluster"), Wanted::new(&cluster));
    let container = Container {
        name: "app".to_owned(),
        image: "app:1".to_owned(),
        port: Some(8000),
        command: None,
        environment: BTreeMap::from([(
            "REDIS".to_owned(),
            "rediss://${data/redis#endpoint}:6379".to_owned(),
        )]),
        secrets: BTreeMap::new(),
        log_group: to("app/logs"),
        log_region: "eu-central-1".to_owned(),
        log_prefix: "app".to_owned(),
        read_only_root: None,
        user: None,
        stop_timeout_s: None,
        open_files: None,
    };
    let task = TaskDefinition {
        family: "keyway-test-app".to_owned(),
        cpu: 256,
        memory_mib: 512,
        architecture: "ARM64".to_owned(),
        execution_role: Ref::attribute(&at("app/role"), "arn"),
        task_role: Ref::attribute(&at("app/role"), "arn"),
        containers: vec![container],
    };
    graph.add(at("app/task"), Wanted::new(&task).owned_by("containers/0/image", "ci"));
    let service = Service {
        name: "app".to_owned(),
        cluster: to("app/cluster"),
        task_definition: to("app/task"),
        desired_count: Some(2),
        capacity: vec![],
        subnets: vec![to("net/subnet/private")],
        security_groups: vec![to("net/group/app")],
        public_address: false,
        targets: vec![Target {
            target_group: to("edge/targets/app"),
            container: "app".to_owned(),
            port: 8000,
        }],
        health_grace_s: None,
        minimum_percent: None,
        maximum_percent: None,
        circuit_breaker: Some(true),
        execute_command: None,
    };
    let wanted = Wanted::new(&service).after([at("edge/listener")]).owned_by("desired_count", "autoscaler");
    graph.add(at("app/service"), wanted);
    let scaling = Scaling {
        resource: "service/${app/cluster#name}/${app/service#name}".to_owned(),
        service: to("app/service"),
        minimum: 2,
        maximum: 6,
        policies: BTreeMap::new(),
    };
    graph.add(at("app/scaling"), Wanted::new(&scaling));
}

/// The environment one release later: changed in place, changed by replacement, added and removed.
pub fn later() -> Graph {
    let mut graph = graph();
    let mut set = |path: &str, field: &str, value: serde_json::Value| {
        graph.resources.get_mut(&at(path)).unwrap().fields.insert(field.to_owned(), value);
    };
    set("net/vpc", "dns_hostnames", json!(false));
    set(
        "net/routes/private",
        "routes",
        json!([{"destination": "0.0.0.0/0", "target": "${net/nat}"}, {"destination": "10.9.0.0/16", "target": "${net/igw}"}]),
    );
    set("net/group/redis", "ingress", json!([]));
    set("net/group/app", "name", json!("keyway-test-app-2"));
    set("edge/targets/app", "port", json!(9000));
    set("edge/targets/app", "name", json!("keyway-test-app-2"));
    set("app/task", "cpu", json!(512));
    // Other names: made beside the old ones, although their kinds are replaced delete-first under one name.
    set("app/role", "name", json!("keyway-test-web"));
    set("app/service", "name", json!("web"));
    set("app/logs", "name", json!("/keyway/test/web"));
    set("fire/blocked", "addresses", json!(["192.0.2.1/32", "192.0.2.2/32"]));
    set("app/scaling", "maximum", json!(9));
    graph.resources.remove(&at("net/endpoint/s3"));
    graph.add(
        at("app/logs/audit"),
        Wanted::new(&LogGroup { name: "/keyway/test/audit".to_owned(), retention_days: None }),
    );
    graph
}

/// Objects of others: one of another environment of ours, one without tags, one that only looks like ours.
pub fn strangers(account: &Memory) -> Vec<Observed> {
    let vpc =
        to_fields(&Vpc { cidr: "10.7.0.0/16".parse().unwrap(), dns_support: None, dns_hostnames: None });
    account.plant(KindId::Vpc, vpc.clone(), BTreeMap::new());
    let other = Scope { environment: "other".to_owned(), ..scope() };
    account.plant(KindId::Vpc, vpc.clone(), other.ownership(&at("net/vpc")));
    account.plant(KindId::Vpc, vpc, BTreeMap::from([("Name".to_owned(), "keyway-test".to_owned())]));
    account.everything()
}

/// How one run ended.
pub enum Ended {
    Finished(Box<(Plan, Finished)>),
    Refused(Plan),
    Killed,
    /// The lease or a read failed.
    Failed(String),
}

impl Ended {
    pub fn complete(&self) -> bool {
        matches!(self, Ended::Finished(run) if run.1.outcome.complete())
    }

    pub fn describe(&self) -> String {
        match self {
            Ended::Finished(run) => format!("{:?}", run.1.outcome),
            Ended::Refused(plan) => format!("refused: {:?}", plan.problems),
            Ended::Killed => "killed".to_owned(),
            Ended::Failed(why) => why.clone(),
        }
    }
}

/// One whole apply, from lease to lease.
pub async fn apply(account: &Memory, graph: &Graph) -> Ended {
    apply_until(account, graph, &watch::channel(false).0).await
}

/// The same, until `stop` says so.
pub async fn apply_until(account: &Memory, graph: &Graph, stop: &watch::Sender<bool>) -> Ended {
    let stores = [at("data/redis"), at("data/redis/secret")];
    let options = Options { only: None, allow_delete: stores.into(), allow_all: false };
    tokio::select! {
        ended = apply_once(account, graph, stop, &options) => ended,
        () = account.killed() => Ended::Killed,
    }
}

/// The same, whatever is lost by it.
pub async fn apply_all(account: &Memory, graph: &Graph) -> Ended {
    let options = Options { allow_all: true, ..Options::default() };
    apply_once(account, graph, &watch::channel(false).0, &options).await
}

async fn apply_once(account: &Memory, graph: &Graph, stop: &watch::Sender<bool>, options: &Options) -> Ended {
    let started = tokio::time::Instant::now();
    let now_s = move || 1_700_000_000 + started.elapsed().as_secs();
    let lease = match take(account, &now_s).await {
        Ok(lease) => lease,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    let snapshot = match run::observe(account, &graph.scope, &lease.unfinished, LAG, &|_| {}).await {
        Ok(snapshot) => snapshot,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    let plan = plan(graph, &snapshot, options);
    if !plan.problems.is_empty() {
        return Ended::Refused(plan);
    }
    let around = Surroundings {
        lease: Some(&lease),
        run: String::new(),
        lag: LAG,
        now_s: &now_s,
        stop,
        tell: &|_| {},
    };
    let finished = match run::carry_out(account, graph, &snapshot, &plan, &around).await {
        Ok(finished) => finished,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    match lease.release(account, true).await {
        Err(error) => Ended::Failed(error.to_string()),
        Ok(()) => Ended::Finished(Box::new((plan, finished))),
    }
}

pub async fn take(
    account: &dyn Account,
    now_s: &(dyn Fn() -> u64 + Send + Sync),
) -> Result<Lease, LeaseError> {
    let applicant = Applicant {
        caller: "me".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        run: "run-1".to_owned(),
        now_s,
        alive: &|_| false,
    };
    Lease::take(account, &scope(), &applicant, Duration::ZERO).await
}

/// The plan once everything can be seen.
pub async fn plan_now(account: &Memory, graph: &Graph) -> Plan {
    tokio::time::sleep(LAG * 2).await;
    let snapshot = account.discover(&graph.scope, KindId::ALL).await.unwrap();
    plan(graph, &snapshot, &Options::default())
}

pub fn behaviour(lagging: bool) -> Behaviour {
    Behaviour { lag: if lagging { LAG - Duration::from_secs(1) } else { Duration::ZERO }, slow: true }
}

/// Runs under virtual time: waits cost nothing.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// The environment stands.
pub async fn stand(account: &Memory) {
    let ended = apply(account, &graph()).await;
    assert!(ended.complete(), "the first apply: {}", ended.describe());
}
