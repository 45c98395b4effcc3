//! A certificate of ACM, validated by DNS. Its id is the ARN. It settles when the validation records (resources
//! of their own) are seen by AWS.

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, Spec, Wait};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub domain: String,
    #[serde(default)]
    pub alternative_names: Vec<String>,
}

impl Kind for Certificate {
    const ID: KindId = KindId::Certificate;
    /// Each domain has `validation_name:<domain>` and `validation_value:<domain>`: the CNAME that proves it.
    const SPEC: Spec = Spec::new(
        "certificate",
        "certificate",
        Layer::Edge,
        &[Field::fixed("domain"), Field::fixed("alternative_names").set()],
    )
    .attributes(&["validation_name:*", "validation_value:*"], &[])
    .token()
    .create_first()
    .settles(Wait::BeforeUse, 90, 1)
    .tells(&["domain", "alternative_names"]);
}
