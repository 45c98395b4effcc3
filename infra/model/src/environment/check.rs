//! What must hold between the values of an environment. Owns the order of the checks; each file below owns one area.
//! Refuses to know types and unknown keys (that is `walk`).

mod compute;
mod data;
mod edge;
mod network;
mod together;

use std::collections::BTreeSet;

use crate::waf::RuleSets;

use super::origin::{Origins, Path};
use super::problem::Problem;
use super::types::Environment;

pub use together::together;

/// What the files mention, also where a value was refused: nothing that is mentioned is reported as undeclared.
pub(crate) struct Known<'a> {
    pub origins: &'a Origins,
    refused: BTreeSet<String>,
}

impl<'a> Known<'a> {
    pub fn new(origins: &'a Origins, refused: &[Path]) -> Self {
        Known { origins, refused: refused.iter().map(Path::to_string).collect() }
    }

    /// Whether a value could not be used, so that what follows from it is not worth saying.
    pub fn refused(&self, path: &str) -> bool {
        self.refused.contains(path) || self.origins.exact(path).is_some_and(|_| false)
    }

    /// Whether the files mention the path, usable or not.
    pub fn mentions(&self, path: &str) -> bool {
        self.refused.contains(path) || self.origins.exact(path).is_some()
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
    edge::check(environment, rule_sets, &mut report);
    compute::check(environment, &mut report);
    data::check(environment, &mut report);
}
