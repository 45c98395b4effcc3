//! An environment beside the others of its folder: two files with one name, ranges that overlap. Owns which files are
//! neighbours; refuses to know what is wrong with a neighbour itself (`validate` without a name says that).

use super::Loaded;
use super::check::{Side, between};
use super::document::{Node, Value};
use super::loader::Loader;
use super::origin::{Origins, Path, Sources};
use super::overlay::{self, Merged};
use super::problem::Problems;

impl Loaded {
    /// The outermost file.
    pub fn file(&self) -> &str {
        self.chain.first().map_or("", String::as_str)
    }
}

/// What is wrong with an environment among the others of the loader's folder. A neighbour with faults counts by what can be
/// read of it, and its faults are not told here. A file that lies elsewhere has no neighbours: it is somebody's trial.
pub fn neighbours(loader: &Loader<'_>, loaded: &Loaded) -> Problems {
    let names = loader.own_names();
    let ours = |merged: &Merged| merged.chain.first().is_some_and(|file| same_file(file, loaded, merged));
    let all: Vec<Merged> = names.iter().map(|name| overlay::merge(name, loader)).collect();
    if !all.iter().any(ours) {
        return Problems::default();
    }
    let mut problems = Vec::new();
    let mut sources = loaded.sources.clone();
    for merged in all.iter().filter(|merged| !ours(merged)) {
        let (Some(file), Some(document)) = (merged.chain.first(), &merged.document) else { continue };
        let text = |path: &str| at(document, path)?.text();
        // A file without a name is a base and no environment.
        let Some(name) = text("name") else { continue };
        let mut origins = Origins::default();
        document.origins(&Path::default(), &mut origins);
        let side = Side {
            file,
            account: text("account"),
            project: text("project"),
            name: Some(name),
            cidr: text("network.cidr").and_then(|cidr| cidr.parse().ok()),
            origins: &origins,
        };
        let before = problems.len();
        between(&side, &Side::of(loaded), &mut problems);
        if problems.len() > before {
            sources.merge(&merged.sources);
        }
    }
    Problems::new(problems, sources)
}

fn at<'a>(document: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.').try_fold(document, |node, key| match &node.value {
        Value::Table(table) => table.get(key),
        _ => None,
    })
}

/// Whether a file of the folder is the environment's own: the folder may be written in another way (`./`, from the root).
fn same_file(file: &str, loaded: &Loaded, merged: &Merged) -> bool {
    if file == loaded.file() {
        return true;
    }
    let (here, there) = (parts(file), parts(loaded.file()));
    let (short, long) = if here.len() <= there.len() { (&here, &there) } else { (&there, &here) };
    let text = |sources: &Sources, file: &str| sources.text(file).map(str::to_owned);
    !short.is_empty()
        && long.ends_with(short)
        && text(&merged.sources, file) == text(&loaded.sources, loaded.file())
}

/// The parts of a path that say something, from where it leaves the working directory.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
}
