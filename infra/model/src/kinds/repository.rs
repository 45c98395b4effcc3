//! An ECR repository of container images.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Field, Kind, KindId, Layer, Losing, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    pub name: String,
    pub immutable_tags: Option<bool>,
    pub scan_on_push: Option<bool>,
    /// The lifecycle policy document.
    #[serde(default, serialize_with = "normal_lifecycle")]
    pub lifecycle: Option<Value>,
}

impl Kind for Repository {
    const ID: KindId = KindId::Repository;
    const SPEC: Spec = Spec::new(
        "repository",
        "image repository",
        Layer::Compute,
        &[
            Field::fixed("name"),
            Field::live("immutable_tags", "immutable_tags"),
            Field::live("scan_on_push", "scan_on_push"),
            Field::after("lifecycle", "lifecycle", None)
                .loses(Losing::Changed, "the images that the new policy no longer keeps"),
        ],
    )
    .attributes(&["arn", "uri"], &[])
    .unique(&["name"])
    .named()
    .store()
    .loses("all its images")
    .tells(&["name"]);
}

/// A lifecycle policy with its rules by priority: ECR evaluates them so, in whatever order they are written.
pub fn normal(policy: &Value) -> Value {
    let mut policy = policy.clone();
    if let Some(rules) = policy.get_mut("rules").and_then(Value::as_array_mut) {
        rules.sort_by_key(|rule| rule.get("rulePriority").and_then(Value::as_i64));
    }
    policy
}

fn normal_lifecycle<S: Serializer>(policy: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    policy.as_ref().map(normal).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_in_order_of_priority() {
        let written = json!({"rules": [{"rulePriority": 20}, {"rulePriority": 3}]});
        assert_eq!(normal(&written), json!({"rules": [{"rulePriority": 3}, {"rulePriority": 20}]}));
        assert_eq!(normal(&json!({})), json!({}));
    }
}
