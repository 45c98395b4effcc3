//! Lockdowns: one signed statement each, to every site it may concern, and reverted by a later one.

use super::auth::{Caller, caller};
use super::problem::{Code, Problem};
use super::reply::{Answer, Nothing, Once, body, page};
use super::resources::check_scope;
use super::turn::Turn;
use crate::core::Core;
use crate::decide::lockdown;
use crate::doc::Rights;
use crate::facts::TenantFacts;
use crate::store::kind::RecordKind;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use keyway_domain::id::ActivationId;
use keyway_domain::lockdown::{Effect, LockdownStatement};
use keyway_domain::place::Scope;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

const RANK_DEFAULT: u32 = 10;
/// Longer is a mode of the doors.
const LIFE_S_MAX: u64 = 366 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    scope: Scope,
    effect: Effect,
    #[serde(default)]
    rank: Option<u32>,
    /// Ends by itself after so long.
    #[serde(default)]
    life_s: Option<u64>,
}

pub async fn activate(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let once = Once::of(&caller.name, &headers, "lockdowns", &bytes)?;
    if let Some(earlier) = once.earlier(&core, caller.tenant.scope).await? {
        return Ok(earlier);
    }
    let input: Input = body(&bytes)?;
    if input.life_s.is_some_and(|life_s| !(1..=LIFE_S_MAX).contains(&life_s)) {
        return Err(Problem::field(
            "life_s",
            "from a second to a year; without it the lockdown lasts until it is reverted",
        ));
    }
    let mut turn = Turn::of(&core, &caller.tenant);
    loop {
        let facts = caller.facts(&core).await?;
        check_place(&input.scope, &facts)?;
        let mut ids = core.ids();
        let wish = lockdown::Wish {
            scope: input.scope.clone(),
            rank: input.rank.unwrap_or(RANK_DEFAULT),
            effect: input.effect,
            until: input.life_s.map(|life_s| ids.now.plus(life_s * 1000)),
        };
        let (statement, change) =
            lockdown::activate(&facts, &caller.tenant.key, wish, &caller.name, &mut ids)
                .map_err(|why| Problem::new(Code::Invalid, why))?;
        let place = format!("/v1/lockdowns/{}", statement.activation);
        let answer = Answer::created(place, json!(statement));
        match once.commit(&core, caller.tenant.scope, change, |_| answer).await {
            Ok(answer) => {
                core.facts_changed(caller.tenant.id);
                return Ok(answer);
            }
            Err(problem) => turn.again(problem).await?,
        }
    }
}

/// A lockdown that locks nothing is a slip that nobody notices until it is needed.
fn check_place(scope: &Scope, facts: &TenantFacts) -> Result<(), Problem> {
    check_scope(scope, facts)?;
    match scope {
        Scope::Tag(tag) if !facts.doors.values().any(|door| door.tags.contains(tag)) => {
            Err(Problem::field("scope", "no door of this tenant has this tag"))
        }
        _ => Ok(()),
    }
}

async fn find(core: &Core, caller: &Caller, id: &str) -> Result<(LockdownStatement, u64), Problem> {
    let id = ActivationId::parse(id).map_err(|_| Problem::not_found("lockdown"))?;
    let row = core.store.record(caller.tenant.scope, RecordKind::Lockdown, &id.to_string()).await?;
    let row = row.ok_or_else(|| Problem::not_found("lockdown"))?;
    Ok((row.read()?, row.version))
}

/// One of them, also one that was reverted or has ended.
pub async fn show(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    Ok(Answer::ok(json!(find(&core, &caller, &id).await?.0)))
}

pub async fn revert(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let mut turn = Turn::of(&core, &caller.tenant);
    loop {
        let (held, version) = find(&core, &caller, &id).await?;
        if !held.live {
            return Ok(Answer::ok(json!(held)));
        }
        let facts = caller.facts(&core).await?;
        let mut ids = core.ids();
        let (statement, change) =
            lockdown::revert(&facts, &caller.tenant.key, &held, version, &caller.name, &mut ids);
        match core.commit(caller.tenant.scope, change).await {
            Ok(_) => {
                core.facts_changed(caller.tenant.id);
                return Ok(Answer::ok(json!(statement)));
            }
            Err(error) => turn.again(error.into()).await?,
        }
    }
}

/// The ones in force.
pub async fn list(State(core): State<Arc<Core>>, headers: HeaderMap) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let facts = caller.facts(&core).await?;
    let held = facts.lockdowns.in_force(core.clock.now());
    Ok(page(held.statements.iter().map(|one| json!(one)).collect(), None))
}
