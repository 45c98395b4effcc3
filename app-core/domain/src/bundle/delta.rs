//! The difference between two bundles of one door. Owns making and applying it; a delta fits exactly one version, and
//! anything else asks for a whole bundle.

use super::{BundleBody, BundleCredential, BundleError};
use crate::credential::Digest;
use crate::door::{DecidedBy, DoorRules};
use crate::grant::GrantRule;
use crate::id::{CalendarId, GrantId, ScheduleId, TenantId};
use crate::schedule::{Calendar, Schedule};
use crate::time::UnixMs;
use crate::zone::ZoneTable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Entries of one list that came or changed, and keys of those that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T, K> {
    pub put: Vec<T>,
    pub drop: Vec<K>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleDelta {
    pub tenant: TenantId,
    /// The version this applies to.
    pub from_version: u64,
    pub version: u64,
    pub issued_at: UnixMs,
    pub expires_at: UnixMs,
    pub decided_by: DecidedBy,
    /// Always whole: small, and it names the door that the delta is for.
    pub door: DoorRules,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneTable>,
    pub schedules: Change<Schedule, ScheduleId>,
    pub calendars: Change<Calendar, CalendarId>,
    pub grants: Change<GrantRule, GrantId>,
    pub credentials: Change<BundleCredential, Digest>,
}

/// Both lists are sorted by key, so one walk over both is enough.
fn difference<T: Clone + PartialEq, K: Ord + Copy>(
    old: &[T],
    new: &[T],
    key: impl Fn(&T) -> K,
) -> Change<T, K> {
    let mut change = Change { put: Vec::new(), drop: Vec::new() };
    let mut held = old.iter().peekable();
    for wanted in new {
        while let Some(gone) = held.next_if(|one| key(one) < key(wanted)) {
            change.drop.push(key(gone));
        }
        match held.next_if(|one| key(one) == key(wanted)) {
            Some(same) if same == wanted => {}
            _ => change.put.push(wanted.clone()),
        }
    }
    change.drop.extend(held.map(&key));
    change
}

fn merged<T: Clone, K: Ord + Copy>(old: &[T], change: &Change<T, K>, key: impl Fn(&T) -> K) -> Vec<T> {
    let gone: BTreeSet<K> = change.drop.iter().copied().chain(change.put.iter().map(&key)).collect();
    let mut list: Vec<T> =
        old.iter().filter(|one| !gone.contains(&key(one))).chain(&change.put).cloned().collect();
    list.sort_by_key(|one| key(one));
    list
}

impl BundleDelta {
    /// What turns `old` into `new`; both of the same door.
    pub fn between(old: &BundleBody, new: &BundleBody) -> Self {
        Self {
            tenant: new.tenant,
            from_version: old.version,
            version: new.version,
            issued_at: new.issued_at,
            expires_at: new.expires_at,
            decided_by: new.decided_by,
            door: new.door.clone(),
            zone: (old.zone != new.zone).then(|| new.zone.clone()),
            schedules: difference(&old.schedules, &new.schedules, |one| one.id),
            calendars: difference(&old.calendars, &new.calendars, |one| one.id),
            grants: difference(&old.grants, &new.grants, |one| one.id),
            credentials: difference(&old.credentials, &new.credentials, |one| one.digest),
        }
    }

    /// The bundle after it. The result still has to be loaded, which checks it whole.
    pub fn apply(&self, old: &BundleBody) -> Result<BundleBody, BundleError> {
        if self.tenant != old.tenant || self.door.place.door != old.door.place.door {
            return Err(BundleError::Foreign);
        }
        if self.from_version != old.version || self.version <= old.version {
            return Err(BundleError::WrongBase { wanted: self.from_version, held: old.version });
        }
        Ok(BundleBody {
            tenant: self.tenant,
            version: self.version,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            decided_by: self.decided_by,
            door: self.door.clone(),
            zone: self.zone.clone().unwrap_or_else(|| old.zone.clone()),
            schedules: merged(&old.schedules, &self.schedules, |one| one.id),
            calendars: merged(&old.calendars, &self.calendars, |one| one.id),
            grants: merged(&old.grants, &self.grants, |one| one.id),
            credentials: merged(&old.credentials, &self.credentials, |one| one.digest),
        })
    }
}
