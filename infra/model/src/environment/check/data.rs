//! Checks of the stores and the secrets.

use crate::environment::names::{CACHE_ID_MAX, Names};
use crate::environment::problem::Problem;
use crate::environment::types::{Engine, Environment};

use super::{Report, windows};

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    stores(environment, report);
    windows::check(environment, report);
    secrets(environment, report);
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
