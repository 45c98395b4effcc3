//! A secret in Secrets Manager. Its value is generated when it is made, is never read back, and is therefore no
//! field; the tag `keyway:generation` tells one value from the next.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    pub description: Option<String>,
    /// How the value is made. `None`: somebody else writes it (a store's creation, or a person).
    pub generate: Option<Generate>,
    /// Days in which a deleted secret can be brought back: 0 (gone at once) or 7 to 30. AWS asks for it only when the
    /// secret is deleted, so it is kept in the tag `keyway:generation` until then; without that tag it is AWS's 30.
    pub recovery_days: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    pub characters: u32,
}

impl Kind for Secret {
    const ID: KindId = KindId::Secret;
    const SPEC: Spec = Spec::new(
        "secret",
        "secret",
        Layer::Identity,
        &[
            Field::fixed("name"),
            Field::live("description", "description"),
            Field::create_only("generate"),
            Field::live("recovery_days", "recovery"),
        ],
    )
    .attributes(&["arn"], &[])
    .unique(&["name"])
    .store()
    .loses_unless("its value", "recovery_days", "AWS can bring it back for {} days")
    .tells(&["name", "generate"]);
}
