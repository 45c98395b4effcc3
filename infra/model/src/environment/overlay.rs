//! From the name of an environment to one merged document: the chain of `extends`, what is removed, what merges and what
//! replaces. Owns precedence; refuses to know what the keys mean.

use super::document::{self, Node, Value};
use super::loader::{Found, Loader};
use super::near::nearest;
use super::origin::{Origin, Path, Sources};
use super::problem::Problem;
use super::schema::{self, Shape};
use super::walk::{Findings, walk};

/// Files in one chain of `extends`. Three are usual (tenant, production, base); more than this is a mistake.
const CHAIN_FILES_MAX: usize = 8;

/// One merged document and what was found on the way.
pub(crate) struct Merged {
    /// `None` when not even the first file could be read.
    pub document: Option<Node>,
    /// Files from the outermost overlay to the base.
    pub chain: Vec<String>,
    pub sources: Sources,
    pub findings: Findings,
    /// What `remove` took out, with the place that says so.
    pub removed: Vec<(Path, Origin)>,
    /// Whether every file could be read as TOML and the chain is whole: only then is a missing key really missing.
    pub complete: bool,
}

/// Whether a file is only a base for others: it has no name.
pub(crate) fn is_base(name: &str, loader: &Loader<'_>) -> bool {
    let merged = merge(name, loader);
    let named = |document: &Node| document.table().is_some_and(|table| table.contains_key("name"));
    let refused = merged.findings.unusable.iter().any(|path| path.0 == ["name"]);
    merged.complete && !refused && !merged.document.as_ref().is_some_and(named)
}

struct Layer {
    file: String,
    document: Node,
    extends: Option<Node>,
    remove: Vec<Node>,
}

/// Read and merge an environment.
pub(crate) fn merge(name_or_path: &str, loader: &Loader<'_>) -> Merged {
    let mut merged = Merged {
        document: None,
        chain: Vec::new(),
        sources: Sources::default(),
        findings: Findings::default(),
        removed: Vec::new(),
        complete: true,
    };
    let mut layers = read_chain(name_or_path, loader, &mut merged);
    let outermost = layers.first().map(|layer| layer.document.at.clone());
    let schema = Shape::root(schema::whole());
    let mut document: Option<Node> = None;
    while let Some(layer) = layers.pop() {
        let mut document_now = document.take().unwrap_or(Node {
            at: layer.document.at.clone(),
            key_at: layer.document.at.clone(),
            value: Value::Table(Default::default()),
        });
        for path in &layer.remove {
            remove(&mut document_now, path, &mut merged);
        }
        overlay(Some(schema), &mut document_now, layer.document);
        document = Some(document_now);
    }
    if let (Some(document), Some(outermost)) = (&mut document, outermost) {
        document.at = outermost; // what the whole lacks is to be written there
    }
    merged.document = document;
    merged
}

/// The chain from the outermost overlay to the base.
fn read_chain(name_or_path: &str, loader: &Loader<'_>, merged: &mut Merged) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut found = loader.environment(name_or_path);
    let mut asked: Option<Node> = None;
    loop {
        let problem = match found {
            Found::File(source) if merged.chain.iter().any(|file| *file == *source.file) => {
                let chain = merged.chain.join(" -> ");
                Problem::error(
                    "extends-loop",
                    "extends",
                    format!("`extends` goes round: {chain} -> {}", source.file),
                )
            }
            Found::File(_) if layers.len() == CHAIN_FILES_MAX => Problem::error(
                "extends-loop",
                "extends",
                format!("more than {CHAIN_FILES_MAX} files extend each other"),
            ),
            Found::File(source) => {
                let (document, problems) = document::read(&source);
                let sound = problems.is_empty();
                merged.complete &= sound;
                merged.findings.problems.extend(problems);
                merged.chain.push(source.file.to_string());
                merged.sources.add(source.clone());
                let layer = layer(source.file.to_string(), document, sound, &mut merged.findings);
                let base = layer.extends.clone();
                layers.push(layer);
                let Some(base) = base else { return layers };
                let name = base.text().unwrap_or_default().to_owned();
                asked = Some(base);
                found = loader.base(&layers.last().expect("just pushed").file, &name);
                continue;
            }
            Found::Missing(places) => missing(name_or_path, asked.as_ref(), &places, loader),
            Found::Unreadable(path, reason) => {
                Problem::error("unreadable", "", format!("the file {path} cannot be read: {reason}"))
            }
        };
        merged.complete = false;
        let place = asked.as_ref().map(|asked| asked.at.clone());
        merged.findings.problems.push(problem.at(place.as_ref()));
        return layers;
    }
}

fn missing(name_or_path: &str, asked: Option<&Node>, places: &[String], loader: &Loader<'_>) -> Problem {
    let names = loader.environment_names();
    let near = |name: &str| nearest(name, names.iter().map(String::as_str)).map(|near| format!("\"{near}\""));
    let places = places.join(", ");
    match asked {
        Some(asked) => {
            let name = asked.text().unwrap_or_default();
            Problem::error(
                "missing-base",
                "extends",
                format!("there is no environment \"{name}\" to extend ({places})"),
            )
            .allowed(names.join(", "))
            .near(near(name).as_deref())
        }
        None => Problem::error(
            "missing-environment",
            "",
            format!("there is no environment \"{name_or_path}\" ({places})"),
        )
        .allowed(names.join(", "))
        .near(near(name_or_path).as_deref()),
    }
}

/// Take `extends` and `remove` out of a file, and hold the rest against the schema. Of a file that is not sound TOML nothing
/// more is said: what it seems to hold may not be what was meant.
fn layer(file: String, mut document: Node, sound: bool, findings: &mut Findings) -> Layer {
    let mut taken = |key: &str| document.table_mut().and_then(|table| table.remove(key));
    let (extends, remove) = (taken("extends"), taken("remove"));
    let keys = serde_json::Value::Object(schema::overlay_keys());
    let mut refused = Findings::default();
    for (key, node) in [("extends", &extends), ("remove", &remove)] {
        if let (Some(node), Some(shape)) = (node, keys.get(key)) {
            walk(Shape::root(shape), node, &Path::parse(key), &mut refused);
        }
    }
    let extends = extends.filter(|node| node.text().is_some());
    let remove = match remove.map(|node| node.value) {
        Some(Value::Array(items)) => items.into_iter().filter(|item| item.text().is_some()).collect(),
        _ => Vec::new(),
    };
    walk(Shape::root(schema::whole()), &document, &Path::default(), &mut refused);
    for path in &refused.unusable {
        document.remove(path);
    }
    if sound {
        findings.problems.extend(refused.problems);
    }
    findings.unusable.extend(refused.unusable);
    Layer { file, document, extends, remove }
}

fn remove(document: &mut Node, path: &Node, merged: &mut Merged) {
    let text = path.text().unwrap_or_default();
    let parsed = Path::parse(text);
    if document.remove(&parsed).is_some() {
        return merged.removed.push((parsed, path.at.clone()));
    }
    let mut paths = super::origin::Origins::default();
    document.origins(&Path::default(), &mut paths);
    let near = nearest(text, paths.iter().map(|(path, _)| path)).map(|near| format!("\"{near}\""));
    merged.findings.problems.push(
        Problem::error(
            "nothing-to-remove",
            "remove",
            format!("nothing is inherited at `{text}`, so it cannot be removed"),
        )
        .at(Some(&path.at))
        .allowed("dotted paths of inherited values, such as \"postgres\" or \"services.gateway\"")
        .near(near.as_deref()),
    );
}

/// Lay `over` on `base`: tables merge, arrays with a key merge by that key, everything else replaces.
fn overlay(shape: Option<Shape<'_>>, base: &mut Node, over: Node) {
    let shape_of_key = |key: &str| shape.and_then(|shape| inner(shape, key));
    match (&mut base.value, over.value) {
        (Value::Table(old), Value::Table(new)) => {
            for (key, node) in new {
                match old.get_mut(&key) {
                    Some(existing) => overlay(shape_of_key(&key), existing, node),
                    None => drop(old.insert(key, node)),
                }
            }
            // The table itself stays where it was first opened, unless only the overlay speaks of it.
        }
        (Value::Array(old), Value::Array(new)) if shape.and_then(|shape| shape.keyed_by()).is_some() => {
            let key = shape.and_then(|shape| shape.keyed_by()).expect("guarded");
            let items = shape.and_then(|shape| shape.items());
            let word = |node: &Node| Some(node.table()?.get(key)?.text()?.to_owned());
            for node in new {
                match old
                    .iter_mut()
                    .find(|existing| word(existing).is_some() && word(existing) == word(&node))
                {
                    Some(existing) => overlay(items, existing, node),
                    None => old.push(node),
                }
            }
        }
        (_, value) => *base = Node { at: over.at, key_at: over.key_at, value },
    }
}

/// The shape of a key, looking into alternatives for the one that has it.
fn inner<'a>(shape: Shape<'a>, key: &str) -> Option<Shape<'a>> {
    shape.key(key).or_else(|| shape.branches()?.iter().find_map(|branch| branch.key(key)))
}
