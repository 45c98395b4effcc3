//! Checks of the DNS zone: whose it is, what its records point at, and that each value has the form of its record's type.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::environment::format;
use crate::environment::problem::Problem;
use crate::environment::types::{Dns, Environment, Record, RecordType};

use super::{Report, duplicates};

/// Characters of a TXT value in all its pieces (Route 53 developer guide, "TXT record type").
const TEXT_CHARS_MAX: usize = 4000;

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    if let Some(dns) = &environment.dns {
        zone(environment, dns, report);
        beside_cname(dns, report);
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
    let mut seen: BTreeMap<(&str, &str), String> = BTreeMap::new();
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
                report.add_undeclared(problem.allowed("a table [load_balancer]"), "load_balancer");
            }
        }
        if record.kind == RecordType::Cname && record.name == dns.zone {
            let message = "the name of a zone itself cannot be a CNAME";
            report.add(
                Problem::error("not-allowed", format!("{path}.type"), message)
                    .allowed("`alias` with type \"A\""),
            );
        }
        values(record, &path, report);
        let key = (record.kind.as_str(), record.name.as_str());
        if let Some(first) = seen.get(&key) {
            let message = format!("two records of type {} are called \"{}\"", key.0, record.name);
            let related = report.known.origins.of(&format!("dns.records.{first}"));
            let problem = Problem::error("duplicate", &path, message).allowed("one record with all values");
            report.add(problem.related("the first is here", related));
        }
        seen.entry(key).or_insert_with(|| name.clone());
    }
}

/// Each value has the form that its record's type asks for, and stands there once.
fn values(record: &Record, path: &str, report: &mut Report<'_>) {
    for index in duplicates(&record.values) {
        let message = format!("the value \"{}\" is given twice", record.values[index]);
        let problem = Problem::error("duplicate", format!("{path}.values.{index}"), message);
        report.add(problem.allowed("each value once"));
    }
    if record.kind == RecordType::Cname && record.values.len() > 1 {
        let message = format!("a CNAME cannot have {} values", record.values.len());
        report.add(Problem::error("wrong-length", format!("{path}.values"), message).allowed("one name"));
    }
    for (index, value) in record.values.iter().enumerate() {
        if let Some(Refused { allowed, near }) = refuse(record.kind, value) {
            let kind = record.kind.as_str();
            let message = format!("a record of type {kind} cannot have the value \"{value}\"");
            let problem = Problem::error("bad-form", format!("{path}.values.{index}"), message);
            let near =
                near.map(|near| if near.contains('"') { format!("'{near}'") } else { format!("\"{near}\"") });
            report.add(problem.allowed(allowed).near(near.as_deref()));
        }
    }
}

struct Refused {
    allowed: &'static str,
    near: Option<String>,
}

fn refuse(kind: RecordType, value: &str) -> Option<Refused> {
    let (fits, allowed, near) = match kind {
        RecordType::A => (value.parse::<Ipv4Addr>().is_ok(), "an IPv4 address, such as \"192.0.2.1\"", None),
        RecordType::Aaaa => {
            (value.parse::<Ipv6Addr>().is_ok(), "an IPv6 address, such as \"2001:db8::1\"", None)
        }
        RecordType::Cname => (
            domain(value) && value.parse::<Ipv4Addr>().is_err(),
            "another name, without a final dot, such as \"other.keyway.example\"",
            Some(value.trim_end_matches('.').to_lowercase()).filter(|name| name != value && domain(name)),
        ),
        RecordType::Mx => (mail(value), "a priority and a name, such as \"10 mail.keyway.example\"", {
            domain(value).then(|| format!("10 {value}"))
        }),
        RecordType::Caa => (
            authority(value),
            "flags, a tag and a value in quotes, such as '0 issue \"amazon.com\"'",
            domain(value).then(|| format!("0 issue \"{value}\"")),
        ),
        RecordType::Txt => {
            let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            let plain = value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            let fits = plain && !quoted && (1..=TEXT_CHARS_MAX).contains(&value.len());
            let near = quoted.then(|| value.trim_matches('"').replace("\" \"", ""));
            (fits, "1 to 4000 plain characters, without quotes around them: infra writes those", near)
        }
    };
    (!fits).then_some(Refused { allowed, near })
}

fn domain(text: &str) -> bool {
    format::refuse_text("domain", text).is_none()
}

fn mail(value: &str) -> bool {
    let Some((priority, host)) = value.split_once(' ') else { return false };
    priority.parse::<u16>().is_ok() && domain(host.trim_end_matches('.')) && host.parse::<Ipv4Addr>().is_err()
}

fn authority(value: &str) -> bool {
    let mut parts = value.splitn(3, ' ');
    let (Some(flags), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    flags.parse::<u8>().is_ok()
        && (1..=15).contains(&tag.len())
        && tag.chars().all(|c| c.is_ascii_alphanumeric())
        && quoted
        && !text[1..text.len() - 1].contains('"')
}

/// What a name stands for a CNAME alone may say (RFC 1034, 3.6.2); Route 53 refuses anything beside it.
fn beside_cname(dns: &Dns, report: &mut Report<'_>) {
    for (name, cname) in dns.records.iter().filter(|(_, record)| record.kind == RecordType::Cname) {
        let beside = |other: &Record| other.name == cname.name && other.kind != RecordType::Cname;
        if let Some((other, record)) = dns.records.iter().find(|(_, other)| beside(other)) {
            let message = format!(
                "\"{}\" is a CNAME and cannot have a record of type {} beside it",
                cname.name,
                record.kind.as_str()
            );
            let related = report.known.origins.of(&format!("dns.records.{other}"));
            let problem = Problem::error("not-allowed", format!("dns.records.{name}"), message);
            report.add(problem.allowed("a CNAME alone, or no CNAME").related("the other is here", related));
        }
    }
}
