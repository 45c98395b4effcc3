//! Plans and graphs as text for people and JSON for programs. It shows values; it computes none.

mod dependencies;
mod plan_text;

pub use dependencies::{dot, mermaid};
pub use plan_text::{explain, plan_text};

use serde_json::{Value, json};

use crate::address::Address;
use crate::plan::Plan;

/// How to write for a person.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub color: bool,
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

/// The plan as documented in docs/infra.md, `infra plan --format json`.
pub fn plan_json(plan: &Plan, expected_s: u32, critical_path: &[Address]) -> Value {
    let mut value = serde_json::to_value(plan).expect("a plan is plain data");
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
