//! An IAM role with its inline and attached policies, which are authoritative sets: what is there and not
//! wanted goes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    /// `/keyway/<environment>/`: lets a deployer policy name all roles of one environment.
    pub path: String,
    pub description: Option<String>,
    /// The trust policy document.
    pub trust: Value,
    /// Inline policy documents by name.
    #[serde(default)]
    pub inline: BTreeMap<String, Value>,
    /// ARNs of managed policies.
    #[serde(default)]
    pub attached: BTreeSet<String>,
}

impl Kind for Role {
    const ID: KindId = KindId::Role;
    const SPEC: Spec = Spec::new(
        "role",
        "IAM role",
        Layer::Identity,
        &[
            Field::fixed("name"),
            Field::fixed("path"),
            Field::live("description", "description"),
            Field::live("trust", "trust"),
            Field::after("inline", "inline", Some("{}")),
            Field::after("attached", "attached", Some("[]")).set(),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"]);
}
