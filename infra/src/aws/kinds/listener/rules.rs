//! What has to happen to a listener's rules so that they are as wanted, with as few calls as AWS allows. Pure: it knows
//! rules and their ARNs, not how they are changed.

use infra_model::kinds::listener::ListenerRule;
use serde_json::Value;

/// A rule that stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Existing {
    pub(super) arn: String,
    pub(super) rule: ListenerRule,
}

/// In the order in which it has to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RulePlan {
    pub(super) delete: Vec<String>,
    /// Same priority, other content.
    pub(super) modify: Vec<(String, ListenerRule)>,
    /// Same content, other priority: all in one call.
    pub(super) reorder: Vec<(String, u32)>,
    pub(super) create: Vec<ListenerRule>,
}

pub(super) fn plan(existing: Vec<Existing>, wanted: &[ListenerRule]) -> RulePlan {
    let mut plan = RulePlan::default();
    let mut there = existing;
    let mut open: Vec<&ListenerRule> = wanted.iter().collect();
    // What stands as it should.
    open.retain(|rule| {
        take(&mut there, |found| found.rule.priority == rule.priority && same(&found.rule, rule)).is_none()
    });
    // What only has to move.
    open.retain(|rule| match take(&mut there, |found| same(&found.rule, rule)) {
        Some(found) => {
            plan.reorder.push((found.arn, rule.priority));
            false
        }
        None => true,
    });
    // What stands in the right place with something else in it.
    open.retain(|rule| match take(&mut there, |found| found.rule.priority == rule.priority) {
        Some(found) => {
            plan.modify.push((found.arn, (*rule).clone()));
            false
        }
        None => true,
    });
    plan.create = open.into_iter().cloned().collect();
    plan.delete = there.into_iter().map(|found| found.arn).collect();
    plan
}

fn take(there: &mut Vec<Existing>, fits: impl Fn(&Existing) -> bool) -> Option<Existing> {
    let at = there.iter().position(fits)?;
    Some(there.remove(at))
}

/// The same content, whatever the priority. Compared in written form, in which unordered lists are sorted.
fn same(one: &ListenerRule, other: &ListenerRule) -> bool {
    let content =
        |rule: &ListenerRule| serde_json::to_value((&rule.action, written(rule))).unwrap_or(Value::Null);
    content(one) == content(other)
}

fn written(rule: &ListenerRule) -> Value {
    let mut value = serde_json::to_value(rule).unwrap_or(Value::Null);
    value["priority"] = Value::Null;
    value
}

/// AWS's priorities end at 50,000.
pub(super) fn number(priority: u32) -> i32 {
    i32::try_from(priority).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use infra_model::address::Ref;
    use infra_model::kinds::listener::{Action, Condition, WeightedTarget};

    use super::*;

    fn rule(priority: u32, path: &str, target: &str) -> ListenerRule {
        ListenerRule {
            priority,
            conditions: vec![
                Condition::Path { values: vec![path.to_owned(), "/z".to_owned()] },
                Condition::Host { values: vec!["a.example".to_owned()] },
            ],
            action: Action::Forward {
                targets: vec![WeightedTarget { target_group: Ref::physical(target), weight: 1 }],
            },
        }
    }

    fn existing(rules: &[ListenerRule]) -> Vec<Existing> {
        let arn = |at: usize| format!("rule-{at}");
        rules.iter().enumerate().map(|(at, rule)| Existing { arn: arn(at), rule: rule.clone() }).collect()
    }

    #[test]
    fn rules_as_wanted_need_nothing_whatever_the_order_of_their_conditions() {
        let wanted = [rule(10, "/a", "t"), rule(20, "/b", "t")];
        let mut there = wanted.clone();
        there[0].conditions.reverse();
        there[1].conditions[0] = Condition::Path { values: vec!["/z".to_owned(), "/b".to_owned()] };
        assert_eq!(plan(existing(&there), &wanted), RulePlan::default());
    }

    #[test]
    fn a_swap_is_one_reordering() {
        let there = existing(&[rule(10, "/a", "t"), rule(20, "/b", "t")]);
        let plan = plan(there, &[rule(20, "/a", "t"), rule(10, "/b", "t")]);
        let reorder = vec![("rule-0".to_owned(), 20), ("rule-1".to_owned(), 10)];
        assert_eq!(plan, RulePlan { reorder, ..RulePlan::default() });
    }

    #[test]
    fn another_target_changes_in_place_and_a_rule_made_by_hand_goes() {
        let there = existing(&[rule(10, "/a", "t"), rule(1, "/*", "evil")]);
        let plan = plan(there, &[rule(10, "/a", "u"), rule(30, "/c", "t")]);
        assert_eq!(plan.delete, ["rule-1"]);
        assert_eq!(plan.modify, [("rule-0".to_owned(), rule(10, "/a", "u"))]);
        assert_eq!(plan.create, [rule(30, "/c", "t")]);
        assert!(plan.reorder.is_empty());
    }

    #[test]
    fn a_rule_that_moves_into_a_place_whose_rule_moves_away_keeps_its_arn() {
        let there = existing(&[rule(10, "/a", "t"), rule(20, "/b", "t")]);
        let plan = plan(there, &[rule(10, "/new", "t"), rule(20, "/a", "t"), rule(30, "/b", "t")]);
        assert_eq!(plan.reorder, [("rule-0".to_owned(), 20), ("rule-1".to_owned(), 30)]);
        assert_eq!(plan.create, [rule(10, "/new", "t")]);
        assert!(plan.delete.is_empty() && plan.modify.is_empty());
    }
}
