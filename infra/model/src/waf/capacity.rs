//! What rules cost in web ACL capacity units (WCU). Owns the table and the sum; refuses to know prices. AWS computes the
//! real number when a web ACL is written (`CheckCapacity`); this one is known before, without an account.

use super::{Match, RateKey, Statement, WantedRule};

/// Units that the price of a web ACL includes; above, requests cost more. Source: AWS WAF developer guide, "Web ACL
/// capacity units".
pub const INCLUDED: u32 = 1500;
/// Units that a web ACL can have at most. Same source; it cannot be raised.
pub const MOST: u32 = 5000;
/// Assumed for a managed group that the table lacks: the largest of AWS's own.
pub const UNKNOWN_GROUP: u32 = 700;

/// Managed groups of AWS and their units. Source: AWS WAF developer guide, "AWS Managed Rules rule groups list", where each
/// group's page names its WCU.
const GROUPS: &[(&str, u32)] = &[
    ("AWSManagedRulesACFPRuleSet", 50),
    ("AWSManagedRulesATPRuleSet", 50),
    ("AWSManagedRulesAdminProtectionRuleSet", 100),
    ("AWSManagedRulesAmazonIpReputationList", 25),
    ("AWSManagedRulesAnonymousIpList", 50),
    ("AWSManagedRulesAntiDDoSRuleSet", 50),
    ("AWSManagedRulesBotControlRuleSet", 50),
    ("AWSManagedRulesCommonRuleSet", 700),
    ("AWSManagedRulesKnownBadInputsRuleSet", 200),
    ("AWSManagedRulesLinuxRuleSet", 200),
    ("AWSManagedRulesPHPRuleSet", 100),
    ("AWSManagedRulesSQLiRuleSet", 200),
    ("AWSManagedRulesUnixRuleSet", 100),
    ("AWSManagedRulesWindowsRuleSet", 200),
    ("AWSManagedRulesWordPressRuleSet", 100),
];

/// Source for all below: AWS WAF developer guide, the page of each statement.
const ADDRESSES: u32 = 1;
const LABEL: u32 = 1;
const RATE: u32 = 2;
/// A rate rule with a key of its own, each key.
const RATE_CUSTOM_KEY: u32 = 30;
/// A byte match "starts with" or "exactly".
const BYTES: u32 = 2;
/// A text transformation of a byte match.
const TRANSFORMATION: u32 = 10;

/// The names of the managed groups that the table has.
pub fn groups() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|(name, _)| *name)
}

/// Units of one statement, `None` for a managed group that the table lacks.
pub fn of(statement: &Statement) -> Option<u32> {
    let scope = |scope: &Option<Match>| scope.as_ref().map_or(0, of_match);
    Some(match statement {
        Statement::Managed { group, .. } => GROUPS.iter().find(|(name, _)| name == group)?.1,
        Statement::Rate { key, scope: only, .. } => {
            let key = if matches!(key, RateKey::Header(_)) { RATE_CUSTOM_KEY } else { 0 };
            RATE + key + scope(only)
        }
        Statement::Addresses { scope: only, .. } => ADDRESSES + scope(only),
        Statement::Match(only) => of_match(only),
    })
}

fn of_match(only: &Match) -> u32 {
    // One transformation (NONE costs nothing; paths are normalised, which costs) is counted for each path.
    let paths = u32::try_from(only.paths.len() + only.except_paths.len()).unwrap_or(u32::MAX);
    let methods = u32::try_from(only.methods.len()).unwrap_or(u32::MAX);
    let label = if only.label.is_some() { LABEL } else { 0 };
    paths
        .saturating_mul(BYTES + TRANSFORMATION)
        .saturating_add(methods.saturating_mul(BYTES))
        .saturating_add(label)
}

/// Units of a whole web ACL.
pub fn sum(rules: &[WantedRule]) -> u32 {
    rules.iter().fold(0, |sum, rule| sum.saturating_add(rule.capacity))
}
