//! Why somebody may or may not open a door now: the same decision, telling every grant that was looked at.

use super::auth::caller;
use super::problem::Problem;
use super::reply::{Answer, body};
use crate::core::Core;
use crate::doc::Rights;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use keyway_domain::decision::{Attempt, Outcome, Shown, explain as explained};
use keyway_domain::id::{CredentialId, DoorId};
use keyway_domain::time::{Moment, UnixMs};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    door: DoorId,
    credential: CredentialId,
    /// Milliseconds since 1970; now without it.
    #[serde(default)]
    at: Option<UnixMs>,
}

pub async fn explain(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let input: Input = body(&bytes)?;
    let facts = caller.facts(&core).await?;
    let door = facts.facts.doors.get(&input.door).ok_or_else(|| Problem::not_found("door"))?;
    let at =
        facts.facts.at_door(input.door, facts.situation(door)).map_err(|_| Problem::not_found("door"))?;
    let attempt = Attempt { shown: Shown::Credential(input.credential), pin: None, first: None };
    let now = input.at.unwrap_or_else(|| core.clock.now());
    let (decision, considered) = explained(&at, &attempt, Moment::exact(now));
    let outcome = match decision.outcome {
        Outcome::Granted(pass) => json!({ "granted": { "grant": pass.grant, "open_ms": pass.open_ms } }),
        Outcome::Denied(reason) => json!({ "denied": reason }),
        Outcome::AskCore => json!("ask_core"),
    };
    Ok(Answer::ok(json!({
        "at": now.to_rfc3339(), "outcome": outcome, "person": decision.person, "considered": considered,
    })))
}
