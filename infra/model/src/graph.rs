//! The wanted side: every resource of one environment with its fields, where each value came from, and who else may
//! own it. The blueprint fills a graph; the plan compares it with a snapshot. Nothing here knows what exists.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::Address;
use crate::kinds::{Kind, KindId};
use crate::value::{self, Fields, Reference};

/// Which environment of which account: what ownership tags say and what a snapshot is limited to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub project: String,
    pub environment: String,
    /// Twelve digits.
    pub account: String,
    pub region: String,
    /// Hosted zones the environment writes records into without owning them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shared_zones: BTreeSet<String>,
}

/// The tag keys that say whose an object is. Other keys belong to others and are never removed.
pub const TAG_PREFIX: &str = "keyway:";
pub const TAG_PROJECT: &str = "keyway:project";
pub const TAG_ENVIRONMENT: &str = "keyway:environment";
pub const TAG_ADDRESS: &str = "keyway:address";
/// `true` on what only `--allow-delete` may delete, also when no environment file names it any more.
/// On the new one of a create-first replacement: the id of the old one, which is to go. A run that dies in between is
/// understood by it; another object with our tags, a copy that somebody made, is nobody's guess.
pub const TAG_REPLACES: &str = "keyway:replaces";
pub const TAG_PROTECT: &str = "keyway:protect";
/// Tells one generated value of a secret from the next; written by the shell, compared by nobody.
pub const TAG_GENERATION: &str = "keyway:generation";

impl Scope {
    /// The tags that make an object ours at `address`.
    pub fn ownership(&self, address: &Address) -> BTreeMap<String, String> {
        BTreeMap::from([
            (TAG_PROJECT.to_owned(), self.project.clone()),
            (TAG_ENVIRONMENT.to_owned(), self.environment.clone()),
            (TAG_ADDRESS.to_owned(), address.to_string()),
        ])
    }

    /// The address that these tags give an object of this environment, if they do.
    pub fn address_of(&self, tags: &BTreeMap<String, String>) -> Option<Address> {
        let ours = tags.get(TAG_PROJECT) == Some(&self.project)
            && tags.get(TAG_ENVIRONMENT) == Some(&self.environment);
        tags.get(TAG_ADDRESS).filter(|_| ours)?.parse().ok()
    }

    /// The beginning of every physical name: `keyway-staging`.
    pub fn prefix(&self) -> String {
        format!("{}-{}", self.project, self.environment)
    }
}

/// One resource as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    pub kind: KindId,
    pub fields: Fields,
    /// Tags besides those of ownership.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Where a field's value was written (`staging.toml:14`), by field path (`cpu`, `containers/0/image`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, String>,
    /// Who else changes a field (`ci`, `autoscaler`), by field path. Its difference never makes a plan dirty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owners: BTreeMap<String, String>,
    /// Deleting or replacing it needs `--allow-delete ADDRESS`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// Must stand before this is created, beyond what the fields name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<Address>,
    /// Must stand before this can settle (a certificate's validation records).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub settle_after: BTreeSet<Address>,
    /// Addresses it had before, newest last (`moved`): an object tagged so is this one, and is re-tagged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_from: Vec<Address>,
}

impl Wanted {
    pub fn new<K: Kind>(resource: &K) -> Self {
        Self {
            kind: K::ID,
            fields: value::to_fields(resource),
            tags: BTreeMap::new(),
            origins: BTreeMap::new(),
            owners: BTreeMap::new(),
            protect: false,
            after: BTreeSet::new(),
            settle_after: BTreeSet::new(),
            moved_from: Vec::new(),
        }
    }

    pub fn origin(mut self, field: &str, place: impl Into<String>) -> Self {
        self.origins.insert(field.to_owned(), place.into());
        self
    }

    pub fn owned_by(mut self, field: &str, owner: impl Into<String>) -> Self {
        self.owners.insert(field.to_owned(), owner.into());
        self
    }

    pub fn protect(mut self, protect: bool) -> Self {
        self.protect = protect;
        self
    }

    pub fn after(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.after.extend(addresses);
        self
    }

    pub fn settle_after(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.settle_after.extend(addresses);
        self
    }

    /// The nearest origin of a field path: its own, or that of the path above it.
    pub fn origin_of(&self, path: &str) -> Option<&str> {
        let mut at = path;
        loop {
            if let Some(origin) = self.origins.get(at) {
                return Some(origin);
            }
            at = at.rsplit_once('/')?.0;
        }
    }

    pub fn references(&self) -> BTreeSet<Reference> {
        self.fields.values().flat_map(value::references).collect()
    }
}

/// All wanted resources of an environment, and what it shows when it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub scope: Scope,
    /// Tags that every resource carries besides those of ownership.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub resources: BTreeMap<Address, Wanted>,
    /// Values worth showing at the end, with references: `url` -> `https://${edge/load_balancer#dns_name}`.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("{from} refers to {to}, which is not in the graph")]
    Dangling { from: Address, to: Address },
    #[error("{from} refers to attribute `{attribute}` of {to}; a {kind} has {known}")]
    Attribute { from: Address, to: Address, kind: KindId, attribute: String, known: String },
    #[error("{address}: the fields are not those of a {kind}: {problem}")]
    Fields { address: Address, kind: KindId, problem: String },
}

impl Graph {
    pub fn new(scope: Scope) -> Self {
        Self { scope, tags: BTreeMap::new(), resources: BTreeMap::new(), outputs: BTreeMap::new() }
    }

    /// Adds a resource and hands back its address, for references to it.
    ///
    /// # Panics
    /// When two resources claim one address: a fault of the blueprint, never of an environment file.
    pub fn add(&mut self, address: Address, wanted: Wanted) -> Address {
        let taken = self.resources.insert(address.clone(), wanted);
        assert!(taken.is_none(), "two resources at {address}");
        address
    }

    /// All tags that the resource at `address` should carry.
    pub fn tags_of(&self, address: &Address, wanted: &Wanted) -> BTreeMap<String, String> {
        let mut tags = self.tags.clone();
        tags.extend(wanted.tags.clone());
        tags.extend(self.scope.ownership(address));
        if wanted.protect {
            tags.insert(TAG_PROTECT.to_owned(), "true".to_owned());
        }
        tags
    }

    /// The resources that `address` cannot stand without, itself included.
    pub fn closure(&self, address: &Address) -> BTreeSet<Address> {
        let (mut found, mut open) = (BTreeSet::new(), vec![address.clone()]);
        while let Some(address) = open.pop() {
            let Some(wanted) = self.resources.get(&address) else { continue };
            if found.insert(address) {
                open.extend(wanted.references().into_iter().map(|reference| reference.address));
                open.extend(wanted.after.iter().chain(&wanted.settle_after).cloned());
            }
        }
        found
    }

    /// Every fault of the blueprint's work: references that lead nowhere, fields a kind does not have.
    pub fn check(&self) -> Vec<GraphError> {
        let mut faults = Vec::new();
        for (address, wanted) in &self.resources {
            if let Err(error) = wanted.kind.check(&wanted.fields) {
                let (kind, problem) = (wanted.kind, error.to_string());
                // Numbers and the like cannot hold a reference, so a parse fault is real even before resolution.
                faults.push(GraphError::Fields { address: address.clone(), kind, problem });
            }
            for reference in wanted.references() {
                faults.extend(self.check_reference(address, reference));
            }
            for to in wanted.after.iter().chain(&wanted.settle_after) {
                if !self.resources.contains_key(to) {
                    faults.push(GraphError::Dangling { from: address.clone(), to: to.clone() });
                }
            }
        }
        faults
    }

    fn check_reference(&self, from: &Address, reference: Reference) -> Option<GraphError> {
        let from = from.clone();
        let Some(target) = self.resources.get(&reference.address) else {
            return Some(GraphError::Dangling { from, to: reference.address });
        };
        let attribute = reference.attribute?;
        let spec = target.kind.spec();
        let known: Vec<&str> = spec.attributes.iter().chain(spec.late_attributes).copied().collect();
        let fits = |known: &str| match known.strip_suffix('*') {
            Some(prefix) => attribute.starts_with(prefix),
            None => known == attribute,
        };
        if known.iter().any(|known| fits(known)) {
            return None;
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Some(GraphError::Attribute { from, to: reference.address, kind: target.kind, attribute, known })
    }
}
