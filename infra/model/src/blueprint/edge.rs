//! The entrance that an environment wants: zone, records, certificate, load balancer, target groups and listeners with their
//! ordered rules. Owns the order of routes; refuses to know tasks.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::address::{Address, Ref};
use crate::environment::{
    Balancing, Dns, Environment, Fixed, HeaderMatch, LoadBalancer as Balancer, Record, Scheme, Service, Tier,
};
use crate::kinds::dns_record::Alias;
use crate::kinds::listener::{Action, Condition, ListenerRule, WeightedTarget};
use crate::kinds::target_group::HealthCheck;
use crate::kinds::{Certificate, DnsRecord, DnsZone, Listener, LoadBalancer, TargetGroup};

use super::{Draft, network, services};

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// Seconds for which a resolver may keep the proof of a certificate; it never changes, so any moderate number does.
const VALIDATION_TTL_S: u32 = 300;
/// Seconds for a record with values that gives none.
const RECORD_TTL_S: u32 = 300;

pub(super) fn load_balancer() -> Address {
    Address::new("edge/load_balancer")
}

pub(super) fn target_group(service: &str) -> Address {
    Address::new(format!("edge/target_group/{service}"))
}

fn certificate() -> Address {
    Address::new("edge/certificate")
}

/// The ports on which the load balancer listens.
pub(super) fn ports(balancer: &Balancer) -> Vec<u16> {
    match (&balancer.certificate, balancer.redirect_http) {
        (None, _) => vec![HTTP],
        (Some(_), true) => vec![HTTP, HTTPS],
        (Some(_), false) => vec![HTTPS],
    }
}

/// Whether the load balancer sends requests to a service: only then it has a target group.
pub(super) fn is_target(environment: &Environment, name: &str) -> bool {
    let Some(balancer) = &environment.load_balancer else { return false };
    let own = environment.services.get(name).is_some_and(|service| !service.routes.is_empty());
    let forwards = balancer.routes.values().filter_map(|route| route.forward.as_ref());
    own || balancer.default.service.as_deref() == Some(name)
        || forwards.into_iter().any(|forward| forward.value().contains_key(name))
}

/// The listener that carries the routes: a service may be made only when its target group hangs on it.
pub(super) fn routes_listener(environment: &Environment) -> Option<Address> {
    let balancer = environment.load_balancer.as_ref()?;
    let secure = balancer.certificate.is_some();
    Some(Address::new(if secure { "edge/listener/https" } else { "edge/listener/http" }))
}

pub(super) fn draw(draft: &mut Draft<'_>) {
    let environment = draft.environment;
    let zone = environment.dns.as_ref().map(|dns| draw_zone(draft, dns));
    let Some(balancer) = &environment.load_balancer else { return };
    draw_load_balancer(draft, balancer);
    for (name, path, service) in services(environment) {
        if is_target(environment, name) {
            draw_target_group(draft, name, &path, service);
        }
    }
    let certificate = draw_certificate(draft, balancer, zone.as_ref());
    draw_listeners(draft, balancer, certificate);
    if let (Some(dns), Some(zone)) = (&environment.dns, &zone) {
        for (name, record) in &dns.records {
            draw_record(draft, name, record, zone);
        }
    }
    draft.output("load_balancer", Ref::<LoadBalancer>::attribute(&load_balancer(), "dns_name").to_string());
    if let Some(url) = url(environment, "http") {
        draft.output("url", url);
    }
}

/// Where people and programs find the environment: by the shortest name that points at the load balancer, or by AWS's.
pub(super) fn host(environment: &Environment) -> Option<String> {
    environment.load_balancer.as_ref()?;
    let records = environment.dns.iter().flat_map(|dns| dns.records.values());
    let names = records.filter(|record| record.alias.is_some()).map(|record| &record.name);
    Some(match names.min_by_key(|name| (name.len(), name.as_str())) {
        Some(name) => name.clone(),
        None => Ref::<LoadBalancer>::attribute(&load_balancer(), "dns_name").to_string(),
    })
}

/// The same with a scheme: `http` or `ws`, with TLS where there is a certificate.
pub(super) fn url(environment: &Environment, scheme: &str) -> Option<String> {
    let tls = environment.load_balancer.as_ref()?.certificate.is_some();
    Some(format!("{scheme}{}://{}", if tls { "s" } else { "" }, host(environment)?))
}

fn draw_zone(draft: &mut Draft<'_>, dns: &Dns) -> Ref<DnsZone> {
    if let Some(id) = &dns.zone_id {
        return Ref::physical(id);
    }
    let zone =
        DnsZone { name: dns.zone.clone(), comment: Some(format!("Zone of {}", draft.environment.prefix())) };
    let wanted = draft.wanted(&zone, "dns", &[("name", "dns.zone")]).protect(draft.environment.protect);
    let zone = draft.graph.add(Address::new("edge/zone"), wanted);
    draft.output("name_servers", Ref::<DnsZone>::attribute(&zone, "name_servers").to_string());
    Ref::to(&zone)
}

fn draw_record(draft: &mut Draft<'_>, name: &str, record: &Record, zone: &Ref<DnsZone>) {
    let balancer = load_balancer();
    let alias = record.alias.map(|_| Alias {
        dns_name: Ref::<LoadBalancer>::attribute(&balancer, "dns_name").to_string(),
        zone_id: Ref::<LoadBalancer>::attribute(&balancer, "zone_id").to_string(),
    });
    let plain = alias.is_none();
    let resource = DnsRecord {
        zone: zone.clone(),
        name: record.name.clone(),
        record_type: record.kind.as_str().into(),
        ttl_s: plain.then(|| record.ttl_s.unwrap_or(RECORD_TTL_S)),
        values: plain.then(|| record.values.clone()),
        alias,
    };
    let path = format!("dns.records.{name}");
    let key = |key: &str| format!("{path}.{key}");
    let (name_at, values_at, alias_at, ttl_at) = (key("name"), key("values"), key("alias"), key("ttl_s"));
    let shared = draft.environment.dns.as_ref().is_some_and(|dns| dns.zone_id.is_some());
    let zone_at = if shared { "dns.zone_id" } else { "dns" };
    let elsewhere = [
        ("name", &*name_at),
        ("values", &*values_at),
        ("alias", &*alias_at),
        ("ttl_s", &*ttl_at),
        ("zone", zone_at),
    ];
    draft.add(&format!("edge/record/{name}"), &resource, &path, &elsewhere);
}

fn draw_load_balancer(draft: &mut Draft<'_>, balancer: &Balancer) {
    let environment = draft.environment;
    let protection = balancer.deletion_protection.unwrap_or(environment.protect);
    let mut attributes = BTreeMap::from([("deletion_protection.enabled".to_owned(), protection.to_string())]);
    let given = [
        ("idle_timeout.timeout_seconds", balancer.idle_timeout_s.map(|seconds| seconds.to_string())),
        ("client_keep_alive.seconds", balancer.client_keep_alive_s.map(|seconds| seconds.to_string())),
        (
            "routing.http.drop_invalid_header_fields.enabled",
            balancer.drop_invalid_headers.map(|drop| drop.to_string()),
        ),
    ];
    attributes.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    attributes.extend(AS_AWS_LEAVES_THEM.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let (scheme, tier) = match balancer.scheme {
        Scheme::InternetFacing => ("internet-facing", Tier::Public),
        Scheme::Internal => ("internal", Tier::Private),
    };
    let resource = LoadBalancer {
        name: draft.names.environment(),
        scheme: scheme.into(),
        subnets: draft.subnets(tier),
        security_groups: vec![Ref::to(&network::group("load_balancer"))],
        attributes,
        foreign_listeners: BTreeSet::new(),
    };
    let protection =
        if balancer.deletion_protection.is_some() { "load_balancer.deletion_protection" } else { "protect" };
    let elsewhere = [
        ("scheme", "load_balancer.scheme"),
        ("subnets", "network.zones"),
        ("attributes/deletion_protection.enabled", protection),
        ("attributes/idle_timeout.timeout_seconds", "load_balancer.idle_timeout_s"),
        ("attributes/client_keep_alive.seconds", "load_balancer.client_keep_alive_s"),
        ("attributes/routing.http.drop_invalid_header_fields.enabled", "load_balancer.drop_invalid_headers"),
    ];
    let wanted = draft.wanted(&resource, "load_balancer", &elsewhere).protect(environment.protect);
    // AWS refuses one that faces the internet in a VPC without an attached internet gateway.
    draft.graph.add(load_balancer(), wanted.after([network::internet_gateway()]));
}

/// Nobody can ask for another value, and each of them would change what reaches a service: one that somebody edits is
/// found. The values are those of a new load balancer.
const AS_AWS_LEAVES_THEM: [(&str, &str); 6] = [
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("routing.http.preserve_host_header.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.xff_header_processing.mode", "append"),
    ("routing.http2.enabled", "true"),
    // Open would let everything through while the firewall cannot answer.
    ("waf.fail_open.enabled", "false"),
];

fn draw_target_group(draft: &mut Draft<'_>, name: &str, path: &str, service: &Service) {
    let balancing = match service.balancing {
        Balancing::RoundRobin => "round_robin",
        Balancing::LeastOutstandingRequests => "least_outstanding_requests",
    };
    let mut attributes = BTreeMap::from([
        // A reconnecting phone may land on any task: the bus reaches all of them.
        ("stickiness.enabled".to_owned(), "false".to_owned()),
        ("load_balancing.algorithm.type".to_owned(), balancing.to_owned()),
        ("slow_start.duration_seconds".to_owned(), "0".to_owned()),
    ]);
    if let Some(seconds) = service.deregistration_delay_s {
        attributes.insert("deregistration_delay.timeout_seconds".to_owned(), seconds.to_string());
    }
    let mut group = TargetGroup {
        name: String::new(),
        vpc: Ref::to(&network::vpc()),
        protocol: "HTTP".into(),
        port: service.port,
        target_type: "ip".into(),
        health_check: HealthCheck {
            path: service.health.path.clone(),
            interval_s: service.health.interval_s,
            timeout_s: service.health.timeout_s,
            healthy_count: service.health.good,
            unhealthy_count: service.health.bad,
            codes: service.health.codes.clone(),
        },
        attributes,
    };
    group.name = target_group_name(draft, name, &group);
    let key = |key: &str| format!("{path}.{key}");
    let (port, health, delay, balancing) =
        (key("port"), key("health"), key("deregistration_delay_s"), key("balancing"));
    let elsewhere = [
        ("port", &*port),
        ("health_check", &*health),
        ("attributes/deregistration_delay.timeout_seconds", &*delay),
        ("attributes/load_balancing.algorithm.type", &*balancing),
    ];
    draft.add(target_group(name).as_str(), &group, path, &elsewhere);
}

/// Ends in a hash of what AWS cannot change: a replacement has another name and can stand beside the old one.
fn target_group_name(draft: &Draft<'_>, service: &str, group: &TargetGroup) -> String {
    let cidr = draft.environment.network.cidr; // another VPC has another range, and the group's VPC cannot change
    let fixed = format!("{cidr} {} {} {}", group.protocol, group.port, group.target_type);
    let hash = Sha256::digest(fixed.as_bytes());
    let suffix: String = hash.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    draft.names.part(&format!("{service}-{suffix}"))
}

/// The certificate that the HTTPS listener shows: requested and proved in our zone, or someone else's.
fn draw_certificate(
    draft: &mut Draft<'_>,
    balancer: &Balancer,
    zone: Option<&Ref<DnsZone>>,
) -> Option<Ref<Certificate>> {
    let wanted = balancer.certificate.as_ref()?;
    if let Some(arn) = &wanted.arn {
        return Some(Ref::physical(arn));
    }
    let (first, others) = wanted.domains.split_first()?;
    let path = "load_balancer.certificate.domains";
    let resource = Certificate { domain: first.clone(), alternative_names: others.to_vec() };
    let mut records = Vec::new();
    // A name and the wildcard below it are proved by one and the same record.
    let names: BTreeSet<&str> = wanted.domains.iter().map(|domain| domain.trim_start_matches("*.")).collect();
    for name in names {
        let Some(zone) = zone else { continue };
        let listed = wanted.domains.iter().find(|domain| domain.trim_start_matches("*.") == name)?;
        let attribute = |what: &str| {
            Ref::<Certificate>::attribute(&certificate(), &format!("{what}:{listed}")).to_string()
        };
        let record = DnsRecord {
            zone: zone.clone(),
            name: attribute("validation_name"),
            record_type: "CNAME".into(),
            ttl_s: Some(VALIDATION_TTL_S),
            values: Some(vec![attribute("validation_value")]),
            alias: None,
        };
        records.push(draft.add(&format!("edge/record/validation/{name}"), &record, path, &[]));
    }
    let wanted = draft.wanted(&resource, path, &[]).settle_after(records);
    Some(Ref::to(&draft.graph.add(certificate(), wanted)))
}

fn draw_listeners(draft: &mut Draft<'_>, balancer: &Balancer, certificate: Option<Ref<Certificate>>) {
    let routes = routes(draft);
    let default = default_action(draft, balancer);
    let base = |port: u16, protocol: &str| Listener {
        load_balancer: Ref::to(&load_balancer()),
        port,
        protocol: protocol.into(),
        certificate: None,
        more_certificates: BTreeSet::new(),
        tls_policy: None,
        default_action: Action::Redirect {
            protocol: "HTTPS".into(),
            port: HTTPS.to_string(),
            status: "HTTP_301".into(),
        },
        rules: Vec::new(),
    };
    if certificate.is_some() && balancer.redirect_http {
        draft.add("edge/listener/http", &base(HTTP, "HTTP"), "load_balancer.redirect_http", &[]);
    }
    let (at, mut listener) = match certificate {
        Some(certificate) => {
            let secure = Listener {
                certificate: Some(certificate),
                tls_policy: Some(balancer.tls_policy.clone()),
                ..base(HTTPS, "HTTPS")
            };
            ("edge/listener/https", secure)
        }
        None => ("edge/listener/http", base(HTTP, "HTTP")),
    };
    listener.default_action = default;
    listener.rules = routes.iter().map(|route| route.rule.clone()).collect();
    let elsewhere = [
        ("certificate", "load_balancer.certificate"),
        ("tls_policy", "load_balancer.tls_policy"),
        ("default_action", "load_balancer.default"),
    ];
    let mut wanted = draft.wanted(&listener, "load_balancer", &elsewhere);
    for (index, route) in routes.iter().enumerate() {
        wanted.origins.insert(format!("rules/{index}"), draft.place(&route.path));
        if let Some(owner) = route.weights_owner {
            wanted = wanted.owned_by(&format!("rules/{index}/action/targets"), owner);
        }
    }
    draft.graph.add(Address::new(at), wanted);
}

fn default_action(draft: &Draft<'_>, balancer: &Balancer) -> Action {
    let not_found = || Fixed { status: 404, content_type: "text/plain".into(), body: String::new() };
    match (&balancer.default.service, &balancer.default.fixed) {
        (Some(service), _) if draft.environment.services.contains_key(service) => {
            forward([(service.as_str(), 1)])
        }
        (_, Some(answer)) => fixed(answer),
        _ => fixed(&not_found()),
    }
}

fn forward<'a>(weights: impl IntoIterator<Item = (&'a str, u32)>) -> Action {
    let target = |(service, weight): (&str, u32)| WeightedTarget {
        target_group: Ref::to(&target_group(service)),
        weight,
    };
    Action::Forward { targets: weights.into_iter().map(target).collect() }
}

fn fixed(answer: &Fixed) -> Action {
    Action::Fixed {
        status: answer.status.to_string(),
        content_type: Some(answer.content_type.clone()),
        body: (!answer.body.is_empty()).then(|| answer.body.clone()),
    }
}

/// One rule of the listener and where it was written.
struct Route {
    rule: ListenerRule,
    path: String,
    weights_owner: Option<&'static str>,
}

/// All routes in order of their priority.
fn routes(draft: &Draft<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (name, path, service) in services(draft.environment) {
        for (key, route) in &service.routes {
            let conditions = conditions(&route.paths, &route.hosts, route.header.as_ref());
            let rule = ListenerRule { priority: route.priority, conditions, action: forward([(name, 1)]) };
            routes.push(Route { rule, path: format!("{path}.routes.{key}"), weights_owner: None });
        }
    }
    for (key, route) in draft.environment.load_balancer.iter().flat_map(|balancer| &balancer.routes) {
        let action = match (&route.forward, &route.fixed) {
            (Some(weights), _) => {
                forward(weights.value().iter().map(|(service, weight)| (service.as_str(), *weight)))
            }
            (None, Some(answer)) => fixed(answer),
            (None, None) => continue, // refused by the check
        };
        let conditions = conditions(&route.paths, &route.hosts, route.header.as_ref());
        let weights_owner =
            route.forward.as_ref().and_then(|weights| weights.owner()).map(|owner| owner.as_str());
        let rule = ListenerRule { priority: route.priority, conditions, action };
        routes.push(Route { rule, path: format!("load_balancer.routes.{key}"), weights_owner });
    }
    routes.sort_by_key(|route| route.rule.priority);
    routes
}

fn conditions(paths: &[String], hosts: &[String], header: Option<&HeaderMatch>) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if !hosts.is_empty() {
        conditions.push(Condition::Host { values: hosts.to_vec() });
    }
    if !paths.is_empty() {
        conditions.push(Condition::Path { values: paths.to_vec() });
    }
    if let Some(header) = header {
        conditions.push(Condition::Header { name: header.name.clone(), values: header.values.clone() });
    }
    conditions
}
