//! Conditions and actions of listener rules, between the model's words and AWS's. What infra does not write (a login, a
//! rewrite) is still seen, as `Other`, so that a rule made by hand is never mistaken for one of ours.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    Action as AwsAction, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig,
    HostHeaderConditionConfig, HttpHeaderConditionConfig, HttpRequestMethodConditionConfig,
    PathPatternConditionConfig, QueryStringConditionConfig, QueryStringKeyValuePair, RedirectActionConfig,
    RedirectActionStatusCodeEnum, Rule, RuleCondition, SourceIpConditionConfig, TargetGroupTuple,
};
use infra_model::address::Ref;
use infra_model::kinds::listener::{Action, Condition, ListenerRule, WeightedTarget};

use super::rules::{Existing, number};
use crate::account::{CallError, Class};

/// What a redirect keeps of the request unless it says otherwise.
const SAME_HOST: &str = "#{host}";
const SAME_PATH: &str = "/#{path}";
const SAME_QUERY: &str = "#{query}";

/// AWS gives a target group without a weight this one.
const WEIGHT_DEFAULT: i32 = 1;

fn unwritable(what: &str) -> CallError {
    let message = format!("infra reads `{what}` in a listener rule but does not write it");
    CallError::new("infra", "write", Class::Fatal, message)
}

pub(super) fn action(wanted: &Action) -> Result<AwsAction, CallError> {
    Ok(match wanted {
        Action::Forward { targets } => {
            let targets = targets.iter().map(|target| {
                TargetGroupTuple::builder()
                    .target_group_arn(target.target_group.as_str())
                    .weight(number(target.weight))
                    .build()
            });
            let config = ForwardActionConfig::builder().set_target_groups(Some(targets.collect())).build();
            AwsAction::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
        }
        Action::Redirect { protocol, port, status } => {
            let config = RedirectActionConfig::builder()
                .protocol(protocol)
                .port(port)
                .host(SAME_HOST)
                .path(SAME_PATH)
                .query(SAME_QUERY)
                .status_code(RedirectActionStatusCodeEnum::from(status.as_str()))
                .build();
            AwsAction::builder().r#type(ActionTypeEnum::Redirect).redirect_config(config).build()
        }
        Action::Fixed { status, content_type, body } => {
            let config = FixedResponseActionConfig::builder()
                .status_code(status)
                .set_content_type(content_type.clone())
                .set_message_body(body.clone())
                .build();
            AwsAction::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(config).build()
        }
        Action::Other { what } => return Err(unwritable(what)),
    })
}

pub(super) fn conditions(wanted: &[Condition]) -> Result<Vec<RuleCondition>, CallError> {
    wanted.iter().map(condition).collect()
}

fn condition(wanted: &Condition) -> Result<RuleCondition, CallError> {
    let on = |field: &str| RuleCondition::builder().field(field);
    let condition = match wanted {
        Condition::Path { values } => {
            let config = PathPatternConditionConfig::builder().set_values(Some(values.clone())).build();
            on("path-pattern").path_pattern_config(config)
        }
        Condition::Host { values } => {
            let config = HostHeaderConditionConfig::builder().set_values(Some(values.clone())).build();
            on("host-header").host_header_config(config)
        }
        Condition::Header { name, values } => {
            let config = HttpHeaderConditionConfig::builder()
                .http_header_name(name)
                .set_values(Some(values.clone()))
                .build();
            on("http-header").http_header_config(config)
        }
        Condition::Method { values } => {
            let config = HttpRequestMethodConditionConfig::builder().set_values(Some(values.clone())).build();
            on("http-request-method").http_request_method_config(config)
        }
        Condition::Query { values } => {
            let pairs = values.iter().map(|pair| {
                QueryStringKeyValuePair::builder()
                    .set_key(pair.get("key").cloned())
                    .set_value(pair.get("value").cloned())
                    .build()
            });
            let config = QueryStringConditionConfig::builder().set_values(Some(pairs.collect())).build();
            on("query-string").query_string_config(config)
        }
        Condition::SourceIp { values } => {
            let config = SourceIpConditionConfig::builder().set_values(Some(values.clone())).build();
            on("source-ip").source_ip_config(config)
        }
        Condition::Other { what } => return Err(unwritable(what)),
    };
    Ok(condition.build())
}

/// A rule as it stands; `None` for the default rule, which is a field of the listener itself.
pub(super) fn existing(rule: &Rule) -> Option<Existing> {
    if rule.is_default == Some(true) {
        return None;
    }
    let mut conditions: Vec<Condition> = rule.conditions().iter().map(seen_condition).collect();
    if !rule.transforms().is_empty() {
        conditions.push(Condition::Other { what: "transforms of the request".to_owned() });
    }
    Some(Existing {
        arn: rule.rule_arn()?.to_owned(),
        rule: ListenerRule {
            priority: rule.priority()?.parse().ok()?,
            conditions,
            action: seen_action(rule.actions()),
        },
    })
}

fn seen_condition(condition: &RuleCondition) -> Condition {
    let field = condition.field().unwrap_or_default();
    let other = |what: &str| Condition::Other { what: what.to_owned() };
    let regex = |values: &[String]| other(&format!("{field} by regular expression {}", values.join(", ")));
    match field {
        "path-pattern" => match condition.path_pattern_config() {
            Some(config) if !config.regex_values().is_empty() => regex(config.regex_values()),
            Some(config) => Condition::Path { values: config.values().to_vec() },
            None => Condition::Path { values: condition.values().to_vec() },
        },
        "host-header" => match condition.host_header_config() {
            Some(config) if !config.regex_values().is_empty() => regex(config.regex_values()),
            Some(config) => Condition::Host { values: config.values().to_vec() },
            None => Condition::Host { values: condition.values().to_vec() },
        },
        "http-header" => match condition.http_header_config() {
            Some(config) if !config.regex_values().is_empty() => regex(config.regex_values()),
            Some(config) => Condition::Header {
                name: config.http_header_name().unwrap_or_default().to_owned(),
                values: config.values().to_vec(),
            },
            None => other(field),
        },
        "http-request-method" => match condition.http_request_method_config() {
            Some(config) => Condition::Method { values: config.values().to_vec() },
            None => other(field),
        },
        "query-string" => match condition.query_string_config() {
            Some(config) => Condition::Query { values: config.values().iter().map(seen_pair).collect() },
            None => other(field),
        },
        "source-ip" => match condition.source_ip_config() {
            Some(config) => Condition::SourceIp { values: config.values().to_vec() },
            None => other(field),
        },
        unknown => other(unknown),
    }
}

fn seen_pair(pair: &QueryStringKeyValuePair) -> BTreeMap<String, String> {
    [("key", pair.key()), ("value", pair.value())]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect()
}

/// The one action of a rule or listener. A login before it, or a target that sticks, makes it another one.
pub(super) fn seen_action(actions: &[AwsAction]) -> Action {
    let other = |what: String| Action::Other { what };
    let kinds = || {
        let words = actions.iter().filter_map(AwsAction::r#type).map(ActionTypeEnum::as_str);
        words.collect::<Vec<_>>().join(", then ")
    };
    let [action] = actions else { return other(kinds()) };
    match action.r#type() {
        Some(ActionTypeEnum::Forward) => seen_forward(action),
        Some(ActionTypeEnum::Redirect) => {
            let Some(config) = action.redirect_config() else { return other(kinds()) };
            let kept = config.host().unwrap_or(SAME_HOST) == SAME_HOST
                && config.path().unwrap_or(SAME_PATH) == SAME_PATH
                && config.query().unwrap_or(SAME_QUERY) == SAME_QUERY;
            if !kept {
                let (host, path) = (config.host().unwrap_or(SAME_HOST), config.path().unwrap_or(SAME_PATH));
                let query = config.query().unwrap_or(SAME_QUERY);
                return other(format!("redirect to {host}{path}?{query}"));
            }
            Action::Redirect {
                protocol: config.protocol().unwrap_or("#{protocol}").to_owned(),
                port: config.port().unwrap_or("#{port}").to_owned(),
                status: config.status_code().map(|code| code.as_str().to_owned()).unwrap_or_default(),
            }
        }
        Some(ActionTypeEnum::FixedResponse) => {
            let Some(config) = action.fixed_response_config() else { return other(kinds()) };
            let present = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
            Action::Fixed {
                status: config.status_code().unwrap_or_default().to_owned(),
                content_type: present(config.content_type()),
                body: present(config.message_body()),
            }
        }
        _ => other(kinds()),
    }
}

fn seen_forward(action: &AwsAction) -> Action {
    let weighted = |arn: &str, weight: Option<i32>| WeightedTarget {
        target_group: Ref::physical(arn),
        weight: u32::try_from(weight.unwrap_or(WEIGHT_DEFAULT)).unwrap_or_default(),
    };
    let config = action.forward_config();
    let stickiness = config.and_then(|config| config.target_group_stickiness_config());
    if stickiness.is_some_and(|sticky| sticky.enabled == Some(true)) {
        return Action::Other { what: "forward with sticky target groups".to_owned() };
    }
    let mut targets: Vec<_> = config
        .map(ForwardActionConfig::target_groups)
        .unwrap_or_default()
        .iter()
        .filter_map(|target| Some(weighted(target.target_group_arn()?, target.weight)))
        .collect();
    if targets.is_empty() {
        targets.extend(action.target_group_arn().map(|arn| weighted(arn, None)));
    }
    Action::Forward { targets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_infra_writes_it_reads_back_the_same() {
        let target = |arn: &str, weight| WeightedTarget { target_group: Ref::physical(arn), weight };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        for wanted in [
            Action::Forward { targets: vec![target("a", 90), target("b", 10)] },
            Action::Redirect { protocol: "HTTPS".into(), port: "443".into(), status: "HTTP_301".into() },
            Action::Fixed {
                status: "404".into(),
                content_type: Some("text/plain".into()),
                body: Some("no".into()),
            },
            Action::Fixed { status: "503".into(), content_type: None, body: None },
        ] {
            assert_eq!(seen_action(&[action(&wanted).unwrap()]), wanted);
        }
        for wanted in [
            Condition::Path { values: texts(&["/connection/*"]) },
            Condition::Host { values: texts(&["a.example", "b.example"]) },
            Condition::Header { name: "x-canary".into(), values: texts(&["1"]) },
            Condition::Method { values: texts(&["GET"]) },
            Condition::Query {
                values: vec![
                    BTreeMap::from([("key".into(), "a".into()), ("value".into(), "1".into())]),
                    BTreeMap::from([("value".into(), "only".into())]),
                ],
            },
            Condition::SourceIp { values: texts(&["10.0.0.0/8"]) },
        ] {
            assert_eq!(seen_condition(&condition(&wanted).unwrap()), wanted);
        }
    }

    #[test]
    fn what_infra_does_not_write_is_seen_as_something_else() {
        let forward = Action::Forward { targets: vec![] };
        let login = AwsAction::builder().r#type(ActionTypeEnum::AuthenticateOidc).build();
        let both = [login, action(&forward).unwrap()];
        assert_eq!(seen_action(&both), Action::Other { what: "authenticate-oidc, then forward".into() });

        let away = RedirectActionConfig::builder().host("evil.example").build();
        let away = AwsAction::builder().r#type(ActionTypeEnum::Redirect).redirect_config(away).build();
        assert!(matches!(seen_action(&[away]), Action::Other { what } if what.contains("evil.example")));
        assert!(action(&Action::Other { what: "login".into() }).is_err());
    }
}
