//! Checks of the entrance: certificate, routes and their order.

use std::collections::BTreeMap;

use crate::environment::near::nearest;
use crate::environment::problem::Problem;
use crate::environment::types::{Certificate, Environment, HeaderMatch, LoadBalancer};

use super::{Report, TAKEN_OUT, quoted};

/// Values of all conditions of one rule (ELBv2 quota "condition values per rule").
const CONDITION_VALUES_MAX: usize = 5;
/// Rules of one load balancer (ELBv2 quota "rules per Application Load Balancer").
const RULES_MAX: usize = 100;
/// Largest weight of a target group in a forward (ELBv2 API reference).
const WEIGHT_MAX: u32 = 999;

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    let routes = routes(environment);
    let Some(balancer) = &environment.load_balancer else {
        if report.known.declares("load_balancer") {
            return;
        }
        for route in &routes {
            let message = "without a load balancer there are no routes";
            let problem = Problem::error("undeclared", &route.path, message);
            report.add_undeclared(problem.allowed("a table [load_balancer]"), "load_balancer");
        }
        return;
    };
    if let Some(certificate) = &balancer.certificate {
        of_certificate(environment, certificate, report);
    } else if balancer.redirect_http && report.known.mentions("load_balancer.redirect_http") {
        let message = "without a certificate there is no HTTPS to redirect to";
        let problem = Problem::error("no-certificate", "load_balancer.redirect_http", message);
        report.add(problem.allowed("`redirect_http = false`, or a table [load_balancer.certificate]"));
    }
    answers(environment, balancer, report);
    conditions(&routes, report);
    order(&routes, report);
}

/// One route, wherever it is written.
struct Route<'a> {
    path: String,
    priority: u32,
    paths: &'a [String],
    hosts: &'a [String],
    header: Option<&'a HeaderMatch>,
    /// Who answers, for people.
    answers: String,
}

impl Route<'_> {
    /// What it matches, in one form however it is written.
    fn key(&self) -> String {
        let sorted = |values: &[String]| {
            let mut values: Vec<String> = values.to_vec();
            values.sort();
            values.dedup();
            values.join(" ")
        };
        let header =
            self.header.map(|header| format!("{}={}", header.name.to_lowercase(), sorted(&header.values)));
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.to_lowercase()).collect();
        format!("{} | {} | {}", sorted(self.paths), sorted(&hosts), header.unwrap_or_default())
    }

    fn values(&self) -> usize {
        self.paths.len() + self.hosts.len() + self.header.map_or(0, |header| header.values.len())
    }
}

fn routes(environment: &Environment) -> Vec<Route<'_>> {
    let mut routes = Vec::new();
    for (name, service) in &environment.services {
        for (key, route) in &service.routes {
            routes.push(Route {
                path: format!("services.{name}.routes.{key}"),
                priority: route.priority,
                paths: &route.paths,
                hosts: &route.hosts,
                header: route.header.as_ref(),
                answers: format!("the service {name}"),
            });
        }
    }
    for (key, route) in environment.load_balancer.iter().flat_map(|balancer| &balancer.routes) {
        routes.push(Route {
            path: format!("load_balancer.routes.{key}"),
            priority: route.priority,
            paths: &route.paths,
            hosts: &route.hosts,
            header: route.header.as_ref(),
            answers: format!("the route {key}"),
        });
    }
    routes
}

fn conditions(routes: &[Route<'_>], report: &mut Report<'_>) {
    for route in routes {
        if route.values() == 0 {
            let message = format!("the route `{}` has no condition", route.path);
            let problem = Problem::error("no-condition", &route.path, message);
            report.add_whole(problem.allowed(
                "at least one of `paths`, `hosts` and `header`; for everything else there is `default`",
            ));
        } else if route.values() > CONDITION_VALUES_MAX {
            let message =
                format!("the route `{}` has {} values in its conditions", route.path, route.values());
            let allowed = format!("at most {CONDITION_VALUES_MAX} in all; cut it into several routes");
            report.add(Problem::error("wrong-length", &route.path, message).allowed(allowed));
        }
    }
    if let Some(route) = routes.get(RULES_MAX) {
        let message = format!("there are {} routes", routes.len());
        report.add(
            Problem::error("wrong-length", &route.path, message).allowed(format!("at most {RULES_MAX}")),
        );
    }
}

/// No two routes may have one priority, or one and the same condition: the second would never be asked.
fn order(routes: &[Route<'_>], report: &mut Report<'_>) {
    let mut by_priority: BTreeMap<u32, &Route<'_>> = BTreeMap::new();
    let mut by_key: BTreeMap<String, &Route<'_>> = BTreeMap::new();
    let taken: Vec<u32> = routes.iter().map(|route| route.priority).collect();
    for route in routes {
        if let Some(first) = by_priority.get(&route.priority) {
            let free = (route.priority..=50_000).find(|priority| !taken.contains(priority));
            let message = format!("the priority {} is taken by {}", route.priority, first.answers);
            let related = report.known.origins.of(&format!("{}.priority", first.path));
            let problem = Problem::error("duplicate-priority", format!("{}.priority", route.path), message);
            let problem = problem.allowed("each priority once").related("taken here", related);
            report.add(problem.near(free.map(|free| free.to_string()).as_deref()));
        }
        by_priority.entry(route.priority).or_insert(route);
        if route.values() == 0 {
            continue;
        }
        if let Some(first) = by_key.get(&route.key()) {
            let message =
                format!("what this route to {} matches already leads to {}", route.answers, first.answers);
            let related = report.known.origins.of(&first.path);
            let problem = Problem::error("duplicate-route", &route.path, message);
            let allowed =
                "each combination of paths, hosts and header once; weights go into [load_balancer.routes]";
            report.add(problem.allowed(allowed).related("the same conditions are here", related));
        }
        by_key.entry(route.key()).or_insert(route);
    }
}

fn of_certificate(environment: &Environment, certificate: &Certificate, report: &mut Report<'_>) {
    let path = "load_balancer.certificate";
    if certificate.domains.is_empty() == certificate.arn.is_none() {
        let message = "a certificate is either requested or given";
        report.add_whole(
            Problem::error("ambiguous", path, message).allowed("exactly one of `domains` and `arn`"),
        );
    }
    if let Some(arn) = &certificate.arn {
        let region = arn.split(':').nth(3).unwrap_or_default();
        if region != environment.region {
            let message = format!(
                "a certificate of the region \"{region}\" cannot serve a load balancer in {}",
                environment.region
            );
            let allowed = format!("a certificate of {}", environment.region);
            report.add(Problem::error("wrong-region", format!("{path}.arn"), message).allowed(allowed));
        }
    }
    let Some(dns) = &environment.dns else {
        if !certificate.domains.is_empty() && !report.known.declares("dns") {
            let message = "without a DNS zone nobody can prove that the domains are ours";
            let problem = Problem::error("undeclared", format!("{path}.domains"), message);
            let problem = problem.allowed("a table [dns], or the `arn` of a certificate that exists");
            report.add_undeclared(problem, "dns");
        }
        return;
    };
    for (index, domain) in certificate.domains.iter().enumerate() {
        if !super::inside(domain.trim_start_matches("*."), &dns.zone) {
            let message = format!("\"{domain}\" is not in the zone {}", dns.zone);
            let allowed = format!("\"{0}\", or names ending in \".{0}\"", dns.zone);
            report.add(
                Problem::error("outside-zone", format!("{path}.domains.{index}"), message).allowed(allowed),
            );
        }
    }
}

fn answers(environment: &Environment, balancer: &LoadBalancer, report: &mut Report<'_>) {
    let undeclared = |path: &str, name: &str, report: &Report<'_>| {
        if environment.services.contains_key(name) || report.known.declares(&format!("services.{name}")) {
            return None;
        }
        let names: Vec<&str> = environment.services.keys().map(String::as_str).collect();
        let near = quoted(nearest(name, names.iter().copied()));
        let problem = Problem::error("undeclared", path, format!("there is no service \"{name}\""));
        let gone = report.known.removed(&format!("services.{name}"));
        Some(problem.allowed(names.join(", ")).near(near.as_deref()).related(TAKEN_OUT, gone))
    };
    if let Some(name) = &balancer.default.service {
        if let Some(problem) = undeclared("load_balancer.default.service", name, report) {
            report.add(problem);
        }
        if balancer.default.fixed.is_some() {
            let message = "two things cannot answer when no route matches";
            let problem = Problem::error("ambiguous", "load_balancer.default", message);
            report.add_whole(
                problem.allowed("one of `service` and `fixed`; an inherited one goes by `remove`"),
            );
        }
    }
    for (key, route) in &balancer.routes {
        let path = format!("load_balancer.routes.{key}");
        if route.forward.is_some() == route.fixed.is_some() {
            let message = format!(
                "the route \"{key}\" has {} answer",
                if route.fixed.is_some() { "more than one" } else { "no" }
            );
            report.add_whole(
                Problem::error("ambiguous", &path, message).allowed("exactly one of `forward` and `fixed`"),
            );
        }
        let Some(forward) = &route.forward else { continue };
        let weights = forward.value();
        for (name, weight) in weights {
            let key = if forward.owner().is_some() { "forward.initial" } else { "forward" };
            let at = format!("{path}.{key}.{name}");
            if let Some(problem) = undeclared(&at, name, report) {
                report.add_key(problem);
            }
            if *weight > WEIGHT_MAX {
                let problem = Problem::error("out-of-range", &at, format!("a weight cannot be {weight}"));
                report.add(problem.allowed(format!("0 to {WEIGHT_MAX}")));
            }
        }
        // AWS refuses more than five target groups in one forward.
        if weights.is_empty() || weights.len() > 5 || weights.values().all(|weight| *weight == 0) {
            let message = format!("the route \"{key}\" forwards to nobody, or to too many");
            let problem = Problem::error("ambiguous", format!("{path}.forward"), message);
            report.add_whole(problem.allowed("one to five services, at least one with a weight above 0"));
        }
    }
}
