//! Field values as plain JSON, with references to other resources written inside strings as `${address}`
//! or `${address#attribute}`. Finding and resolving them is all this file knows.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::address::Address;

/// A resource's fields by name. Absent means "not managed", never "empty".
pub type Fields = Map<String, Value>;

/// One `${address#attribute}` inside a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub address: Address,
    /// `None` is the resource's own id.
    pub attribute: Option<String>,
}

/// Every reference in a value, sorted.
pub fn references(value: &Value) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    walk(value, &mut |text| {
        let mut rest = text;
        while let Some((reference, after)) = next_reference(rest) {
            found.insert(reference.1);
            rest = &rest[after..];
        }
    });
    found
}

/// Replaces every reference by what `look_up` says of it. Those it does not know stay as they are and are returned.
pub fn resolve(
    value: &Value,
    look_up: &dyn Fn(&Reference) -> Option<String>,
) -> (Value, BTreeSet<Reference>) {
    let mut unknown = BTreeSet::new();
    let resolved = map_strings(value, &mut |text| {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(((start, reference), after)) = next_reference(rest) {
            out.push_str(&rest[..start]);
            match look_up(&reference) {
                Some(known) => out.push_str(&known),
                None => {
                    out.push_str(&rest[start..after]);
                    unknown.insert(reference);
                }
            }
            rest = &rest[after..];
        }
        out.push_str(rest);
        out
    });
    (resolved, unknown)
}

/// The first reference of a text with its start, and the index after it. Text that only looks like one
/// (`${aws:username}` in a policy) is skipped: it is no address.
fn next_reference(text: &str) -> Option<((usize, Reference), usize)> {
    let mut from = 0;
    while let Some(open) = text[from..].find("${").map(|at| at + from) {
        let close = open + text[open..].find('}')?;
        let inner = &text[open + 2..close];
        let (path, attribute) = match inner.split_once('#') {
            Some((path, attribute)) => (path, Some(attribute.to_owned())),
            None => (inner, None),
        };
        if path.contains('/')
            && let Ok(address) = path.parse()
        {
            return Some(((open, Reference { address, attribute }), close + 1));
        }
        from = close + 1;
    }
    None
}

/// Visits every string, map keys included.
pub fn walk(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            visit(key);
            walk(item, visit);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn map_strings(value: &Value, f: &mut dyn FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(f(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| map_strings(item, f)).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (f(k), map_strings(v, f))).collect()),
        other => other.clone(),
    }
}

/// Drops nulls at every depth: `None` in a wanted resource means "not managed".
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other => other,
    }
}

/// A resource's typed form as fields.
///
/// # Panics
/// Never: kinds are structs of plain data, which always serialise to an object.
pub fn to_fields(resource: &impl serde::Serialize) -> Fields {
    match serde_json::to_value(resource).map(without_nulls) {
        Ok(Value::Object(fields)) => fields,
        other => panic!("a kind serialises to an object, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found_inside_text_and_resolved_once_known() {
        let value = json!({"vpc": "${network/vpc}", "url": "rediss://${data/redis#endpoint}:6379/0", "iam": "${aws:username}"});
        let found: Vec<_> =
            references(&value).into_iter().map(|r| (r.address.to_string(), r.attribute)).collect();
        assert_eq!(
            found,
            [("data/redis".to_owned(), Some("endpoint".to_owned())), ("network/vpc".to_owned(), None)]
        );

        let (resolved, unknown) = resolve(&value, &|r| r.attribute.is_none().then(|| "vpc-1".to_owned()));
        assert_eq!(resolved["vpc"], "vpc-1");
        assert_eq!(resolved["url"], "rediss://${data/redis#endpoint}:6379/0");
        assert_eq!(resolved["iam"], "${aws:username}");
        assert_eq!(unknown.len(), 1);
    }
}
