//! An ECR repository of container images.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Field, Kind, KindId, Layer, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    pub name: String,
    pub immutable_tags: Option<bool>,
    pub scan_on_push: Option<bool>,
    /// The lifecycle policy document.
    pub lifecycle: Option<Value>,
}

impl Kind for Repository {
    const ID: KindId = KindId::Repository;
    const SPEC: Spec = Spec::new(
        "repository",
        "image repository",
        Layer::Compute,
        &[
            Field::fixed("name"),
            Field::live("immutable_tags", "immutable_tags"),
            Field::live("scan_on_push", "scan_on_push"),
            Field::after("lifecycle", "lifecycle", None),
        ],
    )
    .attributes(&["arn", "uri"], &[])
    .unique(&["name"])
    .store();
}
