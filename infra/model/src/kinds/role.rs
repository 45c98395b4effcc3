//! An IAM role with its inline and attached policies, which are authoritative sets: what is there and not
//! wanted goes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    /// `/keyway/<environment>/`: lets a deployer policy name all roles of one environment.
    pub path: String,
    pub description: Option<String>,
    /// The trust policy document.
    #[serde(serialize_with = "normal_document")]
    pub trust: Value,
    /// Inline policy documents by name.
    #[serde(default, serialize_with = "normal_documents")]
    pub inline: BTreeMap<String, Value>,
    /// ARNs of managed policies.
    #[serde(default)]
    pub attached: BTreeSet<String>,
}

impl Kind for Role {
    const ID: KindId = KindId::Role;
    const SPEC: Spec = Spec::new(
        "role",
        "IAM role",
        Layer::Identity,
        &[
            Field::fixed("name"),
            Field::fixed("path"),
            Field::live("description", "description"),
            Field::live("trust", "trust"),
            Field::after("inline", "inline", Some("{}")),
            Field::after("attached", "attached", Some("[]")).set(),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"])
    .named()
    .tells(&["inline"]);
}

/// A policy document with lists wherever IAM takes one value or a list of them. IAM answers with the form it was
/// given, so the same policy written both ways would differ for ever. The order stays: references are not resolved yet.
pub fn normal(document: &Value) -> Value {
    let Value::Object(document) = document else { return document.clone() };
    let member = |(key, value): (&String, &Value)| {
        let value = match key.as_str() {
            "Statement" => Value::Array(listed(value).iter().map(statement).collect()),
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    Value::Object(document.iter().map(member).collect())
}

fn statement(statement: &Value) -> Value {
    let Value::Object(statement) = statement else { return statement.clone() };
    let member = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("Action" | "NotAction" | "Resource" | "NotResource", _) => Value::Array(listed(value)),
            ("Principal" | "NotPrincipal", Value::Object(kinds)) => Value::Object(lists(kinds)),
            ("Condition", Value::Object(operators)) => {
                let operator = |(name, keys): (&String, &Value)| match keys {
                    Value::Object(keys) => (name.clone(), Value::Object(lists(keys))),
                    other => (name.clone(), other.clone()),
                };
                Value::Object(operators.iter().map(operator).collect())
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    Value::Object(statement.iter().map(member).collect())
}

fn lists(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), Value::Array(listed(value)))).collect()
}

fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        single => vec![single.clone()],
    }
}

fn normal_document<S: Serializer>(document: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    normal(document).serialize(serializer)
}

fn normal_documents<S: Serializer>(
    documents: &BTreeMap<String, Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(documents.iter().map(|(name, document)| (name, normal(document))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_value_and_a_list_of_one_are_the_same_policy() {
        let single = json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
        }});
        let listed = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": ["ecs-tasks.amazonaws.com"]}, "Action": ["sts:AssumeRole"],
            "Condition": {"StringEquals": {"aws:SourceAccount": ["123456789012"]}},
        }]});
        assert_eq!(normal(&single), listed);
        assert_eq!(normal(&listed), listed);
        let other = json!({"Statement": [{"Principal": "*", "Resource": ["a", "b"]}]});
        assert_eq!(normal(&other), other);
    }
}
