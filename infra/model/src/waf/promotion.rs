//! Which rules of a web ACL become stricter or milder between two lists of rules in AWS's own form. Owns the comparison, so that
//! a plan can say "common-rules: count -> block" instead of showing two documents; refuses to know where the lists come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kinds::KindId;
use crate::value::Fields;

/// One rule, or one part of a managed group, that acts differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// `common-rules`, or `common-rules/SizeRestrictions_BODY`.
    pub rule: String,
    /// `count`, `block`, `allow`; `group` where a managed group's own action holds.
    pub before: String,
    pub after: String,
}

impl Promotion {
    /// Whether requests that passed will be refused: what a reviewer must look at.
    pub fn stricter(&self) -> bool {
        strictness(&self.after) > strictness(&self.before)
    }
}

fn strictness(action: &str) -> u8 {
    match action {
        "allow" => 0,
        "count" => 1,
        _ => 2,
    }
}

/// The promotions in a change of one resource; only a web ACL has any.
pub fn between(kind: KindId, before: &Fields, after: &Fields) -> Vec<Promotion> {
    if kind != KindId::WebAcl {
        return Vec::new();
    }
    let rules = |fields: &Fields| fields.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    promotions(&rules(before), &rules(after))
}

/// The rules that both lists have and that act differently, in order of the second list.
pub fn promotions(before: &[Value], after: &[Value]) -> Vec<Promotion> {
    let old: BTreeMap<String, String> = before.iter().flat_map(actions).collect();
    let rules: Vec<&str> = before.iter().filter_map(|rule| rule["Name"].as_str()).collect();
    let mut found = Vec::new();
    for rule in after.iter().filter(|rule| rule["Name"].as_str().is_some_and(|name| rules.contains(&name))) {
        let new: Vec<(String, String)> = actions(rule).collect();
        let prefix = format!("{}/", rule["Name"].as_str().unwrap_or_default());
        let whole = |actions: &dyn Fn(&str) -> Option<String>| actions(prefix.trim_end_matches('/'));
        let lookup = |name: &str| old.get(name).cloned();
        for (name, after) in &new {
            // A part without an override of its own does what its group does.
            let before = lookup(name).or_else(|| whole(&lookup)).unwrap_or_default();
            if before != *after {
                found.push(Promotion { rule: name.clone(), before, after: after.clone() });
            }
        }
        for (name, before) in old.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            if !new.iter().any(|(new, _)| new == name) {
                let after = new.first().map(|(_, action)| action.clone()).unwrap_or_default();
                if *before != after {
                    found.push(Promotion { rule: name.clone(), before: before.clone(), after });
                }
            }
        }
    }
    found
}

/// What a rule and the overridden parts of its group do: the rule first.
fn actions(rule: &Value) -> impl Iterator<Item = (String, String)> {
    let name = rule["Name"].as_str().unwrap_or_default().to_owned();
    let own = match word(&rule["Action"]).or_else(|| word(&rule["OverrideAction"])) {
        Some(action) if action == "none" => "group".to_owned(),
        Some(action) => action,
        None => "group".to_owned(),
    };
    let parts = rule["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"].as_array();
    let parts: Vec<(String, String)> = parts
        .into_iter()
        .flatten()
        .filter_map(|part| Some((format!("{name}/{}", part["Name"].as_str()?), word(&part["ActionToUse"])?)))
        .collect();
    std::iter::once((name, own)).chain(parts)
}

/// The one key of `{ "Block": {} }`, in lower case.
fn word(action: &Value) -> Option<String> {
    Some(action.as_object()?.keys().next()?.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(action: &str, parts: &[(&str, &str)]) -> Value {
        let parts: Vec<Value> = parts
            .iter()
            .map(|(name, action)| json!({ "Name": name, "ActionToUse": { *action: {} } }))
            .collect();
        json!({
            "Name": "common",
            "OverrideAction": { action: {} },
            "Statement": { "ManagedRuleGroupStatement": { "RuleActionOverrides": parts } },
        })
    }

    fn rule(name: &str, action: &str) -> Value {
        json!({ "Name": name, "Action": { action: {} }, "Statement": {} })
    }

    fn check(before: &[Value], after: &[Value], expected: &[(&str, &str, &str, bool)]) {
        let found = promotions(before, after);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.rule.as_str(), one.before.as_str(), one.after.as_str(), one.stricter()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn promotions_are_what_acts_differently() {
        check(&[rule("a", "Count")], &[rule("a", "Block")], &[("a", "count", "block", true)]);
        check(&[rule("a", "Block")], &[rule("a", "Count")], &[("a", "block", "count", false)]);
        check(&[rule("a", "Block")], &[rule("a", "Block"), rule("b", "Block")], &[]);
        check(&[group("Count", &[])], &[group("None", &[])], &[("common", "count", "group", true)]);
        check(
            &[group("None", &[("Size", "Count")])],
            &[group("None", &[])],
            &[("common/Size", "count", "group", true)],
        );
        check(
            &[group("None", &[])],
            &[group("None", &[("Size", "Count")])],
            &[("common/Size", "group", "count", false)],
        );
        check(&[group("None", &[("Size", "Count")])], &[group("None", &[("Size", "Count")])], &[]);
    }
}
