use super::Report;
use crate::environment::types::Environment;
use crate::waf::RuleSets;
pub(super) fn check(_environment: &Environment, _rule_sets: &RuleSets, _report: &mut Report<'_>) {}
