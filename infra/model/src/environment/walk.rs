//! Holds a document against a schema and reports every key and value that does not fit, not the first only. Owns unknown
//! keys, wrong types, ranges and forms; refuses to know what the values mean together (that is `check`).

use serde_json::Value as Json;

use super::document::{Node, Value};
use super::format;
use super::near::nearest;
use super::origin::Path;
use super::problem::Problem;
use super::schema::Shape;

/// What a walk found, and which values must be left out for the rest of the document to be of use.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub problems: Vec<Problem>,
    pub unusable: Vec<Path>,
}

impl Findings {
    fn refuse(&mut self, path: &Path, problem: Problem) {
        self.problems.push(problem);
        self.unusable.push(path.clone());
    }
}

/// Hold a node against a shape.
pub(crate) fn walk(shape: Shape<'_>, node: &Node, path: &Path, found: &mut Findings) {
    if let Some(words) = shape.words() {
        return word(&words, node, path, found);
    }
    if let Some(branches) = shape.branches() {
        return branch(&branches, node, path, found);
    }
    let wanted = shape.get("type").and_then(Json::as_str).unwrap_or("any");
    match (&node.value, wanted) {
        (Value::Table(_), "object") => table(shape, node, path, found),
        (Value::Array(items), "array") => array(shape, node, items, path, found),
        (Value::String(text), "string") => string(shape, text, node, path, found),
        (Value::Integer(number), "integer" | "number") => integer(shape, *number, node, path, found),
        (Value::Huge(number), "integer" | "number") => {
            let problem = Problem::error("out-of-range", path, format!("`{path}` cannot be {number}"));
            found.refuse(path, problem.at(Some(&node.at)).allowed(describe(shape)));
        }
        (Value::Boolean(_), "boolean") | (Value::Float(_), "number") | (_, "any") => {}
        (value, wanted) => {
            let message = format!("`{path}` must be {}, not {}", kind(wanted), value.kind());
            let problem = Problem::error("wrong-type", path, message).at(Some(&node.at));
            found.refuse(
                path,
                problem.near(in_other_words(value, wanted).as_deref()).allowed(describe(shape)),
            );
        }
    }
}

/// A number in quotes, or a word without: what the right type would look like.
fn in_other_words(value: &Value, wanted: &str) -> Option<String> {
    match (value, wanted) {
        (Value::String(text), "integer") => {
            text.parse::<i64>().ok().map(|number| format!("`{number}` without quotes"))
        }
        (Value::String(text), "boolean") => {
            ["true", "false"].contains(&text.as_str()).then(|| format!("`{text}` without quotes"))
        }
        (Value::Integer(number), "string") => Some(format!("`\"{number}\"` in quotes")),
        (Value::String(text), "array") => Some(format!("`[\"{text}\"]`")),
        _ => None,
    }
}

fn kind(wanted: &str) -> &str {
    match wanted {
        "object" => "a table",
        "array" => "an array",
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        other => other,
    }
}

/// What a shape allows, in words.
fn describe(shape: Shape<'_>) -> String {
    if let Some(words) = shape.words() {
        return list(&words);
    }
    if let Some(branches) = shape.branches() {
        return branches.iter().map(|branch| describe(*branch)).collect::<Vec<_>>().join(", or ");
    }
    match shape.get("type").and_then(Json::as_str).unwrap_or("any") {
        "object" if shape.keys().next().is_some() => {
            format!(
                "a table with the keys {}",
                shape.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
            )
        }
        "array" => shape.items().map_or("an array".to_owned(), |items| match describe(items).as_str() {
            "a string" => "an array of strings, in brackets".to_owned(),
            other => format!("an array, in brackets, of {other}"),
        }),
        "integer" => match bounds(shape) {
            (Some(min), Some(max)) => format!("an integer from {min} to {max}"),
            _ => "an integer".to_owned(),
        },
        "boolean" => "`true` or `false`".to_owned(),
        "string" => {
            let form = shape.get("format").and_then(Json::as_str).and_then(format::allowed);
            form.unwrap_or("a string").to_owned()
        }
        other => kind(other).to_owned(),
    }
}

fn list(words: &[&Json]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn word(words: &[&Json], node: &Node, path: &Path, found: &mut Findings) {
    let json = node.json();
    if words.contains(&&json) {
        return;
    }
    let near = node.text().and_then(|text| nearest(text, words.iter().filter_map(|word| word.as_str())));
    let message = match node.text() {
        Some(_) => format!("`{path}` cannot be {json}"),
        None if words.iter().all(|word| word.is_string()) => {
            format!("`{path}` must be a string, not {}", node.value.kind())
        }
        None => format!("`{path}` cannot be {json}"),
    };
    let same_type = words.iter().any(|word| std::mem::discriminant(*word) == std::mem::discriminant(&json));
    let code = if same_type { "not-allowed" } else { "wrong-type" };
    let near = near.map(|near| format!("\"{near}\""));
    let problem = Problem::error(code, path, message).at(Some(&node.at)).allowed(list(words));
    found.refuse(path, problem.near(near.as_deref()));
}

/// One of several shapes: the one whose type fits the value decides what is said.
fn branch(branches: &[Shape<'_>], node: &Node, path: &Path, found: &mut Findings) {
    let fits = |shape: &&Shape<'_>| {
        let wanted = shape.get("type").and_then(Json::as_str);
        let wanted =
            wanted.or_else(|| shape.words().and_then(|words| words.first()?.as_str().map(|_| "string")));
        matches!(
            (&node.value, wanted),
            (Value::Table(_), Some("object"))
                | (Value::Array(_), Some("array"))
                | (Value::String(_), Some("string"))
                | (Value::Integer(_) | Value::Huge(_), Some("integer" | "number"))
                | (Value::Float(_), Some("number"))
                | (Value::Boolean(_), Some("boolean"))
        )
    };
    let candidates: Vec<Shape<'_>> = branches.iter().filter(fits).copied().collect();
    if candidates.is_empty() {
        let allowed = branches.iter().map(|branch| describe(*branch)).collect::<Vec<_>>().join(", or ");
        let message = format!("`{path}` cannot be {}", node.value.kind());
        found.refuse(path, Problem::error("wrong-type", path, message).at(Some(&node.at)).allowed(allowed));
        return;
    }
    // Two tables, such as weights and `{ owner, initial }`: the one in which most keys are declared is meant.
    let declared = |shape: &Shape<'_>| {
        let keys: Vec<&str> = shape.keys().collect();
        node.table().map_or(0, |table| table.keys().filter(|key| keys.contains(&key.as_str())).count())
    };
    let meant = candidates.iter().max_by_key(|shape| declared(shape)).expect("not empty");
    let meant = if declared(meant) == 0 { &candidates[0] } else { meant };
    walk(*meant, node, path, found);
}

fn table(shape: Shape<'_>, node: &Node, path: &Path, found: &mut Findings) {
    let Some(entries) = node.table() else { return };
    let form = shape.get("format-keys").and_then(Json::as_str);
    for (key, value) in entries {
        let here = path.child(key);
        let Some(inner) = shape.key(key) else {
            if shape.get("additionalProperties") == Some(&Json::Bool(false)) {
                unknown(shape, key, value, path, found);
            }
            continue;
        };
        if let Some(allowed) = form.and_then(|form| format::refuse_text(form, key)) {
            let near = form
                .and_then(|form| format::suggest(form, key))
                .map(|near| near.trim_matches('"').to_owned());
            let message = format!("`{key}` cannot be a name in `{path}`");
            let problem = Problem::error("bad-form", &here, message).at(Some(&value.key_at)).allowed(allowed);
            found.refuse(&here, problem.near(near.as_deref()));
            continue;
        }
        walk(inner, value, &here, found);
    }
}

fn unknown(shape: Shape<'_>, key: &str, value: &Node, path: &Path, found: &mut Findings) {
    let mut keys: Vec<&str> = shape.keys().collect();
    if path.0.is_empty() && keys.contains(&"account") {
        keys.extend(["extends", "remove"]); // taken out of the file before the walk
    }
    let whose = if path.0.is_empty() { "an environment".to_owned() } else { format!("`{path}`") };
    let problem = Problem::error("unknown-key", path.child(key), format!("`{key}` is not a key of {whose}"))
        .at(Some(&value.key_at))
        .allowed(keys.join(", "))
        .near(nearest(key, keys.iter().copied()).map(|near| format!("`{near}`")).as_deref());
    found.refuse(&path.child(key), problem);
}

fn array(shape: Shape<'_>, node: &Node, items: &[Node], path: &Path, found: &mut Findings) {
    let least = shape.get("minItems").and_then(Json::as_u64).unwrap_or(0);
    let most = shape.get("maxItems").and_then(Json::as_u64).unwrap_or(u64::MAX);
    let length = items.len() as u64;
    if length < least || length > most {
        let allowed = length_allowed(least, most);
        let message = format!("`{path}` has {length} elements");
        let problem = Problem::error("wrong-length", path, message).at(Some(&node.at)).allowed(allowed);
        found.refuse(path, problem);
    }
    let form = shape.get("format-items").and_then(Json::as_str);
    for (index, item) in items.iter().enumerate() {
        let here = path.child(&index.to_string());
        if let Some(inner) = shape.items() {
            walk(inner, item, &here, found);
        }
        if let (Some(form), Some(text)) = (form, item.text()) {
            formed(form, text, item, &here, found);
        }
    }
}

fn length_allowed(least: u64, most: u64) -> String {
    match (least, most) {
        (least, u64::MAX) => format!("{least} or more"),
        (0, most) => format!("at most {most}"),
        (least, most) => format!("{least} to {most}"),
    }
}

fn string(shape: Shape<'_>, text: &str, node: &Node, path: &Path, found: &mut Findings) {
    if let Some(form) = shape.get("format").and_then(Json::as_str) {
        formed(form, text, node, path, found);
    }
    let least = shape.get("minLength").and_then(Json::as_u64).unwrap_or(0);
    let most = shape.get("maxLength").and_then(Json::as_u64).unwrap_or(u64::MAX);
    let length = text.chars().count() as u64;
    if length < least || length > most {
        let message = format!("`{path}` has {length} characters");
        let allowed = length_allowed(least, most);
        found.refuse(path, Problem::error("wrong-length", path, message).at(Some(&node.at)).allowed(allowed));
    }
}

fn formed(form: &str, text: &str, node: &Node, path: &Path, found: &mut Findings) {
    let Some(allowed) = format::refuse_text(form, text) else { return };
    let near = format::suggest(form, text);
    let problem = Problem::error("bad-form", path, format!("`{path}` cannot be \"{text}\""))
        .at(Some(&node.at))
        .allowed(allowed)
        .near(near.as_deref());
    found.refuse(path, problem);
}

fn bounds(shape: Shape<'_>) -> (Option<i64>, Option<i64>) {
    let bound = |keyword| {
        shape.get(keyword).and_then(|bound| bound.as_i64().or(bound.as_f64().map(|bound| bound as i64)))
    };
    (bound("minimum"), bound("maximum"))
}

fn integer(shape: Shape<'_>, number: i64, node: &Node, path: &Path, found: &mut Findings) {
    let (least, most) = bounds(shape);
    let form = shape.get("format").and_then(Json::as_str).unwrap_or("");
    let outside = least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most);
    let allowed = match (outside, least, most) {
        (false, ..) => format::refuse_number(form, number),
        (true, Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (true, Some(least), None) => Some(format!("{least} or more")),
        (true, None, most) => Some(format!("at most {}", most.unwrap_or(i64::MAX))),
    };
    if let Some(allowed) = allowed {
        let problem = Problem::error("out-of-range", path, format!("`{path}` cannot be {number}"));
        found.refuse(path, problem.at(Some(&node.at)).allowed(allowed));
    }
}

/// Report the keys that a table must have and lacks. What was refused before is not missing. Returns the tables that
/// cannot be used because of it.
pub(crate) fn required(shape: Shape<'_>, node: &Node, path: &Path, refused: &[Path], found: &mut Findings) {
    if shape.words().is_some() {
        return;
    }
    if let Some(branches) = shape.branches() {
        let object = |shape: &&Shape<'_>| shape.get("type").is_some_and(|kind| kind == "object");
        let objects: Vec<&Shape<'_>> = branches.iter().filter(object).collect();
        let declared = |shape: &&&Shape<'_>| {
            node.table().is_some_and(|table| shape.keys().any(|key| table.contains_key(key)))
        };
        if let (Some(_), Some(meant)) = (node.table(), objects.iter().find(declared)) {
            required(**meant, node, path, refused, found);
        }
        return;
    }
    match &node.value {
        Value::Table(table) => {
            for key in shape.required().filter(|key| !table.contains_key(*key)) {
                let here = path.child(key);
                if refused.contains(&here) {
                    found.unusable.push(path.clone());
                } else {
                    let whose =
                        if path.0.is_empty() { "the environment".to_owned() } else { format!("`{path}`") };
                    let allowed = shape.key(key).map(describe).unwrap_or_default();
                    let problem = Problem::error("missing-key", &here, format!("{whose} lacks `{key}`"));
                    found.refuse(path, problem.at(Some(&node.at)).allowed(format!("`{key}` = {allowed}")));
                }
            }
            for (key, value) in table {
                if let Some(inner) = shape.key(key) {
                    required(inner, value, &path.child(key), refused, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = shape.items() {
                for (index, item) in items.iter().enumerate() {
                    required(inner, item, &path.child(&index.to_string()), refused, found);
                }
            }
        }
        _ => {}
    }
}
