//! Parameters of Valkey or Redis. Its id is its name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheParameterGroup {
    pub name: String,
    /// `valkey8`, `redis7`.
    pub family: String,
    pub description: String,
    /// All that differ from what the family has: one that somebody adds is taken back.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

impl Kind for CacheParameterGroup {
    const ID: KindId = KindId::CacheParameterGroup;
    const SPEC: Spec = Spec::new(
        "cache_parameter_group",
        "cache parameter group",
        Layer::Data,
        &[
            Field::fixed("name"),
            Field::fixed("family"),
            Field::fixed("description"),
            Field::after("parameters", "parameters", Some("{}")),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"])
    .named()
    .create_first()
    .tells(&["family", "parameters"]);
}
