//! Who asks: an API key of a tenant, found by the hash of its secret, or the configured key that makes tenants. Owns
//! rights; refuses to say why a key is not taken.

use super::problem::{Code, Problem};
use crate::core::tenant::Tenant;
use crate::core::{Core, sha256_hex};
use crate::doc::{ApiKeyDoc, Rights};
use crate::facts::TenantFacts;
use crate::store::System;
use crate::store::kind::LookupSpace;
use axum::http::{HeaderMap, header};
use keyway_domain::id::PersonId;
use std::sync::Arc;

const SYSTEM: System = System::because("an API key says which tenant it belongs to");
/// What a key looks like, so that one in a log or a repository can be found and known for what it is.
pub const KEY_PREFIX: &str = "kwk_";

/// A caller with a key of a tenant.
pub struct Caller {
    pub tenant: Arc<Tenant>,
    /// The key's id, for the audit trail.
    pub name: String,
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    // RFC 9110: schemes are the same in any case.
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn unauthorized() -> Problem {
    Problem::new(Code::Unauthorized, "send `Authorization: Bearer <API key>` with a key that is in force")
}

/// Compared whole: the time it takes tells nothing. Both are hashes.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// The configured key, which belongs to no tenant.
pub fn administrator(core: &Core, headers: &HeaderMap) -> Result<(), Problem> {
    let given = bearer(headers).ok_or_else(unauthorized)?;
    let held = &core.admin_key_sha256;
    if !held.is_empty() && same(&sha256_hex(given.as_bytes()), held) { Ok(()) } else { Err(unauthorized()) }
}

/// A key of a tenant with these rights at least.
pub async fn caller(core: &Core, headers: &HeaderMap, wanted: Rights) -> Result<Caller, Problem> {
    let given = bearer(headers).filter(|key| key.starts_with(KEY_PREFIX)).ok_or_else(unauthorized)?;
    let hash = sha256_hex(given.as_bytes());
    let row = core.store.lookup(SYSTEM, LookupSpace::ApiKey, &hash).await?.ok_or_else(unauthorized)?;
    let key: ApiKeyDoc = row.read()?;
    let over = key.expires_at.is_some_and(|until| until <= core.clock.now());
    if key.revoked || over {
        return Err(unauthorized());
    }
    if key.rights < wanted {
        return Err(Problem::new(
            Code::Forbidden,
            format!("this needs a key with the rights `{}`", word(wanted)),
        ));
    }
    Ok(Caller { tenant: core.tenant(row.tenant).await?, name: key.id.to_string() })
}

impl Caller {
    pub async fn facts(&self, core: &Core) -> Result<Arc<TenantFacts>, Problem> {
        Ok(self.tenant.facts(&core.store, core.clock.now()).await?)
    }

    /// A person of the caller's tenant, by the id in a path.
    pub async fn person(&self, core: &Core, id: &str) -> Result<PersonId, Problem> {
        let absent = || Problem::not_found("person");
        let person = PersonId::parse(id).map_err(|_| absent())?;
        if !self.facts(core).await?.facts.people.contains_key(&person) {
            return Err(absent());
        }
        Ok(person)
    }
}

fn word(rights: Rights) -> &'static str {
    match rights {
        Rights::Read => "read",
        Rights::Operate => "operate",
        Rights::Write => "write",
        Rights::Admin => "admin",
    }
}
