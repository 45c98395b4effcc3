//! Plans and graphs as text for people and JSON for programs. It shows values; it computes none.

mod brief;
mod dependencies;
mod plan_text;

pub use dependencies::{dot, mermaid};
pub use plan_text::{explain, plan_text};

use serde_json::{Value, json};

use crate::address::Address;
use crate::graph::Graph;
use crate::plan::Plan;
use crate::snapshot::Snapshot;

/// How to write for a person.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub color: bool,
    /// All values of what is created, and none of them cut.
    pub whole: bool,
}

impl Style {
    /// Text in a tone (`32`: green), if colours are wanted.
    pub fn paint_tone(self, tone: &str, text: &str) -> String {
        self.paint(tone, text)
    }

    pub(crate) fn paint(self, tone: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{tone}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// `infra plan --explain ADDRESS --format json`: each wanted field with its origin and what is there now.
pub fn explain_json(address: &Address, graph: &Graph, snapshot: &Snapshot) -> Value {
    let Some(wanted) = graph.resources.get(address) else { return Value::Null };
    let object = snapshot.at(address).next();
    let fields: serde_json::Map<String, Value> = wanted
        .fields
        .iter()
        .map(|(name, value)| {
            let prefix = format!("{name}/");
            let mut origins = serde_json::Map::new();
            origins.extend(wanted.origin_of(name).map(|origin| (name.clone(), json!(origin))));
            let nested = wanted.origins.iter().filter(|(path, _)| path.starts_with(&prefix));
            origins.extend(nested.map(|(path, origin)| (path.clone(), json!(origin))));
            let now = object.and_then(|object| object.fields.get(name));
            (name.clone(), json!({ "wanted": value, "now": now, "origins": origins }))
        })
        .collect();
    json!({
        "address": address,
        "kind": wanted.kind,
        "id": object.map(|object| &object.id),
        "fields": fields,
        "owners": wanted.owners,
        "after": wanted.after,
    })
}

/// The plan as documented in docs/infra.md, `infra plan --format json`.
pub fn plan_json(plan: &Plan, expected_s: u32, critical_path: &[Address]) -> Value {
    let mut value = serde_json::to_value(plan).expect("a plan is plain data");
    value["left_alone"] = plan
        .left_alone
        .iter()
        .map(|(address, change)| {
            let mut entry = serde_json::to_value(change).expect("a change is plain data");
            entry["address"] = json!(address);
            entry
        })
        .collect();
    value["expected_s"] = json!(expected_s);
    value["critical_path"] = json!(critical_path);
    value["summary"] = json!({
        "create": plan.count(crate::plan::Action::Create),
        "update": plan.count(crate::plan::Action::Update),
        "replace": plan.count(crate::plan::Action::Replace),
        "delete": plan.count(crate::plan::Action::Delete),
        "unchanged": plan.unchanged,
    });
    value
}
