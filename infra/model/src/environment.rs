//! The environment file: from a name to one typed [`Environment`] in which every value knows the file, line and column that
//! decided it, or to all that is wrong with it at once. Owns reading, overlays and validation; refuses to know AWS objects
//! (the blueprint makes those) and the file system (a [`Loader`] is passed in).

mod check;
mod document;
mod endpoint;
mod fargate;
mod format;
mod loader;
mod names;
mod near;
mod neighbours;
mod origin;
mod overlay;
mod placeholder;
mod problem;
mod reference;
mod region;
mod schema;
mod subnet;
mod types;
mod walk;

use crate::waf::{self, RuleSets};

pub use check::together;
pub use loader::Loader;
pub use names::Names;
pub use near::nearest;
pub use neighbours::neighbours;
pub use origin::{Origin, Origins, Path, Source, Sources, text_of};
pub use problem::{Color, Problem, Problems, Related, Severity};
pub use reference::reference;
pub use region::partition;
pub use schema::schema;
pub use subnet::{SubnetPlace, subnets};
pub use types::*;

pub(crate) use document::{Node, read as read_document};
pub(crate) use loader::Found;
pub(crate) use placeholder::fill as fill_placeholders;
pub(crate) use schema::{Shape, forget_null};
pub(crate) use walk::{Findings, required, walk};

/// An environment that has been read, with the place of each of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub environment: Environment,
    /// Dotted path of a value (`services.app.cpu`) to its place.
    pub origins: Origins,
    /// The WAF rule sets that the environment names.
    pub rule_sets: RuleSets,
    /// Files from the outermost overlay to the base.
    pub chain: Vec<String>,
    /// The texts of all files that took part.
    pub sources: Sources,
    /// What is worth a look and forbids nothing.
    pub warnings: Problems,
}

impl Environment {
    /// Read an environment by name (`staging`, `tenants/acme`) or path (`infra/environments/staging.toml`), with all it
    /// extends and all rule sets it uses. Fails with every problem there is.
    pub fn load(name_or_path: &str, loader: &Loader<'_>) -> Result<Loaded, Problems> {
        let merged = overlay::merge(name_or_path, loader);
        let (mut findings, mut sources) = (merged.findings, merged.sources);
        let Some(mut document) = merged.document else {
            return Err(Problems::new(findings.problems, sources));
        };

        let mut origins = Origins::default();
        document.origins(&Path::default(), &mut origins);
        let refused = std::mem::take(&mut findings.unusable);
        let nameless = !document.table().is_some_and(|table| table.contains_key("name"));
        let misnamed = refused.iter().any(|path| path.0 == ["name"]);
        if merged.complete && merged.chain.len() == 1 && nameless && !misnamed {
            // What a base leaves to others is not missing.
            findings.problems.push(is_a_base(&merged.chain[0], &document, loader));
            return Err(Problems::new(findings.problems, sources));
        }
        if merged.complete {
            drop_incomplete(&mut document, &refused, &mut findings);
            for problem in findings.problems.iter_mut().filter(|problem| problem.code == "missing-key") {
                let place = check::removed(&merged.removed, &problem.path);
                *problem = problem.clone().related(check::TAKEN_OUT, place);
            }
        }
        let environment = match serde_json::from_value::<Environment>(document.json()) {
            Ok(environment) => environment,
            Err(error) => {
                if findings.problems.is_empty() {
                    findings
                        .problems
                        .push(Problem::error("invalid", "", error.to_string()).at(Some(&document.at)));
                }
                return Err(Problems::new(findings.problems, sources));
            }
        };
        let mut problems = findings.problems;
        let known = check::Known::new(&origins, &refused, &merged.removed);
        let rule_sets = waf::load(&environment, &origins, loader, &mut sources, &mut problems);
        check::alone(&environment, &rule_sets, &known, &mut problems);
        let problems = Problems::new(problems, sources.clone());
        if problems.has_errors() {
            return Err(problems);
        }
        Ok(Loaded { environment, origins, rule_sets, chain: merged.chain, sources, warnings: problems })
    }
}

/// All environments of the loader's folder that can be read, and everything that is wrong with any of them, alone or together.
pub fn load_folder(loader: &Loader<'_>) -> (Vec<Loaded>, Problems) {
    let (mut environments, mut problems) = (Vec::new(), Problems::default());
    for name in loader.own_names() {
        if overlay::is_base(&name, loader) {
            continue;
        }
        match Environment::load(&name, loader) {
            Ok(loaded) => {
                problems = problems.join(loaded.warnings.clone());
                environments.push(loaded);
            }
            Err(found) => problems = problems.join(found),
        }
    }
    let problems = problems.join(together(&environments));
    (environments, problems)
}

fn is_a_base(file: &str, document: &document::Node, loader: &Loader<'_>) -> Problem {
    let names = loader.environment_names();
    let named: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !overlay::is_base(name, loader)).collect();
    let message = format!("{file} is a base for others and no environment: it has no `name`");
    let allowed = format!("an environment ({}), or a `name` in this file", named.join(", "));
    Problem::error("base", "name", message).at(Some(&document.at)).allowed(allowed)
}

/// Report what is missing, and take out the tables that are of no use without it, so that the rest can still be checked.
fn drop_incomplete(document: &mut document::Node, refused: &[Path], findings: &mut Findings) {
    let shape = Shape::root(schema::whole());
    let mut refused = refused.to_vec();
    // Each round takes out at least one table; nine levels is deeper than any environment.
    for _ in 0..9 {
        let mut found = Findings::default();
        required(shape, document, &Path::default(), &refused, &mut found);
        findings.problems.append(&mut found.problems);
        found.unusable.retain(|path| !path.0.is_empty());
        if found.unusable.is_empty() {
            return;
        }
        for path in found.unusable {
            document.remove(&path);
            refused.push(path);
        }
    }
}
