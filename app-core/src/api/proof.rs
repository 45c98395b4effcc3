//! Proof of key and the tokens it gives: a challenge, a signature over {host, challenge, own nonce}, and then an hour's
//! token with the signed time and the socket's address. No clock is needed on the other side.

use super::auth::caller;
use super::enrol::{active, spent};
use super::problem::{Code, Problem};
use super::reply::{Answer, body};
use crate::core::Core;
use crate::decide::sync::signed_time;
use crate::doc::{DeviceDoc, PhoneDoc, Rights};
use crate::identity::challenge::{self, Proven};
use crate::identity::token::Bearer;
use crate::source::random;
use crate::store::change::{Change, OnceDraft};
use crate::store::kind::{LookupSpace, RecordKind};
use crate::store::row::Record;
use crate::store::{StoreError, System, TenantScope};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use keyway_domain::sign::{TrustedKeys, claimed_key};
use keyway_domain::time::UnixMs;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

const SYSTEM: System = System::because("a key says which tenant its device or phone belongs to");

/// The name that a proof has to be made for.
pub fn host(core: &Core, headers: &HeaderMap) -> String {
    if !core.public_host.is_empty() {
        return core.public_host.clone();
    }
    headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
}

pub async fn challenge(State(core): State<Arc<Core>>, headers: HeaderMap) -> Answer {
    let now = core.clock.now();
    let nonce = challenge::make(&core.root, now, random());
    Answer::ok(json!({
        "nonce": nonce, "host": host(&core, &headers), "expires_at": now.plus(challenge::LIFE_MS),
    }))
}

/// A proof that holds. Its challenge is spent with the change that follows from it.
pub struct Proved {
    nonce: String,
    until: UnixMs,
    pub own_nonce: String,
}

impl Proved {
    pub fn spent(&self) -> OnceDraft {
        spent(&self.nonce, self.until)
    }
}

pub fn proved(core: &Core, headers: &HeaderMap, keys: &TrustedKeys, jws: &str) -> Result<Proved, Problem> {
    let checked = challenge::check(&core.root, keys, &host(core, headers), jws, core.clock.now());
    let Proven { nonce, until, own_nonce } =
        checked.map_err(|error| Problem::new(Code::Unauthorized, error.to_string()))?;
    Ok(Proved { nonce, until, own_nonce })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asking {
    proof: String,
}

async fn holder(core: &Core, proof: &str, kind: RecordKind) -> Result<Record, Problem> {
    let unknown = || Problem::new(Code::Unauthorized, "this key is not enrolled here, or was revoked");
    let kid = claimed_key(proof).ok_or_else(unknown)?;
    let row = core.store.lookup(SYSTEM, LookupSpace::Key, &kid.to_string()).await?;
    row.filter(|row| row.kind == kind).ok_or_else(unknown)
}

async fn spend(core: &Core, scope: TenantScope, proved: &Proved) -> Result<(), Problem> {
    let mut change = Change::at(core.clock.now());
    change.once.push(proved.spent());
    match core.commit(scope, change).await {
        Ok(_) => Ok(()),
        Err(StoreError::Already(_)) => {
            Err(Problem::new(Code::Unauthorized, "this challenge was used before; ask for a new one"))
        }
        Err(error) => Err(error.into()),
    }
}

pub async fn device_token(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let asking: Asking = body(&bytes)?;
    let row = holder(&core, &asking.proof, RecordKind::Device).await?;
    let doc: DeviceDoc = row.read()?;
    let keys = TrustedKeys::of(doc.kid, doc.key.clone());
    let proved = proved(&core, &headers, &keys, &asking.proof)?;
    if doc.revoked {
        return Err(Problem::new(Code::Unauthorized, "this key is not enrolled here, or was revoked"));
    }
    let tenant = core.tenant(row.tenant).await?;
    let facts = tenant.facts(&core.store, core.clock.now()).await?;
    let site = facts.site_of(doc.door).ok_or_else(|| Problem::not_found("door"))?;
    spend(&core, tenant.scope, &proved).await?;
    let minted = core.mint_for_device(tenant.id, doc.id, site)?;
    let time = signed_time(&tenant.key, proved.own_nonce, core.clock.now());
    Ok(Answer::ok(json!({
        "token": minted.token, "expires_at": minted.expires_at, "socket_url": core.socket_url, "time": time,
    })))
}

pub async fn phone_token(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Answer, Problem> {
    let asking: Asking = body(&bytes)?;
    let row = holder(&core, &asking.proof, RecordKind::Phone).await?;
    let doc: PhoneDoc = row.read()?;
    let keys = TrustedKeys::of(doc.id, doc.key.clone());
    let proved = proved(&core, &headers, &keys, &asking.proof)?;
    if doc.revoked {
        return Err(Problem::new(Code::Unauthorized, "this key is not enrolled here, or was revoked"));
    }
    let tenant = core.tenant(row.tenant).await?;
    let facts = tenant.facts(&core.store, core.clock.now()).await?;
    active(&facts, doc.person)?;
    spend(&core, tenant.scope, &proved).await?;
    let minted = core.mint_for_phone(&tenant, &facts, doc.person)?;
    Ok(Answer::ok(json!({
        "token": minted.token, "expires_at": minted.expires_at, "socket_url": core.socket_url,
    })))
}

/// A token for a console: every site of the tenant, to look at.
pub async fn console_token(State(core): State<Arc<Core>>, headers: HeaderMap) -> Result<Answer, Problem> {
    let caller = caller(&core, &headers, Rights::Operate).await?;
    let sites = caller.facts(&core).await?.sites.keys().copied().collect();
    let bearer = Bearer::Operator { subject: caller.name.clone(), sites };
    let minted = core.mint(caller.tenant.id, &bearer)?;
    Ok(Answer::ok(json!({
        "token": minted.token, "expires_at": minted.expires_at, "socket_url": core.socket_url,
    })))
}
