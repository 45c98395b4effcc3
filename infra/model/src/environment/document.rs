//! A TOML file as a tree in which every key and value knows its place. Owns reading one file; refuses to know which keys
//! there may be, and other files.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::{Origin, Origins, Path, Source};
use super::problem::Problem;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Place of the value; of a table that has a key, the place of the key.
    pub at: Origin,
    /// Place of the key, where the value stands in a table.
    pub key_at: Origin,
    pub value: Value,
}

/// A value of the document. TOML's dates have no use in an environment and are kept as their text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    String(String),
    Integer(i64),
    /// An integer beyond 64 bits, as it is written: no key takes one.
    Huge(String),
    Float(f64),
    Boolean(bool),
    Date(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Value {
    /// The word for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) | Value::Huge(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Date(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The table's entries, if it is one.
    pub fn table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The table's entries, if it is one.
    pub fn table_mut(&mut self) -> Option<&mut BTreeMap<String, Node>> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is a string.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Take out what stands at a path. An element of an array takes the whole array with it: the others would change their number.
    pub fn remove(&mut self, path: &Path) -> Option<Node> {
        let (last, parents) = path.0.split_last()?;
        let mut node = self;
        for (depth, key) in parents.iter().enumerate() {
            let inside_array = matches!(node.table()?.get(key)?.value, Value::Array(_));
            if inside_array {
                let array = Path(path.0[..=depth].to_vec());
                return node.remove(&Path(array.0[depth..].to_vec()));
            }
            node = node.table_mut()?.get_mut(key)?;
        }
        node.table_mut()?.remove(last)
    }

    /// The places of everything below, by path.
    pub fn origins(&self, path: &Path, origins: &mut Origins) {
        origins.insert(path, self.at.clone(), self.key_at.clone());
        match &self.value {
            Value::Table(table) => {
                table.iter().for_each(|(key, node)| node.origins(&path.child(key), origins))
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, node)| node.origins(&path.child(&index.to_string()), origins)),
            _ => {}
        }
    }

    /// The values alone.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::String(text) | Value::Date(text) | Value::Huge(text) => Json::String(text.clone()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Boolean(yes) => Json::Bool(*yes),
            Value::Array(items) => Json::Array(items.iter().map(Node::json).collect()),
            Value::Table(table) => {
                Json::Object(table.iter().map(|(key, node)| (key.clone(), node.json())).collect())
            }
        }
    }
}

/// Read a file. What cannot be read is a problem with its place; the rest of the tree is returned all the same.
pub fn read(source: &Source) -> (Node, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let at = source.origin(0..0);
    let value = table_value(source, table.into_inner());
    let document = Node { at: at.clone(), key_at: at, value };
    let problems = errors
        .iter()
        .map(|error| {
            let bytes = error.span().unwrap_or(0..0);
            let place = source.origin(bytes.clone());
            let first = error.message().contains("duplicate key").then(|| first_of(source, &document, bytes));
            let problem = Problem::error("syntax", "", sentence(error.message())).at(Some(&place));
            problem.related("the first is here", first.flatten().filter(|first| *first != place).as_ref())
        })
        .collect();
    (document, problems)
}

/// The table that a line opens: `[services.app]`. A header that is still being typed has no end yet; a line of an array has
/// commas or other values.
fn header(line: &str) -> Option<Path> {
    let inner = line.split('#').next().unwrap_or_default().trim().strip_prefix('[')?;
    let inner = inner.trim_matches(['[', ']']);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.\" ".contains(c);
    inner.chars().all(plain).then(|| Path::parse(&inner.replace(' ', "")))
}

/// Where the key that stands at these bytes for the second time stands for the first: the table is that of the last header
/// above, and the dotted keys before it on its line lead on from there.
fn first_of(source: &Source, document: &Node, second: Range<usize>) -> Option<Origin> {
    let text = &source.text;
    let line_start = text.get(..second.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let written = text.get(line_start..second.end)?.trim_start();
    if let Some(path) = header(written) {
        // The tree holds the second of two tables: the first is looked for among the headers above.
        let mut start = 0;
        return text[..line_start].split_inclusive('\n').find_map(|line| {
            let bytes = start..start + line.trim_end().len();
            start += line.len();
            (header(line)? == path).then(|| source.origin(bytes))
        });
    }
    let mut path = text[..line_start].lines().rev().find_map(header).unwrap_or_default();
    path.0.extend(Path::parse(&written.replace(' ', "")).0);
    let (last, tables) = path.0.split_last()?;
    let mut node = document;
    for key in tables {
        node = node.table()?.get(key)?;
        node = node.items().last().unwrap_or(node); // of `[[array]]` the one that is open
    }
    Some(node.table()?.get(last)?.key_at.clone())
}

/// The parser's messages run over lines; ours are one sentence.
fn sentence(message: &str) -> String {
    format!("this is not TOML: {}", message.trim().replace('\n', "; "))
}

fn table_value(source: &Source, table: DeTable<'_>) -> Value {
    let entries = table.into_iter().map(|(key, value)| {
        let key_at = source.origin(key.span());
        (key.into_inner().into_owned(), node(source, Some(key_at), value))
    });
    Value::Table(entries.collect())
}

fn node(source: &Source, key_at: Option<Origin>, spanned: Spanned<DeValue<'_>>) -> Node {
    let own = source.origin(spanned.span());
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Huge(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Value::Boolean(yes),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| node(source, None, item)).collect())
        }
        DeValue::Table(table) => table_value(source, table),
    };
    let key_at = key_at.unwrap_or_else(|| own.clone());
    let at = if matches!(value, Value::Table(_)) { key_at.clone() } else { own };
    Node { at, key_at, value }
}
