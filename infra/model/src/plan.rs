//! The decision: what to do so that a snapshot becomes a graph. A plan is a value that can be printed, stored, compared
//! and refused; it leaves no choice to its execution. It asks nothing and changes nothing.

mod claims;
mod losses;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::address::Address;
use crate::diff::{self, FieldChange};
use crate::graph::{Graph, Scope, TAG_PROTECT, Wanted};
use crate::kinds::{Change, Field, KindId, Layer, Replacement, Spec};
use crate::operations::operations;
use crate::snapshot::{Observed, Snapshot, State, Unmanaged};
use crate::value::{self, Fields, Reference};
use crate::waf;

/// The version of the plan file's shape; a reader refuses others.
pub const PLAN_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub scope: Scope,
    /// What changes, by layer and address. Resources that stay as they are have no step.
    pub steps: Vec<Step>,
    /// How many stay as they are.
    pub unchanged: usize,
    /// Differences in fields that somebody else owns: shown, never changed.
    pub left_alone: Vec<(Address, FieldChange)>,
    /// What forbids applying this plan, each with its remedy.
    pub problems: Vec<Problem>,
    /// Objects inside ours that are nobody's we know. Never touched.
    pub unmanaged: Vec<Unmanaged>,
    /// Over all that is wanted and all that was observed: the same digest is the same plan.
    pub digest: String,
    /// The digest of each wanted resource and of each observed object, to name what moved.
    pub wanted_digests: BTreeMap<Address, String>,
    pub observed_digests: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Update,
    Replace,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub address: Address,
    pub kind: KindId,
    pub action: Action,
    /// The object that is changed, replaced or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub changes: Vec<FieldChange>,
    /// Why it must be replaced, or why it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What stands still meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<String>,
    /// What no later apply brings back: data that goes with the object, or that the change lets go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
    /// Of a replacement: whether the new one is made before the old one goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create_first: bool,
    /// It loses data or is protected: needs `--allow-delete ADDRESS`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guarded: bool,
    /// The address it had before (`moved`); the object is only re-tagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Address>,
    /// Of a web ACL: the rules that act differently from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promotions: Vec<waf::Promotion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// Two objects carry one address.
    Duplicate { address: Address, kind: KindId, objects: Vec<Duplicate> },
    /// The kind could not be read whole, so nothing of it is created or deleted.
    Incomplete { kind: KindId, reason: String },
    /// Something of others that the environment names by its id is not there.
    Missing { what: String, id: String, origin: Option<String>, wanted_by: Vec<Address> },
    /// A deletion that nobody allowed.
    Guarded { address: Address, kind: KindId, id: String, store: bool },
    /// The graph itself is at fault.
    Graph { message: String },
    /// What goes and what stays hold each other: AWS has no order in which this could be done.
    NoOrder { message: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    pub id: String,
    /// Addresses of the objects that refer to it.
    pub referred_by: Vec<String>,
}

/// What the person at the keyboard allows and asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this address and what it depends on.
    pub only: Option<Address>,
    pub allow_delete: BTreeSet<Address>,
    /// Everything may be deleted, stores and protected objects too.
    pub allow_all: bool,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.problems.is_empty()
    }

    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }

    pub fn step(&self, address: &Address) -> Option<&Step> {
        self.steps.iter().find(|step| &step.address == address)
    }

    /// What differs between the account this plan was made for and the one that `later` saw.
    pub fn moved_since(&self, later: &Plan) -> Vec<String> {
        let mut moved = Vec::new();
        let keys: BTreeSet<_> = self.observed_digests.keys().chain(later.observed_digests.keys()).collect();
        for key in keys {
            match (self.observed_digests.get(key), later.observed_digests.get(key)) {
                (Some(_), None) => moved.push(format!("{key} is gone")),
                (None, Some(_)) => moved.push(format!("{key} is new")),
                (before, after) if before != after => moved.push(format!("{key} has changed")),
                _ => {}
            }
        }
        let keys: BTreeSet<_> = self.wanted_digests.keys().chain(later.wanted_digests.keys()).collect();
        for key in keys {
            if self.wanted_digests.get(key) != later.wanted_digests.get(key) {
                moved.push(format!("{key}: another value is wanted now"));
            }
        }
        moved
    }
}

/// Compares what is wanted with what is there.
pub fn plan(graph: &Graph, snapshot: &Snapshot, options: &Options) -> Plan {
    let world = World::new(graph, snapshot);
    let mut problems = world.problems();
    let closure = options.only.as_ref().map(|only| graph.closure(only));
    let concerns = |address: &Address| {
        closure.as_ref().is_none_or(|closure| closure.contains(address))
            || options.only.as_ref() == Some(address)
    };
    problems.extend(missing(graph, snapshot, &concerns));
    let remade = world.remade();
    let mut steps = Vec::new();
    let (mut unchanged, mut left_alone) = (0, Vec::new());
    for (address, wanted) in &graph.resources {
        if snapshot.incomplete.contains_key(&wanted.kind) || world.duplicated.contains(address) {
            continue;
        }
        let (step, others) = world.step(address, wanted, &remade);
        left_alone.extend(others.into_iter().map(|change| (address.clone(), change)));
        match step {
            Some(step) => steps.push(step),
            None => unchanged += 1,
        }
    }
    steps.extend(world.unwanted());
    steps.retain(|step| concerns(&step.address));
    let allowed = |step: &&Step| options.allow_all || options.allow_delete.contains(&step.address);
    for step in steps.iter().filter(|step| step.guarded && !allowed(step)) {
        let (address, kind, store) = (step.address.clone(), step.kind, step.kind.spec().store);
        problems.push(Problem::Guarded { address, kind, id: step.id.clone().unwrap_or_default(), store });
    }
    steps.sort_by(|a, b| (layer(a), &a.address, a.action).cmp(&(layer(b), &b.address, b.action)));
    let (wanted_digests, observed_digests) = (wanted_digests(graph), observed_digests(snapshot));
    let mut plan = Plan {
        version: PLAN_VERSION,
        scope: graph.scope.clone(),
        steps,
        unchanged,
        left_alone,
        problems,
        unmanaged: snapshot.unmanaged.iter().cloned().chain(homeless(snapshot)).collect(),
        digest: digest(&(&wanted_digests, &observed_digests, &snapshot.incomplete, options.only.as_ref())),
        wanted_digests,
        observed_digests,
    };
    // What is in doubt has no order either; the doubt is told alone.
    let certain = plan.problems.iter().all(|problem| matches!(problem, Problem::Guarded { .. }));
    if certain && let Err(circle) = operations(&plan, graph, snapshot) {
        plan.problems.push(Problem::NoOrder { message: circle.to_string() });
    }
    plan
}

/// What the wanted resources name of others by id and nobody has. An environment that wants nothing misses nothing.
fn missing<'a>(
    graph: &'a Graph,
    snapshot: &'a Snapshot,
    concerns: &'a dyn Fn(&Address) -> bool,
) -> impl Iterator<Item = Problem> + 'a {
    snapshot.missing.iter().filter_map(move |(id, what)| {
        let names = |wanted: &&Wanted| wanted.fields.values().any(|value| mentions(value, id));
        let wanting: Vec<(&Address, &Wanted)> =
            graph.resources.iter().filter(|(address, wanted)| concerns(address) && names(wanted)).collect();
        let (_, first) = wanting.first()?;
        let field = first.fields.iter().find(|(_, value)| mentions(value, id)).map(|(name, _)| name);
        Some(Problem::Missing {
            what: what.clone(),
            id: id.clone(),
            origin: field.and_then(|field| first.origin_of(field)).map(str::to_owned),
            wanted_by: wanting.into_iter().map(|(address, _)| address.clone()).collect(),
        })
    })
}

/// What carries our tags without an address that could be one: nothing of ours is made so, and nothing is done to it.
fn homeless(snapshot: &Snapshot) -> impl Iterator<Item = Unmanaged> + '_ {
    let homeless = snapshot.resources.iter().filter(|object| object.address.is_none());
    homeless.map(|object| Unmanaged {
        what: format!("{} with our tags and no address", object.kind.spec().title),
        id: object.id.clone(),
        name: object.tags.get("Name").cloned(),
        within: format!("{}-{}", snapshot.scope.project, snapshot.scope.environment),
    })
}

fn layer(step: &Step) -> Layer {
    step.kind.spec().layer
}

/// Both sides, with the look-ups between them.
pub(crate) struct World<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) snapshot: &'a Snapshot,
    /// The object of each address, moved ones under their new address. Objects on their way out count as absent. What a
    /// create-first replacement that did not finish has left stands here as `address@id`, which nobody wants.
    pub(crate) observed: BTreeMap<Address, &'a Observed>,
    moved_from: BTreeMap<&'a Address, &'a Address>,
    duplicated: BTreeSet<Address>,
}

/// The addresses that will have another id after the apply, with the reasons.
pub(crate) type Remade = BTreeMap<Address, Vec<String>>;

impl<'a> World<'a> {
    pub(crate) fn new(graph: &'a Graph, snapshot: &'a Snapshot) -> Self {
        let mut claims: BTreeMap<&Address, Vec<&Observed>> = BTreeMap::new();
        for object in snapshot.resources.iter().filter(|object| object.state != State::Deleting) {
            if let Some(address) = &object.address {
                claims.entry(address).or_default().push(object);
            }
        }
        let mut observed: BTreeMap<Address, &Observed> = BTreeMap::new();
        let (mut duplicated, mut contested) = (BTreeSet::new(), Vec::new());
        for (address, objects) in claims {
            match objects.as_slice() {
                [object] => {
                    observed.insert(address.clone(), object);
                }
                _ => contested.push((address, objects)),
            }
        }
        let mut moved_from = BTreeMap::new();
        for (address, wanted) in &graph.resources {
            let former = wanted.moved_from.iter().find(|former| observed.contains_key(*former));
            if let Some(former) = former
                && !observed.contains_key(address)
                && !graph.resources.contains_key(former)
                && let Some(object) = observed.remove(former).filter(|object| object.kind == wanted.kind)
            {
                observed.insert(address.clone(), object);
                moved_from.insert(address, former);
            }
        }
        let mut world = Self { graph, snapshot, observed, moved_from, duplicated: BTreeSet::new() };
        for (address, objects) in contested {
            if !world.settle_claims(address, &objects) {
                duplicated.insert(address.clone());
            }
        }
        world.duplicated = duplicated;
        world
    }

    /// Which wanted resources are created or replaced. Replacing one may force those that hold its id in a fixed field,
    /// so this repeats until nothing is added; each round adds at least one, so there are at most as many rounds as resources.
    pub(crate) fn remade(&self) -> Remade {
        let mut remade = Remade::new();
        for (address, wanted) in &self.graph.resources {
            let unread = self.snapshot.incomplete.contains_key(&wanted.kind);
            if !unread && !self.observed.contains_key(address) {
                remade.insert(address.clone(), Vec::new());
            }
        }
        loop {
            let mut added = Vec::new();
            for (address, wanted) in &self.graph.resources {
                if remade.contains_key(address) || self.duplicated.contains(address) {
                    continue;
                }
                let Some(object) = self.observed.get(address) else { continue };
                let reasons = self.replacement_reasons(wanted, object, &remade);
                if !reasons.is_empty() {
                    added.push((address.clone(), reasons));
                }
            }
            if added.is_empty() {
                return remade;
            }
            remade.extend(added);
        }
    }

    fn replacement_reasons(&self, wanted: &Wanted, object: &Observed, remade: &Remade) -> Vec<String> {
        let mut reasons = Vec::new();
        if object.kind != wanted.kind {
            reasons.push(format!("it is a {} now", wanted.kind.spec().title));
        }
        if let State::Failed(why) = &object.state {
            reasons.push(format!("it has failed: {why}"));
        }
        let (fields, _) = self.effective(wanted, object, remade);
        for change in diff::fields(wanted.kind.spec(), &fields, &object.fields) {
            if change.replaces {
                reasons.push(reason(&change));
            }
        }
        reasons.dedup();
        reasons
    }

    /// The wanted fields with what is known filled in, and with what others own taken from the object. Also those differences.
    pub(crate) fn effective(
        &self,
        wanted: &Wanted,
        object: &Observed,
        remade: &Remade,
    ) -> (Fields, Vec<FieldChange>) {
        let (resolved, _) =
            value::resolve(&Value::Object(wanted.fields.clone()), &|reference| self.known(reference, remade));
        let observed = Value::Object(object.fields.clone());
        let (mut resolved, mut others) = (resolved, Vec::new());
        // What refers to a kind that could not be read is not known to differ.
        for (name, value) in &wanted.fields {
            let unread = |reference: &Reference| {
                let target = self.graph.resources.get(&reference.address);
                target.is_some_and(|target| self.snapshot.incomplete.contains_key(&target.kind))
            };
            if value::references(value).iter().any(unread) {
                resolved[name.as_str()] = object.fields.get(name).cloned().unwrap_or_default();
            }
        }
        for (path, owner) in &wanted.owners {
            let pointer = format!("/{path}");
            let (Some(there), Some(slot)) = (observed.pointer(&pointer), resolved.pointer_mut(&pointer))
            else {
                continue;
            };
            if diff::canonical(there) != diff::canonical(slot) {
                others.push(FieldChange {
                    path: path.clone(),
                    before: Some(there.clone()),
                    after: Some(slot.clone()),
                    origin: wanted.origin_of(path).map(str::to_owned),
                    owner: Some(owner.clone()),
                    replaces: false,
                });
                *slot = there.clone();
            }
        }
        match resolved {
            Value::Object(fields) => (fields, others),
            _ => (Fields::new(), others),
        }
    }

    /// What a reference stands for, unless that is known only after the apply.
    pub(crate) fn known(&self, reference: &Reference, remade: &Remade) -> Option<String> {
        if remade.contains_key(&reference.address) {
            return None;
        }
        let object = self.observed.get(&reference.address)?;
        match &reference.attribute {
            None => Some(object.id.clone()),
            Some(attribute) => object.attributes.get(attribute).cloned(),
        }
    }

    fn step(&self, address: &Address, wanted: &Wanted, remade: &Remade) -> (Option<Step>, Vec<FieldChange>) {
        let Some(object) = self.observed.get(address) else {
            return (Some(self.creation(address, wanted)), Vec::new());
        };
        let spec = wanted.kind.spec();
        let (fields, others) = self.effective(wanted, object, remade);
        let mut changes = diff::fields(spec, &fields, &object.fields);
        let tags = self.graph.tags_of(address, wanted);
        changes.extend(diff::tags(&tags, &object.tags).into_iter().filter(|change| {
            // A marker holds whose it is and nothing else.
            spec.tags || self.graph.scope.ownership(address).contains_key(&change.path["tags/".len()..])
        }));
        for change in &mut changes {
            change.origin = wanted.origin_of(&change.path).map(str::to_owned);
        }
        let reasons = remade.get(address).cloned().unwrap_or_default();
        if changes.is_empty() && reasons.is_empty() {
            return (None, others);
        }
        let replace = remade.contains_key(address);
        let step = Step {
            address: address.clone(),
            kind: wanted.kind,
            action: if replace { Action::Replace } else { Action::Update },
            id: Some(object.id.clone()),
            interrupts: interrupts(spec, &changes),
            loses: if replace { losses::with(object) } else { losses::by(spec, &changes) },
            create_first: replace && self.create_first(wanted, object, &fields),
            guarded: replace && (spec.store || wanted.protect || protected(object)),
            moved_from: self.moved_from.get(address).map(|former| (*former).clone()),
            promotions: waf::promotions_between(wanted.kind, &object.fields, &fields),
            changes,
            reasons,
        };
        (Some(step), others)
    }

    /// Create-first needs a name that the old one does not hold. What a kind that is otherwise replaced delete-first refers to
    /// may come back as the same: there the other name must be known. Where there is no tag, nothing would say which is new.
    fn create_first(&self, wanted: &Wanted, object: &Observed, fields: &Fields) -> bool {
        let spec = wanted.kind.spec();
        let same = |field: &str| fields.get(field) == object.fields.get(field);
        let renamed = |field: &str| {
            let known = fields.get(field).is_some_and(|value| value::references(value).is_empty());
            known && !same(field)
        };
        match spec.replacement {
            Replacement::CreateFirst => {
                spec.unique.is_empty() || !spec.unique.iter().all(|field| same(field))
            }
            Replacement::DeleteFirst => spec.tags && spec.unique.iter().any(|field| renamed(field)),
        }
    }

    fn creation(&self, address: &Address, wanted: &Wanted) -> Step {
        let changes = wanted.fields.iter().map(|(name, after)| FieldChange {
            path: name.clone(),
            before: None,
            after: Some(after.clone()),
            origin: wanted.origin_of(name).map(str::to_owned),
            owner: None,
            replaces: false,
        });
        Step {
            address: address.clone(),
            kind: wanted.kind,
            action: Action::Create,
            id: None,
            changes: changes.collect(),
            reasons: Vec::new(),
            interrupts: Vec::new(),
            loses: Vec::new(),
            create_first: false,
            guarded: false,
            moved_from: None,
            promotions: Vec::new(),
        }
    }

    /// Objects with our tags at addresses nobody wants.
    fn unwanted(&self) -> Vec<Step> {
        let unwanted = self.observed.iter().filter(|(address, object)| {
            !self.graph.resources.contains_key(*address)
                && !self.duplicated.contains(*address)
                && !self.snapshot.incomplete.contains_key(&object.kind)
        });
        unwanted
            .map(|(address, object)| Step {
                address: address.clone(),
                kind: object.kind,
                action: Action::Delete,
                id: Some(object.id.clone()),
                changes: Vec::new(),
                reasons: match address.as_str().split_once('@') {
                    Some((new, _)) if self.graph.resources.contains_key(&Address::new(new)) => {
                        vec![format!("another object is {new} now; an earlier replacement did not finish")]
                    }
                    // Where nothing is wanted at all, that is the reason for everything.
                    _ if self.graph.resources.is_empty() => Vec::new(),
                    _ => vec!["the environment does not name it".to_owned()],
                },
                interrupts: Vec::new(),
                loses: losses::with(object),
                create_first: false,
                guarded: object.kind.spec().store || protected(object),
                moved_from: None,
                promotions: Vec::new(),
            })
            .collect()
    }
}

fn protected(object: &Observed) -> bool {
    object.tags.get(TAG_PROTECT).is_some_and(|value| value == "true")
}

fn reason(change: &FieldChange) -> String {
    match &change.after {
        Some(after) if !value::references(after).is_empty() => {
            let targets: Vec<String> =
                value::references(after).into_iter().map(|reference| reference.address.to_string()).collect();
            format!("`{}` names {}, which will be another", change.path, targets.join(", "))
        }
        _ => format!("`{}` cannot be changed in place", change.path),
    }
}

fn interrupts(spec: &Spec, changes: &[FieldChange]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for field in changes.iter().filter_map(|change| spec.field(change.field())) {
        if let Some(what) = field.interrupts
            && !found.iter().any(|known| known == what)
        {
            found.push(what.to_owned());
        }
    }
    found
}

/// Whether a value holds this id anywhere, as a whole string.
pub(crate) fn mentions(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text == id,
        Value::Array(items) => items.iter().any(|item| mentions(item, id)),
        Value::Object(map) => map.values().any(|item| mentions(item, id)),
        _ => false,
    }
}

/// The fields that one group's call sets.
pub fn group_fields<'a>(spec: &'a Spec, group: &'a str) -> impl Iterator<Item = &'static Field> + 'a {
    spec.fields.iter().filter(move |field| matches!(field.change, Change::Live(name) if name == group))
}

fn wanted_digests(graph: &Graph) -> BTreeMap<Address, String> {
    let one = |(address, wanted): (&Address, &Wanted)| {
        let tags = graph.tags_of(address, wanted);
        let told = (&wanted.kind, &wanted.fields, &tags, &wanted.owners, &wanted.after, &wanted.moved_from);
        (address.clone(), digest(&told))
    };
    graph.resources.iter().map(one).collect()
}

fn observed_digests(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let one = |object: &Observed| {
        let name = match &object.address {
            Some(address) => format!("{address} ({})", object.id),
            None => object.id.clone(),
        };
        (name, digest(&(&object.fields, &object.attributes, &object.tags, &object.state)))
    };
    snapshot.resources.iter().map(one).collect()
}

/// The first 16 bytes of SHA-256 over the canonical JSON: enough to tell plans apart for ever.
fn digest(told: &impl Serialize) -> String {
    let value = serde_json::to_value(told).expect("plain data serialises");
    let hash = Sha256::digest(diff::canonical(&value));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
