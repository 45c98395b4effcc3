//! Checks of what a service's code may do in AWS: no statement that allows a whole family of actions on everything, however it
//! is written. Owns what counts as everything; refuses to know what a service needs.

use crate::environment::partition;
use crate::environment::problem::Problem;
use crate::environment::types::{Effect, Environment, Service, Statement};

use super::{Report, duplicates};

/// ARNs of services that have nothing to do with each other: a pattern that two of them match reaches everything. `{partition}`,
/// `{region}` and `{account}` are the environment's own.
const STRANGERS: [&str; 7] = [
    "arn:{partition}:iam::{account}:role/q7-f3",
    "arn:{partition}:s3:::q7-f3/w9",
    "arn:{partition}:dynamodb:{region}:{account}:table/q7-f3",
    "arn:{partition}:secretsmanager:{region}:{account}:secret:q7-f3",
    "arn:{partition}:lambda:{region}:{account}:function:q7-f3",
    "arn:{partition}:sqs:{region}:{account}:q7-f3",
    "arn:{partition}:kms:{region}:{account}:key/q7-f3",
];

pub(super) fn check(environment: &Environment, service: &Service, path: &str, report: &mut Report<'_>) {
    let sids: Vec<String> = service.iam.iter().map(|statement| statement.sid.clone()).collect();
    for index in duplicates(&sids) {
        let message = format!("two statements are called \"{}\"", sids[index]);
        report.add(
            Problem::error("duplicate", format!("{path}.iam.{index}.sid"), message).allowed("each name once"),
        );
    }
    for (index, statement) in service.iam.iter().enumerate() {
        of_partition(environment, statement, &format!("{path}.iam.{index}"), report);
    }
    for (index, statement) in service.iam.iter().enumerate().filter(|(_, one)| one.effect == Effect::Allow) {
        if let Some((action, resource)) = star_on_star(environment, statement) {
            let (action, resource) = (&statement.actions[action], &statement.resources[resource]);
            let message = format!("\"{action}\" on \"{resource}\" is more than any service needs");
            let problem = Problem::error("star-on-star", format!("{path}.iam.{index}"), message);
            report.add(problem.allowed(
                "actions without a wildcard (\"s3:GetObject\"), or resources by service and name \
                 (\"arn:aws:s3:::keyway-reports/*\")",
            ));
        }
    }
}

/// An ARN of another partition names nothing that a role of this one could reach.
fn of_partition(environment: &Environment, statement: &Statement, path: &str, report: &mut Report<'_>) {
    let own = partition(&environment.region);
    for (index, resource) in statement.resources.iter().enumerate() {
        let named = resource.strip_prefix("arn:").and_then(|rest| rest.split(':').next()).unwrap_or(own);
        if named != own && !named.contains(['*', '?']) {
            let message =
                format!("\"{named}\" is another partition of AWS than that of {}", environment.region);
            let problem = Problem::error("wrong-partition", format!("{path}.resources.{index}"), message);
            report.add(problem.allowed(format!("ARNs that begin with \"arn:{own}:\"")));
        }
    }
}

/// The first action and resource, by position, that together are too much.
fn star_on_star(environment: &Environment, statement: &Statement) -> Option<(usize, usize)> {
    statement.resources.iter().enumerate().find_map(|(at, resource)| {
        let too_much = |action: &String| {
            let (service, verb) = action.split_once(':').unwrap_or(("*", action));
            let wild = verb.contains(['*', '?']);
            wild && (everything(environment, resource)
                || (only_wild(verb) && whole_service(resource, service)))
        };
        statement.actions.iter().position(too_much).map(|action| (action, at))
    })
}

/// Whether a pattern reaches more than one service: `*`, `arn:aws:*`, `arn:*:*:*:*:*`.
fn everything(environment: &Environment, resource: &str) -> bool {
    let arn = |stranger: &str| {
        let own = stranger.replace("{partition}", partition(&environment.region));
        own.replace("{region}", &environment.region).replace("{account}", &environment.account)
    };
    STRANGERS.iter().filter(|stranger| matches(resource, &arn(stranger))).nth(1).is_some()
}

/// Whether a pattern reaches all that one service has: `arn:aws:s3:::*`.
fn whole_service(resource: &str, service: &str) -> bool {
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    let of_service = parts.get(2).is_some_and(|part| service == "*" || matches(part, service));
    // A pattern that ends early has swallowed the rest: `arn:aws:s3*`.
    of_service && parts.last().is_some_and(|last| last.ends_with('*') && (parts.len() < 6 || only_wild(last)))
}

/// `*`, `**`, `?*`: no letter of its own.
fn only_wild(text: &str) -> bool {
    text.contains('*') && text.chars().all(|c| matches!(c, '*' | '?'))
}

/// Whether a text fits a pattern of IAM: `*` for any characters, `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}
