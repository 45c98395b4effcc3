//! docs/environment.md, written from the schema of the types, so that it cannot say anything else than the program. Owns the
//! form of the reference; refuses to know single keys.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::format;
use super::schema::{self, Shape};

const HEAD: &str = "\
# The environment file

This page is written from the types that read the file (`cargo test -p infra-model` holds it against them). The shipped files in
`infra/environments` show all of it at work; `infra init` writes them into a folder of your own, `infra validate` says all that is
wrong with a file at once, and `infra schema` prints a JSON Schema for your editor.

## How files build on each other

`extends = \"base\"` names a file without `.toml`: it is looked for beside the file, in the folder above, and in the folder of
environments. Tables merge key by key; single values and arrays replace what was there. Arrays marked \"by `key`\" below merge element by
element, matched by that key. `remove = [\"postgres\", \"services.app.iam\"]` takes out what is inherited, before the file's own values
are laid on top. A file without `name` is a base and no environment of its own.

A key that no file mentions has the default given below, or, where it says \"not managed\", keeps whatever the account has. Every value
knows the file and line that decided it; `infra plan --explain ADDRESS` shows them.

## Names that infra gives

Everything is called `<project>-<name>` and what it is: `keyway-staging`, `keyway-staging-gateway`. Log groups, secrets and repositories
are paths below it: `keyway-staging/services/app`. Names are for people; what identifies an object is its tag `keyway:address`.

## What a service is told about its stores

| `uses` | variables |
|---|---|
| `redis` | `REDIS_URL`; with `auth`, the secret `REDIS_PASSWORD` |
| `postgres` | `POSTGRES_HOST`, `POSTGRES_PORT`, `POSTGRES_DATABASE`, `POSTGRES_USER`, the secret `POSTGRES_PASSWORD` |
| a secret | its name in capitals: `token-signing-key` is `TOKEN_SIGNING_KEY` |
| always | `KEYWAY_ENVIRONMENT`, `KEYWAY_SERVICE` |

A service with `scaling.sockets_per_task` writes the metric `OpenSockets` into its log (CloudWatch's embedded metric format), in the
namespace `<project>-<name>` with the dimension `Service`, one value from each task. A program with names of its own for its variables gets
them by placeholders in `variables` and by `secrets`.
";

/// The reference as Markdown.
pub fn reference() -> String {
    let mut pages = Pages { out: HEAD.to_owned(), seen: BTreeSet::new(), later: Vec::new() };
    pages.document("The file", Shape::root(schema::whole()));
    pages.out.push_str("\n# WAF rule sets\n\nA file of `policies/waf`, named in `waf.rule_sets`.\n");
    pages.seen.clear();
    pages.document("A rule set", Shape::root(crate::waf::rule_set_schema()));
    pages.out
}

/// A table of keys still to be written.
struct Table {
    /// Dotted path, such as `services.<name>.health`.
    path: String,
    /// Whether it is an element of an array: `[[moved]]`.
    repeated: bool,
    shape: Shape<'static>,
}

impl Table {
    fn shown(&self) -> String {
        if self.repeated { format!("[[{}]]", self.path) } else { format!("[{}]", self.path) }
    }
}

struct Pages {
    out: String,
    /// Types that have been written: each is written once, where it is first used.
    seen: BTreeSet<String>,
    later: Vec<Table>,
}

impl Pages {
    fn document(&mut self, title: &str, shape: Shape<'static>) {
        self.table(&format!("## {title}"), "", shape);
        while !self.later.is_empty() {
            let table = self.later.remove(0);
            let after = std::mem::take(&mut self.later);
            self.table(&format!("### `{}`", table.shown()), &table.path, table.shape);
            self.later.extend(after); // what a table holds comes right behind it
        }
    }

    fn table(&mut self, title: &str, path: &str, shape: Shape<'static>) {
        let _ = write!(self.out, "\n{title}\n\n");
        if let Some(text) = shape.of_type("description").and_then(Json::as_str) {
            let _ = write!(self.out, "{}\n\n", one_line(text));
        }
        self.out.push_str("| key | value | meaning |\n|---|---|---|\n");
        let required: BTreeSet<&str> = shape.required().collect();
        for key in shape.keys() {
            let Some(inner) = shape.key(key) else { continue };
            let here = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            let kind = self.kind(&here, false, inner);
            let mut text = inner.get("description").and_then(Json::as_str).map(one_line).unwrap_or_default();
            let must = if required.contains(key) { "**Required.**".to_owned() } else { default(inner) };
            if !must.is_empty() {
                text = format!("{text} {must}").trim_start().to_owned();
            }
            let _ = writeln!(self.out, "| `{key}` | {kind} | {text} |");
        }
    }

    /// What a value looks like, in few words; a table is written later, once.
    fn kind(&mut self, path: &str, repeated: bool, shape: Shape<'static>) -> String {
        if let Some(words) = shape.words() {
            return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        }
        if let Some(branches) = shape.branches() {
            let owned = |branch: &Shape<'static>| branch.keys().any(|key| key == "owner");
            let mut kinds = Vec::new();
            for branch in &branches {
                let kind = if owned(branch) {
                    "`{ owner, initial }`".to_owned()
                } else {
                    self.kind(path, false, *branch)
                };
                kinds.push(kind);
            }
            return kinds.join(", or ");
        }
        match shape.get("type").and_then(Json::as_str).unwrap_or_default() {
            "object" if shape.keys().next().is_some() => {
                let table = Table { path: path.to_owned(), repeated, shape };
                let shown = table.shown();
                if self.seen.insert(shape.reference().unwrap_or(path).to_owned()) {
                    self.later.push(table);
                }
                format!("table `{shown}`")
            }
            "object" => match shape.any_key() {
                Some(inner) => format!("by name: {}", self.kind(&format!("{path}.<name>"), false, inner)),
                None => "table".to_owned(),
            },
            "array" => {
                let form = shape.get("format-items").and_then(Json::as_str).and_then(format::allowed);
                let keyed = shape.keyed_by().map_or(String::new(), |key| format!(" (by `{key}`)"));
                let items = shape.items().map_or("value".to_owned(), |items| self.kind(path, true, items));
                format!("array{keyed}, each {}", form.unwrap_or(&items))
            }
            "string" => {
                let form = shape.get("format").and_then(Json::as_str).and_then(format::allowed);
                form.unwrap_or("string").to_owned()
            }
            "integer" => bounds(shape),
            other => other.to_owned(),
        }
    }
}

fn bounds(shape: Shape<'_>) -> String {
    let number = |keyword| shape.get(keyword).and_then(Json::as_f64);
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) if least > 0.0 => format!("{least} or more"),
        _ => "number".to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn default(shape: Shape<'_>) -> String {
    match shape.get("default") {
        None => String::new(),
        // A table or list that may be left out needs no word.
        Some(Json::Object(_)) => String::new(),
        Some(Json::Array(items)) if items.is_empty() => String::new(),
        Some(value) => format!("Default: `{value}`."),
    }
}
