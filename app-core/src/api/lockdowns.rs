//! Lockdowns: one signed statement each, to every site it may concern, and reverted by a later one.

use super::auth::caller;
use super::problem::Problem;
use super::reply::{Answer, Once, body, page};
use crate::core::Core;
use crate::decide::lockdown;
use crate::doc::Rights;
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
    let facts = caller.facts(&core).await?;
    let mut ids = core.ids();
    let until = input.life_s.map(|life_s| ids.now.plus(life_s.saturating_mul(1000)));
    let wish = lockdown::Wish {
        scope: input.scope,
        rank: input.rank.unwrap_or(RANK_DEFAULT),
        effect: input.effect,
        until,
    };
    let (statement, change) = lockdown::activate(&facts, &caller.tenant.key, wish, &caller.name, &mut ids)
        .map_err(|why| Problem::field("", why))?;
    let id = statement.activation;
    let answer = once.commit(&core, caller.tenant.scope, change, |_| {
        Answer::created(format!("/v1/lockdowns/{id}"), json!(statement))
    });
    let answer = answer.await?;
    core.facts_changed(caller.tenant.id);
    Ok(answer)
}

pub async fn revert(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let id = ActivationId::parse(&id).map_err(|_| Problem::not_found("lockdown"))?;
    let row = core.store.record(caller.tenant.scope, RecordKind::Lockdown, &id.to_string()).await?;
    let row = row.ok_or_else(|| Problem::not_found("lockdown"))?;
    let held: LockdownStatement = row.read()?;
    if !held.live {
        return Ok(Answer::ok(json!(held)));
    }
    let facts = caller.facts(&core).await?;
    let mut ids = core.ids();
    let (statement, change) =
        lockdown::revert(&facts, &caller.tenant.key, &held, row.version, &caller.name, &mut ids);
    core.commit(caller.tenant.scope, change).await?;
    core.facts_changed(caller.tenant.id);
    Ok(Answer::ok(json!(statement)))
}

/// The ones in force.
pub async fn list(State(core): State<Arc<Core>>, headers: HeaderMap) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let facts = caller.facts(&core).await?;
    Ok(page(facts.lockdowns.statements.iter().map(|one| json!(one)).collect(), None))
}
