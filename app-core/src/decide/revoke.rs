//! Credentials that open nothing from now on: into the tenant's signed list, which every door lays over every bundle,
//! and to the doors at once. Owns how long a digest has to stay in the list.

use crate::doc::{REVOCATION, RevocationDoc, RevokedDigest};
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::Change;
use crate::store::change::{Expect, RecordChange, RecordDraft};
use crate::store::kind::RecordKind;
use keyway_domain::credential::Digest;
use keyway_domain::facts::BUNDLE_LIFE_MS_MAX;
use keyway_domain::id::CredentialId;
use keyway_domain::message::publication::ToDevice;
use keyway_domain::message::statement::Revocation;
use keyway_domain::sign::{Kind, SigningKey};

/// Doors that are told at once and durably; beyond it they hear by the nudge that follows every change.
const TOLD_MAX: usize = 500;
/// What is older than this is heard by the next sync anyway.
const TOLD_WITHIN_MS: u64 = 10 * 60_000;

/// Puts digests on the list and takes others off, with a new version, and tells the doors. Nothing to do is nothing.
pub fn revoke(
    facts: &TenantFacts,
    key: &SigningKey,
    revoked: &[Digest],
    restored: &[Digest],
    change: &mut Change,
    ids: &mut Ids,
) {
    let held = &facts.revocation;
    let listed = |digest: &Digest| held.digests.iter().any(|one| one.digest == *digest);
    if revoked.is_empty() && !restored.iter().any(listed) {
        return;
    }
    let now = ids.now;
    let until = now.plus(BUNDLE_LIFE_MS_MAX);
    // Whoever has run out of it is in no living bundle.
    let stays = |one: &&RevokedDigest| {
        one.until > now && !restored.contains(&one.digest) && !revoked.contains(&one.digest)
    };
    let mut digests: Vec<RevokedDigest> = held.digests.iter().filter(stays).cloned().collect();
    digests.extend(revoked.iter().map(|digest| RevokedDigest { digest: *digest, until }));
    let doc = RevocationDoc { version: held.version + 1, digests };
    let expect = if held.version == 0 { Expect::Absent } else { Expect::Version(held.version) };
    let draft = RecordDraft::of(RecordKind::Revocation, REVOCATION, expect, &doc);
    change.records.push(RecordChange::Put(draft));
    let statement = Revocation {
        tenant: facts.tenant,
        version: doc.version,
        digests: doc.digests.iter().map(|one| one.digest).collect(),
    };
    let revocation = key.sign_json(Kind::Revocation, &statement);
    let said = ToDevice::Revocation { revocation };
    let devices = facts.devices.values().filter(|device| !device.revoked);
    for device in devices.take(TOLD_MAX) {
        let until = now.plus(TOLD_WITHIN_MS);
        change.outbox.push(publish::to_device(facts.tenant, device.id, &said, until, ids));
    }
}

/// The digests of a credential that is deleted.
pub fn deleted(kind: RecordKind, id: &str, facts: &TenantFacts) -> Vec<Digest> {
    if kind != RecordKind::Credential {
        return Vec::new();
    }
    let credential = CredentialId::parse(id).ok().and_then(|id| facts.facts.credentials.get(&id));
    credential.map(|one| one.digest).into_iter().collect()
}
