//! Checks of the stores, the secrets, the DNS zone and the renames.

use std::collections::BTreeMap;

use crate::environment::names::{CACHE_ID_MAX, Names};
use crate::environment::problem::Problem;
use crate::environment::types::{Dns, Engine, Environment, RecordType};

use super::Report;

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    stores(environment, report);
    secrets(environment, report);
    if let Some(dns) = &environment.dns {
        zone(environment, dns, report);
    }
    moved(environment, report);
}

fn stores(environment: &Environment, report: &mut Report<'_>) {
    if let Some(redis) = &environment.redis {
        if redis.auth && !redis.tls {
            let message = "a password over a plain connection is no secret, and AWS refuses it";
            report.add(
                Problem::error("no-tls", "redis.auth", message).allowed("`tls = true`, or `auth = false`"),
            );
        }
        let (first, allowed) = match redis.engine {
            Engine::Valkey => (["7", "8", "9"], "a version of Valkey, such as \"8.0\""),
            Engine::Redis => (["5", "6", "7"], "a version of Redis, such as \"7.1\""),
        };
        version(&redis.version, &first, "redis.version", allowed, report);
        let id = Names::new(environment).environment();
        if id.len() > CACHE_ID_MAX {
            let message = format!("the id of the store would have {} characters: \"{id}\"", id.len());
            report.add(
                Problem::error("name-too-long", "redis", message).allowed(format!("at most {CACHE_ID_MAX}")),
            );
        }
    }
    if let Some(postgres) = &environment.postgres {
        let first = ["13", "14", "15", "16", "17", "18"];
        version(
            &postgres.version,
            &first,
            "postgres.version",
            "a version of Postgres, such as \"17\"",
            report,
        );
        if matches!(postgres.user.as_str(), "rdsadmin" | "admin" | "rds_superuser") {
            let message = format!("RDS keeps the user \"{}\" for itself", postgres.user);
            report.add(Problem::error("reserved-name", "postgres.user", message).allowed("another name"));
        }
    }
}

/// A version begins with a major one that the engine has, and is numbers and dots.
fn version(version: &str, majors: &[&str], path: &str, allowed: &str, report: &mut Report<'_>) {
    let numbers = version.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    if !numbers || !majors.contains(&version.split('.').next().unwrap_or_default()) {
        let message = format!("there is no version \"{version}\"");
        report.add(Problem::error("unknown-version", path, message).allowed(allowed));
    }
}

fn secrets(environment: &Environment, report: &mut Report<'_>) {
    for (name, secret) in &environment.secrets {
        let path = format!("secrets.{name}");
        if (1..7).contains(&secret.recovery_days) {
            let message = format!("a deleted secret cannot be kept for {} days", secret.recovery_days);
            let problem = Problem::error("out-of-range", format!("{path}.recovery_days"), message);
            report.add(problem.allowed("0 (gone at once), or 7 to 30"));
        }
        if matches!(name.as_str(), "redis" | "postgres" | "redis-auth") {
            let problem =
                Problem::error("reserved-name", path, format!("a secret cannot be called \"{name}\""));
            report.add(problem.allowed("another name: the passwords of the stores are made with the stores"));
        }
    }
}

fn zone(environment: &Environment, dns: &Dns, report: &mut Report<'_>) {
    if dns.owned == dns.zone_id.is_some() {
        let message = format!(
            "the zone {} is {}",
            dns.zone,
            if dns.owned { "said to be ours and someone else's" } else { "nobody's" }
        );
        report.add_whole(
            Problem::error("ambiguous", "dns", message)
                .allowed("exactly one of `owned = true` and `zone_id`"),
        );
    }
    let mut seen: BTreeMap<(String, &str), String> = BTreeMap::new();
    for (name, record) in &dns.records {
        let path = format!("dns.records.{name}");
        if !super::inside(&record.name, &dns.zone) {
            let message = format!("\"{}\" is not in the zone {}", record.name, dns.zone);
            let allowed = format!("\"{0}\", or names ending in \".{0}\"", dns.zone);
            report.add(Problem::error("outside-zone", format!("{path}.name"), message).allowed(allowed));
        }
        if record.alias.is_some() != record.values.is_empty() {
            let message = format!(
                "the record \"{name}\" points {}",
                if record.alias.is_some() { "at two things" } else { "nowhere" }
            );
            report.add_whole(
                Problem::error("ambiguous", &path, message).allowed("exactly one of `alias` and `values`"),
            );
        }
        if record.alias.is_some() {
            if !matches!(record.kind, RecordType::A | RecordType::Aaaa) {
                let problem = Problem::error(
                    "not-allowed",
                    format!("{path}.type"),
                    "an alias of this type leads nowhere",
                );
                report.add(problem.allowed("\"A\", \"AAAA\""));
            }
            if record.ttl_s.is_some() {
                let problem = Problem::error(
                    "not-allowed",
                    format!("{path}.ttl_s"),
                    "an alias has no time to live of its own",
                );
                report.add(problem.allowed("no `ttl_s`"));
            }
            if environment.load_balancer.is_none() && !report.known.declares("load_balancer") {
                let problem = Problem::error(
                    "undeclared",
                    format!("{path}.alias"),
                    "there is no load balancer to point at",
                );
                report.add(problem.allowed("a table [load_balancer]"));
            }
        }
        if record.kind == RecordType::Cname && record.name == dns.zone {
            let message = "the name of a zone itself cannot be a CNAME";
            report.add(
                Problem::error("not-allowed", format!("{path}.type"), message)
                    .allowed("`alias` with type \"A\""),
            );
        }
        let kind = serde_json::to_value(record.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        let key = (kind.unwrap_or_default(), record.name.as_str());
        if let Some(first) = seen.get(&key) {
            let message = format!("two records of type {} are called \"{}\"", key.0, record.name);
            let related = report.known.origins.of(&format!("dns.records.{first}"));
            let problem = Problem::error("duplicate", &path, message).allowed("one record with all values");
            report.add(problem.related("the first is here", related));
        }
        seen.entry(key).or_insert_with(|| name.clone());
    }
}

fn moved(environment: &Environment, report: &mut Report<'_>) {
    for (index, moved) in environment.moved.iter().enumerate() {
        let path = format!("moved.{index}");
        if moved.from == moved.to {
            let problem = Problem::error(
                "not-allowed",
                format!("{path}.to"),
                format!("`{}` moves to itself", moved.from),
            );
            report.add(problem.allowed("another address"));
        }
        if environment.moved[..index].iter().any(|before| before.to == moved.to) {
            let problem = Problem::error(
                "duplicate",
                format!("{path}.to"),
                format!("two things move to `{}`", moved.to),
            );
            report.add(problem.allowed("each address once"));
        }
    }
}
