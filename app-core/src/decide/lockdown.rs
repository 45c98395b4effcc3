//! Lockdowns: one signed statement for each activation, with a version from the tenant's one counter, said once to
//! every site. A revert is a later version of the same activation.

use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::Change;
use crate::store::change::{Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::trail;
use keyway_domain::id::{ActivationId, PlanId};
use keyway_domain::lockdown::{Effect, LockdownStatement, STATEMENTS_MAX};
use keyway_domain::place::Scope;
use keyway_domain::sign::{Kind, SigningKey};
use keyway_domain::time::UnixMs;

pub struct Wish {
    pub scope: Scope,
    pub rank: u32,
    pub effect: Effect,
    pub until: Option<UnixMs>,
}

pub fn activate(
    facts: &TenantFacts,
    key: &SigningKey,
    wish: Wish,
    actor: &str,
    ids: &mut Ids,
) -> Result<(LockdownStatement, Change), &'static str> {
    if facts.lockdowns.in_force(ids.now).statements.len() >= STATEMENTS_MAX {
        return Err("32 lockdowns are in force, which is what a door can hold; revert one first");
    }
    let statement = LockdownStatement {
        tenant: facts.tenant,
        activation: ActivationId::mint(ids.now, ids.draw()),
        plan: PlanId::mint(ids.now, ids.draw()),
        scope: wish.scope,
        rank: wish.rank,
        version: facts.lockdowns.floor + 1,
        effect: wish.effect,
        live: true,
        until: wish.until,
    };
    let change = said(facts, key, &statement, Expect::Absent, actor, "lockdown.activated", ids);
    Ok((statement, change))
}

pub fn revert(
    facts: &TenantFacts,
    key: &SigningKey,
    held: &LockdownStatement,
    version: u64,
    actor: &str,
    ids: &mut Ids,
) -> (LockdownStatement, Change) {
    let statement = LockdownStatement { version: facts.lockdowns.floor + 1, live: false, ..held.clone() };
    let change = said(facts, key, &statement, Expect::Version(version), actor, "lockdown.reverted", ids);
    (statement, change)
}

/// The counter is in the facts: whoever was slower decides again.
fn said(
    facts: &TenantFacts,
    key: &SigningKey,
    statement: &LockdownStatement,
    expect: Expect,
    actor: &str,
    action: &str,
    ids: &mut Ids,
) -> Change {
    let mut change = Change { if_facts: Some(facts.version), ..Change::at(ids.now) };
    let draft = RecordDraft::of(RecordKind::Lockdown, statement.activation, expect, statement);
    change.records.push(RecordChange::Put(draft));
    let entry = trail::entry(actor, action, statement.activation, ids);
    change.audit.push(trail::detailed(entry, statement, ids));
    let signed = key.sign_json(Kind::Lockdown, statement);
    for site in facts.sites.keys() {
        change.outbox.push(publish::lockdown(facts.tenant, *site, signed.clone(), ids));
    }
    change
}
