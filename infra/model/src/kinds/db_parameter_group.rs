//! Parameters of Postgres. Its id is its name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DbParameterGroup {
    pub name: String,
    /// `postgres17`.
    pub family: String,
    pub description: String,
    /// All that differ from what the family has: one that somebody adds is taken back.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

impl Kind for DbParameterGroup {
    const ID: KindId = KindId::DbParameterGroup;
    const SPEC: Spec = Spec::new(
        "db_parameter_group",
        "database parameter group",
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
