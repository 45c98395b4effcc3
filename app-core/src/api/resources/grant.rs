//! Grants: who may open what, when, and how often.

use super::{check_scope, id, lasting};
use crate::api::problem::Problem;
use crate::api::resource::{Draft, Made, Resource};
use crate::store::kind::RecordKind;
use keyway_domain::credential::Validity;
use keyway_domain::grant::{Grant, GrantRule, UseCount, Who};
use keyway_domain::id::{GrantId, ScheduleId};
use keyway_domain::place::Scope;
use serde::Deserialize;
use serde_json::{Value, json};

pub const RESOURCE: Resource = Resource {
    path: "grants",
    one: "grant",
    kind: RecordKind::Grant,
    mint: |ids| GrantId::mint(ids.now, ids.draw()).to_string(),
    is_id: |text| GrantId::parse(text).is_ok(),
    parts: &[("validity", &["from", "until"])],
    make,
    show,
    held_by: |_, _| None,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    who: Who,
    scope: Scope,
    #[serde(default)]
    validity: Validity,
    #[serde(default)]
    schedule: Option<ScheduleId>,
    #[serde(default)]
    uses_max: Option<u32>,
    /// Counted by core; what is sent here changes nothing.
    #[serde(default)]
    #[expect(dead_code, reason = "a grant that was read can be written back")]
    uses_taken: Option<u32>,
    #[serde(default)]
    overrides_lockdown: bool,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    offline_ok: bool,
}

fn yes() -> bool {
    true
}

fn show(doc: Value) -> Value {
    let Ok(grant) = serde_json::from_value::<Grant>(doc) else { return Value::Null };
    let mut shown = json!({
        "who": grant.who, "scope": grant.scope, "validity": grant.rule.validity,
        "overrides_lockdown": grant.rule.overrides_lockdown,
        "enabled": grant.enabled, "offline_ok": grant.offline_ok,
    });
    if let Some(schedule) = grant.rule.schedule {
        shown["schedule"] = json!(schedule);
    }
    if let Some(uses) = grant.rule.uses {
        shown["uses_max"] = uses.most.into();
        shown["uses_taken"] = uses.taken.into();
    }
    shown
}

fn make(mut draft: Draft<'_>) -> Result<Made, Problem> {
    let input: Input = draft.input()?;
    let facts = draft.facts;
    if let Who::Person(person) = input.who
        && !facts.facts.people.contains_key(&person)
    {
        return Err(Problem::field("who", "there is no such person in this tenant"));
    }
    if let Who::Group(group) = input.who
        && !facts.groups.contains(&group)
    {
        return Err(Problem::field("who", "there is no such group in this tenant"));
    }
    lasting(input.validity)?;
    check_scope(&input.scope, facts)?;
    if input.schedule.is_some_and(|schedule| !facts.facts.schedules.contains_key(&schedule)) {
        return Err(Problem::field("schedule", "there is no such schedule in this tenant"));
    }
    let before: Option<Grant> = draft.before.take().and_then(|doc| serde_json::from_value(doc).ok());
    let taken = before.and_then(|before| before.rule.uses).map_or(0, |uses| uses.taken);
    let grant = Grant {
        rule: GrantRule {
            id: id(draft.id)?,
            validity: input.validity,
            schedule: input.schedule,
            uses: input.uses_max.map(|most| UseCount { most, taken }),
            overrides_lockdown: input.overrides_lockdown,
            ask_core: false,
        },
        who: input.who,
        scope: input.scope,
        enabled: input.enabled,
        offline_ok: input.offline_ok,
    };
    let mut made = Made::of(&grant);
    if let Who::Person(person) = grant.who {
        made.tell.push(person);
    }
    Ok(made)
}
