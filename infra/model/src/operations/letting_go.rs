//! Who must let go of an old object before it can go: those that go too, those that will name another, and those that
//! stay and do without it until its successor stands. Owns the order of deletions, and says when there is none.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Builder, Nodes, Work, order};
use crate::address::Address;
use crate::kinds::{Change, Field};
use crate::plan::{Action, group_fields, mentions};
use crate::snapshot::Observed;

/// So many names say enough.
const NAMED_MAX: usize = 3;

/// There is no order: something has to go before its successor can be made, and what stays needs one of them all the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// What has to go, with those that hold it.
    pub held: Vec<(Address, Vec<Address>)>,
}

impl std::error::Error for Circle {}

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let some = |addresses: &[Address]| {
            let named: Vec<&str> = addresses.iter().take(NAMED_MAX).map(Address::as_str).collect();
            let more = addresses.len().saturating_sub(NAMED_MAX);
            let named = named.join(", ");
            if more > 0 { format!("{named} and {more} more") } else { named }
        };
        let holders: BTreeSet<Address> = self.held.iter().flat_map(|(_, holders)| holders.clone()).collect();
        let going: Vec<Address> = self.held.iter().map(|(address, _)| address.clone()).collect();
        if holders.is_empty() {
            return write!(
                f,
                "{} hold each other, and each must go before its successor can be made: AWS has no order for this. \
                 Change them one after the other, or make a second environment with the new values.",
                some(&going)
            );
        }
        write!(
            f,
            "{} must go before a successor can be made, but {} stay and cannot do without: AWS has no order for this. \
             Make a second environment with the new values, or destroy this one first.",
            some(&going),
            some(&holders.into_iter().collect::<Vec<_>>())
        )
    }
}

impl Builder<'_> {
    /// An old object goes after all that name it: those that go too, and those that will name another.
    pub(super) fn connect_deletions(&mut self) {
        let going: Vec<(Address, &Observed)> = self
            .by
            .iter()
            .filter(|(_, nodes)| nodes.delete.is_some())
            .filter_map(|(address, _)| {
                self.world.observed.get(address).map(|object| (address.clone(), *object))
            })
            .collect();
        let circles = weak_circles(&going);
        for (address, object) in &going {
            self.release(address, object, &going, &circles);
        }
        self.detach(&going);
        let mut edges = Vec::new();
        for (address, object) in &going {
            let Some(delete) = self.by.get(address).and_then(|nodes| nodes.delete) else { continue };
            for (referrer, nodes) in &self.by {
                if referrer == address {
                    continue;
                }
                let names = self.world.observed.get(referrer).is_some_and(|other| names(other, object, None));
                if names {
                    edges
                        .extend(self.lets_go(referrer, nodes, object).into_iter().map(|need| (delete, need)));
                }
                let after = object.kind.spec().delete_after;
                let kind = self.world.observed.get(referrer).map(|other| other.kind);
                if kind.is_some_and(|kind| after.contains(&kind)) {
                    edges.extend(nodes.last_of_old().map(|need| (delete, need)));
                }
            }
            // Of a create-first replacement: the new one stands, and all that named the old one name it.
            let nodes = &self.by[address];
            if self.plan.steps[self.nodes[delete].step].create_first {
                edges.extend(nodes.standing().chain(nodes.settle).map(|need| (delete, need)));
            }
        }
        for (delete, need) in edges {
            self.nodes[delete].needs.insert(need);
        }
    }

    /// The nodes after which `referrer` no longer names `object`.
    fn lets_go(&self, referrer: &Address, nodes: &Nodes, object: &Observed) -> Vec<usize> {
        let Some(other) = self.world.observed.get(referrer) else { return Vec::new() };
        if let Some(last) = nodes.last_of_old() {
            let spec = other.kind.spec();
            let strongly = names(other, object, Some(false));
            if !strongly && !nodes.release.is_empty() && spec.fields.iter().any(|field| field.released) {
                return nodes.release.clone();
            }
            return vec![last];
        }
        let spec = other.kind.spec();
        let holding = spec.groups().into_iter().filter(|group| {
            group_fields(spec, group).any(|field| field_names(field, other.fields.get(field.name), object))
        });
        let detached: Option<Vec<usize>> = holding.map(|group| nodes.detach.get(group).copied()).collect();
        detached.filter(|detached| !detached.is_empty()).unwrap_or_else(|| nodes.sets.clone())
    }

    /// What stays and names an object that goes before its successor comes does without it meanwhile, where AWS lets it.
    fn detach(&mut self, going: &[(Address, &Observed)]) {
        let first: Vec<&Observed> = going
            .iter()
            .filter(|(address, _)| {
                self.by[address].delete.is_some_and(|delete| {
                    let step = &self.plan.steps[self.nodes[delete].step];
                    step.action == Action::Replace && !step.create_first
                })
            })
            .map(|(_, object)| *object)
            .collect();
        let mut wanted = Vec::new();
        for (referrer, nodes) in self.by.iter().filter(|(_, nodes)| nodes.delete.is_none()) {
            let (Some(other), Some(&set)) = (self.world.observed.get(referrer), nodes.sets.first()) else {
                continue;
            };
            for group in other.kind.spec().groups() {
                let ids = left_out(other, group, &first);
                if !ids.is_empty() {
                    wanted.push((referrer.clone(), self.nodes[set].step, group, ids));
                }
            }
        }
        for (referrer, step, group, ids) in wanted {
            let node = self.node(step, Work::Detach { group, ids }, 1, []);
            if let Some(nodes) = self.by.get_mut(&referrer) {
                nodes.detach.insert(group, node);
            }
        }
    }

    fn release(
        &mut self,
        address: &Address,
        object: &Observed,
        going: &[(Address, &Observed)],
        circles: &BTreeSet<Address>,
    ) {
        let nodes = &self.by[address];
        let Some(delete) = nodes.delete.filter(|_| circles.contains(address)) else { return };
        let step = self.nodes[delete].step;
        for field in object.kind.spec().fields.iter().filter(|field| field.released) {
            let Change::Live(group) = field.change else { continue };
            let held = object.fields.get(field.name);
            let holds = |(other, target): &(Address, &Observed)| {
                other != address && held.is_some_and(|value| mentions(value, &target.id))
            };
            if going.iter().any(holds) {
                let release = self.node(step, Work::Release(group), 1, []);
                self.nodes[delete].needs.insert(release);
                if let Some(nodes) = self.by.get_mut(address) {
                    nodes.release.push(release);
                }
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), Circle> {
        if order(&self.nodes).is_some() {
            return Ok(());
        }
        let mut open: Vec<usize> = (0..self.nodes.len()).collect();
        loop {
            let left: Vec<usize> = open
                .iter()
                .copied()
                .filter(|index| self.nodes[*index].needs.iter().any(|need| open.contains(need)))
                .collect();
            if left.len() == open.len() {
                return Err(self.circle(&left));
            }
            open = left;
        }
    }

    fn circle(&self, waiting: &[usize]) -> Circle {
        let stays = |address: &Address| self.by.get(address).is_some_and(|nodes| nodes.delete.is_none());
        let deletions =
            waiting.iter().map(|&index| &self.nodes[index]).filter(|node| node.work == Work::Delete);
        let mut held: Vec<(Address, Vec<Address>)> = deletions
            .map(|node| {
                let needs = node.needs.iter().filter(|need| waiting.contains(need));
                let holders: BTreeSet<Address> =
                    needs.map(|&need| self.nodes[need].address.clone()).filter(stays).collect();
                (node.address.clone(), holders.into_iter().collect())
            })
            .collect();
        // Where something stays and holds, that is the reason; otherwise those that go hold each other.
        if held.iter().any(|(_, holders)| !holders.is_empty()) {
            held.retain(|(_, holders)| !holders.is_empty());
        }
        Circle { held }
    }
}

/// Whether `other` names `object` by id or ARN. `released`: only in fields that are (not) emptied before deletion.
fn names(other: &Observed, object: &Observed, released: Option<bool>) -> bool {
    let spec = other.kind.spec();
    other.fields.iter().filter_map(|(name, value)| Some((spec.field(name)?, value))).any(|(field, value)| {
        released.is_none_or(|released| field.released == released) && field_names(field, Some(value), object)
    })
}

fn field_names(field: &Field, value: Option<&Value>, object: &Observed) -> bool {
    let by_id = !object.kind.spec().named || field.refers.contains(&object.kind);
    let arn = object.attributes.get("arn");
    value.is_some_and(|value| {
        by_id && mentions(value, &object.id) || arn.is_some_and(|arn| mentions(value, arn))
    })
}

/// The ids that a group of `other` can do without for a while; none when AWS would refuse what is left.
fn left_out(other: &Observed, group: &str, going: &[&Observed]) -> Vec<String> {
    let mut ids = BTreeSet::new();
    for field in group_fields(other.kind.spec(), group) {
        let Some(value) = other.fields.get(field.name) else { continue };
        let named: Vec<&&Observed> =
            going.iter().filter(|object| field_names(field, Some(value), object)).collect();
        if named.is_empty() {
            continue;
        }
        let arns = named.iter().filter_map(|object| object.attributes.get("arn"));
        let here: Vec<String> = named.iter().map(|object| &object.id).chain(arns).cloned().collect();
        let left = match without(value, &here) {
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if field.least_left.is_none_or(|least| left < least) {
            return Vec::new();
        }
        ids.extend(here);
    }
    ids.into_iter().collect()
}

/// A field's value without what names one of these ids.
pub fn without(value: &Value, ids: &[String]) -> Value {
    let names = |value: &Value| ids.iter().any(|id| mentions(value, id));
    match value {
        Value::Array(items) => Value::Array(items.iter().filter(|item| !names(item)).cloned().collect()),
        other if names(other) => Value::Null,
        other => other.clone(),
    }
}

/// Objects that name each other, directly or around a circle, in fields that can be emptied first.
fn weak_circles(going: &[(Address, &Observed)]) -> BTreeSet<Address> {
    let weak: Vec<Vec<usize>> = going
        .iter()
        .map(|(_, from)| (0..going.len()).filter(|&to| names(from, going[to].1, Some(true))).collect())
        .collect();
    let reaches = |start: usize, goal: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), weak[start].clone());
        while let Some(at) = open.pop() {
            if at == goal {
                return true;
            }
            if seen.insert(at) {
                open.extend(&weak[at]);
            }
        }
        false
    };
    (0..going.len()).filter(|&index| reaches(index, index)).map(|index| going[index].0.clone()).collect()
}
