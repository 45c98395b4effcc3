//! The network that an environment wants: VPC, subnets, ways out, endpoints, flow logs, and the chain of security groups.
//! Owns who may talk to whom; refuses to know what the services do.

use std::collections::BTreeMap;

use crate::address::{Address, Ref};
use crate::environment::{
    self, Direction, Nat, Outbound, Protocol, Scheme, SubnetPlace, Tier, Traffic, subnets,
};
use crate::kinds::route_table::Route;
use crate::kinds::security_group::Rule;
use crate::kinds::{
    ElasticIp, FlowLog, InternetGateway, KindId, LogGroup, NatGateway, RouteTable, SecurityGroup, Subnet,
    Vpc, VpcEndpoint,
};

use super::{Draft, POSTGRES, POSTGRES_PORT, REDIS, REDIS_PORT, identity, services, uses};

const ANYWHERE: &str = "0.0.0.0/0";
const HTTPS: u16 = 443;

pub(super) fn vpc() -> Address {
    Address::new("network/vpc")
}

pub(super) fn internet_gateway() -> Address {
    Address::new("network/internet_gateway")
}

pub(super) fn subnet(tier: Tier, letter: &str) -> Address {
    Address::new(format!("network/subnet/{}/{letter}", tier.as_str()))
}

pub(super) fn private_table(letter: &str) -> Address {
    Address::new(format!("network/route_table/private/{letter}"))
}

fn nat(part: &str) -> Address {
    Address::new(format!("network/nat/{part}"))
}

/// A security group by the name that the environment file uses for it.
pub(super) fn group(name: &str) -> Address {
    Address::new(format!("network/group/{name}"))
}

pub(super) fn draw(draft: &mut Draft<'_>) {
    let network = &draft.environment.network;
    let places = subnets(network);
    draft.add(
        "network/vpc",
        &Vpc { cidr: network.cidr.0, dns_support: Some(true), dns_hostnames: Some(true) },
        "network",
        &[("cidr", "network.cidr")],
    );
    draft.add("network/internet_gateway", &InternetGateway { vpc: Some(Ref::to(&vpc())) }, "network", &[]);
    for place in &places {
        let resource = Subnet {
            vpc: Ref::to(&vpc()),
            cidr: place.cidr,
            zone: place.zone.clone(),
            public_addresses: Some(false), // what is public has an address of its own, by name
        };
        let at = subnet(place.tier, &place.letter);
        draft.add(at.as_str(), &resource, "network", &[("cidr", &place.path), ("zone", "network.zones")]);
    }
    let ways = ways_out(draft, &places);
    tables(draft, &places, &ways);
    endpoints(draft, &places);
    flow_logs(draft);
}

/// NAT gateways. Returns, for each zone's letter, the gateway through which its private subnet leaves.
fn ways_out(draft: &mut Draft<'_>, places: &[SubnetPlace]) -> BTreeMap<String, Address> {
    let mut letters =
        places.iter().filter(|place| place.tier == Tier::Public).map(|place| place.letter.clone());
    let all: Vec<String> = letters.clone().collect();
    let zonal: Vec<String> = match draft.environment.network.nat {
        Nat::None => return BTreeMap::new(),
        Nat::Regional => {
            let resource = NatGateway {
                availability: "regional".into(),
                subnet: None,
                address: None,
                vpc: Some(Ref::to(&vpc())),
            };
            let wanted = draft.wanted(&resource, "network.nat", &[]).after([internet_gateway()]);
            let gateway = draft.graph.add(nat("regional"), wanted);
            return all.into_iter().map(|letter| (letter, gateway.clone())).collect();
        }
        Nat::Single => letters.next().into_iter().collect(),
        Nat::PerZone => all.clone(),
    };
    for letter in &zonal {
        let address = format!("network/elastic_ip/{letter}");
        let address = draft.add(&address, &ElasticIp { domain: "vpc".into() }, "network.nat", &[]);
        let resource = NatGateway {
            availability: "zonal".into(),
            subnet: Some(Ref::to(&subnet(Tier::Public, letter))),
            address: Some(Ref::to(&address)),
            vpc: None,
        };
        // AWS refuses a public gateway in a VPC without an attached internet gateway.
        let wanted = draft.wanted(&resource, "network.nat", &[]).after([internet_gateway()]);
        draft.graph.add(nat(letter), wanted);
    }
    let first = zonal.first().cloned().unwrap_or_default();
    let of_zone = |letter: &String| if zonal.contains(letter) { nat(letter) } else { nat(&first) };
    all.iter().map(|letter| (letter.clone(), of_zone(letter))).collect()
}

/// One table for the public tier, one for each private subnet (so that a change from one NAT to three moves a route and no
/// association), one for the data tier, which has no way out.
fn tables(draft: &mut Draft<'_>, places: &[SubnetPlace], ways: &BTreeMap<String, Address>) {
    let of_tier = |tier: Tier| -> Vec<Ref<Subnet>> {
        let places = places.iter().filter(|place| place.tier == tier);
        places.map(|place| Ref::to(&subnet(place.tier, &place.letter))).collect()
    };
    let to = |target: &Address| Route { destination: ANYWHERE.into(), target: Ref::to(target) };
    let public = RouteTable {
        vpc: Ref::to(&vpc()),
        routes: vec![to(&internet_gateway())],
        subnets: of_tier(Tier::Public),
    };
    draft.add("network/route_table/public", &public, "network", &[]);
    for place in places.iter().filter(|place| place.tier == Tier::Private) {
        let private = RouteTable {
            vpc: Ref::to(&vpc()),
            routes: ways.get(&place.letter).map(to).into_iter().collect(),
            subnets: vec![Ref::to(&subnet(Tier::Private, &place.letter))],
        };
        draft.add(private_table(&place.letter).as_str(), &private, "network", &[("routes", "network.nat")]);
    }
    let data = RouteTable { vpc: Ref::to(&vpc()), routes: Vec::new(), subnets: of_tier(Tier::Data) };
    draft.add("network/route_table/data", &data, "network", &[]);
}

fn endpoints(draft: &mut Draft<'_>, places: &[SubnetPlace]) {
    let network = &draft.environment.network;
    let service = |name: &str| format!("com.amazonaws.{}.{name}", draft.environment.region);
    let private = || places.iter().filter(|place| place.tier == Tier::Private);
    let mut wanted = Vec::new();
    if network.s3_endpoint {
        let s3 = VpcEndpoint {
            vpc: Ref::to(&vpc()),
            service: service("s3"),
            endpoint_type: "Gateway".into(),
            private_dns: None,
            route_tables: Some(private().map(|place| Ref::to(&private_table(&place.letter))).collect()),
            subnets: None,
            security_groups: None,
        };
        wanted.push(("s3-gateway".to_owned(), "network.s3_endpoint".to_owned(), s3));
    }
    for (index, name) in network.interface_endpoints.iter().enumerate() {
        let endpoint = VpcEndpoint {
            vpc: Ref::to(&vpc()),
            service: service(name),
            endpoint_type: "Interface".into(),
            private_dns: Some(true),
            route_tables: None,
            subnets: Some(private().map(|place| Ref::to(&subnet(Tier::Private, &place.letter))).collect()),
            security_groups: Some(vec![Ref::to(&group("endpoints"))]),
        };
        wanted.push((name.clone(), format!("network.interface_endpoints.{index}"), endpoint));
    }
    for (name, path, endpoint) in wanted {
        draft.add(&format!("network/endpoint/{name}"), &endpoint, &path, &[]);
    }
}

/// Endpoints and tables that must stand before a task can start: without them it cannot pull its image.
pub(super) fn before_tasks(draft: &Draft<'_>) -> Vec<Address> {
    let needed = |address: &&Address| {
        let text = address.as_str();
        text.starts_with("network/route_table/private/") || text.starts_with("network/endpoint/")
    };
    draft.graph.resources.keys().filter(needed).cloned().collect()
}

fn flow_logs(draft: &mut Draft<'_>) {
    let Some(logs) = &draft.environment.network.flow_logs else { return };
    let path = "network.flow_logs";
    let group = LogGroup { name: draft.names.path("flow-logs"), retention_days: Some(logs.retention_days) };
    let retention = ("retention_days", "network.flow_logs.retention_days");
    let group = draft.add("network/flow_log/log_group", &group, path, &[retention]);
    let role = identity::flow_log_role(draft, &group);
    let traffic = match logs.traffic {
        Traffic::All => "ALL",
        Traffic::Accept => "ACCEPT",
        Traffic::Reject => "REJECT",
    };
    let resource = FlowLog {
        vpc: Ref::to(&vpc()),
        log_group: Ref::to(&group),
        role: Ref::attribute(&role, "arn"),
        traffic: traffic.into(),
        interval_s: logs.aggregation_s,
    };
    let elsewhere =
        [("traffic", "network.flow_logs.traffic"), ("interval_s", "network.flow_logs.aggregation_s")];
    draft.add("network/flow_log", &resource, path, &elsewhere);
}

/// One group's rules while the chain is drawn, each with the path that it comes from.
#[derive(Default)]
struct Group {
    description: String,
    path: String,
    ingress: Vec<(Rule, String)>,
    egress: Vec<(Rule, String)>,
}

/// The groups of the environment: load balancer -> services -> stores and endpoints, and the extra rules.
pub(super) fn draw_groups(draft: &mut Draft<'_>) {
    let mut groups = declared(draft);
    chain(draft, &mut groups);
    extra(draft, &mut groups);
    for (name, group_wanted) in groups {
        let rules = |rules: &[(Rule, String)]| rules.iter().map(|(rule, _)| rule.clone()).collect();
        let resource = SecurityGroup {
            vpc: Ref::to(&vpc()),
            name: draft.names.part(&name.replace('_', "-")),
            description: group_wanted.description.clone(),
            ingress: rules(&group_wanted.ingress),
            egress: rules(&group_wanted.egress),
        };
        let mut wanted = draft.wanted(&resource, &group_wanted.path, &[]);
        for (field, rules) in [("ingress", &group_wanted.ingress), ("egress", &group_wanted.egress)] {
            for (index, (_, path)) in rules.iter().enumerate() {
                wanted.origins.insert(format!("{field}/{index}"), draft.place(path));
            }
        }
        draft.graph.add(group(&name), wanted);
    }
}

fn declared(draft: &Draft<'_>) -> BTreeMap<String, Group> {
    let environment = draft.environment;
    let mut groups = BTreeMap::new();
    let mut add = |name: &str, path: String, description: String| {
        groups.insert(name.to_owned(), Group { description, path, ..Group::default() });
    };
    if environment.load_balancer.is_some() {
        add("load_balancer", "load_balancer".into(), "The entrance".into());
    }
    if !environment.network.interface_endpoints.is_empty() {
        add("endpoints", "network.interface_endpoints".into(), "Interface endpoints of AWS services".into());
    }
    for (name, path, _) in services(environment) {
        add(name, path, format!("Tasks of the service {name}"));
    }
    if environment.redis.is_some() {
        add(REDIS, REDIS.into(), "Redis".into());
    }
    if environment.postgres.is_some() {
        add(POSTGRES, POSTGRES.into(), "Postgres".into());
    }
    groups
}

fn chain(draft: &Draft<'_>, groups: &mut BTreeMap<String, Group>) {
    let environment = draft.environment;
    if let Some(balancer) = &environment.load_balancer {
        let access: Vec<String> = match balancer.access.as_slice() {
            [] => vec![ANYWHERE.to_owned()],
            given => given.iter().map(ToString::to_string).collect(),
        };
        // Own services come in through the entrance, too, with the addresses of their NAT gateways.
        let own: Vec<String> = match (balancer.scheme, balancer.access.is_empty()) {
            (Scheme::InternetFacing, false) => draft.public_addresses(),
            _ => Vec::new(),
        };
        for port in super::edge::ports(balancer) {
            let clients = access.iter().map(|cidr| to_cidr(port, cidr, "Clients"));
            let own = own.iter().map(|address| to_cidr(port, &format!("{address}/32"), "Own services"));
            for rule in clients.chain(own) {
                push(groups, "load_balancer", Direction::Ingress, rule, "load_balancer.access");
            }
        }
    }
    for (name, path, service) in services(environment) {
        if super::edge::is_target(environment, name) {
            connect(groups, "load_balancer", name, service.port, &format!("{path}.port"));
        }
        let out = match environment.security.outbound {
            Outbound::Https => to_cidr(HTTPS, ANYWHERE, "AWS and the internet, HTTPS only"),
            Outbound::All => Rule {
                protocol: "-1".into(),
                from_port: None,
                to_port: None,
                ..to_cidr(0, ANYWHERE, "Anything")
            },
        };
        push(groups, name, Direction::Egress, out, "security.outbound");
        if groups.contains_key("endpoints") {
            // Leaving on 443 is already allowed to anywhere: only the endpoints' side is missing.
            let rule = to_group(HTTPS, name, &format!("{name} to endpoints"));
            push(groups, "endpoints", Direction::Ingress, rule, "network.interface_endpoints");
        }
        for (store, port) in [(REDIS, REDIS_PORT), (POSTGRES, POSTGRES_PORT)] {
            if uses(service, store) && groups.contains_key(store) {
                connect(groups, name, store, port, &format!("{path}.uses"));
            }
        }
    }
}

/// Both sides of one allowed connection.
fn connect(groups: &mut BTreeMap<String, Group>, from: &str, to: &str, port: u16, path: &str) {
    let why = format!("{} to {}", from.replace('_', " "), to.replace('_', " "));
    push(groups, from, Direction::Egress, to_group(port, to, &why), path);
    push(groups, to, Direction::Ingress, to_group(port, from, &why), path);
}

fn push(groups: &mut BTreeMap<String, Group>, name: &str, direction: Direction, rule: Rule, path: &str) {
    let Some(group) = groups.get_mut(name) else { return };
    let rules = match direction {
        Direction::Ingress => &mut group.ingress,
        Direction::Egress => &mut group.egress,
    };
    // AWS refuses a second rule that differs only in its description.
    let same = |other: &Rule| {
        Rule { description: None, ..other.clone() } == Rule { description: None, ..rule.clone() }
    };
    if !rules.iter().any(|(other, _)| same(other)) {
        rules.push((rule, path.to_owned()));
    }
}

fn to_cidr(port: u16, cidr: &str, why: &str) -> Rule {
    Rule {
        protocol: "tcp".into(),
        from_port: Some(port),
        to_port: Some(port),
        cidr: Some(cidr.to_owned()),
        group: None,
        prefix_list: None,
        description: Some(why.to_owned()),
    }
}

fn to_group(port: u16, name: &str, why: &str) -> Rule {
    Rule { cidr: None, group: Some(Ref::to(&group(name))), ..to_cidr(port, "", why) }
}

fn extra(draft: &Draft<'_>, groups: &mut BTreeMap<String, Group>) {
    for (name, rule) in &draft.environment.security.rules {
        let path = format!("security.rules.{name}");
        let peers = rule.cidrs.iter().map(|cidr| (Some(cidr.to_string()), None));
        let peers = peers.chain(rule.peer.iter().map(|peer| (None, Some(Ref::to(&group(peer))))));
        for (cidr, peer) in peers {
            let wanted = extra_rule(rule, cidr, peer);
            push(groups, &rule.group, rule.direction, wanted, &path);
        }
    }
}

fn extra_rule(rule: &environment::Rule, cidr: Option<String>, peer: Option<Ref<SecurityGroup>>) -> Rule {
    let protocol = match rule.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::All => "-1",
    };
    Rule {
        protocol: protocol.into(),
        from_port: rule.port,
        to_port: rule.port_last.or(rule.port),
        cidr,
        group: peer,
        prefix_list: None,
        description: Some(rule.reason.clone()),
    }
}

/// What AWS' console shows in its column "Name", for kinds that have no name of their own: `keyway-staging-subnet-public-a`.
pub(super) fn name(draft: &mut Draft<'_>) {
    const NAMELESS: [KindId; 8] = [
        KindId::Vpc,
        KindId::Subnet,
        KindId::InternetGateway,
        KindId::NatGateway,
        KindId::ElasticIp,
        KindId::RouteTable,
        KindId::VpcEndpoint,
        KindId::FlowLog,
    ];
    let prefix = draft.environment.prefix();
    for (address, wanted) in &mut draft.graph.resources {
        if NAMELESS.contains(&wanted.kind) && !draft.environment.tags.contains_key("Name") {
            let what = address.as_str().trim_start_matches("network/").replace('/', "-");
            wanted.tags.insert("Name".to_owned(), format!("{prefix}-{what}"));
        }
    }
}
