//! What an account holds of one environment, as data. A snapshot is a file, so a plan, a golden test and a bug
//! report need no account. It says what it could not read: a denied read is never an absence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::graph::Scope;
use crate::kinds::KindId;
use crate::value::Fields;

/// The version of the snapshot file's shape; a reader refuses others.
pub const SNAPSHOT_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub scope: Scope,
    /// Objects that carry our tags, in order of kind and id.
    pub resources: Vec<Observed>,
    /// Objects inside our VPC or cluster that nobody tagged for us. Never touched.
    #[serde(default)]
    pub unmanaged: Vec<Unmanaged>,
    /// Kinds that could not be read whole, and why: `ec2:DescribeVpcs denied to arn:...`.
    #[serde(default)]
    pub incomplete: BTreeMap<KindId, String>,
    /// What the scope names of others by id and is not there, each with what it would be: `Z0123` is no hosted zone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

/// One object as AWS shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub kind: KindId,
    pub id: String,
    /// From its tags. `None` on objects read outside a snapshot (`adopt`).
    pub address: Option<Address>,
    pub fields: Fields,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub state: State,
}

/// Where an object is in its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Ready,
    /// Not usable yet: being made or changed. Holds AWS's own word for it.
    Pending(String),
    /// On its way out; it counts as absent but holds its name until it is gone.
    Deleting,
    /// AWS gave up on it. Holds the reason.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unmanaged {
    /// `security group`, `ECS service`: the field's word, also for what infra has no kind for.
    pub what: String,
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    /// The id of the VPC or cluster of ours it lives in.
    pub within: String,
}

impl Snapshot {
    pub fn empty(scope: Scope) -> Self {
        Self {
            version: SNAPSHOT_VERSION,
            scope,
            resources: Vec::new(),
            unmanaged: Vec::new(),
            incomplete: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// The one order in which snapshots are written and compared.
    pub fn sort(&mut self) {
        self.resources.sort_by(|a, b| (a.kind, &a.address, &a.id).cmp(&(b.kind, &b.address, &b.id)));
        self.unmanaged.sort();
        self.unmanaged.dedup();
    }

    pub fn at(&self, address: &Address) -> impl Iterator<Item = &Observed> {
        self.resources.iter().filter(move |observed| observed.address.as_ref() == Some(address))
    }
}

impl Observed {
    /// An object with the fields of its kind; tags and the rest are filled in by the caller.
    pub fn new<K: crate::kinds::Kind>(id: impl Into<String>, resource: &K) -> Self {
        Self {
            kind: K::ID,
            id: id.into(),
            address: None,
            fields: crate::value::to_fields(resource),
            attributes: BTreeMap::new(),
            tags: BTreeMap::new(),
            state: State::Ready,
        }
    }

    pub fn tags(mut self, tags: BTreeMap<String, String>) -> Self {
        self.tags = tags;
        self
    }

    pub fn attribute(mut self, name: impl Into<String>, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.attributes.insert(name.into(), value.into());
        }
        self
    }

    pub fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }
}
