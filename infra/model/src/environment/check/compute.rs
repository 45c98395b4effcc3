//! Checks of the services: sizes that Fargate runs, counts and scaling, what they use, what they may do.

use std::collections::BTreeSet;

use crate::environment::fargate::{self, Refusal};
use crate::environment::names::{BALANCER_NAME_MAX, Names, ROLE_NAME_MAX};
use crate::environment::near::nearest;
use crate::environment::placeholder::{self, Needs, PLACEHOLDERS};
use crate::environment::problem::Problem;
use crate::environment::types::{Environment, Owner, Service};

use super::{Report, duplicates, quoted, rights};

/// Names that mean something else in `uses` and in groups.
const RESERVED: [&str; 3] = ["redis", "postgres", "endpoints"];
/// `-` and six characters of a hash: what a target group's name ends in.
const TARGET_GROUP_SUFFIX: &str = "-000000";
/// Endings of variables that hold what nobody should read in a console.
const SECRET_ENDINGS: [&str; 4] = ["_PASSWORD", "_SECRET", "_TOKEN", "_PRIVATE_KEY"];

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    let names = Names::new(environment);
    for (name, service) in &environment.services {
        let path = format!("services.{name}");
        named(&names, name, &path, report);
        size(service, &path, report);
        image(environment, service, &path, report);
        count(service, &path, report);
        timing(service, &path, report);
        used(environment, service, &path, report);
        variables(environment, service, &path, report);
        asked(environment, service, &path, report);
        rights::check(environment, service, &path, report);
    }
}

fn named(names: &Names, name: &str, path: &str, report: &mut Report<'_>) {
    if RESERVED.contains(&name) {
        let problem = Problem::error("reserved-name", path, format!("a service cannot be called \"{name}\""));
        report.add(problem.allowed(format!("any name but {}", RESERVED.join(", "))));
    }
    for (what, full, most) in [
        ("target group", names.part(&format!("{name}{TARGET_GROUP_SUFFIX}")), BALANCER_NAME_MAX),
        ("role", names.start_role(name), ROLE_NAME_MAX),
    ] {
        if full.len() > most {
            let over = full.len() - most;
            let message = format!("the name of its {what} would have {} characters: \"{full}\"", full.len());
            let allowed =
                format!("at most {most}: a name of the service, project or environment shorter by {over}");
            report.add(Problem::error("name-too-long", path, message).allowed(allowed));
        }
    }
}

fn size(service: &Service, path: &str, report: &mut Report<'_>) {
    match fargate::refuse(service.cpu, service.memory_mib) {
        None => {}
        Some(Refusal::Cpu(sizes)) => {
            let allowed: Vec<String> = sizes.iter().map(u32::to_string).collect();
            let near = sizes.iter().min_by_key(|size| size.abs_diff(service.cpu)).map(u32::to_string);
            let message = format!("Fargate has no tasks of {} CPU units", service.cpu);
            let problem = Problem::error("fargate-size", format!("{path}.cpu"), message);
            report.add(problem.allowed(allowed.join(", ")).near(near.as_deref()));
        }
        Some(Refusal::Memory { allowed, nearest_mib }) => {
            let message =
                format!("Fargate has no tasks of {} CPU units with {} MiB", service.cpu, service.memory_mib);
            let related = report.known.origins.of(&format!("{path}.cpu"));
            let problem =
                Problem::error("fargate-size", format!("{path}.memory_mib"), message).allowed(allowed);
            report.add(problem.near(Some(&nearest_mib.to_string())).related("the CPU is here", related));
        }
    }
}

fn image(environment: &Environment, service: &Service, path: &str, report: &mut Report<'_>) {
    let image = service.image.value();
    let path = format!("{path}.image");
    let name = image.rsplit('/').next().unwrap_or_default();
    let Some((repository, _)) = name.split_once([':', '@']) else {
        let message = format!("the image \"{image}\" has no tag, so nobody knows which version would run");
        let problem = Problem::error("no-tag", path, message).allowed("a name with a tag or digest");
        return report.add(problem.near(Some(&format!("\"{image}:1\""))));
    };
    if image.contains('/') || environment.repositories.contains_key(repository) {
        return;
    }
    let names = environment.repositories.keys().map(String::as_str);
    if let Some(near) = nearest(repository, names) {
        let message = format!(
            "\"{repository}\" is no repository of this environment: the image would come from Docker Hub"
        );
        let tag = &image[repository.len()..];
        let problem = Problem::warning("foreign-image", path, message);
        report.add(problem.near(Some(&format!("\"{near}{tag}\""))));
    }
}

fn count(service: &Service, path: &str, report: &mut Report<'_>) {
    let count = *service.count.value();
    let by_autoscaler = service.count.owner() == Some(Owner::Autoscaler);
    let Some(scaling) = &service.scaling else {
        if by_autoscaler && !report.known.declares(&format!("{path}.scaling")) {
            let message = "the count is said to be the autoscaler's, but there is no `scaling`";
            let problem = Problem::error("undeclared", format!("{path}.count"), message);
            let problem = problem.allowed(format!("a plain number, or a table [{path}.scaling]"));
            report.add_undeclared(problem, &format!("{path}.scaling"));
        }
        return;
    };
    if !by_autoscaler {
        let message = "two would fight over the count: this file and the autoscaler";
        let problem = Problem::error("two-owners", format!("{path}.count"), message);
        let near = format!("{{ owner = \"autoscaler\", initial = {count} }}");
        report.add(problem.allowed("with `scaling`, the autoscaler owns the count").near(Some(&near)));
    }
    if scaling.min > scaling.max {
        let message =
            format!("the least number of tasks ({}) is above the most ({})", scaling.min, scaling.max);
        let problem = Problem::error("out-of-range", format!("{path}.scaling.min"), message);
        report.add(problem.allowed(format!("0 to {}", scaling.max)));
    } else if count < scaling.min || count > scaling.max {
        let message = format!("{count} tasks to begin with are outside of what `scaling` allows");
        let related = report.known.origins.of(&format!("{path}.scaling"));
        let problem = Problem::error("out-of-range", format!("{path}.count"), message);
        report.add(
            problem
                .allowed(format!("{} to {}", scaling.min, scaling.max))
                .related("the bounds are here", related),
        );
    }
    if scaling.cpu_percent.is_none() && scaling.sockets_per_task.is_none() {
        let problem = Problem::error("ambiguous", format!("{path}.scaling"), "nothing says when to scale");
        report.add_whole(problem.allowed("at least one of `cpu_percent` and `sockets_per_task`"));
    }
}

fn timing(service: &Service, path: &str, report: &mut Report<'_>) {
    let health = &service.health;
    if health.timeout_s >= health.interval_s {
        let message = format!(
            "waiting {} s for an answer leaves nothing of {} s between two checks",
            health.timeout_s, health.interval_s
        );
        let problem = Problem::error("out-of-range", format!("{path}.health.timeout_s"), message);
        report.add(problem.allowed(format!("less than {}", health.interval_s)));
    }
    let rollout = &service.rollout;
    if rollout.min_healthy_percent == 100 && rollout.max_percent == 100 {
        let message = "with exactly 100 percent of the tasks at every moment none can be replaced";
        let problem = Problem::error("out-of-range", format!("{path}.rollout"), message);
        report.add(problem.allowed("`min_healthy_percent` below 100 or `max_percent` above"));
    }
}

fn used(environment: &Environment, service: &Service, path: &str, report: &mut Report<'_>) {
    let mut names: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
    names.extend(environment.redis.iter().map(|_| "redis"));
    names.extend(environment.postgres.iter().map(|_| "postgres"));
    for (index, used) in service.uses.iter().enumerate() {
        let store = matches!(used.as_str(), "redis" | "postgres");
        let known = names.contains(&used.as_str()) || (store && report.known.declares(used));
        if known || report.known.declares(&format!("secrets.{used}")) {
            continue;
        }
        let (what, remedy) = match used.as_str() {
            "redis" | "postgres" => {
                (format!("the store \"{used}\" is used but not declared"), format!("a table [{used}]"))
            }
            _ => (format!("\"{used}\" is neither a store nor a secret"), names.join(", ")),
        };
        let near = if store { None } else { quoted(nearest(used, names.iter().copied())) };
        let problem = Problem::error("undeclared", format!("{path}.uses.{index}"), what);
        let meant = if store { used.clone() } else { format!("secrets.{used}") };
        report.add_undeclared(problem.allowed(remedy).near(near.as_deref()), &meant);
    }
    for index in duplicates(&service.uses) {
        let message = format!("\"{}\" is named twice", service.uses[index]);
        report.add(Problem::error("duplicate", format!("{path}.uses.{index}"), message).allowed("each once"));
    }
}

fn variables(environment: &Environment, service: &Service, path: &str, report: &mut Report<'_>) {
    let secrets: BTreeSet<String> = service
        .uses
        .iter()
        .filter(|used| environment.secrets.contains_key(*used))
        .map(|secret| secret.to_uppercase().replace('-', "_"))
        .chain(["REDIS_PASSWORD".to_owned(), "POSTGRES_PASSWORD".to_owned()])
        .chain(service.secrets.keys().cloned())
        .collect();
    for variable in service.variables.keys() {
        let path = format!("{path}.variables.{variable}");
        if secrets.contains(variable) {
            let message = format!("the variable {variable} is set by `uses`");
            report.add(Problem::error("duplicate", path, message).allowed("another name"));
        } else if SECRET_ENDINGS.iter().any(|ending| variable.ends_with(ending)) {
            let message = format!(
                "the variable {variable} looks like a secret, and variables can be read in the console"
            );
            let problem = Problem::warning("secret-in-variables", path, message);
            report.add(problem.hide_line().allowed("a table [secrets.<name>], and its name in `uses`"));
        }
    }
}

/// What variables ask for, and the other names of secrets.
fn asked(environment: &Environment, service: &Service, path: &str, report: &mut Report<'_>) {
    let names: Vec<&str> = PLACEHOLDERS.iter().map(|(name, _)| *name).collect();
    for (variable, text) in &service.variables {
        let path = format!("{path}.variables.{variable}");
        for name in placeholder::asked(text) {
            let needs = PLACEHOLDERS.iter().find(|(known, _)| *known == name).map(|(_, needs)| *needs);
            let (message, allowed) = match needs {
                None => (format!("nothing is called \"${{{name}}}\""), names.join(", ")),
                Some(Needs::Store(store)) if !service.uses.iter().any(|used| used == store) => (
                    format!("\"${{{name}}}\" is asked for, but the service does not use it"),
                    format!("\"{store}\" in `uses`"),
                ),
                Some(Needs::LoadBalancer) if environment.load_balancer.is_none() => (
                    format!("\"${{{name}}}\" is asked for, but there is none"),
                    "a table [load_balancer]".to_owned(),
                ),
                Some(_) => continue,
            };
            let near = nearest(name, names.iter().copied())
                .filter(|_| needs.is_none())
                .map(|near| format!("\"${{{near}}}\""));
            let problem = Problem::error("undeclared", &path, message).allowed(allowed).near(near.as_deref());
            report.add_undeclared(problem, "load_balancer");
        }
        if let Some(open) = placeholder::unclosed(text) {
            let meant = names.iter().find(|name| **name == open).copied();
            let near = meant.or_else(|| nearest(open, names.iter().copied()));
            let problem =
                Problem::error("unclosed", &path, format!("the placeholder \"${{{open}\" has no end"));
            let near = near.map(|near| format!("\"${{{near}}}\""));
            report.add(problem.allowed("a `}` behind the name").near(near.as_deref()));
        }
    }
    for (variable, held) in service.secrets.iter().filter(|(_, held)| !service.uses.contains(held)) {
        let near = quoted(nearest(held, service.uses.iter().map(String::as_str)));
        let problem = Problem::error(
            "undeclared",
            format!("{path}.secrets.{variable}"),
            format!("\"{held}\" is not used"),
        );
        report.add(
            problem.allowed(format!("one of `uses`: {}", service.uses.join(", "))).near(near.as_deref()),
        );
    }
}
