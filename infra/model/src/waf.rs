//! WAF rule sets: plain data from `policies/waf/*.toml`, and what an environment makes of them. Owns reading them and applying
//! the environment's modes, addresses and limits; refuses to know the web ACL as an AWS object.

pub mod capacity;
pub mod parts;
mod promotion;
mod rule_set;

use std::collections::BTreeMap;

use crate::environment::{
    Cidr, Environment, Findings, Loader, Mode, Origin, Origins, Path, Problem, Shape, Sources, Waf, nearest,
    required, walk,
};

pub use promotion::{Promotion, between as promotions_between, promotions};
pub(crate) use rule_set::schema as rule_set_schema;
pub use rule_set::{AddressSet, Managed, Match, Rate, RateKey, Rule, RuleAction, RuleSet};

/// One rule set with the places of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSetFile {
    pub name: String,
    pub rule_set: RuleSet,
    pub origins: Origins,
}

/// The rule sets that an environment names, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSets(pub Vec<RuleSetFile>);

/// One rule as it is wanted: the rule set's, with the environment's say applied.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedRule {
    /// Unique in the web ACL.
    pub name: String,
    /// Ten apart, in the order of the sets and of the rules in each.
    pub priority: u32,
    pub action: RuleAction,
    /// What the rule looks at.
    pub statement: Statement,
    /// The file and line that decided the action: the environment's `waf.modes`, or the rule set.
    pub action_origin: Option<Origin>,
    /// The file and line of the rule.
    pub origin: Option<Origin>,
    /// Web ACL capacity units of the rule.
    pub capacity: u32,
}

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// A group that AWS or a vendor keeps; `parts` act differently from the rest of the group.
    Managed { vendor: String, group: String, version: Option<String>, parts: BTreeMap<String, Mode> },
    /// Too many requests.
    Rate { limit: u32, window_s: u32, key: RateKey, scope: Option<Match> },
    /// The address is in a set of [`WantedAddresses`].
    Addresses { set: String, scope: Option<Match> },
    /// A label that an earlier rule put on, a path, a method.
    Match(Match),
}

/// An address set as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedAddresses {
    pub name: String,
    pub description: String,
    pub addresses: Vec<Cidr>,
    pub origin: Option<Origin>,
}

/// Distance between two rules' priorities.
const PRIORITY_STEP: u32 = 10;

/// Read the rule sets of an environment. What is wrong is added to the problems.
pub(crate) fn load(
    environment: &Environment,
    origins: &Origins,
    loader: &Loader<'_>,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> RuleSets {
    let mut sets = Vec::new();
    for (index, name) in environment.waf.iter().flat_map(|waf| waf.rule_sets.iter().enumerate()) {
        let path = format!("waf.rule_sets.{index}");
        if environment.waf.iter().any(|waf| waf.rule_sets[..index].contains(name)) {
            let problem =
                Problem::error("duplicate", &path, format!("the rule set \"{name}\" is named twice"));
            problems.push(problem.at(origins.of(&path)));
            continue;
        }
        match rule_set::read(name, loader) {
            Ok((source, file, found)) => {
                sources.add(source);
                problems.extend(found);
                sets.extend(file);
            }
            Err(reason) => {
                let names = loader.rule_set_names();
                let near = nearest(name, names.iter().map(String::as_str)).map(|near| format!("\"{near}\""));
                let message = format!("there is no WAF rule set \"{name}\" ({reason})");
                let problem = Problem::error("missing-rule-set", &path, message).at(origins.of(&path));
                problems.push(problem.allowed(names.join(", ")).near(near.as_deref()));
            }
        }
    }
    RuleSets(sets)
}

impl RuleSets {
    /// All rules in order, each with its file.
    pub fn rules(&self) -> impl Iterator<Item = (&RuleSetFile, usize, &Rule)> {
        self.0.iter().flat_map(|file| {
            file.rule_set.rules.iter().enumerate().map(move |(index, rule)| (file, index, rule))
        })
    }

    /// The rules as the environment wants them.
    pub fn wanted(&self, waf: &Waf, origins: &Origins) -> Vec<WantedRule> {
        let mut wanted = Vec::new();
        for (priority, (file, index, rule)) in (1u32..).zip(self.rules()) {
            let Some(statement) = statement(rule, waf) else { continue };
            let promoted = waf.modes.get(&rule.name);
            let action_origin = match promoted {
                Some(_) => {
                    origins.of(&Path(vec!["waf".into(), "modes".into(), rule.name.clone()]).to_string())
                }
                None => file.origins.of(&format!("rules.{index}.action")),
            };
            let action = match promoted {
                Some(Mode::Count) => RuleAction::Count,
                Some(Mode::Block) => RuleAction::Block,
                None => rule.action,
            };
            wanted.push(WantedRule {
                name: rule.name.clone(),
                priority: priority * PRIORITY_STEP,
                action,
                capacity: rule
                    .managed
                    .as_ref()
                    .and_then(|managed| managed.wcu)
                    .or_else(|| capacity::of(&statement))
                    .unwrap_or(capacity::UNKNOWN_GROUP),
                statement,
                action_origin: action_origin.cloned(),
                origin: file.origins.of(&format!("rules.{index}")).cloned(),
            });
        }
        wanted
    }

    /// The address sets as the environment wants them, by name.
    pub fn addresses(&self, waf: &Waf, origins: &Origins) -> Vec<WantedAddresses> {
        let sets =
            self.0.iter().flat_map(|file| file.rule_set.address_sets.iter().map(move |entry| (file, entry)));
        let mut wanted: Vec<WantedAddresses> = sets
            .map(|(file, (name, set))| {
                let given = waf.addresses.get(name);
                let origin = match given {
                    Some(_) => origins.of(&format!("waf.addresses.{name}")),
                    None => file.origins.of(&format!("address_sets.{name}")),
                };
                WantedAddresses {
                    name: name.clone(),
                    description: set.description.clone(),
                    addresses: given.unwrap_or(&set.addresses).clone(),
                    origin: origin.cloned(),
                }
            })
            .collect();
        wanted.sort_by(|a, b| a.name.cmp(&b.name));
        wanted
    }
}

fn statement(rule: &Rule, waf: &Waf) -> Option<Statement> {
    let scope = rule.only.clone();
    if let Some(managed) = &rule.managed {
        let mut parts = managed.parts.clone();
        let own = format!("{}/", rule.name);
        parts.extend(
            waf.modes.iter().filter_map(|(name, mode)| Some((name.strip_prefix(&own)?.to_owned(), *mode))),
        );
        return Some(Statement::Managed {
            vendor: managed.vendor.clone(),
            group: managed.group.clone(),
            version: managed.version.clone(),
            parts,
        });
    }
    if let Some(rate) = &rule.rate {
        let limit = waf.rate_limits.get(&rule.name).copied().unwrap_or(rate.limit);
        return Some(Statement::Rate { limit, window_s: rate.window_s, key: rate.key.clone(), scope });
    }
    if let Some(set) = &rule.addresses {
        return Some(Statement::Addresses { set: set.clone(), scope });
    }
    scope.map(Statement::Match)
}

/// Hold a rule set's document against its schema; `None` when it cannot be used.
fn typed(document: &mut crate::environment::Node, found: &mut Findings) -> Option<RuleSet> {
    let shape = Shape::root(rule_set::schema());
    let mut refused = Findings::default();
    walk(shape, document, &Path::default(), &mut refused);
    let before = refused.unusable.clone();
    required(shape, document, &Path::default(), &before, &mut refused);
    let usable = refused.problems.is_empty();
    found.problems.append(&mut refused.problems);
    if !usable {
        return None;
    }
    serde_json::from_value(document.json())
        .map_err(|error| {
            found.problems.push(Problem::error("invalid", "", error.to_string()).at(Some(&document.at)))
        })
        .ok()
}
