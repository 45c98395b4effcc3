//! Core's facts of one tenant, as rows that somebody has loaded, and their view from one door. Owns which grants speak
//! of a door and of a person; refuses to know where rows come from: a store may load all or only what concerns a door.

use crate::credential::{Credential, CredentialKind, Digest, Standing};
use crate::decision::{Holder, PinKind, Reason, Rules, Shown, Situation};
use crate::door::{DecidedBy, DoorMode, DoorRules};
use crate::grant::{Grant, GrantRule, Who};
use crate::id::{CalendarId, CredentialId, DoorId, GrantId, PersonId, ScheduleId, SiteId, TenantId};
use crate::person::{Person, PersonState};
use crate::schedule::{Calendar, Schedule};
use crate::time::{Moment, UnixMs};
use crate::zone::ZoneTable;
use std::collections::BTreeMap;

/// Bundles run out by themselves: a day unless the door says otherwise.
pub const BUNDLE_LIFE_MS_DEFAULT: u64 = 24 * 3_600_000;
/// The field's longest offline time (30 days). Beyond it a revocation would be a rumour.
pub const BUNDLE_LIFE_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// A door as core knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorFacts {
    pub rules: DoorRules,
    pub mode: DoorMode,
    pub mode_version: u64,
    pub decided_by: DecidedBy,
    /// The tenant has rules of its own at this door that only core can evaluate.
    pub own_policies: bool,
    pub bundle_life_ms: u64,
}

/// Rows of one tenant, keyed.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub zones: BTreeMap<SiteId, ZoneTable>,
    pub doors: BTreeMap<DoorId, DoorFacts>,
    pub people: BTreeMap<PersonId, Person>,
    pub credentials: BTreeMap<CredentialId, Credential>,
    pub grants: BTreeMap<GrantId, Grant>,
    pub schedules: BTreeMap<ScheduleId, Schedule>,
    pub calendars: BTreeMap<CalendarId, Calendar>,
}

/// Why the facts cannot be looked at from a door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("{0} is not among the facts")]
    NoDoor(DoorId),
    #[error("{0} has no time zone table; expand the zone of its site first")]
    NoZone(SiteId),
}

/// The facts as one door needs them: indexed once, asked often.
pub struct FactsAtDoor<'f> {
    facts: &'f Facts,
    pub door: &'f DoorFacts,
    zone: &'f ZoneTable,
    situation: Situation<'f>,
    /// Sorted by who, so that the grants of a person and of each of their groups are runs of it.
    grants: Vec<(Who, &'f Grant)>,
    /// Sorted by digest, PINs left out: those are found by their person.
    by_digest: Vec<(Digest, &'f Credential)>,
    pins: Vec<(PersonId, &'f Credential)>,
}

impl Facts {
    pub fn at_door<'f>(
        &'f self,
        id: DoorId,
        situation: Situation<'f>,
    ) -> Result<FactsAtDoor<'f>, FactsError> {
        let door = self.doors.get(&id).ok_or(FactsError::NoDoor(id))?;
        let place = &door.rules.place;
        let zone = self.zones.get(&place.site).ok_or(FactsError::NoZone(place.site))?;
        let speaks = |grant: &&'f Grant| grant.scope.covers(place);
        let mut grants: Vec<_> =
            self.grants.values().filter(speaks).map(|grant| (grant.who, grant)).collect();
        grants.sort_by_key(|(who, grant)| (*who, grant.rule.id));
        let mut by_digest = Vec::new();
        let mut pins = Vec::new();
        for credential in self.credentials.values() {
            if credential.kind == CredentialKind::Pin {
                pins.push((credential.person, credential));
            } else {
                by_digest.push((credential.digest, credential));
            }
        }
        by_digest.sort_by_key(|(digest, credential)| (*digest, credential.id));
        pins.sort_by_key(|(person, credential)| (*person, credential.id));
        Ok(FactsAtDoor { facts: self, door, zone, situation, grants, by_digest, pins })
    }
}

/// The rows of a sorted list with this key.
fn run<'a, K: Ord, V>(sorted: &'a [(K, V)], key: &K) -> &'a [(K, V)] {
    let from = sorted.partition_point(|(k, _)| k < key);
    let len = sorted[from..].partition_point(|(k, _)| k <= key);
    &sorted[from..from + len]
}

impl<'f> FactsAtDoor<'f> {
    pub fn tenant(&self) -> TenantId {
        self.door.rules.place.tenant
    }

    /// The grants that speak of this door and this person, by themselves or by a group.
    pub fn grants_of<'s>(&'s self, person: &'s Person) -> impl Iterator<Item = &'f Grant> + 's {
        let own = run(&self.grants, &Who::Person(person.id)).iter();
        let shared = person.groups.iter().flat_map(|group| run(&self.grants, &Who::Group(*group)));
        own.chain(shared).map(|(_, grant)| *grant)
    }

    pub fn all_grants(&self) -> impl Iterator<Item = &'f Grant> + '_ {
        self.grants.iter().map(|(_, grant)| *grant)
    }

    /// Every credential that is shown at a reader, sorted by digest.
    pub fn credentials(&self) -> impl Iterator<Item = &'f Credential> + '_ {
        self.by_digest.iter().map(|(_, credential)| *credential)
    }

    pub fn pins_of(&self, person: PersonId) -> impl Iterator<Item = &'f Credential> + '_ {
        run(&self.pins, &person).iter().map(|(_, credential)| *credential)
    }

    pub fn facts(&self) -> &'f Facts {
        self.facts
    }

    fn holder(&self, credential: &Credential) -> Option<Holder> {
        let person = self.facts.people.get(&credential.person)?;
        Some(Holder {
            credential: credential.id,
            person: person.id,
            person_active: person.state == PersonState::Active,
            kind: credential.kind,
            state: credential.state,
            validity: credential.validity,
            duress: credential.duress,
            extended_time: person.extended_time,
            slot: 0,
        })
    }
}

/// Whether a PIN counts at all now: the same question for the facts and for the bundle's compiler.
pub fn pin_counts(pin: &Credential, now: Moment) -> bool {
    pin.state == crate::credential::CredentialState::Active && pin.validity.at(now) == Standing::Within
}

impl Rules for FactsAtDoor<'_> {
    fn usable(&self, _: Moment) -> Result<(), Reason> {
        Ok(())
    }

    fn door(&self) -> &DoorRules {
        &self.door.rules
    }

    fn situation(&self) -> Situation<'_> {
        self.situation
    }

    fn zone(&self) -> &ZoneTable {
        self.zone
    }

    fn find(&self, shown: Shown) -> Option<Holder> {
        match shown {
            Shown::Credential(id) => self.holder(self.facts.credentials.get(&id)?),
            // Two credentials with one digest are one card given twice. Neither is safe to pick: nobody is found.
            Shown::Digest(digest) => match run(&self.by_digest, &digest) {
                [(_, only)] => self.holder(only),
                _ => None,
            },
        }
    }

    fn pin(&self, holder: &Holder, digest: Digest, now: Moment) -> Option<PinKind> {
        let pin = self.pins_of(holder.person).find(|pin| pin.digest == digest && pin_counts(pin, now))?;
        Some(if pin.duress { PinKind::Duress } else { PinKind::Own })
    }

    fn has_pin(&self, holder: &Holder) -> bool {
        self.pins_of(holder.person).next().is_some()
    }

    fn grants<'a>(&'a self, holder: &Holder) -> impl Iterator<Item = (&'a GrantRule, bool)> {
        self.facts
            .people
            .get(&holder.person)
            .into_iter()
            .flat_map(|person| self.grants_of(person))
            .map(|grant| (&grant.rule, grant.enabled))
    }

    fn schedule(&self, id: ScheduleId) -> Option<&Schedule> {
        self.facts.schedules.get(&id)
    }

    fn calendar(&self, id: CalendarId) -> Option<&Calendar> {
        self.facts.calendars.get(&id)
    }
}

/// How long a bundle of this door lives when it is made at `issued`.
pub fn bundle_expiry(door: &DoorFacts, issued: UnixMs) -> UnixMs {
    issued.plus(door.bundle_life_ms.min(BUNDLE_LIFE_MS_MAX))
}
