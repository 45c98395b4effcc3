//! What a file of `policies/waf` can say, as types, and reading one. Owns the keys of rule sets; refuses to know environments.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::environment::{
    Cidr, Findings, Found, Loader, Mode, Node, Origins, Path, Problem, Source, forget_null, read_document,
};

use super::{RuleSetFile, typed};

/// A set of WAF rules in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    /// What the set is for.
    pub description: String,
    /// Sets of addresses that the rules name. An environment fills them with `waf.addresses`.
    #[serde(default)]
    #[schemars(extend("format-keys" = "name"))]
    pub address_sets: BTreeMap<String, AddressSet>,
    /// The rules. The first that allows or blocks decides.
    #[schemars(length(min = 1))]
    pub rules: Vec<Rule>,
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressSet {
    /// Who is in it, and why.
    #[schemars(length(min = 1, max = 256))]
    pub description: String,
    /// The addresses, unless the environment gives others.
    #[serde(default)]
    pub addresses: Vec<Cidr>,
}

/// One rule: exactly one of `managed`, `rate` and `addresses`, or `only` alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of the rule, of its metric and in `waf.modes`.
    #[schemars(extend("format" = "name"), length(max = 64))]
    pub name: String,
    /// What happens with a request that matches. A managed group that blocks does what each of its rules says.
    pub action: RuleAction,
    /// A group that AWS or a vendor keeps up to date.
    #[serde(default)]
    pub managed: Option<Managed>,
    /// More requests than a limit.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// The address is in this set of `address_sets`.
    #[serde(default)]
    pub addresses: Option<String>,
    /// Only requests like this. Alone, it is the rule.
    #[serde(default)]
    pub only: Option<Match>,
}

/// What happens with a request that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// Let it pass, and ask no further rule.
    Allow,
    /// Only count it, in metrics and logs.
    Count,
    /// Refuse it.
    Block,
}

/// A managed rule group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Managed {
    /// Who keeps it.
    #[serde(default = "aws")]
    pub vendor: String,
    /// Its name.
    pub group: String,
    /// A fixed version. Left out: the vendor's default.
    #[serde(default)]
    pub version: Option<String>,
    /// Single rules of the group that count or block whatever the group says.
    #[serde(default)]
    pub parts: BTreeMap<String, Mode>,
    /// Capacity units (WCU) of the group, as its vendor says. Left out: known for AWS's own, 700 for any other.
    #[serde(default)]
    #[schemars(range(min = 1, max = 5000))]
    pub wcu: Option<u32>,
}

fn aws() -> String {
    "AWS".to_owned()
}

/// A rate limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests in the window, 10 or more.
    #[schemars(range(min = 10, max = 2000000000))]
    pub limit: u32,
    /// Seconds of the window: 60, 120, 300 or 600.
    #[serde(default = "window_s")]
    #[schemars(extend("enum" = [60, 120, 300, 600]))]
    pub window_s: u32,
    /// Whose requests are counted together.
    #[serde(default)]
    pub key: RateKey,
}

fn window_s() -> u32 {
    300 // AWS's default
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    /// The sender's address. Phones of one carrier share a few of these.
    #[default]
    Address,
    /// The address in `X-Forwarded-For`, behind a proxy.
    ForwardedAddress,
    /// The value of a header, such as the token of a device.
    Header(String),
}

/// What a request looks like. All given conditions must hold; of a list, one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path begins with one of these.
    #[serde(default)]
    #[schemars(extend("format-items" = "path"))]
    pub paths: Vec<String>,
    /// The path begins with none of these.
    #[serde(default)]
    #[schemars(extend("format-items" = "path"))]
    pub except_paths: Vec<String>,
    /// The method is one of these.
    #[serde(default)]
    pub methods: Vec<String>,
    /// A label that an earlier rule put on.
    #[serde(default)]
    pub label: Option<String>,
}

/// The schema of a rule set.
pub(crate) fn schema() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = schemars::schema_for!(RuleSet).to_value();
        forget_null(&mut schema);
        schema
    })
}

type Read = (Source, Option<RuleSetFile>, Vec<Problem>);

/// Read a rule set. `Err` when there is no such file, with the reason.
pub(super) fn read(name: &str, loader: &Loader<'_>) -> Result<Read, String> {
    let source = match loader.rule_set(name) {
        Found::File(source) => source,
        Found::Missing(places) => return Err(format!("no file {}", places.join(", "))),
        Found::Unreadable(path, reason) => return Err(format!("{path} cannot be read: {reason}")),
    };
    let (mut document, problems) = read_document(&source);
    let broken = !problems.is_empty();
    let mut found = Findings { problems, unusable: Vec::new() };
    let mut origins = Origins::default();
    document.origins(&Path::default(), &mut origins);
    if !broken {
        check(&document, &origins, &mut found.problems);
    }
    let rule_set = if broken { None } else { typed(&mut document, &mut found) };
    let file = rule_set.map(|rule_set| RuleSetFile { name: name.to_owned(), rule_set, origins });
    Ok((source, file, found.problems))
}

/// What must hold inside one rule set. It is asked of the document, so that a rule with a wrong value is told all the same.
fn check(document: &Node, origins: &Origins, problems: &mut Vec<Problem>) {
    let mut add = |problem: Problem| {
        let origin = origins.of(&problem.path).cloned();
        problems.push(problem.at(origin.as_ref()));
    };
    let sets: Vec<&str> = key(document, "address_sets")
        .and_then(Node::table)
        .map_or(Vec::new(), |sets| sets.keys().map(String::as_str).collect());
    for (index, rule) in key(document, "rules").map_or(&[][..], Node::items).iter().enumerate() {
        one_rule(rule, &format!("rules.{index}"), &sets, &mut add);
    }
}

fn key<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.table()?.get(key)
}

fn one_rule(rule: &Node, path: &str, sets: &[&str], add: &mut impl FnMut(Problem)) {
    let Some(table) = rule.table() else { return };
    let name = key(rule, "name").and_then(Node::text).unwrap_or_default();
    let allows = key(rule, "action").and_then(Node::text) == Some("allow");
    let has = |name: &str| table.contains_key(name);
    let given = ["managed", "rate", "addresses"].iter().filter(|name| has(name)).count();
    // A misspelt key is told by itself, and what then seems to lack was meant by it.
    let misspelt = table.keys().any(|key| !KEYS.contains(&key.as_str()));
    let only = key(rule, "only").and_then(Node::table).is_some_and(|only| {
        only.values().any(|value| !matches!(value.items(), []) || value.text().is_some())
    });
    if given > 1 || (given == 0 && !only && !misspelt) {
        let what = if given > 1 { "several things" } else { "nothing" };
        let message = format!("the rule \"{name}\" looks at {what}");
        let allowed = "exactly one of `managed`, `rate` and `addresses`, or `only` alone";
        add(Problem::error("ambiguous-rule", path, message).allowed(allowed));
    }
    if has("managed") && (allows || has("only")) {
        let message =
            format!("the managed group of the rule \"{name}\" can only count or block every request");
        add(Problem::error("not-allowed", format!("{path}.managed"), message)
            .allowed("`action` of \"count\" or \"block\", and no `only`"));
    }
    if has("rate") && allows {
        let message = format!("the rate rule \"{name}\" cannot allow");
        add(Problem::error("not-allowed", format!("{path}.action"), message).allowed("\"count\", \"block\""));
    }
    let set = key(rule, "addresses").and_then(Node::text);
    if let Some(set) = set.filter(|set| !sets.contains(set)) {
        let near = crate::environment::nearest(set, sets.iter().copied()).map(|near| format!("\"{near}\""));
        let message = format!("there is no address set \"{set}\"");
        let allowed = if sets.is_empty() { format!("a table [address_sets.{set}]") } else { sets.join(", ") };
        add(Problem::error("undeclared", format!("{path}.addresses"), message)
            .allowed(allowed)
            .near(near.as_deref()));
    }
}

/// The keys of a rule; a test holds them against the type.
const KEYS: [&str; 6] = ["name", "action", "managed", "rate", "addresses", "only"];

#[cfg(test)]
mod tests {
    #[test]
    fn the_keys_of_a_rule_are_those_of_its_type() {
        let properties = super::schema()["$defs"]["Rule"]["properties"].as_object().unwrap();
        let mut keys = super::KEYS.to_vec();
        keys.sort_unstable();
        assert_eq!(properties.keys().map(String::as_str).collect::<Vec<_>>(), keys);
    }
}
