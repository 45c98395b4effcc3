//! The keys that sign for a tenant's doors: which there are, and a new one.

use super::auth::caller;
use super::problem::{Code, Problem};
use super::reply::{Answer, Nothing, Once, page};
use crate::core::signing::{ANNOUNCED_MS, KEYS_MAX};
use crate::core::{Core, keys};
use crate::doc::{KeyPurpose, Rights};
use crate::store::change::{Change, Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use crate::trail;
use axum::extract::State;
use axum::http::HeaderMap;
use keyway_domain::time::UnixMs;
use serde_json::json;
use std::sync::Arc;

/// The setting by which rotations see each other.
const COUNTED: &str = "signing-keys";

/// Oldest first. How far a door is stands in `state.keys_version` of its device.
pub async fn list(State(core): State<Arc<Core>>, headers: HeaderMap) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Read).await?;
    let signing = &caller.tenant.signing;
    let shown = signing.all().enumerate().map(|(place, (made_at, kid, key))| {
        json!({
            "kid": kid, "key": key, "made_at": made_at.to_rfc3339(), "version": place + 1,
            "signs": kid == caller.tenant.key.id,
            "trusted": signing.trusted().iter().any(|one| one.kid == kid),
        })
    });
    Ok(page(shown.collect(), None))
}

/// A new key. Doors hear of it at once and it signs ten minutes later; the one before stays trusted until the next.
pub async fn rotate(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    _: Nothing,
) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Admin).await?;
    let once = Once::of(&caller.name, &headers, "signing-keys", b"")?;
    if let Some(earlier) = once.earlier(&core, caller.tenant.scope).await? {
        return Ok(earlier);
    }
    // Two made at once would follow each other faster than doors can.
    let row = core.store.record(caller.tenant.scope, RecordKind::Setting, COUNTED).await?;
    let expect = row.map_or(Expect::Absent, |row| Expect::Version(row.version));
    // Another core may have made one a moment ago.
    core.tend_signing_keys(caller.tenant.id).await?;
    let tenant = core.tenant(caller.tenant.id).await?;
    let settled = tenant.signing.settled_at();
    if core.clock.now() < settled {
        let detail =
            format!("the newest key signs from {}; another one can be made then", settled.to_rfc3339());
        return Err(Problem::new(Code::InUse, detail));
    }
    if tenant.signing.version() >= KEYS_MAX as u64 {
        return Err(Problem::new(Code::Invalid, "there have been 100 keys, which is the most"));
    }
    let mut ids = core.ids();
    let (key, draft) = keys::make(&core.root, KeyPurpose::Tenant, &mut ids);
    let mut change = Change::at(ids.now);
    change.records.push(RecordChange::Put(draft));
    let count = tenant.signing.version() + 1;
    change.records.push(RecordChange::Put(RecordDraft::of(RecordKind::Setting, COUNTED, expect, &count)));
    change.audit.push(trail::entry(&caller.name, "key.made", key.id, &mut ids));
    let signs_from: UnixMs = ids.now.plus(ANNOUNCED_MS);
    let shown = json!({
        "kid": key.id, "key": key.public(), "version": count,
        "signs_from": signs_from.to_rfc3339(),
    });
    let answer = Answer { status: 201, ..Answer::ok(shown) };
    let answer = once.commit(&core, caller.tenant.scope, change, |_| answer).await?;
    core.tend_signing_keys(caller.tenant.id).await?;
    Ok(answer)
}
