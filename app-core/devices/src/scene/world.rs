//! A small company for scenes: one site, some doors, a few people with cards and phones. Owns nothing but the making.

use super::{DoorShell, Scene};
use crate::dice::{Dice, MORNING};
use crate::door::Identity;
use crate::flash::Flash;
use crate::phone::PhoneCore;
use crate::small_core::SmallCore;
use keyway_domain::credential::{Credential, CredentialKind, CredentialState, Digest, Validity};
use keyway_domain::door::{DecidedBy, DoorMode, DoorRules, Timings};
use keyway_domain::facts::{BUNDLE_LIFE_MS_DEFAULT, DoorFacts, Facts};
use keyway_domain::grant::{Grant, GrantRule, Who};
use keyway_domain::id::*;
use keyway_domain::person::{Person, PersonKind, PersonState};
use keyway_domain::place::{Place, Scope};
use keyway_domain::sign::SigningKey;
use keyway_domain::time::UnixMs;
use keyway_domain::zone::ZoneTable;
use std::sync::Arc;

/// What was made, by what it is asked for.
pub struct Made<F> {
    pub scene: Scene<F>,
    /// One card a person.
    pub cards: Vec<(CredentialId, Digest)>,
    pub doors: Vec<DoorId>,
    pub grants: Vec<GrantId>,
}

/// Events that core has not committed, per door. A few hundred taps; a real controller has more.
const EVENTS_BYTES_MAX: usize = 64 * 1024;
const YEAR_MS: u64 = 366 * 86_400_000;

fn person(dice: &mut Dice, number: usize) -> Person {
    Person {
        id: PersonId::mint(MORNING, dice.bytes()),
        name: format!("person {number}"),
        kind: PersonKind::Member,
        state: PersonState::Active,
        roles: Vec::new(),
        groups: Vec::new(),
        extended_time: false,
    }
}

/// Every person may open every door, at any time. Every second device has a P-256 key, as secure elements do.
pub fn make<F: Flash>(
    doors: usize,
    people: usize,
    seed: u64,
    mut flash: impl FnMut(usize) -> F,
) -> std::io::Result<Made<F>> {
    let mut dice = Dice(seed);
    let tenant = TenantId::mint(MORNING, dice.bytes());
    let site = SiteId::mint(MORNING, dice.bytes());
    let reader_key = dice.seed();
    let mut facts = Facts::default();
    let day_before = UnixMs(MORNING.0 - 86_400_000);
    let zone = ZoneTable::expand("Europe/Tallinn", day_before, MORNING.plus(YEAR_MS))
        .map_err(std::io::Error::other)?;
    facts.zones.insert(site, zone);
    let (mut cards, mut grants, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..people {
        let person = person(&mut dice, number);
        for kind in [CredentialKind::Card, CredentialKind::PublicKey] {
            let credential = Credential {
                id: CredentialId::mint(MORNING, dice.bytes()),
                person: person.id,
                kind,
                digest: Digest::of(&reader_key, kind, None, &(number as u64).to_be_bytes()),
                state: CredentialState::Active,
                validity: Validity::default(),
                duress: false,
            };
            if kind == CredentialKind::Card {
                cards.push((credential.id, credential.digest));
            } else {
                keys.push((person.id, credential.id));
            }
            facts.credentials.insert(credential.id, credential);
        }
        let rule = GrantRule {
            id: GrantId::mint(MORNING, dice.bytes()),
            validity: Validity::default(),
            schedule: None,
            uses: None,
            overrides_lockdown: false,
            ask_core: false,
        };
        grants.push(rule.id);
        let who = Who::Person(person.id);
        facts
            .grants
            .insert(rule.id, Grant { rule, who, scope: Scope::Tenant, enabled: true, offline_ok: false });
        facts.people.insert(person.id, person);
    }
    let places: Vec<Place> = (0..doors)
        .map(|_| Place {
            tenant,
            site,
            area: None,
            door: DoorId::mint(MORNING, dice.bytes()),
            tags: Vec::new(),
        })
        .collect();
    for place in &places {
        let rules = DoorRules {
            place: place.clone(),
            timings: Timings::default(),
            levels: Vec::new(),
            two_person: None,
        };
        facts.doors.insert(
            place.door,
            DoorFacts {
                rules,
                mode: DoorMode::Normal,
                mode_version: 1,
                decided_by: DecidedBy::Bundle,
                own_policies: false,
                bundle_life_ms: BUNDLE_LIFE_MS_DEFAULT,
            },
        );
    }
    let mut core = SmallCore::new(tenant, facts, dice.roll());
    let mut shells = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let key = device_key(&mut dice, number)?;
        let device = DeviceId::mint(MORNING, dice.bytes());
        core.enrol_device(device, place.door, &key);
        let core = core.trusted();
        let identity = Identity {
            tenant,
            site,
            door: place.door,
            device,
            key,
            core,
            keys_version: 1,
            reader_key,
            events_bytes_max: EVENTS_BYTES_MAX,
        };
        shells.push(DoorShell::start(Arc::new(identity), flash(number), dice.roll(), MORNING)?);
    }
    let mut phones = Vec::new();
    for (person, credential) in keys {
        let key = device_key(&mut dice, 1)?;
        core.enrol_phone(&key, credential);
        phones.push(PhoneCore::new(tenant, person, key));
    }
    let doors = places.iter().map(|place| place.door).collect();
    Ok(Made { scene: Scene::new(core, shells, phones, dice.roll()), cards, doors, grants })
}

fn device_key(dice: &mut Dice, number: usize) -> std::io::Result<SigningKey> {
    let id = KeyId::mint(MORNING, dice.bytes());
    let seed = dice.seed();
    if number.is_multiple_of(2) {
        Ok(SigningKey::ed25519(id, &seed))
    } else {
        SigningKey::p256(id, &seed).map_err(std::io::Error::other)
    }
}
