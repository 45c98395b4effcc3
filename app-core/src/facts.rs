//! The facts of one tenant as they are decided on: read from rows, indexed, kept until the version moves on. Owns the
//! step from documents to the domain's facts; refuses to decide.

use crate::doc::{DeviceDoc, DoorDoc, PhoneDoc, RevocationDoc};
use crate::store::StoreError;
use crate::store::kind::RecordKind;
use crate::store::row::{FactRows, Record};
use keyway_domain::credential::Credential;
use keyway_domain::decision::Situation;
use keyway_domain::door::DoorRules;
use keyway_domain::facts::{BUNDLE_LIFE_MS_MAX, DoorFacts, Facts};
use keyway_domain::grant::Grant;
use keyway_domain::id::{AreaId, DeviceId, DoorId, GroupId, KeyId, SiteId, TenantId};
use keyway_domain::lockdown::{LockdownSet, LockdownStatement};
use keyway_domain::person::{Group, Person};
use keyway_domain::place::{Area, Place, Site};
use keyway_domain::schedule::{Calendar, Schedule};
use keyway_domain::time::UnixMs;
use keyway_domain::zone::ZoneTable;
use std::collections::{BTreeMap, BTreeSet};

/// Zones are expanded for a month longer than the longest bundle lives, and anew each month.
const ZONE_AHEAD_MS: u64 = BUNDLE_LIFE_MS_MAX * 2;
const DAY_MS: u64 = 24 * 3_600_000;

/// One fact of a committed change.
#[derive(Debug, Clone)]
pub enum FactChange {
    Put(Record),
    Gone(RecordKind, String),
}

/// Everything of a tenant that a decision may look at.
#[derive(Debug, Clone)]
pub struct TenantFacts {
    pub tenant: TenantId,
    pub version: u64,
    pub facts: Facts,
    pub sites: BTreeMap<SiteId, Site>,
    pub areas: BTreeMap<AreaId, Area>,
    pub groups: BTreeSet<GroupId>,
    pub doors: BTreeMap<DoorId, DoorDoc>,
    pub devices: BTreeMap<DeviceId, DeviceDoc>,
    pub phones: BTreeMap<KeyId, PhoneDoc>,
    pub lockdowns: LockdownSet,
    pub revocation: RevocationDoc,
    /// Versions of the records that decisions themselves change.
    pub grant_versions: BTreeMap<keyway_domain::id::GrantId, u64>,
    /// From here on the zones have to be expanded anew.
    pub stale_at: UnixMs,
}

impl TenantFacts {
    pub fn read(tenant: TenantId, rows: &FactRows, now: UnixMs) -> Result<Self, StoreError> {
        let mut own = Self {
            tenant,
            version: rows.version,
            facts: Facts::default(),
            sites: BTreeMap::new(),
            areas: BTreeMap::new(),
            groups: BTreeSet::new(),
            doors: BTreeMap::new(),
            devices: BTreeMap::new(),
            phones: BTreeMap::new(),
            lockdowns: LockdownSet::default(),
            revocation: RevocationDoc::default(),
            grant_versions: BTreeMap::new(),
            stale_at: now.plus(ZONE_AHEAD_MS - BUNDLE_LIFE_MS_MAX),
        };
        for row in &rows.records {
            own.take(row, now)?;
        }
        own.finish();
        Ok(own)
    }

    /// Follows one committed change: the facts are then those of the next version, as if they had been read anew.
    pub fn follow(&mut self, changes: &[FactChange], now: UnixMs) -> Result<(), StoreError> {
        for change in changes {
            match change {
                FactChange::Put(row) => self.take(row, now)?,
                FactChange::Gone(kind, id) => self.forget(*kind, id),
            }
        }
        self.finish();
        self.version += 1;
        Ok(())
    }

    fn forget(&mut self, kind: RecordKind, id: &str) {
        fn drop_from<K: std::str::FromStr + Ord, V>(map: &mut BTreeMap<K, V>, id: &str) {
            if let Ok(key) = id.parse::<K>() {
                map.remove(&key);
            }
        }
        match kind {
            RecordKind::Site => {
                drop_from(&mut self.facts.zones, id);
                drop_from(&mut self.sites, id);
            }
            RecordKind::Area => drop_from(&mut self.areas, id),
            RecordKind::Group => {
                if let Ok(group) = id.parse() {
                    self.groups.remove(&group);
                }
            }
            RecordKind::Door => {
                drop_from(&mut self.facts.doors, id);
                drop_from(&mut self.doors, id);
            }
            RecordKind::Person => drop_from(&mut self.facts.people, id),
            RecordKind::Credential => drop_from(&mut self.facts.credentials, id),
            RecordKind::Grant => {
                drop_from(&mut self.facts.grants, id);
                drop_from(&mut self.grant_versions, id);
            }
            RecordKind::Schedule => drop_from(&mut self.facts.schedules, id),
            RecordKind::Calendar => drop_from(&mut self.facts.calendars, id),
            RecordKind::Device => drop_from(&mut self.devices, id),
            RecordKind::Phone => drop_from(&mut self.phones, id),
            // Lockdowns and the revocation are never deleted: their counters must not fall.
            _ => {}
        }
    }

    fn take(&mut self, row: &Record, now: UnixMs) -> Result<(), StoreError> {
        match row.kind {
            RecordKind::Site => {
                let site: Site = row.read()?;
                let zone = ZoneTable::expand(&site.zone, now.minus(DAY_MS), now.plus(ZONE_AHEAD_MS))
                    .map_err(|error| StoreError::Corrupt { what: format!("{}: {error}", site.id) })?;
                self.facts.zones.insert(site.id, zone);
                self.sites.insert(site.id, site);
            }
            RecordKind::Area => {
                let area: Area = row.read()?;
                self.areas.insert(area.id, area);
            }
            RecordKind::Group => {
                let group: Group = row.read()?;
                self.groups.insert(group.id);
            }
            RecordKind::Door => {
                let door: DoorDoc = row.read()?;
                self.facts.doors.insert(door.id, door_facts(self.tenant, &door));
                self.doors.insert(door.id, door);
            }
            RecordKind::Person => {
                let person: Person = row.read()?;
                self.facts.people.insert(person.id, person);
            }
            RecordKind::Credential => {
                let credential: Credential = row.read()?;
                self.facts.credentials.insert(credential.id, credential);
            }
            RecordKind::Grant => {
                let grant: Grant = row.read()?;
                self.grant_versions.insert(grant.rule.id, row.version);
                self.facts.grants.insert(grant.rule.id, grant);
            }
            RecordKind::Schedule => {
                let schedule: Schedule = row.read()?;
                self.facts.schedules.insert(schedule.id, schedule);
            }
            RecordKind::Calendar => {
                let calendar: Calendar = row.read()?;
                self.facts.calendars.insert(calendar.id, calendar);
            }
            RecordKind::Lockdown => {
                let statement: LockdownStatement = row.read()?;
                // Reverted ones stay as records, so that the floor never falls.
                self.lockdowns.floor = self.lockdowns.floor.max(statement.version);
                self.lockdowns.statements.retain(|held| held.activation != statement.activation);
                if statement.live {
                    self.lockdowns.statements.push(statement);
                }
            }
            RecordKind::Revocation => self.revocation = row.read()?,
            RecordKind::Device => {
                let device: DeviceDoc = row.read()?;
                self.devices.insert(device.id, device);
            }
            RecordKind::Phone => {
                let phone: PhoneDoc = row.read()?;
                self.phones.insert(phone.id, phone);
            }
            _ => {}
        }
        Ok(())
    }

    /// A phone that was revoked opens nothing, whatever its credential says.
    fn finish(&mut self) {
        for phone in self.phones.values().filter(|phone| phone.revoked) {
            if let Some(credential) = self.facts.credentials.get_mut(&phone.credential) {
                credential.state = keyway_domain::credential::CredentialState::Revoked;
            }
        }
    }

    /// The device that serves a door now: the one that was enrolled last.
    pub fn device_of(&self, door: DoorId) -> Option<&DeviceDoc> {
        let of_door = self.devices.values().filter(|device| device.door == door && !device.revoked);
        of_door.max_by_key(|device| (device.enrolled_at, device.id))
    }

    pub fn device(&self, id: DeviceId) -> Option<&DeviceDoc> {
        self.devices.get(&id).filter(|device| !device.revoked)
    }

    pub fn phone(&self, id: KeyId) -> Option<&PhoneDoc> {
        self.phones.get(&id).filter(|phone| !phone.revoked)
    }

    pub fn situation(&self, door: &DoorFacts) -> Situation<'_> {
        Situation {
            mode: door.mode,
            mode_version: door.mode_version,
            lockdowns: &self.lockdowns.statements,
            locked_out_until: None,
            policy_forbids: false,
        }
    }

    pub fn site_of(&self, door: DoorId) -> Option<SiteId> {
        self.doors.get(&door).map(|door| door.site)
    }
}

fn door_facts(tenant: TenantId, door: &DoorDoc) -> DoorFacts {
    DoorFacts {
        rules: DoorRules {
            place: Place { tenant, site: door.site, area: door.area, door: door.id, tags: door.tags.clone() },
            timings: door.timings,
            levels: door.levels.clone(),
            two_person: door.two_person,
        },
        mode: door.mode,
        mode_version: door.mode_version,
        decided_by: door.decided_by,
        own_policies: false,
        bundle_life_ms: door.bundle_life_ms,
    }
}
