//! The web ACL that an environment wants, its address sets and its log. Owns the translation of rule sets into AWS's own form
//! of a rule; refuses to know where the rules come from.

use serde_json::{Map, Value, json};

use crate::address::{Address, Ref};
use crate::environment::{Mode, WafDefault};
use crate::kinds::{IpSet, LogGroup, WebAcl};
use crate::waf::{Match, RateKey, RuleAction, Statement, WantedRule};

use super::{Draft, edge};

fn address_set(name: &str) -> Address {
    Address::new(format!("firewall/address_set/{name}"))
}

pub(super) fn draw(draft: &mut Draft<'_>) {
    let Some(waf) = &draft.environment.waf else { return };
    let sets = &draft.loaded.rule_sets;
    for set in sets.addresses(waf, &draft.loaded.origins) {
        let resource = IpSet {
            name: draft.names.part(&set.name),
            description: Some(set.description),
            ip_version: "IPV4".into(),
            addresses: set.addresses.iter().map(ToString::to_string).collect(),
        };
        let mut wanted = draft.wanted(&resource, "waf", &[]);
        if let Some(origin) = &set.origin {
            wanted = wanted.origin("addresses", origin.short());
        }
        draft.graph.add(address_set(&set.name), wanted);
    }
    let log_group = waf.logging.as_ref().map(|logging| {
        // AWS accepts a log group for a web ACL only by this beginning of its name.
        let name = format!("aws-waf-logs-{}", draft.names.environment());
        let group = LogGroup { name, retention_days: Some(logging.retention_days) };
        let elsewhere = [("retention_days", "waf.logging.retention_days")];
        draft.add("firewall/log_group", &group, "waf.logging", &elsewhere)
    });
    let rules = sets.wanted(waf, &draft.loaded.origins);
    let acl = WebAcl {
        name: draft.names.environment(),
        description: Some(format!("Rule sets: {}", waf.rule_sets.join(", "))),
        default_action: match waf.default_action {
            WafDefault::Allow => "allow".into(),
            WafDefault::Block => "block".into(),
        },
        samples: true,
        rules: rules.iter().map(rule).collect(),
        log_groups: log_group.iter().map(|group| Ref::attribute(group, "arn")).collect(),
        logs_all: log_group.as_ref().map(|_| true),
        redacted_headers: log_group.as_ref().map(|_| SECRET_HEADERS.map(str::to_owned).into()),
        protects: draft.environment.load_balancer.iter().map(|_| Ref::to(&edge::load_balancer())).collect(),
    };
    let elsewhere = [
        ("default_action", "waf.default_action"),
        ("log_groups", "waf.logging"),
        ("redacted_headers", "waf.logging"),
        ("rules", "waf.rule_sets"),
        ("description", "waf.rule_sets"),
    ];
    let mut wanted = draft.wanted(&acl, "waf", &elsewhere);
    for (index, rule) in rules.iter().enumerate() {
        let action =
            if matches!(rule.statement, Statement::Managed { .. }) { "OverrideAction" } else { "Action" };
        for (path, origin) in [
            (format!("rules/{index}"), &rule.origin),
            (format!("rules/{index}/{action}"), &rule.action_origin),
        ] {
            wanted.origins.extend(origin.iter().map(|origin| (path.clone(), origin.short())));
        }
    }
    draft.graph.add(Address::new("firewall/web_acl"), wanted);
}

/// Headers in which clients of the load balancer send secrets; the log shows that they were there, not what they held.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "x-api-key"];

/// One rule as the WAFv2 API writes it.
fn rule(rule: &WantedRule) -> Value {
    let mut value = json!({
        "Name": rule.name,
        "Priority": rule.priority,
        "Statement": statement(&rule.statement),
        "VisibilityConfig": {
            "CloudWatchMetricsEnabled": true,
            "MetricName": rule.name,
            "SampledRequestsEnabled": true,
        },
    });
    let action = match rule.action {
        RuleAction::Allow => "Allow",
        RuleAction::Count => "Count",
        RuleAction::Block => "Block",
    };
    match (&rule.statement, rule.action) {
        // A managed group has actions of its own: counting overrides them all, blocking leaves them as they are.
        (Statement::Managed { .. }, RuleAction::Count) => value["OverrideAction"] = json!({ "Count": {} }),
        (Statement::Managed { .. }, _) => value["OverrideAction"] = json!({ "None": {} }),
        _ => value["Action"] = json!({ action: {} }),
    }
    value
}

fn statement(statement: &Statement) -> Value {
    match statement {
        Statement::Managed { vendor, group, version, parts } => {
            let mut managed =
                Map::from_iter([("VendorName".to_owned(), json!(vendor)), ("Name".to_owned(), json!(group))]);
            managed.extend(version.iter().map(|version| ("Version".to_owned(), json!(version))));
            let overrides: Vec<Value> = parts.iter().map(|(part, mode)| part_override(part, *mode)).collect();
            if !overrides.is_empty() {
                managed.insert("RuleActionOverrides".to_owned(), json!(overrides));
            }
            json!({ "ManagedRuleGroupStatement": managed })
        }
        Statement::Rate { limit, window_s, key, scope } => rate(*limit, *window_s, key, scope.as_ref()),
        Statement::Addresses { set, scope } => {
            let reference = json!({ "IPSetReferenceStatement": { "ARN": Ref::<IpSet>::to(&address_set(set)).to_string() } });
            match scope {
                None => reference,
                Some(scope) => all(vec![reference, of_match(scope)]),
            }
        }
        Statement::Match(scope) => of_match(scope),
    }
}

fn part_override(part: &str, mode: Mode) -> Value {
    let action = match mode {
        Mode::Count => json!({ "Count": {} }),
        Mode::Block => json!({ "Block": {} }),
    };
    json!({ "Name": part, "ActionToUse": action })
}

fn rate(limit: u32, window_s: u32, key: &RateKey, scope: Option<&Match>) -> Value {
    let mut value = json!({ "Limit": limit, "EvaluationWindowSec": window_s });
    match key {
        RateKey::Address => value["AggregateKeyType"] = json!("IP"),
        RateKey::ForwardedAddress => {
            value["AggregateKeyType"] = json!("FORWARDED_IP");
            // A request without the header did not come through the proxy: it counts as one that did too much.
            value["ForwardedIPConfig"] =
                json!({ "HeaderName": "X-Forwarded-For", "FallbackBehavior": "MATCH" });
        }
        RateKey::Header(name) => {
            value["AggregateKeyType"] = json!("CUSTOM_KEYS");
            value["CustomKeys"] = json!([{ "Header": { "Name": name, "TextTransformations": plain() } }]);
        }
    }
    if let Some(scope) = scope {
        value["ScopeDownStatement"] = of_match(scope);
    }
    json!({ "RateBasedStatement": value })
}

fn plain() -> Value {
    json!([{ "Priority": 0, "Type": "NONE" }])
}

/// All given conditions; of a list, one value.
fn of_match(only: &Match) -> Value {
    // `/a/../metrics` and `//metrics` are the same place to a server: compare normalised.
    let path = |path: &String| {
        bytes(
            path,
            "STARTS_WITH",
            json!({ "UriPath": {} }),
            json!([{ "Priority": 0, "Type": "NORMALIZE_PATH" }]),
        )
    };
    let method = |method: &String| bytes(method, "EXACTLY", json!({ "Method": {} }), plain());
    let mut conditions = Vec::new();
    if !only.paths.is_empty() {
        conditions.push(any(only.paths.iter().map(path).collect()));
    }
    if !only.except_paths.is_empty() {
        let excepted = any(only.except_paths.iter().map(path).collect());
        conditions.push(json!({ "NotStatement": { "Statement": excepted } }));
    }
    if !only.methods.is_empty() {
        conditions.push(any(only.methods.iter().map(method).collect()));
    }
    if let Some(label) = &only.label {
        conditions.push(json!({ "LabelMatchStatement": { "Scope": "LABEL", "Key": label } }));
    }
    all(conditions)
}

fn bytes(text: &str, position: &str, field: Value, transformations: Value) -> Value {
    json!({ "ByteMatchStatement": {
        "SearchString": text,
        "FieldToMatch": field,
        "TextTransformations": transformations,
        "PositionalConstraint": position,
    } })
}

/// AWS refuses an Or of one.
fn any(mut statements: Vec<Value>) -> Value {
    if statements.len() == 1 {
        statements.remove(0)
    } else {
        json!({ "OrStatement": { "Statements": statements } })
    }
}

/// AWS refuses an And of one.
fn all(mut statements: Vec<Value>) -> Value {
    if statements.len() == 1 {
        statements.remove(0)
    } else {
        json!({ "AndStatement": { "Statements": statements } })
    }
}
