//! From a plan to the single changes it is made of, and what each must wait for. Two groups may name each other in
//! their rules: the order is therefore between changes, not between resources.

mod letting_go;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::address::Address;
use crate::diff;
use crate::graph::{Graph, Wanted};
use crate::kinds::{Change, KindId, Spec, Wait};
use crate::plan::{Action, Plan, Step, World};
use crate::snapshot::Snapshot;
use crate::value::{self, Reference};

/// One change, or one wait, of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Index into `Plan::steps`.
    pub step: usize,
    pub address: Address,
    pub kind: KindId,
    pub work: Work,
    /// Indices of nodes that must have succeeded before.
    pub needs: BTreeSet<usize>,
    /// Expected seconds.
    pub expected_s: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Create,
    /// Set the fields of this group as wanted.
    Set(&'static str),
    Tag {
        remove: Vec<String>,
    },
    /// Wait until the wanted object is usable.
    Settle,
    /// Empty the fields of this group of the old object, because others that go are named in it.
    Release(&'static str),
    /// Leave these ids out of the fields of this group of an object that stays: they go before their successors come.
    Detach {
        group: &'static str,
        ids: Vec<String>,
    },
    /// Delete the old object.
    Delete,
    /// Wait until the old object is gone.
    Gone,
}

pub use letting_go::{Circle, without};

/// All changes of a plan in an order that respects what each needs.
pub fn operations(plan: &Plan, graph: &Graph, snapshot: &Snapshot) -> Result<Vec<Node>, Circle> {
    let world = World::new(graph, snapshot);
    let mut builder = Builder { plan, world: &world, nodes: Vec::new(), by: BTreeMap::new() };
    for (index, step) in plan.steps.iter().enumerate() {
        builder.add_step(index, step);
    }
    builder.connect();
    builder.check()?;
    Ok(builder.nodes)
}

/// The longest chain of needs, in expected seconds, with the addresses on it.
pub fn critical_path(nodes: &[Node]) -> (u32, Vec<Address>) {
    let mut best: Vec<(u32, Option<usize>)> = vec![(0, None); nodes.len()];
    for index in order(nodes).unwrap_or_default() {
        let from = nodes[index].needs.iter().copied().max_by_key(|&need| best[need].0);
        best[index] = (from.map_or(0, |need| best[need].0) + nodes[index].expected_s, from);
    }
    let mut at = (0..nodes.len()).max_by_key(|&index| best[index].0);
    let total = at.map_or(0, |index| best[index].0);
    let mut path: Vec<Address> = Vec::new();
    while let Some(index) = at {
        if path.last() != Some(&nodes[index].address) {
            path.push(nodes[index].address.clone());
        }
        at = best[index].1;
    }
    path.reverse();
    (total, path)
}

/// Indices such that every node comes after what it needs; `None` when that is impossible.
pub fn order(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut open: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|&index| open[index] == 0).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        node.needs.iter().for_each(|&need| dependents[need].push(index));
    }
    let mut sorted = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop() {
        sorted.push(index);
        for &dependent in &dependents[index] {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                ready.push(dependent);
            }
        }
    }
    (sorted.len() == nodes.len()).then_some(sorted)
}

struct Builder<'a> {
    plan: &'a Plan,
    world: &'a World<'a>,
    nodes: Vec<Node>,
    /// The nodes of each address: of the wanted object, and of the old one that goes.
    by: BTreeMap<Address, Nodes>,
}

#[derive(Debug, Default, Clone)]
struct Nodes {
    create: Option<usize>,
    sets: Vec<usize>,
    settle: Option<usize>,
    release: Vec<usize>,
    /// Of one that stays, by group.
    detach: BTreeMap<&'static str, usize>,
    delete: Option<usize>,
    gone: Option<usize>,
}

impl Nodes {
    /// Created and configured, usable or not.
    fn standing(&self) -> impl Iterator<Item = usize> + '_ {
        self.create.iter().chain(&self.sets).copied()
    }

    fn last_of_old(&self) -> Option<usize> {
        self.gone.or(self.delete)
    }
}

impl Builder<'_> {
    fn node(
        &mut self,
        step: usize,
        work: Work,
        expected_s: u32,
        needs: impl IntoIterator<Item = usize>,
    ) -> usize {
        let Step { address, kind, .. } = &self.plan.steps[step];
        let node = Node {
            step,
            address: address.clone(),
            kind: *kind,
            work,
            needs: needs.into_iter().collect(),
            expected_s,
        };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn add_step(&mut self, index: usize, step: &Step) {
        let mut nodes = Nodes::default();
        match step.action {
            Action::Create => self.add_new(index, step, &mut nodes),
            Action::Update => self.add_update(index, step, &mut nodes),
            Action::Delete => self.add_old(index, step, &mut nodes),
            Action::Replace => {
                self.add_old(index, step, &mut nodes);
                self.add_new(index, step, &mut nodes);
                if !step.create_first
                    && let (Some(create), Some(gone)) = (nodes.create, nodes.last_of_old())
                {
                    self.nodes[create].needs.insert(gone);
                }
            }
        }
        self.by.insert(step.address.clone(), nodes);
    }

    fn add_new(&mut self, index: usize, step: &Step, nodes: &mut Nodes) {
        let spec = step.kind.spec();
        let Some(wanted) = self.world.graph.resources.get(&step.address) else { return };
        let create = self.node(index, Work::Create, 1, []);
        nodes.create = Some(create);
        for group in spec.groups() {
            if needs_set_after_create(spec, group, wanted) {
                nodes.sets.push(self.node(index, Work::Set(group), 1, [create]));
            }
        }
        if spec.wait != Wait::No {
            nodes.settle = Some(self.node(index, Work::Settle, spec.create_s, [create]));
        }
    }

    fn add_update(&mut self, index: usize, step: &Step, nodes: &mut Nodes) {
        let spec = step.kind.spec();
        let changed = |group: &str| {
            step.changes.iter().any(|change| {
                spec.field(change.field())
                    .is_some_and(|field| matches!(field.change, Change::Live(name) if name == group))
            })
        };
        for group in spec.groups().into_iter().filter(|group| changed(group)) {
            nodes.sets.push(self.node(index, Work::Set(group), 1, []));
        }
        if !nodes.sets.is_empty() && spec.wait != Wait::No {
            let sets = nodes.sets.clone();
            nodes.settle = Some(self.node(index, Work::Settle, spec.create_s, sets));
        }
        if step.changes.iter().any(|change| change.field() == "tags") {
            let gone = step.changes.iter().filter(|change| change.after.is_none());
            let remove =
                gone.filter_map(|change| change.path.strip_prefix("tags/")).map(str::to_owned).collect();
            nodes.sets.push(self.node(index, Work::Tag { remove }, 1, []));
        }
    }

    fn add_old(&mut self, index: usize, step: &Step, nodes: &mut Nodes) {
        let spec = step.kind.spec();
        let delete = self.node(index, Work::Delete, 1, []);
        nodes.delete = Some(delete);
        if spec.wait != Wait::No {
            nodes.gone = Some(self.node(index, Work::Gone, spec.delete_s, [delete]));
        }
    }

    fn connect(&mut self) {
        for index in 0..self.nodes.len() {
            let needs = match &self.nodes[index].work {
                Work::Create => self.creation_needs(index),
                Work::Set(group) => self.set_needs(index, group),
                Work::Settle => self.settle_needs(index),
                Work::Tag { .. } | Work::Release(_) | Work::Detach { .. } | Work::Delete | Work::Gone => {
                    BTreeSet::new()
                }
            };
            self.nodes[index].needs.extend(needs);
        }
        self.connect_deletions();
    }

    fn creation_needs(&self, index: usize) -> BTreeSet<usize> {
        let node = &self.nodes[index];
        let Some(wanted) = self.world.graph.resources.get(&node.address) else { return BTreeSet::new() };
        let spec = node.kind.spec();
        let mut needs = BTreeSet::new();
        for field in spec.fields.iter().filter(|field| field.at_create) {
            for reference in wanted.fields.get(field.name).into_iter().flat_map(value::references) {
                needs.extend(self.usable(&reference));
                // What a creation builds on should also be configured: a role with its policies.
                needs.extend(self.by.get(&reference.address).into_iter().flat_map(Nodes::standing));
            }
        }
        for address in &wanted.after {
            needs.extend(self.complete(address));
        }
        needs.remove(&index);
        needs
    }

    fn set_needs(&self, index: usize, group: &str) -> BTreeSet<usize> {
        let node = &self.nodes[index];
        let Some(wanted) = self.world.graph.resources.get(&node.address) else { return BTreeSet::new() };
        let mut needs = BTreeSet::new();
        for field in crate::plan::group_fields(node.kind.spec(), group) {
            for reference in wanted.fields.get(field.name).into_iter().flat_map(value::references) {
                needs.extend(self.usable(&reference));
            }
        }
        needs.remove(&index);
        needs
    }

    fn settle_needs(&self, index: usize) -> BTreeSet<usize> {
        let address = &self.nodes[index].address;
        let after = self.world.graph.resources.get(address).map(|wanted| &wanted.settle_after);
        after.into_iter().flatten().flat_map(|address| self.complete(address)).collect()
    }

    /// The nodes after which a reference has its value.
    fn usable(&self, reference: &Reference) -> Vec<usize> {
        let Some(nodes) = self.by.get(&reference.address) else { return Vec::new() };
        let Some(wanted) = self.world.graph.resources.get(&reference.address) else { return Vec::new() };
        let spec = wanted.kind.spec();
        if spec.usable_when_set {
            return nodes.standing().collect();
        }
        let late = reference.attribute.as_deref().is_some_and(|name| spec.late_attributes.contains(&name));
        let early = reference.attribute.is_some() && !late;
        if late || spec.wait == Wait::BeforeUse && !early {
            nodes.settle.or(nodes.create).into_iter().collect()
        } else {
            nodes.create.into_iter().collect()
        }
    }

    /// Everything after which an address stands as wanted.
    fn complete(&self, address: &Address) -> Vec<usize> {
        let Some(nodes) = self.by.get(address) else { return Vec::new() };
        let wait = self.world.graph.resources.get(address).map(|wanted| wanted.kind.spec().wait);
        let settle = nodes.settle.filter(|_| wait == Some(Wait::BeforeUse));
        nodes.standing().chain(settle).collect()
    }
}

/// Whether creation leaves a group other than wanted.
fn needs_set_after_create(spec: &Spec, group: &str, wanted: &Wanted) -> bool {
    crate::plan::group_fields(spec, group).filter(|field| !field.at_create).any(|field| {
        let default: Value =
            field.default.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
        wanted.fields.get(field.name).is_some_and(|value| diff::canonical(value) != diff::canonical(&default))
    })
}
