//! How a configuration is laid together: defaults, a file, environment variables, field by field, so that everything that
//! is wrong is said at once. It knows tables and paths, not what any field means.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Layers of a configuration `T`. Each field is tried alone over the defaults before it is taken: one that cannot be read
/// is a fault and is left out, and the others are still looked at.
pub struct Layers<T> {
    defaults: Table,
    merged: Table,
    faults: Vec<String>,
    kind: PhantomData<T>,
}

impl<T: DeserializeOwned> Layers<T> {
    /// `defaults` must have every field that `T` needs.
    pub fn over(defaults: Table) -> Layers<T> {
        Layers { merged: defaults.clone(), defaults, faults: Vec::new(), kind: PhantomData }
    }

    /// The text of a file and the name to call it by.
    pub fn file(&mut self, name: &str, text: &str) {
        match toml::from_str::<Table>(text) {
            Ok(over) => {
                let mut leaves = Vec::new();
                split(over, &mut Vec::new(), &mut leaves);
                for (path, leaf) in leaves {
                    let mut trial = self.defaults.clone();
                    merge(&mut trial, leaf.clone());
                    match T::deserialize(trial) {
                        Ok(_) => merge(&mut self.merged, leaf),
                        Err(error) => self.faults.push(format!("{name}: {}", told(&error, &path))),
                    }
                }
            }
            Err(error) => {
                // Its own words show the line, which may be the one with a password.
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                self.faults.push(format!("{name}: TOML parse error at line {line}: {}", error.message()));
            }
        }
    }

    /// `path` goes one level down at two underscores.
    pub fn variable(&mut self, name: &str, path: &str, value: &str) {
        let mut trial = self.defaults.clone();
        let outcome = set(&mut trial, path, value)
            .and_then(|()| T::deserialize(trial).map(|_| ()).map_err(|error| told(&error, path)));
        match outcome {
            Ok(()) => set(&mut self.merged, path, value).unwrap_or_else(|fault| self.faults.push(fault)),
            Err(fault) => self.faults.push(format!("{name}: {fault}")),
        }
    }

    pub fn end(self) -> (T, Vec<String>) {
        let Layers { defaults, merged, mut faults, .. } = self;
        let config = T::deserialize(merged).unwrap_or_else(|error| {
            faults.push(told(&error, ""));
            T::deserialize(defaults).expect("the defaults are a whole configuration; a test reads them")
        });
        (config, faults)
    }
}

/// In one line; without the value, which comes first, where that is a secret.
fn told(error: &toml::de::Error, path: &str) -> String {
    let text = error.to_string().trim_end().replace('\n', " ");
    let is_secret = ["password", "secret", "key", "url"].iter().any(|word| path.contains(word));
    match text.split_once("expected ") {
        Some((_, expected)) if is_secret => format!("expected {expected}"),
        _ => text,
    }
}

/// Every value of a table as a table of its own, from the root down, with its path. An empty table is one too: its name may be wrong.
fn split(table: Table, path: &mut Vec<String>, leaves: &mut Vec<(String, Table)>) {
    for (key, value) in table {
        path.push(key);
        match value {
            Value::Table(inner) if !inner.is_empty() => split(inner, path, leaves),
            value => {
                let alone = path
                    .iter()
                    .rev()
                    .fold(value, |value, key| Value::Table(Table::from_iter([(key.clone(), value)])));
                if let Value::Table(alone) = alone {
                    leaves.push((path.join("."), alone));
                }
            }
        }
        path.pop();
    }
}

/// Lays one table over another, field by field.
pub fn merge(into: &mut Table, over: Table) {
    for (key, value) in over {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Sets `a__b` to a value written as TOML, or else taken as text.
pub fn set(into: &mut Table, path: &str, value: &str) -> Result<(), String> {
    let (name, rest) = match path.split_once("__") {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let Some(rest) = rest else {
        let is_text = matches!(into.get(name), Some(Value::String(_)));
        let parsed = format!("v = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
        let value = match parsed {
            Some(parsed) if !is_text || parsed.is_str() => parsed,
            _ => Value::String(value.to_owned()),
        };
        into.insert(name.to_owned(), value);
        return Ok(());
    };
    match into.entry(name).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(table) => set(table, rest, value),
        _ => Err(format!("`{name}` has no fields inside")),
    }
}

/// `Debug` for sections of a configuration that hold secrets: the fields before the semicolon are shown, of those after
/// it only whether they are set. Core's configuration has such sections too.
#[macro_export]
macro_rules! hide_secrets {
    ($($type:ident: $($shown:ident),* ; $($hidden:ident),*;)*) => {
        $(impl std::fmt::Debug for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.debug_struct(stringify!($type))
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(stringify!($hidden), &if self.$hidden.is_empty() { "unset" } else { "set" }))*
                    .finish()
            }
        })*
    };
}
