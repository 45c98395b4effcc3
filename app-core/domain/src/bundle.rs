//! Access bundles: what a door needs to decide by itself, compiled from facts, with a hard end. Owns compiling, loading
//! and looking up; refuses to be broader than the facts it was made from, and to know signatures.

pub mod delta;

use crate::credential::{CredentialKind, CredentialState, Digest, Validity};
use crate::decision::{Holder, PinKind, Reason, Rules, Shown, Situation};
use crate::door::{DecidedBy, DoorRules};
use crate::facts::{FactsAtDoor, bundle_expiry};
use crate::grant::{Grant, GrantRule};
use crate::id::{CalendarId, CredentialId, GrantId, PersonId, ScheduleId, TenantId};
use crate::person::PersonState;
use crate::schedule::{Calendar, Schedule};
use crate::time::{Moment, UnixMs};
use crate::zone::ZoneTable;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Twenty times the largest door we measured for; a body beyond it is refused before it fills a device.
pub const CREDENTIALS_MAX: usize = 200_000;
pub const GRANTS_MAX: usize = 200_000;
pub const SCHEDULES_MAX: usize = 10_000;

/// A second factor of the credential's person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlePin {
    pub digest: Digest,
    #[serde(default)]
    pub validity: Validity,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duress: bool,
}

/// One credential that may open this door, and by which grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleCredential {
    pub digest: Digest,
    pub id: CredentialId,
    pub person: PersonId,
    pub kind: CredentialKind,
    #[serde(default)]
    pub validity: Validity,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duress: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended_time: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<BundlePin>,
    pub grants: Vec<GrantId>,
}

/// A bundle as it stands on the wire, before signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleBody {
    pub tenant: TenantId,
    /// Rises with every bundle of this door; a device never goes back.
    pub version: u64,
    pub issued_at: UnixMs,
    /// Hard: at this instant the bundle decides nothing any more.
    pub expires_at: UnixMs,
    pub decided_by: DecidedBy,
    pub door: DoorRules,
    pub zone: ZoneTable,
    /// Sorted by id.
    pub schedules: Vec<Schedule>,
    pub calendars: Vec<Calendar>,
    pub grants: Vec<GrantRule>,
    /// Sorted by digest.
    pub credentials: Vec<BundleCredential>,
}

/// What is wrong with a body. The device keeps the bundle it has and asks core for a whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("bundle: `{0}` has too many entries")]
    TooLarge(&'static str),
    #[error("bundle: `{0}` has to be sorted, each entry once")]
    Unsorted(&'static str),
    #[error("bundle: {0}")]
    Malformed(&'static str),
    #[error("bundle: lives longer than 30 days or ends before it begins")]
    Life,
    #[error("bundle: {0} refers to {1}, which is not in it")]
    Dangling(CredentialId, GrantId),
    #[error("delta: made for version {wanted}, but {held} is held")]
    WrongBase { wanted: u64, held: u64 },
    #[error("delta: of another door or tenant")]
    Foreign,
}

/// Compiles what this door may decide by itself from `issued_at` on.
pub fn compile(at: &FactsAtDoor<'_>, zone: ZoneTable, version: u64, issued_at: UnixMs) -> BundleBody {
    let door = at.door;
    let expires_at = bundle_expiry(door, issued_at).min(zone.until);
    // A tenant's own policies cannot travel: then everything is core's to say, also what is `offline_ok`.
    let decided_by = if door.own_policies { DecidedBy::Online } else { door.decided_by };
    let travels = |grant: &Grant| {
        let over = grant.rule.validity.until.is_some_and(|until| until <= issued_at);
        let later = grant.rule.validity.from.is_some_and(|from| from >= expires_at);
        grant.enabled && !over && !later
    };
    let mut used = BTreeMap::new();
    let mut credentials = Vec::new();
    let mut last: Option<Digest> = None;
    for credential in at.credentials() {
        // One card given twice: core finds nobody, and neither may the door.
        if last.replace(credential.digest) == Some(credential.digest) {
            if credentials.last().is_some_and(|one: &BundleCredential| one.digest == credential.digest) {
                credentials.pop();
            }
            continue;
        }
        let over = credential.validity.until.is_some_and(|until| until <= issued_at);
        let Some(person) = at.facts().people.get(&credential.person) else { continue };
        if over || credential.state != CredentialState::Active || person.state != PersonState::Active {
            continue;
        }
        let mut grants: Vec<GrantId> = Vec::new();
        for grant in at.grants_of(person).filter(|grant| travels(grant)) {
            grants.push(grant.rule.id);
            used.entry(grant.rule.id).or_insert(grant);
        }
        if grants.is_empty() {
            continue;
        }
        grants.sort_unstable();
        grants.dedup();
        let active = |pin: &&crate::credential::Credential| pin.state == CredentialState::Active;
        let pins = at.pins_of(person.id).filter(active).map(|pin| BundlePin {
            digest: pin.digest,
            validity: pin.validity,
            duress: pin.duress,
        });
        credentials.push(BundleCredential {
            digest: credential.digest,
            id: credential.id,
            person: person.id,
            kind: credential.kind,
            validity: credential.validity,
            duress: credential.duress,
            extended_time: person.extended_time,
            pins: pins.collect(),
            grants,
        });
    }
    let grants: Vec<GrantRule> =
        used.values().map(|grant| compile_grant(grant, decided_by, door.own_policies)).collect();
    let (schedules, calendars) = referred(at, &door.rules, &grants);
    BundleBody {
        tenant: door.rules.place.tenant,
        version,
        issued_at,
        expires_at,
        decided_by,
        door: door.rules.clone(),
        zone,
        schedules,
        calendars,
        grants,
        credentials,
    }
}

/// A count of uses is shared by all doors, so no door may count by itself: core is asked.
fn compile_grant(grant: &Grant, decided_by: DecidedBy, own_policies: bool) -> GrantRule {
    let live = grant.rule.uses.is_some();
    let online = decided_by == DecidedBy::Online && !grant.offline_ok;
    GrantRule { uses: None, ask_core: live || online || own_policies, ..grant.rule.clone() }
}

fn referred(at: &FactsAtDoor<'_>, door: &DoorRules, grants: &[GrantRule]) -> (Vec<Schedule>, Vec<Calendar>) {
    let by_grants = grants.iter().filter_map(|grant| grant.schedule);
    let by_levels = door.levels.iter().filter_map(|level| level.when);
    let wanted: BTreeSet<ScheduleId> = by_grants.chain(by_levels).collect();
    let facts = at.facts();
    let schedules: Vec<Schedule> = wanted.iter().filter_map(|id| facts.schedules.get(id)).cloned().collect();
    let calendars: BTreeSet<CalendarId> =
        schedules.iter().filter_map(|one| one.holidays.as_ref().map(|rule| rule.calendar)).collect();
    let calendars = calendars.iter().filter_map(|id| facts.calendars.get(id)).cloned().collect();
    (schedules, calendars)
}

impl BundleBody {
    /// Checks everything that `decide` relies on.
    pub fn check(&self) -> Result<(), BundleError> {
        if self.credentials.len() > CREDENTIALS_MAX {
            return Err(BundleError::TooLarge("credentials"));
        }
        if self.grants.len() > GRANTS_MAX {
            return Err(BundleError::TooLarge("grants"));
        }
        if self.schedules.len() > SCHEDULES_MAX || self.calendars.len() > SCHEDULES_MAX {
            return Err(BundleError::TooLarge("schedules"));
        }
        if self.tenant != self.door.place.tenant {
            return Err(BundleError::Foreign);
        }
        let longest = self.issued_at.plus(crate::facts::BUNDLE_LIFE_MS_MAX);
        if self.expires_at <= self.issued_at || self.expires_at > longest {
            return Err(BundleError::Life);
        }
        rising(&self.credentials, |one| one.digest).ok_or(BundleError::Unsorted("credentials"))?;
        rising(&self.grants, |one| one.id).ok_or(BundleError::Unsorted("grants"))?;
        rising(&self.schedules, |one| one.id).ok_or(BundleError::Unsorted("schedules"))?;
        rising(&self.calendars, |one| one.id).ok_or(BundleError::Unsorted("calendars"))?;
        self.zone.check().map_err(|_| BundleError::Malformed("the zone table is not sound"))?;
        for schedule in &self.schedules {
            schedule.check().map_err(BundleError::Malformed)?;
        }
        for calendar in &self.calendars {
            calendar.check().map_err(BundleError::Malformed)?;
        }
        Ok(())
    }
}

fn rising<T, K: Ord>(list: &[T], key: impl Fn(&T) -> K) -> Option<()> {
    list.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])).then_some(())
}

/// A checked bundle, ready to be asked: references are resolved to places, nothing is searched twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    body: BundleBody,
    /// For each credential its run in `links`.
    spans: Vec<(u32, u32)>,
    links: Vec<u32>,
    /// Credentials that core has revoked since; they stay until the next bundle leaves them out.
    revoked: BTreeSet<Digest>,
}

impl Bundle {
    pub fn load(body: BundleBody) -> Result<Self, BundleError> {
        body.check()?;
        let mut spans = Vec::with_capacity(body.credentials.len());
        let mut links = Vec::new();
        for credential in &body.credentials {
            let from = links.len() as u32;
            if links.len() + credential.grants.len() > u32::MAX as usize {
                return Err(BundleError::TooLarge("credentials"));
            }
            for id in &credential.grants {
                let place = body.grants.binary_search_by_key(id, |grant| grant.id);
                links.push(place.map_err(|_| BundleError::Dangling(credential.id, *id))? as u32);
            }
            spans.push((from, links.len() as u32));
        }
        Ok(Self { body, spans, links, revoked: BTreeSet::new() })
    }

    pub fn body(&self) -> &BundleBody {
        &self.body
    }

    /// Applies a verified revocation at once, without waiting for the next bundle.
    pub fn revoke(&mut self, digests: impl IntoIterator<Item = Digest>) {
        let known =
            |digest: &Digest| self.body.credentials.binary_search_by_key(digest, |one| one.digest).is_ok();
        let found: Vec<_> = digests.into_iter().filter(known).collect();
        self.revoked.extend(found);
    }

    pub fn in_situation<'b>(&'b self, situation: Situation<'b>) -> BundleAtDoor<'b> {
        BundleAtDoor { bundle: self, situation }
    }

    fn holder(&self, slot: usize) -> Holder {
        let found = &self.body.credentials[slot];
        let revoked = !self.revoked.is_empty() && self.revoked.contains(&found.digest);
        Holder {
            credential: found.id,
            person: found.person,
            person_active: true,
            kind: found.kind,
            state: if revoked { CredentialState::Revoked } else { CredentialState::Active },
            validity: found.validity,
            duress: found.duress,
            extended_time: found.extended_time,
            slot,
        }
    }
}

/// A bundle together with what the door itself knows at this moment.
pub struct BundleAtDoor<'b> {
    bundle: &'b Bundle,
    situation: Situation<'b>,
}

impl Rules for BundleAtDoor<'_> {
    fn usable(&self, now: Moment) -> Result<(), Reason> {
        let body = &self.bundle.body;
        if now.latest() >= body.expires_at {
            Err(Reason::BundleExpired)
        } else if now.latest() < body.issued_at {
            Err(Reason::BundleNotYetValid)
        } else {
            Ok(())
        }
    }

    fn door(&self) -> &DoorRules {
        &self.bundle.body.door
    }

    fn situation(&self) -> Situation<'_> {
        self.situation
    }

    fn zone(&self) -> &ZoneTable {
        &self.bundle.body.zone
    }

    fn find(&self, shown: Shown) -> Option<Holder> {
        let credentials = &self.bundle.body.credentials;
        let slot = match shown {
            Shown::Digest(digest) => credentials.binary_search_by_key(&digest, |one| one.digest).ok()?,
            Shown::Credential(id) => credentials.iter().position(|one| one.id == id)?,
        };
        Some(self.bundle.holder(slot))
    }

    fn pin(&self, holder: &Holder, digest: Digest, now: Moment) -> Option<PinKind> {
        let pins = &self.bundle.body.credentials.get(holder.slot)?.pins;
        let counts = |pin: &&BundlePin| {
            pin.digest == digest && pin.validity.at(now) == crate::credential::Standing::Within
        };
        let pin = pins.iter().find(counts)?;
        Some(if pin.duress { PinKind::Duress } else { PinKind::Own })
    }

    fn has_pin(&self, holder: &Holder) -> bool {
        self.bundle.body.credentials.get(holder.slot).is_some_and(|one| !one.pins.is_empty())
    }

    fn grants<'a>(&'a self, holder: &Holder) -> impl Iterator<Item = (&'a GrantRule, bool)> {
        let (from, until) = self.bundle.spans.get(holder.slot).copied().unwrap_or((0, 0));
        let links = &self.bundle.links[from as usize..until as usize];
        links.iter().map(|place| (&self.bundle.body.grants[*place as usize], true))
    }

    fn schedule(&self, id: ScheduleId) -> Option<&Schedule> {
        let schedules = &self.bundle.body.schedules;
        schedules.binary_search_by_key(&id, |one| one.id).ok().map(|found| &schedules[found])
    }

    fn calendar(&self, id: CalendarId) -> Option<&Calendar> {
        let calendars = &self.bundle.body.calendars;
        calendars.binary_search_by_key(&id, |one| one.id).ok().map(|found| &calendars[found])
    }
}
