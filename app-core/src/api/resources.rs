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

use super::resource::Resource;

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

fn name(text: &str) -> Result<String, super::problem::Problem> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(super::problem::Problem::field("name", "1 to 120 characters, no control characters"));
    }
    Ok(name.to_owned())
}

/// An id that the registry has checked or minted.
fn id<T: std::str::FromStr>(text: &str) -> Result<T, super::problem::Problem> {
    text.parse().map_err(|_| super::problem::Problem::not_found("thing"))
}
