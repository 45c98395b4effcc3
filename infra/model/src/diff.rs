//! Field by field: what is wanted against what is there. Inside a document, absent and empty mean the same; at the
//! top, a field that is not wanted is not managed. Lists that are sets report each element that is missing or too much.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::TAG_PREFIX;
use crate::kinds::{Change, Compare, Field, Spec};
use crate::value::Fields;

/// One difference. `before` or `after` absent: an element or key that is added or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `dns_support`, `health_check/path`, `tags/team`; the elements of a set share the field's path.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// With `${address}` where an id is known only after the apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Where the wanted value was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Somebody else changes this field; the difference is shown and left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// AWS cannot change it in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

impl FieldChange {
    fn new(path: impl Into<String>, before: Option<Value>, after: Option<Value>) -> Self {
        Self { path: path.into(), before, after, origin: None, owner: None, replaces: false }
    }

    /// The name of the field it belongs to.
    pub fn field(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

/// Everything in which the observed fields differ from the wanted ones.
pub fn fields(spec: &Spec, wanted: &Fields, observed: &Fields) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    for field in spec.fields {
        let Some(after) = wanted.get(field.name) else { continue };
        if field.change == Change::CreateOnly {
            continue;
        }
        let before = observed.get(field.name).unwrap_or(&Value::Null);
        let from = changes.len();
        compare(field, before, after, &mut changes);
        for change in &mut changes[from..] {
            change.replaces = field.change == Change::Fixed || field.only_rises && falls(before, after);
        }
    }
    changes
}

/// Whether a version or a size goes down; what is no number is compared no further.
fn falls(before: &Value, after: &Value) -> bool {
    let numbers = |value: &Value| -> Option<Vec<u64>> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.split('.').map(|part| part.parse().ok()).collect()
    };
    let (Some(before), Some(after)) = (numbers(before), numbers(after)) else { return false };
    // `17` takes every minor version.
    let length = before.len().min(after.len());
    after[..length] < before[..length]
}

fn compare(field: &Field, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    match (field.compare, before, after) {
        (Compare::Set, _, Value::Array(after)) => {
            let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
            sets(field.name, before, after, changes);
        }
        (Compare::Keys, _, Value::Object(after)) => {
            for (key, value) in after {
                let before = before.get(key).unwrap_or(&Value::Null);
                documents(&format!("{}/{key}", field.name), before, value, changes);
            }
        }
        _ => documents(field.name, before, after, changes),
    }
}

/// Two documents: objects key by key, lists of one length element by element, anything else as a whole.
fn documents(path: &str, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    if canonical(before) == canonical(after) {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
                documents(&format!("{path}/{key}"), old, new, changes);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                documents(&format!("{path}/{index}"), old, new, changes);
            }
        }
        _ => changes.push(FieldChange::new(path, present(before), present(after))),
    }
}

fn sets(path: &str, before: &[Value], after: &[Value], changes: &mut Vec<FieldChange>) {
    let mut counts: BTreeMap<String, (i64, &Value)> = BTreeMap::new();
    for value in after {
        counts.entry(canonical(value)).or_insert((0, value)).0 += 1;
    }
    for value in before {
        counts.entry(canonical(value)).or_insert((0, value)).0 -= 1;
    }
    for (count, value) in counts.into_values() {
        match count {
            0 => {}
            1.. => changes.push(FieldChange::new(path, None, Some(value.clone()))),
            _ => changes.push(FieldChange::new(path, Some(value.clone()), None)),
        }
    }
}

/// Tags: every wanted one must be there; of those that are there, only ones under our own prefix are ours to remove.
pub fn tags(wanted: &BTreeMap<String, String>, observed: &BTreeMap<String, String>) -> Vec<FieldChange> {
    let text = |value: Option<&String>| value.map(|text| Value::String(text.clone()));
    let missing = wanted.iter().filter(|(key, value)| observed.get(*key) != Some(value));
    let missing = missing.map(|(key, value)| {
        FieldChange::new(format!("tags/{key}"), text(observed.get(key)), text(Some(value)))
    });
    let extra = observed.iter().filter(|(key, _)| key.starts_with(TAG_PREFIX) && !wanted.contains_key(*key));
    let extra = extra.filter(|(key, _)| {
        ![crate::graph::TAG_GENERATION, crate::graph::TAG_REPLACES].contains(&key.as_str())
    });
    let extra = extra.map(|(key, value)| FieldChange::new(format!("tags/{key}"), text(Some(value)), None));
    missing.chain(extra).collect()
}

fn present(value: &Value) -> Option<Value> {
    Some(value).filter(|value| !value.is_null()).cloned()
}

/// One text for all values that mean the same: keys sorted, empty members left out, 1.0 written as 1.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().filter(|(_, value)| !is_empty(value)).collect();
            members.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in members {
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            // Below 2^53 every whole f64 is exact.
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => out.push_str(&format!("{float:.0}")),
            _ => out.push_str(&number.to_string()),
        },
        Value::Null if out.is_empty() => {}
        scalar if out.is_empty() && is_empty(scalar) => {}
        scalar => out.push_str(&scalar.to_string()),
    }
    if out == "[]" {
        out.clear();
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // An object without members says something by being there: `"Action": {"Block": {}}`.
        Value::Object(map) => !map.is_empty() && map.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::KindId;

    fn check(kind: KindId, wanted: Value, observed: Value, expected: &[&str]) {
        let fields_of = |value: Value| value.as_object().cloned().unwrap();
        let found: Vec<String> = fields(kind.spec(), &fields_of(wanted), &fields_of(observed))
            .into_iter()
            .map(|c| {
                let side =
                    |value: Option<Value>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
                format!(
                    "{} {} -> {}{}",
                    c.path,
                    side(c.before),
                    side(c.after),
                    if c.replaces { " !" } else { "" }
                )
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_wanted_is_not_managed() {
        check(
            KindId::Vpc,
            json!({"cidr": "10.0.0.0/16"}),
            json!({"cidr": "10.0.0.0/16", "dns_support": true}),
            &[],
        );
        check(
            KindId::Vpc,
            json!({"cidr": "10.1.0.0/16", "dns_support": false}),
            json!({"cidr": "10.0.0.0/16", "dns_support": true}),
            &[r#"cidr "10.0.0.0/16" -> "10.1.0.0/16" !"#, "dns_support true -> false"],
        );
    }

    #[test]
    fn a_set_names_what_is_missing_and_what_is_too_much() {
        let rule = |port| json!({"protocol": "tcp", "from_port": port, "to_port": port, "cidr": "0.0.0.0/0"});
        check(
            KindId::SecurityGroup,
            json!({"ingress": [rule(443), rule(80)]}),
            json!({"ingress": [rule(22), rule(443)]}),
            &[&format!("ingress {} -> -", rule(22)), &format!("ingress - -> {}", rule(80))],
        );
    }

    #[test]
    fn a_key_added_inside_a_document_is_found() {
        let policy = json!({"Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]});
        let mut wider = policy.clone();
        wider["Statement"][0]["Action"] = json!("*");
        check(
            KindId::Role,
            json!({"inline": {"app": policy.clone()}}),
            json!({"inline": {"app": wider, "added": policy.clone()}}),
            &[&format!("inline/added {policy} -> -"), r#"inline/app/Statement/0/Action "*" -> "s3:Get*""#],
        );
    }

    #[test]
    fn only_wanted_keys_of_a_keyed_map_count_and_numbers_mean_their_value() {
        check(
            KindId::TargetGroup,
            json!({"attributes": {"stickiness.enabled": "false"}, "port": 80.0}),
            json!({"attributes": {"stickiness.enabled": "true", "other": "1"}, "port": 80}),
            &[r#"attributes/stickiness.enabled "true" -> "false""#],
        );
        assert_eq!(canonical(&json!([])), canonical(&Value::Null));
        assert_eq!(canonical(&json!({"a": false, "b": [], "c": {"d": null}})), canonical(&json!({})));
    }

    #[test]
    fn a_firewall_rule_that_only_counts_is_not_one_that_blocks() {
        let rules = |action: &str| json!({"rules": [{"Name": "known", "Action": {action: {}}}]});
        check(
            KindId::WebAcl,
            rules("Block"),
            rules("Count"),
            &["rules/0/Action/Block - -> {}", "rules/0/Action/Count {} -> -"],
        );
    }

    #[test]
    fn foreign_tags_stay_and_our_own_prefix_is_authoritative() {
        let map =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let changes = tags(
            &map(&[("team", "doors"), ("keyway:address", "a/b")]),
            &map(&[("team", "ops"), ("cost", "7"), ("keyway:address", "a/b"), ("keyway:stray", "x")]),
        );
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["tags/team", "tags/keyway:stray"]);
    }
}
