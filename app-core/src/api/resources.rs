//! The registry of things that the API keeps: one file each, one shape.

mod area;
mod calendar;
mod credential;
mod door;
mod grant;
mod group;
mod person;
mod schedule;
mod site;

use super::problem::Problem;
use super::resource::Resource;
use crate::facts::TenantFacts;
use keyway_domain::credential::Validity;
use keyway_domain::place::Scope;

pub const RESOURCES: &[Resource] = &[
    site::RESOURCE,
    area::RESOURCE,
    door::RESOURCE,
    person::RESOURCE,
    group::RESOURCE,
    credential::RESOURCE,
    schedule::RESOURCE,
    calendar::RESOURCE,
    grant::RESOURCE,
];

/// Names are shown on small screens.
const NAME_CHARS_MAX: usize = 120;

fn name(text: &str) -> Result<String, Problem> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(Problem::field("name", "1 to 120 characters, no control characters"));
    }
    Ok(name.to_owned())
}

/// An id that the registry has checked or minted.
fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found("thing"))
}

/// Words on a door, by which grants and lockdowns speak of it.
fn is_tag(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// How many grants speak of a place in this way.
fn named(facts: &TenantFacts, names: impl Fn(&Scope) -> bool) -> usize {
    facts.facts.grants.values().filter(|grant| names(&grant.scope)).count()
}

/// A validity that ends before it begins is a slip.
fn lasting(validity: Validity) -> Result<(), Problem> {
    match (validity.from, validity.until) {
        (Some(from), Some(until)) if until <= from => {
            Err(Problem::field("validity", "it ends before it begins"))
        }
        _ => Ok(()),
    }
}

/// More doors than this are an area, a tag or a site.
const DOORS_MAX: usize = 1_000;

/// Whether what a grant or a lockdown speaks of is there.
pub fn check_scope(scope: &Scope, facts: &TenantFacts) -> Result<(), Problem> {
    let missing = |what: &str| Problem::field("scope", format!("there is no such {what} in this tenant"));
    match scope {
        Scope::Tenant => Ok(()),
        Scope::Site(site) if facts.sites.contains_key(site) => Ok(()),
        Scope::Site(_) => Err(missing("site")),
        Scope::Area(area) if facts.areas.contains_key(area) => Ok(()),
        Scope::Area(_) => Err(missing("area")),
        Scope::Tag(tag) if !is_tag(tag) => {
            Err(Problem::field("scope", "a tag has 1 to 64 bytes, no control characters"))
        }
        Scope::Tag(_) => Ok(()),
        Scope::Doors(doors) if doors.is_empty() || doors.len() > DOORS_MAX => {
            Err(Problem::field("scope", "from 1 to 1,000 doors; for more use an area, a tag or a site"))
        }
        Scope::Doors(doors) if doors.iter().all(|door| facts.doors.contains_key(door)) => Ok(()),
        Scope::Doors(_) => Err(missing("door")),
    }
}
