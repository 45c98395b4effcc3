//! A web ACL as the WAFv2 API writes it. The SDK's types drop every statement they do not know, so a rule that somebody
//! made by hand could look like one of ours; here the JSON that AWS sends is what is compared, and the JSON that is wanted
//! is what is sent. The one translation: a `SearchString` travels in base64 and is plain text to people.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::base64;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use infra_model::kinds::WebAcl;
use serde_json::{Map, Value, json};

use crate::aws::tag::Tags;

/// What GetWebACL shows and UpdateWebACL does not take.
const READ_ONLY: &[&str] = &[
    "ARN",
    "Capacity",
    "LabelNamespace",
    "ManagedByFirewallManager",
    "PostProcessFirewallManagerRuleGroups",
    "PreProcessFirewallManagerRuleGroups",
    "RetrofittedByFirewallManager",
];

/// The body of CreateWebACL.
pub(super) fn creation(wanted: &WebAcl, tags: &Tags) -> Value {
    let mut body = Map::new();
    fill(&mut body, wanted);
    body.insert("VisibilityConfig".to_owned(), visibility(wanted));
    let pairs: Vec<Value> = tags.iter().map(|(k, v)| json!({ "Key": k, "Value": v })).collect();
    if !pairs.is_empty() {
        body.insert("Tags".to_owned(), json!(pairs));
    }
    Value::Object(body)
}

/// The body of UpdateWebACL: what stands, with the model's fields as wanted. A description that is not managed stays.
pub(super) fn replacement(wanted: &WebAcl, standing: &Value, id: &str, lock: &str) -> Value {
    let mut body = standing.as_object().cloned().unwrap_or_default();
    body.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
    if body.get("Description").is_some_and(|text| text == "") {
        body.remove("Description"); // AWS shows it empty and refuses it so
    }
    fill(&mut body, wanted);
    let seen = body.entry("VisibilityConfig").or_insert_with(|| visibility(wanted));
    seen["SampledRequestsEnabled"] = json!(wanted.samples);
    body.insert("Id".to_owned(), json!(id));
    body.insert("LockToken".to_owned(), json!(lock));
    Value::Object(body)
}

fn fill(body: &mut Map<String, Value>, wanted: &WebAcl) {
    body.insert("Name".to_owned(), json!(wanted.name));
    body.insert("Scope".to_owned(), json!("REGIONAL"));
    if let Some(description) = &wanted.description {
        body.insert("Description".to_owned(), json!(description));
    }
    let action = if wanted.default_action == "block" { "Block" } else { "Allow" };
    body.insert("DefaultAction".to_owned(), json!({ action: {} }));
    let rules: Vec<Value> = wanted.rules.iter().map(|rule| search_strings(rule, &encode)).collect();
    body.insert("Rules".to_owned(), Value::Array(rules));
}

fn visibility(wanted: &WebAcl) -> Value {
    json!({
        "MetricName": wanted.name,
        "CloudWatchMetricsEnabled": true,
        "SampledRequestsEnabled": wanted.samples,
    })
}

/// The rules of a document, in order of priority, as people write them.
pub(super) fn seen_rules(rules: &Value) -> Vec<Value> {
    let mut rules: Vec<Value> =
        rules.as_array().into_iter().flatten().map(|rule| search_strings(rule, &decode)).collect();
    rules.sort_by_key(|rule| rule["Priority"].as_i64());
    rules
}

fn encode(text: &str) -> String {
    base64::encode(text)
}

/// Bytes that are no text cannot be what infra wrote; they are shown as AWS sent them.
fn decode(text: &str) -> String {
    let bytes = base64::decode(text).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.to_owned())
}

fn search_strings(value: &Value, translate: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| search_strings(item, translate)).collect(),
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| match value {
                Value::String(text) if key == "SearchString" => (key.clone(), json!(translate(text))),
                _ => (key.clone(), search_strings(value, translate)),
            };
            Value::Object(map.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

/// A body that goes out in place of the one that the SDK wrote, before the request is signed.
#[derive(Debug, Clone)]
pub(super) struct Request {
    body: Arc<[u8]>,
}

impl Request {
    pub(super) fn new(body: &Value) -> Self {
        Self { body: body.to_string().into_bytes().into() }
    }
}

impl Intercept for Request {
    fn name(&self) -> &'static str {
        "WebAclRequest"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("content-length", self.body.len().to_string());
        *request.body_mut() = SdkBody::from(self.body.to_vec());
        Ok(())
    }
}

/// Keeps the body of an answer beside what the SDK makes of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    body: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Answer {
    pub(super) fn json(&self) -> Option<Value> {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::from_slice(body.as_deref()?).ok()
    }
}

impl Intercept for Answer {
    fn name(&self) -> &'static str {
        "WebAclAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let bytes = context.response().body().bytes().map(<[u8]>::to_vec);
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> WebAcl {
        let label = json!({ "LabelMatchStatement": { "Scope": "LABEL", "Key": "awswaf:x" } });
        let path = json!({ "ByteMatchStatement": {
            "SearchString": "/metrics", "FieldToMatch": { "UriPath": {} }, "PositionalConstraint": "STARTS_WITH",
            "TextTransformations": [{ "Priority": 0, "Type": "NONE" }],
        } });
        WebAcl {
            name: "keyway-x".to_owned(),
            description: Some("rules".to_owned()),
            default_action: "block".to_owned(),
            rules: vec![json!({
                "Name": "a", "Priority": 1, "Action": { "Block": { "CustomResponse": { "ResponseCode": 429 } } },
                "Statement": { "AndStatement": { "Statements": [label, { "NotStatement": { "Statement": path } }] } },
                "SomethingNewer": { "Than": "any SDK" },
            })],
            samples: true,
            log_groups: Vec::new(),
            logs_all: None,
            redacted_headers: None,
            protects: Vec::new(),
        }
    }

    #[test]
    fn rules_come_back_as_they_were_written_and_travel_in_base64() {
        let wanted = wanted();
        let body = creation(&wanted, &Tags::new());
        assert_eq!(body["DefaultAction"], json!({ "Block": {} }));
        let sent =
            &body["Rules"][0]["Statement"]["AndStatement"]["Statements"][1]["NotStatement"]["Statement"];
        assert_eq!(sent["ByteMatchStatement"]["SearchString"], "L21ldHJpY3M=");
        assert_eq!(seen_rules(&body["Rules"]), wanted.rules);
    }

    #[test]
    fn an_update_keeps_what_the_model_does_not_name_and_sends_nothing_read_only() {
        let standing = json!({
            "ARN": "arn", "Id": "1", "Capacity": 3, "LabelNamespace": "x", "Description": "", "Rules": [{ "Name": "old" }],
            "CustomResponseBodies": { "slow": { "Content": "slow down" } }, "DefaultAction": { "Allow": {} },
            "VisibilityConfig": { "MetricName": "kept" },
        });
        let mut wanted = wanted();
        wanted.description = None;
        let body = replacement(&wanted, &standing, "1", "lock");
        assert_eq!(body["CustomResponseBodies"]["slow"]["Content"], "slow down");
        assert_eq!(body["VisibilityConfig"]["MetricName"], "kept");
        assert_eq!(body["Rules"][0]["Name"], "a");
        assert_eq!(body["LockToken"], "lock");
        for absent in ["ARN", "Capacity", "LabelNamespace", "Description"] {
            assert!(body.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn rules_are_seen_in_order_of_priority_and_odd_bytes_as_they_are() {
        let rules = json!([{ "Priority": 9 }, { "Priority": 2, "SearchString": "/w==" }]);
        assert_eq!(
            seen_rules(&rules),
            [json!({ "Priority": 2, "SearchString": "/w==" }), json!({ "Priority": 9 })]
        );
    }
}
