//! Random tenants from a number, and plain ones of a wanted size. Shared by tests and benches; the same number always
//! makes the same tenant.

use keyway_domain::credential::{Credential, CredentialKind, CredentialState, Digest, Validity};
use keyway_domain::door::{DecidedBy, DoorMode, DoorRules, Factors, SecurityLevel, Timings, TwoPersonRule};
use keyway_domain::facts::{DoorFacts, Facts};
use keyway_domain::grant::{Grant, GrantRule, UseCount, Who};
use keyway_domain::id::*;
use keyway_domain::lockdown::{Effect, LockdownStatement};
use keyway_domain::person::{Person, PersonKind, PersonState};
use keyway_domain::place::{Place, Scope};
use keyway_domain::schedule::{
    Calendar, DayWindow, Exception, HolidayRule, Schedule, WeekDays, WeeklyWindow,
};
use keyway_domain::time::{Date, UnixMs};
use keyway_domain::zone::ZoneTable;

pub const READER_KEY: [u8; 32] = [7; 32];
/// 2027-03-01T00:00:00Z: spring and autumn changes of both hemispheres lie within the year after it.
pub const START: UnixMs = UnixMs(1_803_859_200_000);
pub const DAY_MS: u64 = 86_400_000;
pub const YEAR_MS: u64 = 366 * DAY_MS;
pub const ZONES: [&str; 6] = [
    "Europe/Tallinn",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "UTC",
];

/// SplitMix64: small, and good enough to spread cases.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn bytes(&mut self) -> [u8; 10] {
        let wide = [self.roll().to_be_bytes(), self.roll().to_be_bytes()].concat();
        std::array::from_fn(|place| wide[place])
    }
}

pub struct RandomTenant {
    pub facts: Facts,
    pub doors: Vec<DoorId>,
    pub lockdowns: Vec<LockdownStatement>,
}

fn window(dice: &mut Dice) -> DayWindow {
    let from_minute = (dice.below(48) * 30) as u16;
    let until_minute = (dice.below(49) * 30) as u16;
    if from_minute == until_minute { DayWindow::WHOLE_DAY } else { DayWindow { from_minute, until_minute } }
}

fn schedule(dice: &mut Dice, calendars: &[CalendarId]) -> Schedule {
    let weekly = (0..1 + dice.below(3))
        .map(|_| WeeklyWindow { days: WeekDays(dice.below(128) as u8), window: window(dice) })
        .collect();
    let first = (START.0 / DAY_MS) as i32;
    let mut dates: Vec<i32> = (0..dice.below(6)).map(|_| first + dice.below(366) as i32).collect();
    dates.sort_unstable();
    dates.dedup();
    let exceptions = dates
        .into_iter()
        .map(|date| Exception {
            date: Date(date),
            windows: (0..dice.below(2)).map(|_| window(dice)).collect(),
        })
        .collect();
    let holidays = (!calendars.is_empty() && dice.one_in(2)).then(|| HolidayRule {
        calendar: dice.pick(calendars),
        windows: (0..dice.below(2)).map(|_| window(dice)).collect(),
    });
    Schedule { id: ScheduleId::mint(START, dice.bytes()), weekly, holidays, exceptions }
}

fn validity(dice: &mut Dice) -> Validity {
    let instant = |dice: &mut Dice| START.plus(dice.below(2 * YEAR_MS)).minus(YEAR_MS / 2);
    Validity {
        from: dice.one_in(3).then(|| instant(dice)),
        until: dice.one_in(3).then(|| instant(dice).plus(YEAR_MS / 4)),
    }
}

fn rules(
    dice: &mut Dice,
    tenant: TenantId,
    site: SiteId,
    area: AreaId,
    schedules: &[ScheduleId],
) -> DoorRules {
    let place = Place {
        tenant,
        site,
        area: dice.one_in(2).then_some(area),
        door: DoorId::mint(START, dice.bytes()),
        tags: if dice.one_in(2) { vec!["lab".into()] } else { Vec::new() },
    };
    let any_of =
        vec![dice.pick(&[Factors::CARD, Factors::KEY, Factors::CARD.and(Factors::PIN)]), Factors::CODE];
    let level = SecurityLevel { when: dice.one_in(2).then(|| dice.pick(schedules)), any_of };
    DoorRules {
        place,
        timings: Timings::default(),
        levels: if dice.one_in(3) { vec![level] } else { Vec::new() },
        two_person: dice.one_in(4).then_some(TwoPersonRule { within_ms: 10_000 }),
    }
}

fn credential(dice: &mut Dice, person: PersonId, number: u64) -> Credential {
    let kind = dice.pick(&[
        CredentialKind::Card,
        CredentialKind::Card,
        CredentialKind::Code,
        CredentialKind::PublicKey,
    ]);
    Credential {
        id: CredentialId::mint(START, dice.bytes()),
        person,
        kind,
        // Now and then the same card is given twice.
        digest: Digest::of(&READER_KEY, kind, None, &(number / (1 + dice.below(2))).to_be_bytes()),
        state: credential_state(dice),
        validity: validity(dice),
        duress: dice.one_in(12),
    }
}

fn credential_state(dice: &mut Dice) -> CredentialState {
    match dice.below(8) {
        0 => CredentialState::Suspended,
        1 => CredentialState::Revoked,
        _ => CredentialState::Active,
    }
}

pub const PIN: &str = "0420";

pub fn random_tenant(seed: u64) -> RandomTenant {
    let dice = &mut Dice(seed);
    let mut facts = Facts::default();
    let tenant = TenantId::mint(START, dice.bytes());
    let sites = [SiteId::mint(START, dice.bytes()), SiteId::mint(START, dice.bytes())];
    let area = AreaId::mint(START, dice.bytes());
    for site in sites {
        let table =
            ZoneTable::expand(dice.pick(&ZONES), START.minus(DAY_MS), START.plus(2 * YEAR_MS)).unwrap();
        facts.zones.insert(site, table);
    }
    let calendars = [CalendarId::mint(START, dice.bytes())];
    for id in calendars {
        let mut dates: Vec<Date> =
            (0..20).map(|_| Date((START.0 / DAY_MS) as i32 + dice.below(366) as i32)).collect();
        dates.sort_unstable();
        dates.dedup();
        facts.calendars.insert(id, Calendar { id, dates });
    }
    for _ in 0..3 {
        let one = schedule(dice, &calendars);
        facts.schedules.insert(one.id, one);
    }
    let schedules: Vec<ScheduleId> = facts.schedules.keys().copied().collect();
    let groups = [GroupId::mint(START, dice.bytes()), GroupId::mint(START, dice.bytes())];
    for _ in 0..3 {
        let site = dice.pick(&sites);
        let rules = rules(dice, tenant, site, area, &schedules);
        facts.doors.insert(
            rules.place.door,
            DoorFacts {
                rules,
                mode: dice.pick(&[
                    DoorMode::Normal,
                    DoorMode::Normal,
                    DoorMode::Normal,
                    DoorMode::Unlocked,
                    DoorMode::Lockdown,
                    DoorMode::Blocked,
                ]),
                mode_version: dice.below(9),
                decided_by: dice.pick(&[DecidedBy::Bundle, DecidedBy::Bundle, DecidedBy::Online]),
                own_policies: dice.one_in(8),
                bundle_life_ms: dice.pick(&[DAY_MS, 7 * DAY_MS, 90 * DAY_MS]),
            },
        );
    }
    let doors: Vec<DoorId> = facts.doors.keys().copied().collect();
    for number in 0..8 {
        let id = PersonId::mint(START, dice.bytes());
        let person = Person {
            id,
            name: format!("person {number}"),
            kind: PersonKind::Member,
            state: if dice.one_in(8) { PersonState::Suspended } else { PersonState::Active },
            roles: Vec::new(),
            groups: groups.into_iter().filter(|_| dice.one_in(2)).collect(),
            extended_time: dice.one_in(4),
        };
        facts.people.insert(id, person);
        let one = credential(dice, id, number);
        facts.credentials.insert(one.id, one);
        if dice.one_in(2) {
            let digits = keyway_domain::decision::PinTyped::parse(READER_KEY, PIN).unwrap();
            let pin = Credential {
                id: CredentialId::mint(START, dice.bytes()),
                person: id,
                kind: CredentialKind::Pin,
                digest: digits.digest(id),
                state: credential_state(dice),
                validity: validity(dice),
                duress: dice.one_in(3),
            };
            facts.credentials.insert(pin.id, pin);
        }
    }
    let people: Vec<PersonId> = facts.people.keys().copied().collect();
    for _ in 0..14 {
        let id = GrantId::mint(START, dice.bytes());
        let scope = match dice.below(5) {
            0 => Scope::Tenant,
            1 => Scope::Site(dice.pick(&sites)),
            2 => Scope::Area(area),
            3 => Scope::Tag("lab".into()),
            _ => Scope::Doors(vec![dice.pick(&doors)]),
        };
        let rule = GrantRule {
            id,
            validity: validity(dice),
            schedule: dice.one_in(2).then(|| dice.pick(&schedules)),
            uses: dice.one_in(4).then(|| UseCount { most: 3, taken: dice.below(4) as u32 }),
            overrides_lockdown: dice.one_in(4),
            ask_core: false,
        };
        let who =
            if dice.one_in(2) { Who::Person(dice.pick(&people)) } else { Who::Group(dice.pick(&groups)) };
        facts
            .grants
            .insert(id, Grant { rule, who, scope, enabled: !dice.one_in(8), offline_ok: dice.one_in(2) });
    }
    let lockdowns = (0..dice.below(3)).map(|version| lockdown(dice, tenant, area, version)).collect();
    RandomTenant { facts, doors, lockdowns }
}

fn lockdown(dice: &mut Dice, tenant: TenantId, area: AreaId, version: u64) -> LockdownStatement {
    LockdownStatement {
        tenant,
        activation: ActivationId::mint(START, dice.bytes()),
        plan: PlanId::mint(START, dice.bytes()),
        scope: if dice.one_in(2) { Scope::Area(area) } else { Scope::Tenant },
        rank: dice.below(3) as u32,
        version,
        effect: dice.pick(&[Effect::LockedOpen, Effect::RespondersOnly, Effect::Nobody]),
        live: dice.one_in(2),
        until: dice.one_in(2).then(|| START.plus(dice.below(30 * DAY_MS))),
    }
}

/// One door, `grants` people with one card and one grant each, ten schedules, in Tallinn.
pub fn large_tenant(grants: u64) -> RandomTenant {
    let dice = &mut Dice(grants);
    let mut facts = Facts::default();
    let tenant = TenantId::mint(START, dice.bytes());
    let site = SiteId::mint(START, dice.bytes());
    let area = AreaId::mint(START, dice.bytes());
    facts
        .zones
        .insert(site, ZoneTable::expand("Europe/Tallinn", START.minus(DAY_MS), START.plus(YEAR_MS)).unwrap());
    for _ in 0..10 {
        let id = ScheduleId::mint(START, dice.bytes());
        let weekly = vec![WeeklyWindow {
            days: WeekDays::ALL,
            window: DayWindow { from_minute: 60, until_minute: 1_380 },
        }];
        facts.schedules.insert(id, Schedule { id, weekly, holidays: None, exceptions: Vec::new() });
    }
    let schedules: Vec<ScheduleId> = facts.schedules.keys().copied().collect();
    let place =
        Place { tenant, site, area: Some(area), door: DoorId::mint(START, dice.bytes()), tags: Vec::new() };
    let door = place.door;
    let rules = DoorRules { place, timings: Timings::default(), levels: Vec::new(), two_person: None };
    facts.doors.insert(
        door,
        DoorFacts {
            rules,
            mode: DoorMode::Normal,
            mode_version: 1,
            decided_by: DecidedBy::Bundle,
            own_policies: false,
            bundle_life_ms: DAY_MS,
        },
    );
    for number in 0..grants {
        let person = PersonId::mint(START, dice.bytes());
        facts.people.insert(
            person,
            Person {
                id: person,
                name: String::new(),
                kind: PersonKind::Member,
                state: PersonState::Active,
                roles: Vec::new(),
                groups: Vec::new(),
                extended_time: false,
            },
        );
        let card = Credential {
            id: CredentialId::mint(START, dice.bytes()),
            person,
            kind: CredentialKind::Card,
            digest: card_digest(number),
            state: CredentialState::Active,
            validity: Validity::default(),
            duress: false,
        };
        facts.credentials.insert(card.id, card);
        let rule = GrantRule {
            id: GrantId::mint(START, dice.bytes()),
            validity: Validity::default(),
            schedule: Some(dice.pick(&schedules)),
            uses: None,
            overrides_lockdown: false,
            ask_core: false,
        };
        let grant = Grant {
            rule,
            who: Who::Person(person),
            scope: Scope::Doors(vec![door]),
            enabled: true,
            offline_ok: false,
        };
        facts.grants.insert(grant.rule.id, grant);
    }
    RandomTenant { facts, doors: vec![door], lockdowns: Vec::new() }
}

pub fn card_digest(number: u64) -> Digest {
    Digest::of(&READER_KEY, CredentialKind::Card, None, &number.to_be_bytes())
}
