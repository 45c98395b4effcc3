//! Checks of the network: region and zones, address ranges, ways out, extra rules of groups.

use crate::environment::near::nearest;
use crate::environment::problem::Problem;
use crate::environment::subnet::{SUBNET_PREFIX_MAX, VPC_PREFIX_MAX, VPC_PREFIX_MIN, subnets};
use crate::environment::types::{Environment, Nat, Protocol, Rule, Tier};
use crate::environment::{SubnetPlace, endpoint, region};

use super::{Report, duplicates, quoted};

/// Endpoints without which Fargate starts no task when there is no NAT gateway.
const NEEDED_WITHOUT_NAT: [&str; 4] = ["ecr.api", "ecr.dkr", "logs", "secretsmanager"];

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    zones(environment, report);
    endpoints(environment, report);
    ranges(environment, report);
    way_out(environment, report);
    for (name, rule) in &environment.security.rules {
        rule_of_group(environment, name, rule, report);
    }
}

fn zones(environment: &Environment, report: &mut Report<'_>) {
    let region = &environment.region;
    match region::zones(region) {
        Some(zones) => of_region(environment, |zone| zones.iter().any(|known| known == zone), &zones, report),
        None => unknown_region(environment, report),
    }
    for index in duplicates(&environment.network.zones) {
        let message = format!("the zone \"{}\" is named twice", environment.network.zones[index]);
        report.add(
            Problem::error("duplicate", format!("network.zones.{index}"), message).allowed("each zone once"),
        );
    }
}

/// A region that the table lacks: a new one by its shape, or a slip.
fn unknown_region(environment: &Environment, report: &mut Report<'_>) {
    let region = &environment.region;
    let names: Vec<&str> = region::names().collect();
    let near = quoted(nearest(region, names.iter().copied()));
    if !region::looks_like_one(region) {
        let problem = Problem::error("unknown-region", "region", format!("there is no region \"{region}\""));
        return report.add(problem.allowed(names.join(", ")).near(near.as_deref()));
    }
    let message = format!(
        "the region \"{region}\" is not known here: that it exists, and its zones, are taken on trust"
    );
    report.add(Problem::warning("unknown-region", "region", message).near(near.as_deref()));
    let zones: Vec<String> = ["a", "b", "c"].iter().map(|letter| format!("{region}{letter}")).collect();
    of_region(environment, |zone| region::names_zone(region, zone), &zones, report);
}

/// Every zone is one of the region.
fn of_region(
    environment: &Environment,
    is: impl Fn(&str) -> bool,
    zones: &[String],
    report: &mut Report<'_>,
) {
    let region = &environment.region;
    for (index, zone) in environment.network.zones.iter().enumerate().filter(|(_, zone)| !is(zone)) {
        let near = quoted(nearest(zone, zones.iter().map(String::as_str)));
        let message = format!("the region {region} has no zone \"{zone}\"");
        let problem = Problem::error("unknown-zone", format!("network.zones.{index}"), message);
        report.add(problem.allowed(zones.join(", ")).near(near.as_deref()));
    }
}

fn endpoints(environment: &Environment, report: &mut Report<'_>) {
    let endpoints = &environment.network.interface_endpoints;
    for index in duplicates(endpoints) {
        let message = format!("the endpoint \"{}\" is named twice", endpoints[index]);
        let path = format!("network.interface_endpoints.{index}");
        report.add(Problem::error("duplicate", path, message).allowed("each endpoint once"));
    }
    for (index, name) in endpoints.iter().enumerate().filter(|(_, name)| !endpoint::is_usual(name)) {
        let near = quoted(nearest(name, endpoint::names()));
        let message = format!("\"{name}\" is none of the usual services with an interface endpoint");
        let path = format!("network.interface_endpoints.{index}");
        let allowed = "a service that AWS lists for the region (`aws ec2 describe-vpc-endpoint-services`)";
        report
            .add(Problem::warning("unknown-endpoint", path, message).allowed(allowed).near(near.as_deref()));
    }
}

fn ranges(environment: &Environment, report: &mut Report<'_>) {
    let network = &environment.network;
    let prefix = network.cidr.0.prefix_len();
    let given = |tier| !network.subnets.tier(tier).cidrs.is_empty();
    let all_given = Tier::ALL.into_iter().all(given);
    // With all subnets given, AWS's own bound holds; derived ones must still hold a load balancer each.
    let prefix_max = if all_given { 28 } else { VPC_PREFIX_MAX };
    if prefix < VPC_PREFIX_MIN || prefix > prefix_max {
        let what = if prefix > prefix_max { "too small" } else { "too large" };
        let message = format!("the range {} is {what} for a VPC", network.cidr);
        let allowed = format!("a prefix from /{VPC_PREFIX_MIN} to /{prefix_max}");
        report.add(Problem::error("cidr-size", "network.cidr", message).allowed(allowed));
    }
    for tier in Tier::ALL {
        let cidrs = &network.subnets.tier(tier).cidrs;
        if !cidrs.is_empty() && cidrs.len() != network.zones.len() {
            let (ranges, zones) = (cidrs.len(), network.zones.len());
            let message = format!("{ranges} ranges are given for {zones} zones");
            let path = format!("network.subnets.{}.cidrs", tier.as_str());
            report.add(
                Problem::error("wrong-length", path, message)
                    .allowed("one range for each zone, or none at all"),
            );
        }
    }
    let places = subnets(network);
    for (index, place) in places.iter().enumerate() {
        range(environment, place, &places[..index], report);
    }
}

fn range(environment: &Environment, place: &SubnetPlace, before: &[SubnetPlace], report: &mut Report<'_>) {
    let vpc = environment.network.cidr;
    let cidr = place.cidr;
    if !vpc.0.contains(&cidr) {
        let message = format!("the subnet {cidr} is not inside the VPC");
        report.add(
            Problem::error("cidr-outside", &place.path, message).allowed(format!("ranges inside {vpc}")),
        );
    }
    let prefix_max = if place.tier == Tier::Public { SUBNET_PREFIX_MAX } else { 28 };
    // Derived subnets of a VPC that is too small: the VPC has been reported.
    if place.path != "network.cidr" && !(16..=prefix_max).contains(&cidr.prefix_len()) {
        let what = if cidr.prefix_len() > prefix_max { "too small" } else { "too large" };
        let message = format!("the range {cidr} is {what} for a {} subnet", place.tier.as_str());
        let allowed = format!("a prefix from /16 to /{prefix_max}");
        report.add(Problem::error("cidr-size", &place.path, message).allowed(allowed));
    }
    // Two derived ranges overlap only when a zone is named twice, which has been reported.
    let written = |other: &SubnetPlace| place.path != "network.cidr" || other.path != "network.cidr";
    let overlaps =
        |other: &&SubnetPlace| written(other) && (other.cidr.contains(&cidr) || cidr.contains(&other.cidr));
    if let Some(other) = before.iter().find(overlaps) {
        // The place to mend is the one that was written: derived ranges are not.
        let (here, there) = if place.path == "network.cidr" { (other, place) } else { (place, other) };
        let name = |place: &SubnetPlace| format!("{} of {}", place.tier.as_str(), place.zone);
        let message = format!("{} ({}) overlaps {} ({})", here.cidr, name(here), there.cidr, name(there));
        let related = report.known.origins.of(&there.path);
        let problem =
            Problem::error("cidr-overlap", &here.path, message).allowed("ranges that share no address");
        report.add(problem.related(format!("{} is here", there.cidr), related));
    }
}

fn way_out(environment: &Environment, report: &mut Report<'_>) {
    let network = &environment.network;
    if network.nat != Nat::None || environment.services.is_empty() {
        return;
    }
    let has = |name: &&str| network.interface_endpoints.iter().any(|endpoint| endpoint == name);
    let mut lacking: Vec<&str> = NEEDED_WITHOUT_NAT.into_iter().filter(|name| !has(name)).collect();
    if !network.s3_endpoint {
        lacking.push("s3_endpoint = true");
    }
    if !lacking.is_empty() {
        let message = "without a NAT gateway and these endpoints no task can pull its image or its secrets";
        let allowed =
            format!("`nat` of \"single\", \"per_zone\" or \"regional\", or also {}", lacking.join(", "));
        report.add(Problem::error("no-way-out", "network.nat", message).allowed(allowed));
    }
}

/// The names that `group` and `peer` of an extra rule may have.
fn groups(environment: &Environment) -> Vec<&str> {
    let mut names: Vec<&str> = environment.services.keys().map(String::as_str).collect();
    let declared = [
        ("load_balancer", environment.load_balancer.is_some()),
        ("endpoints", !environment.network.interface_endpoints.is_empty()),
        ("redis", environment.redis.is_some()),
        ("postgres", environment.postgres.is_some()),
    ];
    names.extend(declared.into_iter().filter(|(_, is)| *is).map(|(name, _)| name));
    names
}

/// Whether a group has the name of its own table.
fn names_store(group: &str) -> bool {
    ["load_balancer", "redis", "postgres"].contains(&group)
}

fn rule_of_group(environment: &Environment, name: &str, rule: &Rule, report: &mut Report<'_>) {
    let path = format!("security.rules.{name}");
    let names = groups(environment);
    for (key, group) in [("group", Some(&rule.group)), ("peer", rule.peer.as_ref())] {
        let Some(group) = group.filter(|group| !names.contains(&group.as_str())) else { continue };
        if (names_store(group) && report.known.declares(group))
            || report.known.declares(&format!("services.{group}"))
        {
            continue;
        }
        let near = quoted(nearest(group, names.iter().copied()));
        let problem =
            Problem::error("undeclared", format!("{path}.{key}"), format!("there is no group \"{group}\""));
        let meant = if names_store(group) { group.clone() } else { format!("services.{group}") };
        report.add_undeclared(problem.allowed(names.join(", ")).near(near.as_deref()), &meant);
    }
    if rule.cidrs.is_empty() == rule.peer.is_none() {
        let message = format!(
            "the rule \"{name}\" has {} other side",
            if rule.peer.is_none() { "no" } else { "more than one" }
        );
        report.add_whole(
            Problem::error("ambiguous-rule", &path, message).allowed("exactly one of `cidrs` and `peer`"),
        );
    }
    let ported = rule.protocol != Protocol::All;
    if ported != rule.port.is_some() {
        let message = format!("the rule \"{name}\" {} a port", if ported { "needs" } else { "cannot have" });
        let allowed = "`port` with \"tcp\" and \"udp\", none with \"all\"";
        report.add_whole(Problem::error("ambiguous-rule", &path, message).allowed(allowed));
    }
    if let (Some(first), Some(last)) = (rule.port, rule.port_last)
        && last < first
    {
        let message = format!("the ports end ({last}) before they begin ({first})");
        report.add(
            Problem::error("out-of-range", format!("{path}.port_last"), message)
                .allowed(format!("{first} or more")),
        );
    }
}
