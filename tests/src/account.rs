//! What stands in the emulated account, as the emulator itself knows it: the witness that no program under test can talk to.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub kind: String,
    pub id: String,
    pub tags: BTreeMap<String, String>,
    /// Everything the emulator said of it, to compare and to print.
    pub whole: String,
}

impl Thing {
    pub fn field(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.whole).map(|whole| whole[name].clone()).unwrap_or_default()
    }

    pub fn address(&self) -> Option<&str> {
        self.tags.get("keyway:address").map(String::as_str)
    }
}

/// Everything, sorted. The lease parameters of `infra` are left out: they are records of runs, not resources.
pub fn standing(emulator: &str) -> Result<Vec<Thing>> {
    let answer = http::get(emulator, "/_keyway/inventory")?;
    let rows: Vec<Value> = serde_json::from_slice(&answer.body).context("the emulator's inventory")?;
    let mut things: Vec<Thing> = rows.iter().map(thing).filter(|thing| !is_lease(thing)).collect();
    things.sort();
    Ok(things)
}

fn is_lease(thing: &Thing) -> bool {
    thing.kind == "parameter" && thing.id.contains("/lease/")
}

fn thing(row: &Value) -> Thing {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let tags = row["tags"].as_object().into_iter().flatten();
    Thing {
        kind: text("kind"),
        id: text("id"),
        tags: tags.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
        whole: row.to_string(),
    }
}

/// What a destroy leaves on purpose: the last state of a store.
pub fn is_final_snapshot(thing: &Thing) -> bool {
    matches!(thing.kind.as_str(), "db-snapshot" | "cache-snapshot")
}

/// What a thing is whatever id it was given: two runs that made the same account have the same of these.
pub fn likeness(thing: &Thing) -> String {
    let name = thing.field("name").as_str().map(str::to_owned);
    let named_by_itself = matches!(
        thing.kind.as_str(),
        "role"
            | "log-group"
            | "repository"
            | "secret"
            | "database"
            | "scalable-target"
            | "scaling-policy"
            | "parameter"
    );
    let called = match (thing.address(), name) {
        (Some(address), _) => address.to_owned(),
        (None, Some(name)) => name,
        // RDS names the secret of a master password by a random number.
        (None, None) if thing.id.starts_with("rds!") => "rds!".to_owned(),
        (None, None) if named_by_itself => thing.id.clone(),
        (None, None) => String::new(),
    };
    format!("{} {called}", thing.kind)
}

pub fn likenesses(things: &[Thing]) -> Vec<String> {
    let mut all: Vec<String> = things.iter().map(likeness).collect();
    all.sort();
    all
}

/// "3 subnet, 1 vpc": what a message about a whole account says first.
pub fn by_kind(things: &[Thing]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for thing in things {
        *kinds.entry(&thing.kind).or_default() += 1;
    }
    kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

/// Addresses that more than one thing of the same kind carries: things made twice.
pub fn doubled(things: &[Thing]) -> Vec<String> {
    // Old revisions of a task definition keep the tags they were registered with; rules carry their listener's.
    let alone = |thing: &&Thing| !matches!(thing.kind.as_str(), "task-definition" | "listener-rule");
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for thing in things.iter().filter(alone) {
        if let Some(address) = thing.address() {
            *seen.entry((&thing.kind, address)).or_default() += 1;
        }
    }
    seen.iter()
        .filter(|(_, count)| **count > 1)
        .map(|((kind, address), n)| format!("{n} {kind} at {address}"))
        .collect()
}
