//! What must hold between the values of an environment. Owns the order of the checks; each file below owns one area.
//! Refuses to know types and unknown keys (that is `walk`).

mod compute;
mod data;
mod dns;
mod edge;
mod firewall;
mod moved;
mod network;
mod rights;
mod tags;
mod together;
mod windows;

use std::collections::BTreeSet;

use crate::waf::RuleSets;

use super::origin::{Origin, Origins, Path};
use super::problem::Problem;
use super::types::Environment;

pub use together::together;
pub(crate) use together::{Side, between};

/// What the files mention, also where a value was refused: nothing that is mentioned is reported as undeclared.
pub(crate) struct Known<'a> {
    pub origins: &'a Origins,
    refused: BTreeSet<String>,
    removed: &'a [(Path, Origin)],
}

/// What is said of the place of a `remove` that made something undeclared.
pub(crate) const TAKEN_OUT: &str = "it is taken out here";

impl<'a> Known<'a> {
    pub fn new(origins: &'a Origins, refused: &[Path], removed: &'a [(Path, Origin)]) -> Self {
        Known { origins, refused: refused.iter().map(Path::to_string).collect(), removed }
    }

    /// The place of the `remove` that took out what stood at the path.
    pub fn removed(&self, path: &str) -> Option<&'a Origin> {
        removed(self.removed, path)
    }

    /// Whether the files give the path a value that could be used.
    pub fn mentions(&self, path: &str) -> bool {
        self.origins.exact(path).is_some()
    }

    /// Whether something at or below the path could not be used: what then seems to lack may have been meant.
    pub fn broken(&self, path: &str) -> bool {
        self.refused.iter().any(|refused| {
            refused.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Whether the files speak of the path, usable or not: what could not be used has been reported, and what follows from
    /// it is not worth saying.
    pub fn declares(&self, path: &str) -> bool {
        self.refused.contains(path) || self.mentions(path)
    }
}

/// Collects problems of one environment, pointing each at the place of its path.
pub(crate) struct Report<'a> {
    pub known: &'a Known<'a>,
    pub problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    /// Add a problem: its place is that of its path.
    pub fn add(&mut self, problem: Problem) {
        let origin = self.known.origins.of(&problem.path);
        self.problems.push(problem.at(origin));
    }

    /// Add a problem with something that is not declared: if a `remove` took it out, that place has part in it.
    pub fn add_undeclared(&mut self, problem: Problem, path: &str) {
        let related = self.known.removed(path);
        self.add(problem.related(TAKEN_OUT, related));
    }

    /// Add a problem with the name of a key: its place is that of the key.
    pub fn add_key(&mut self, problem: Problem) {
        let origin = self.known.origins.of_key(&problem.path);
        self.problems.push(problem.at(origin));
    }

    /// Add a problem with what seems to lack or to be double, unless something there could not be used.
    pub fn add_whole(&mut self, problem: Problem) {
        if !self.known.broken(&problem.path) {
            self.add(problem);
        }
    }
}

/// All checks of one environment.
pub(crate) fn alone(
    environment: &Environment,
    rule_sets: &RuleSets,
    known: &Known<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut report = Report { known, problems };
    network::check(environment, &mut report);
    edge::check(environment, &mut report);
    firewall::check(environment, rule_sets, &mut report);
    compute::check(environment, &mut report);
    data::check(environment, &mut report);
    dns::check(environment, &mut report);
    tags::check(environment, &mut report);
    moved::check(environment, &mut report);
}

/// The place of the `remove` that took out the path or a table around it.
pub(crate) fn removed<'a>(removed: &'a [(Path, Origin)], path: &str) -> Option<&'a Origin> {
    let path = Path::parse(path);
    removed.iter().rev().find(|(gone, _)| path.0.starts_with(&gone.0)).map(|(_, origin)| origin)
}

/// Positions of what stands in the list for the second time.
fn duplicates(list: &[String]) -> Vec<usize> {
    (0..list.len()).filter(|index| list[..*index].contains(&list[*index])).collect()
}

/// A near miss as one would write it into the file.
fn quoted(near: Option<&str>) -> Option<String> {
    near.map(|near| format!("\"{near}\""))
}

/// Whether a name lies in a zone.
fn inside(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|front| front.ends_with('.'))
}
