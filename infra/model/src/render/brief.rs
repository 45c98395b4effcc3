//! A created resource in a few words: the values by which a reviewer knows it. Which these are, the kinds say; here is only how
//! they are written. The whole of them stands in JSON, and in text with `-v`.

use serde_json::{Map, Value};

use crate::plan::Step;

/// So many entries of a list are read; more are counted.
const ENTRIES_MAX: usize = 4;
/// All of one resource stays on two lines of a terminal.
const CHARS_MAX: usize = 160;

/// The deciding values of a creation, empty when the kind has none.
pub(super) fn deciding(step: &Step) -> String {
    let told = step.kind.spec().tells.iter().filter_map(|field| {
        let value = step.changes.iter().find(|change| change.path == *field)?.after.as_ref()?;
        let text = word(value);
        (!text.is_empty()).then(|| format!("{field} {text}"))
    });
    let text = told.collect::<Vec<_>>().join("; ");
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    format!("{cut}…")
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(items) => list(items.iter().map(word).collect()),
        Value::Object(map) => object(map),
        other => other.to_string(),
    }
}

/// An entry of a set that is added or removed, where a few words say all of it: rules of groups and listeners, routes.
pub(super) fn entry(value: &Value) -> Option<String> {
    let map = value.as_object()?;
    if map.contains_key("conditions") {
        return Some(listener_rule(map));
    }
    if map.contains_key("protocol") || map.contains_key("destination") {
        let why = map.get("description").map(word).filter(|text| !text.is_empty());
        return Some(object(map) + &why.map(|why| format!(" ({why})")).unwrap_or_default());
    }
    None
}

/// `100 path /v1/* -> forward edge/target_group/app`.
fn listener_rule(map: &Map<String, Value>) -> String {
    let condition = |condition: &Value| {
        let text = |key: &str| condition.get(key).map(word).filter(|text| !text.is_empty());
        let parts = [text("on"), text("name"), text("values"), text("what")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let conditions: Vec<String> = map["conditions"].as_array().into_iter().flatten().map(condition).collect();
    let action = map.get("action").and_then(Value::as_object);
    let said = action.into_iter().flatten().filter(|(key, value)| *key != "do" && !value.is_null());
    let said = said.map(|(key, value)| match key.as_str() {
        "targets" => {
            let one = |target: &Value| {
                let of = |key: &str| target.get(key).map(word).unwrap_or_default();
                format!("{} {}", of("target_group"), of("weight"))
            };
            value.as_array().into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
        }
        key => format!("{key} {}", word(value)),
    });
    let said: Vec<String> = said.collect();
    let what = action.and_then(|action| action.get("do")).map(word).unwrap_or_default();
    let priority = map.get("priority").map(word).unwrap_or_default();
    format!("{priority} {} -> {what} {}", conditions.join(" and "), said.join(", "))
}

/// `${network/vpc}` as `network/vpc`, and of an ARN what it names.
fn plain(text: &str) -> String {
    let text = text.replace("${", "").replace('}', "");
    match text.splitn(6, ':').nth(5) {
        Some(named) if text.starts_with("arn:") => named.to_owned(),
        _ => text,
    }
}

fn list(mut words: Vec<String>) -> String {
    let more = words.len().saturating_sub(ENTRIES_MAX);
    words.truncate(ENTRIES_MAX);
    match (words.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => words.join(", "),
        (false, more) => format!("{} and {more} more", words.join(", ")),
    }
}

/// Rules, routes and the like by what tells them apart; other maps by their keys, with values that are short.
fn object(map: &Map<String, Value>) -> String {
    let text = |key: &str| map.get(key).map(word).unwrap_or_default();
    if map.contains_key("protocol") {
        return rule(map);
    }
    if map.contains_key("destination") {
        return format!("{} over {}", text("destination"), text("target"));
    }
    // A container, a firewall rule, a capacity provider, a health check.
    if map.contains_key("image") {
        let port = map.get("port").filter(|port| !port.is_null()).map(|port| format!(" on {port}"));
        return format!("{} {}{}", text("name"), text("image"), port.unwrap_or_default());
    }
    if let Some(provider) = map.get("provider") {
        let base = map.get("base").and_then(Value::as_u64).filter(|base| *base > 0);
        let base = base.map(|base| format!(" from {base}")).unwrap_or_default();
        return format!("{} {}{base}", word(provider), text("weight"));
    }
    if map.values().any(|document| document.get("Statement").is_some()) {
        return list(map.values().flat_map(actions).collect());
    }
    for name in ["Name", "path"] {
        if map.contains_key(name) {
            return text(name);
        }
    }
    let pairs = map.iter().map(|(key, value)| match value {
        Value::Object(_) | Value::Array(_) | Value::Null => key.clone(),
        short => format!("{key}={}", word(short)),
    });
    list(pairs.collect())
}

/// What a policy document names, each once.
fn actions(document: &Value) -> Vec<String> {
    let statements = document["Statement"].as_array().into_iter().flatten();
    let mut named: Vec<String> = Vec::new();
    for action in statements.flat_map(|statement| statement["Action"].as_array().into_iter().flatten()) {
        let action = word(action);
        if !named.contains(&action) {
            named.push(action);
        }
    }
    named
}

/// `tcp 443 0.0.0.0/0`.
fn rule(map: &Map<String, Value>) -> String {
    let text = |key: &str| map.get(key).map(word).filter(|text| !text.is_empty());
    let protocol = text("protocol").filter(|protocol| protocol != "-1").unwrap_or("all".to_owned());
    let ports = match (text("from_port"), text("to_port")) {
        (Some(from), Some(to)) if from != to => format!(" {from}-{to}"),
        (Some(port), _) => format!(" {port}"),
        _ => String::new(),
    };
    let other = ["cidr", "group", "prefix_list"].iter().find_map(|key| text(key)).unwrap_or_default();
    format!("{protocol}{ports} {other}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        assert_eq!(word(&value), expected);
    }

    #[test]
    fn values_are_words() {
        check(json!("10.0.0.0/16"), "10.0.0.0/16");
        check(json!("${network/vpc}"), "network/vpc");
        check(json!("arn:aws:wafv2:eu-central-1:1:regional/ipset/a/1"), "regional/ipset/a/1");
        check(json!([]), "none");
        check(json!([1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
        let rights = json!([{ "Action": ["s3:GetObject"] }, { "Action": ["s3:GetObject", "sns:Publish"] }]);
        check(json!({ "rights": { "Statement": rights } }), "s3:GetObject, sns:Publish");
        check(json!({ "timeout": "5" }), "timeout=5");
        check(
            json!([{ "destination": "0.0.0.0/0", "target": "${network/nat/a}" }]),
            "0.0.0.0/0 over network/nat/a",
        );
        check(json!([{ "Name": "known", "Priority": 1 }]), "known");
        check(json!({ "path": "/healthz", "codes": "200" }), "/healthz");
        check(json!({ "provider": "FARGATE_SPOT", "base": 0, "weight": 3 }), "FARGATE_SPOT 3");
        check(json!({ "name": "app", "image": "app:1", "port": 8080 }), "app app:1 on 8080");
    }

    #[test]
    fn an_entry_of_a_set_says_all_of_it() {
        let rule = json!({
            "priority": 100, "conditions": [{ "on": "path", "values": ["/v1/*"] }],
            "action": { "do": "forward", "targets": [{ "target_group": "${edge/target_group/app}", "weight": 1 }] },
        });
        assert_eq!(entry(&rule).unwrap(), "100 path /v1/* -> forward edge/target_group/app 1");
        let opened = json!({ "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr": "0.0.0.0/0", "description": "by hand" });
        assert_eq!(entry(&opened).unwrap(), "tcp 22 0.0.0.0/0 (by hand)");
        assert_eq!(entry(&json!({ "Name": "known" })), None);
    }

    #[test]
    fn a_rule_says_what_it_opens_to_whom() {
        let tcp = |from: u16, to: u16| json!({ "protocol": "tcp", "from_port": from, "to_port": to, "cidr": "0.0.0.0/0" });
        check(tcp(443, 443), "tcp 443 0.0.0.0/0");
        check(tcp(1024, 2048), "tcp 1024-2048 0.0.0.0/0");
        check(json!({ "protocol": "-1", "group": "${network/group/app}" }), "all network/group/app");
    }
}
