//! Checks of the firewall: what `waf` says of rules that exist, and the sum of capacity units.

use std::collections::BTreeMap;

use crate::environment::near::nearest;
use crate::environment::origin::Path;
use crate::environment::problem::Problem;
use crate::environment::types::{Environment, Waf};
use crate::waf::{Managed, RuleAction, RuleSets, capacity, parts};

use super::{Report, quoted};

/// Least limit of a rate rule (WAFv2 API reference).
const RATE_LIMIT_MIN: u32 = 10;

pub(super) fn check(environment: &Environment, rule_sets: &RuleSets, report: &mut Report<'_>) {
    let Some(waf) = &environment.waf else { return };
    if environment.load_balancer.is_none() && !report.known.declares("load_balancer") {
        let message = "without a load balancer there is nothing to protect";
        let problem = Problem::error("undeclared", "waf", message).allowed("a table [load_balancer]");
        report.add_undeclared(problem, "load_balancer");
    }
    // A set that cannot be read has been reported: what the environment says of its rules cannot be judged.
    if rule_sets.0.len() == waf.rule_sets.len() {
        modes(waf, rule_sets, report);
        contents(waf, rule_sets, report);
    }
    names(rule_sets, report);
    own_parts(rule_sets, report);
    units(waf, rule_sets, report);
}

fn path(table: &str, key: &str) -> String {
    Path(vec!["waf".into(), table.into(), key.into()]).to_string()
}

fn modes(waf: &Waf, rule_sets: &RuleSets, report: &mut Report<'_>) {
    let names: Vec<&str> = rule_sets.rules().map(|(_, _, rule)| rule.name.as_str()).collect();
    for name in waf.modes.keys() {
        let (rule_name, part) =
            name.split_once('/').map_or((name.as_str(), None), |(rule, part)| (rule, Some(part)));
        let rule = rule_sets.rules().map(|(_, _, rule)| rule).find(|rule| rule.name == rule_name);
        match (rule, part) {
            (None, _) => {
                let near = nearest(rule_name, names.iter().copied());
                let near =
                    near.map(|near| part.map_or(format!("\"{near}\""), |part| format!("\"{near}/{part}\"")));
                let problem = Problem::error(
                    "undeclared",
                    path("modes", name),
                    format!("no rule is called \"{rule_name}\""),
                );
                report.add_key(problem.allowed(names.join(", ")).near(near.as_deref()));
            }
            (Some(rule), Some(_)) if rule.managed.is_none() => {
                let message = format!("the rule \"{rule_name}\" has no parts: it is no managed group");
                report.add_key(
                    Problem::error("undeclared", path("modes", name), message)
                        .allowed(format!("\"{rule_name}\"")),
                );
            }
            (Some(rule), Some(part)) => {
                let managed = rule.managed.as_ref().expect("the arm above has the others");
                if let Some((problem, near)) = unknown_part(managed, part, path("modes", name)) {
                    let near = near.map(|near| format!("\"{rule_name}/{near}\""));
                    report.add_key(problem.near(near.as_deref()));
                }
            }
            (Some(rule), None) if rule.action == RuleAction::Allow => {
                let message = format!("the rule \"{rule_name}\" allows: it can neither count nor block");
                let problem = Problem::error("not-allowed", path("modes", name), message);
                report.add(problem.allowed("rules that count or block"));
            }
            _ => {}
        }
    }
}

/// A part that AWS's group is not known to have, and the near miss.
fn unknown_part(managed: &Managed, part: &str, path: String) -> Option<(Problem, Option<&'static str>)> {
    if managed.vendor != "AWS" || parts::has(&managed.group, part) {
        return None;
    }
    let known = parts::of(&managed.group).unwrap_or_default();
    let message = format!(
        "the group \"{}\" is not known to have a rule \"{part}\": if it has none, AWS refuses this or it changes nothing",
        managed.group
    );
    let problem = Problem::warning("unknown-part", path, message).allowed(known.join(", "));
    Some((problem, nearest(part, known.iter().copied())))
}

/// The parts that rule sets name themselves.
fn own_parts(rule_sets: &RuleSets, report: &mut Report<'_>) {
    for (file, index, rule) in rule_sets.rules() {
        let Some(managed) = &rule.managed else { continue };
        for part in managed.parts.keys() {
            let path = format!("rules.{index}.managed.parts.{part}");
            if let Some((problem, near)) = unknown_part(managed, part, path.clone()) {
                let problem = problem.near(near).at(file.origins.of_key(&path));
                report.problems.push(problem);
            }
        }
    }
}

fn contents(waf: &Waf, rule_sets: &RuleSets, report: &mut Report<'_>) {
    let sets: Vec<&str> =
        rule_sets.0.iter().flat_map(|file| file.rule_set.address_sets.keys().map(String::as_str)).collect();
    for name in waf.addresses.keys().filter(|name| !sets.contains(&name.as_str())) {
        let near = quoted(nearest(name, sets.iter().copied()));
        let problem = Problem::error(
            "undeclared",
            path("addresses", name),
            format!("no address set is called \"{name}\""),
        );
        report.add_key(problem.allowed(sets.join(", ")).near(near.as_deref()));
    }
    let rates: Vec<&str> = rule_sets
        .rules()
        .filter(|(_, _, rule)| rule.rate.is_some())
        .map(|(_, _, rule)| rule.name.as_str())
        .collect();
    for (name, limit) in &waf.rate_limits {
        if !rates.contains(&name.as_str()) {
            let near = quoted(nearest(name, rates.iter().copied()));
            let problem = Problem::error(
                "undeclared",
                path("rate_limits", name),
                format!("no rate rule is called \"{name}\""),
            );
            report.add_key(problem.allowed(rates.join(", ")).near(near.as_deref()));
        } else if *limit < RATE_LIMIT_MIN {
            let message = format!("a rate limit cannot be {limit}");
            let problem = Problem::error("out-of-range", path("rate_limits", name), message);
            report.add(problem.allowed(format!("{RATE_LIMIT_MIN} or more")));
        }
    }
}

/// Names of rules and of address sets are unique in the whole web ACL.
fn names(rule_sets: &RuleSets, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    let rules = rule_sets
        .rules()
        .map(|(file, index, rule)| (file, format!("rules.{index}.name"), "rule", &rule.name));
    let sets = rule_sets.0.iter().flat_map(|file| {
        file.rule_set
            .address_sets
            .keys()
            .map(move |name| (file, format!("address_sets.{name}"), "address set", name))
    });
    for (file, path, what, name) in rules.chain(sets) {
        let origin = file.origins.of(&path).cloned();
        if let Some(first) = seen.insert((what, name), origin.clone()) {
            let problem = Problem::error("duplicate", &path, format!("two {what}s are called \"{name}\""));
            let problem =
                problem.allowed("each name once in all rule sets of an environment").at(origin.as_ref());
            report.problems.push(problem.related("the first is here", first.as_ref()));
        }
    }
}

fn units(waf: &Waf, rule_sets: &RuleSets, report: &mut Report<'_>) {
    for (file, index, rule) in rule_sets.rules() {
        let Some(managed) = rule.managed.as_ref().filter(|managed| managed.wcu.is_none()) else { continue };
        let known: Vec<&str> = capacity::groups().collect();
        let aws = managed.vendor == "AWS";
        if aws && known.contains(&managed.group.as_str()) {
            continue;
        }
        let (group, assumed) = (&managed.group, capacity::UNKNOWN_GROUP);
        let problem = if aws {
            let path = format!("rules.{index}.managed.group");
            let near = quoted(nearest(group, known.iter().copied()));
            let message =
                format!("the units of the group \"{group}\" are not known here; {assumed} are assumed");
            Problem::warning("unknown-group", path, message).allowed(known.join(", ")).near(near.as_deref())
        } else {
            let path = format!("rules.{index}.managed.vendor");
            let vendor = &managed.vendor;
            let near = quoted(nearest(vendor, ["AWS"]));
            let message = format!(
                "the units of the group \"{group}\" of {vendor} are not known here; {assumed} are assumed"
            );
            let allowed = "`wcu` beside `group`: the number that the vendor gives";
            Problem::warning("unknown-vendor", path, message).allowed(allowed).near(near.as_deref())
        };
        let place = file.origins.of(&problem.path);
        report.problems.push(problem.at(place));
    }
    let wanted = rule_sets.wanted(waf, report.known.origins);
    let sum = capacity::sum(&wanted);
    let dearest = wanted.iter().max_by_key(|rule| rule.capacity);
    let dearest = dearest
        .map_or(String::new(), |rule| format!("; the dearest is \"{}\" with {}", rule.name, rule.capacity));
    let message = format!("the rules need {sum} capacity units (WCU){dearest}");
    if sum > capacity::MOST {
        let allowed = format!("at most {}", capacity::MOST);
        report.add(Problem::error("too-much-capacity", "waf.rule_sets", message).allowed(allowed));
    } else if sum > capacity::INCLUDED {
        let allowed = format!("up to {} without a higher price for each request", capacity::INCLUDED);
        report.add(Problem::warning("much-capacity", "waf.rule_sets", message).allowed(allowed));
    }
}
