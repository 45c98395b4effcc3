//! `decide`: may this attempt open this door now. One function for core's facts and a door's bundle. Owns the order of
//! the rules and every reason for a no; refuses to read a clock, to allocate, and to change anything.

use crate::credential::{CredentialKind, CredentialState, Digest, Standing, Validity};
use crate::door::{DoorMode, DoorRules, Factors};
use crate::grant::GrantRule;
use crate::id::{CalendarId, CredentialId, GrantId, PersonId, ScheduleId};
use crate::lockdown::{Effect, EffectiveMode, LockdownStatement, effective_mode};
use crate::schedule::{Answer, Calendar, Schedule};
use crate::time::{Moment, UnixMs};
use crate::zone::{LocalTime, ZoneTable};
use serde::{Deserialize, Serialize};

/// A clock that may be off by more than this decides nothing: half a minute stays below the shortest window (a minute),
/// so that looking at both ends of the error misses no gap between two windows.
pub const CLOCK_ERROR_MS_MAX: u32 = 29_000;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why not. Closed: a reader that meets a word it does not know reads `other`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[$doc])* $name,)* #[serde(other)] Other }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name,)* Self::Other];
        }
    };
}

// In rising nearness to a yes: of several grants that say no, the latest reason of this list is told.
reasons! {
    ClockUnsynced,
    BundleMissing,
    BundleNotYetValid,
    BundleExpired,
    /// The expanded time zone rules do not reach this far.
    ZoneRulesExhausted,
    TenantMismatch,
    DoorBlocked,
    DoorInLockdown,
    CodeLockout,
    CredentialUnknown,
    /// A PIN alone, or a kind that this door does not take.
    CredentialKindNotAccepted,
    CredentialRevoked,
    CredentialSuspended,
    CredentialExpired,
    CredentialNotActiveYet,
    PersonInactive,
    ForbiddenByPolicy,
    NoGrant,
    GrantDisabled,
    GrantExpired,
    GrantNotActiveYet,
    UsesExhausted,
    OutsideSchedule,
    Holiday,
    PinWrong,
    PinRequired,
    /// More or other proof than was shown.
    FactorsMissing,
    SamePersonTwice,
    /// Everything is right; a second person has to follow.
    TwoPersonPending,
    /// Core had to be asked and did not answer in time.
    CoreUnreachable,
}

/// The reasons of all grants that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reasons(u64);

impl Reasons {
    pub fn add(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u8;
    }

    pub fn has(self, reason: Reason) -> bool {
        self.0 >> reason as u8 & 1 == 1
    }

    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.iter().copied().filter(move |reason| self.has(*reason))
    }
}

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// At a reader.
    Digest(Digest),
    /// A signed request, its key already found by core.
    Credential(CredentialId),
}

/// The first of two people: somebody whose own decision ended in `TwoPersonPending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPerson {
    pub person: PersonId,
    /// By the monotonic clock of whoever saw both.
    pub ago_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub shown: Shown,
    /// Typed beside it.
    pub pin: Option<Pin>,
    pub first: Option<FirstPerson>,
}

/// A PIN beside a credential: as typed at the door, or as a door has sent it to core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Typed(PinTyped),
    Digest(Digest),
}

impl Pin {
    pub fn digest(&self, person: PersonId) -> Digest {
        match self {
            Self::Typed(typed) => typed.digest(person),
            Self::Digest(digest) => *digest,
        }
    }
}

/// A PIN as typed. Its digest depends on the person, who is known only once the credential is found; the reader key is
/// needed for that and nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PinTyped {
    reader_key: [u8; 32],
    /// The digits behind a leading 1, so that leading zeros count.
    marked: u64,
}

impl PinTyped {
    /// 4 to 12 digits; `None` for anything else.
    pub fn parse(reader_key: [u8; 32], typed: &str) -> Option<Self> {
        if !(4..=12).contains(&typed.len()) {
            return None;
        }
        let marked = typed.bytes().try_fold(1u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
        })?;
        Some(Self { reader_key, marked })
    }

    pub fn digest(&self, person: PersonId) -> Digest {
        Digest::of(&self.reader_key, CredentialKind::Pin, Some(person), &self.marked.to_be_bytes())
    }
}

impl std::fmt::Debug for PinTyped {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("PinTyped(..)")
    }
}

/// The state of the door at this moment, beside its rules.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub mode: DoorMode,
    pub mode_version: u64,
    pub lockdowns: &'a [LockdownStatement],
    /// Too many wrong codes: nothing is taken before.
    pub locked_out_until: Option<UnixMs>,
    /// A tenant's own rule forbids this attempt. Known to core only.
    pub policy_forbids: bool,
}

impl Situation<'_> {
    pub fn plain() -> Self {
        Self {
            mode: DoorMode::Normal,
            mode_version: 0,
            lockdowns: &[],
            locked_out_until: None,
            policy_forbids: false,
        }
    }
}

/// A credential that was found, with what decides of its person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub credential: CredentialId,
    pub person: PersonId,
    pub person_active: bool,
    pub kind: CredentialKind,
    pub state: CredentialState,
    pub validity: Validity,
    pub duress: bool,
    pub extended_time: bool,
    /// Where the rules keep the rest of this holder; means nothing to `decide`.
    pub slot: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKind {
    Own,
    Duress,
}

/// What `decide` asks. Core's facts and a door's bundle answer it.
pub trait Rules {
    /// Whether these rules may be used now at all.
    fn usable(&self, now: Moment) -> Result<(), Reason>;
    fn door(&self) -> &DoorRules;
    fn situation(&self) -> Situation<'_>;
    fn zone(&self) -> &ZoneTable;
    fn find(&self, shown: Shown) -> Option<Holder>;
    fn pin(&self, holder: &Holder, digest: Digest, now: Moment) -> Option<PinKind>;
    fn has_pin(&self, holder: &Holder) -> bool;
    /// The grants of this holder that speak of this door, each with whether it is enabled.
    fn grants<'a>(&'a self, holder: &Holder) -> impl Iterator<Item = (&'a GrantRule, bool)>;
    fn schedule(&self, id: ScheduleId) -> Option<&Schedule>;
    fn calendar(&self, id: CalendarId) -> Option<&Calendar>;
}

/// A yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    pub grant: GrantId,
    pub open_ms: u32,
    /// Open as if nothing were, and alarm silently.
    pub duress: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Granted(Pass),
    Denied(Reason),
    /// Only core knows all that decides. Without its answer in time this is a no (`CoreUnreachable`).
    AskCore,
}

/// A decision: plain data, copied freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub outcome: Outcome,
    /// Every reason met on the way, the told one included.
    pub reasons: Reasons,
    pub credential: Option<CredentialId>,
    pub person: Option<PersonId>,
    /// The version of the door's mode that was judged; a door with a newer one refuses a command made from this.
    pub mode_version: u64,
}

impl Decision {
    pub fn granted(&self) -> Option<Pass> {
        match self.outcome {
            Outcome::Granted(pass) => Some(pass),
            Outcome::Denied(_) | Outcome::AskCore => None,
        }
    }
}

/// One grant and why it did or did not hold, for `access:explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Considered {
    pub grant: GrantId,
    /// `None`: this one holds.
    pub refused: Option<Reason>,
}

pub fn decide<R: Rules>(rules: &R, attempt: &Attempt, now: Moment) -> Decision {
    decide_and_tell(rules, attempt, now, |_| {})
}

/// The same decision, telling each grant that was looked at.
pub fn explain<R: Rules>(rules: &R, attempt: &Attempt, now: Moment) -> (Decision, Vec<Considered>) {
    let mut all = Vec::new();
    let decision = decide_and_tell(rules, attempt, now, |one| all.push(one));
    (decision, all)
}

fn decide_and_tell<R: Rules>(
    rules: &R,
    attempt: &Attempt,
    now: Moment,
    mut tell: impl FnMut(Considered),
) -> Decision {
    let mut decision = Decision {
        outcome: Outcome::AskCore,
        reasons: Reasons::default(),
        credential: None,
        person: None,
        mode_version: rules.situation().mode_version,
    };
    decision.outcome = match judge(rules, attempt, now, &mut decision, &mut tell) {
        Ok(outcome) => outcome,
        Err(reason) => {
            decision.reasons.add(reason);
            Outcome::Denied(reason)
        }
    };
    decision
}

fn judge<R: Rules>(
    rules: &R,
    attempt: &Attempt,
    now: Moment,
    decision: &mut Decision,
    tell: &mut impl FnMut(Considered),
) -> Result<Outcome, Reason> {
    if now.error_ms > CLOCK_ERROR_MS_MAX {
        return Err(Reason::ClockUnsynced);
    }
    rules.usable(now)?;
    let local = Local::at(rules.zone(), now)?;
    let situation = rules.situation();
    let door = rules.door();
    let responders_only = match effective_mode(situation.mode, situation.lockdowns, &door.place, now) {
        EffectiveMode::Own(DoorMode::Normal | DoorMode::Unlocked | DoorMode::LockedOpen) => false,
        EffectiveMode::Own(DoorMode::Blocked) => return Err(Reason::DoorBlocked),
        EffectiveMode::Ruled(Effect::LockedOpen) => false,
        EffectiveMode::Ruled(Effect::Nobody) => return Err(Reason::DoorInLockdown),
        EffectiveMode::Own(DoorMode::Lockdown) | EffectiveMode::Ruled(Effect::RespondersOnly) => true,
    };
    if situation.locked_out_until.is_some_and(|until| now.earliest() < until) {
        return Err(Reason::CodeLockout);
    }
    let holder = rules.find(attempt.shown).ok_or(Reason::CredentialUnknown)?;
    decision.credential = Some(holder.credential);
    decision.person = Some(holder.person);
    check_holder(&holder, now)?;
    if situation.policy_forbids {
        return Err(Reason::ForbiddenByPolicy);
    }
    let (factors, duress) = proof(rules, &holder, attempt, now)?;
    let best = best_grant(rules, &holder, local, now, responders_only, &mut decision.reasons, tell)?;
    check_factors(rules, &holder, factors, local)?;
    check_second_person(door, attempt, &holder)?;
    if best.ask_core {
        return Ok(Outcome::AskCore);
    }
    let open_ms = if holder.extended_time { door.timings.extended_ms } else { door.timings.access_ms };
    Ok(Outcome::Granted(Pass { grant: best.id, open_ms, duress }))
}

fn check_holder(holder: &Holder, now: Moment) -> Result<(), Reason> {
    match holder.state {
        CredentialState::Revoked => return Err(Reason::CredentialRevoked),
        CredentialState::Suspended => return Err(Reason::CredentialSuspended),
        CredentialState::Active => {}
    }
    match holder.validity.at(now) {
        Standing::Over => return Err(Reason::CredentialExpired),
        Standing::NotYet => return Err(Reason::CredentialNotActiveYet),
        Standing::Within => {}
    }
    if holder.kind == CredentialKind::Pin {
        return Err(Reason::CredentialKindNotAccepted);
    }
    if holder.person_active { Ok(()) } else { Err(Reason::PersonInactive) }
}

/// What was proven in all, and whether any of it says duress.
fn proof<R: Rules>(
    rules: &R,
    holder: &Holder,
    attempt: &Attempt,
    now: Moment,
) -> Result<(Factors, bool), Reason> {
    let shown = holder.kind.factor();
    let Some(pin) = attempt.pin else {
        return Ok((shown, holder.duress));
    };
    match rules.pin(holder, pin.digest(holder.person), now) {
        Some(kind) => Ok((shown.and(Factors::PIN), holder.duress || kind == PinKind::Duress)),
        None => Err(Reason::PinWrong),
    }
}

/// The first grant that holds without core, else the first that core has to be asked for, else the nearest reason.
fn best_grant<'r, R: Rules>(
    rules: &'r R,
    holder: &Holder,
    local: Local,
    now: Moment,
    responders_only: bool,
    reasons: &mut Reasons,
    tell: &mut impl FnMut(Considered),
) -> Result<&'r GrantRule, Reason> {
    let mut nearest = Reason::NoGrant;
    let mut to_ask = None;
    for (grant, enabled) in rules.grants(holder) {
        let refused = check_grant(rules, grant, enabled, local, now, responders_only).err();
        tell(Considered { grant: grant.id, refused });
        match refused {
            None if !grant.ask_core => return Ok(grant),
            None => to_ask = to_ask.or(Some(grant)),
            Some(reason) => {
                reasons.add(reason);
                nearest = nearest.max(reason);
            }
        }
    }
    // A lockdown is what people have to hear of, whatever else stood against each grant.
    let told = if reasons.has(Reason::DoorInLockdown) { Reason::DoorInLockdown } else { nearest };
    to_ask.ok_or(told)
}

fn check_grant<R: Rules>(
    rules: &R,
    grant: &GrantRule,
    enabled: bool,
    local: Local,
    now: Moment,
    responders_only: bool,
) -> Result<(), Reason> {
    if !enabled {
        return Err(Reason::GrantDisabled);
    }
    if responders_only && !grant.overrides_lockdown {
        return Err(Reason::DoorInLockdown);
    }
    match grant.validity.at(now) {
        Standing::Over => return Err(Reason::GrantExpired),
        Standing::NotYet => return Err(Reason::GrantNotActiveYet),
        Standing::Within => {}
    }
    if grant.uses.is_some_and(|uses| uses.taken >= uses.most) {
        return Err(Reason::UsesExhausted);
    }
    match grant.schedule {
        None => Ok(()),
        Some(id) => local.within(rules, id),
    }
}

/// Local time at both ends of what the clock may mean.
#[derive(Clone, Copy)]
struct Local {
    earliest: LocalTime,
    latest: LocalTime,
}

impl Local {
    fn at(zone: &ZoneTable, now: Moment) -> Result<Self, Reason> {
        match (zone.local(now.earliest()), zone.local(now.latest())) {
            (Some(earliest), Some(latest)) => Ok(Self { earliest, latest }),
            _ => Err(Reason::ZoneRulesExhausted),
        }
    }

    /// Open at both ends. A schedule that is not there is closed.
    fn within<R: Rules>(self, rules: &R, id: ScheduleId) -> Result<(), Reason> {
        let schedule = rules.schedule(id).ok_or(Reason::OutsideSchedule)?;
        let calendar = match &schedule.holidays {
            None => None,
            // Without the calendar nobody knows whether today is free: closed.
            Some(rule) => Some(rules.calendar(rule.calendar).ok_or(Reason::OutsideSchedule)?),
        };
        let answer = match schedule.at(self.earliest, calendar) {
            Answer::Open if self.latest != self.earliest => schedule.at(self.latest, calendar),
            first => first,
        };
        match answer {
            Answer::Open => Ok(()),
            Answer::Outside => Err(Reason::OutsideSchedule),
            Answer::Holiday => Err(Reason::Holiday),
        }
    }

    /// Open at one of the ends at least: for a rule that asks for more, doubt means more.
    fn touches<R: Rules>(self, rules: &R, id: ScheduleId) -> bool {
        let Some(schedule) = rules.schedule(id) else { return true };
        let calendar = schedule.holidays.as_ref().and_then(|rule| rules.calendar(rule.calendar));
        [self.earliest, self.latest].into_iter().any(|local| schedule.at(local, calendar) == Answer::Open)
    }
}

/// Every level that may apply now has to be met: with a certain clock that is the first open one.
fn check_factors<R: Rules>(rules: &R, holder: &Holder, proven: Factors, local: Local) -> Result<(), Reason> {
    for level in &rules.door().levels {
        let applies = level.when.is_none_or(|id| local.touches(rules, id));
        if !applies {
            continue;
        }
        if !level.any_of.iter().any(|wanted| proven.holds(*wanted)) {
            let pin_would_do = level.any_of.iter().any(|wanted| proven.and(Factors::PIN).holds(*wanted));
            return Err(if pin_would_do && rules.has_pin(holder) {
                Reason::PinRequired
            } else {
                Reason::FactorsMissing
            });
        }
        let certain = level.when.is_none_or(|id| local.within(rules, id).is_ok());
        if certain {
            return Ok(());
        }
    }
    Ok(())
}

fn check_second_person(door: &DoorRules, attempt: &Attempt, holder: &Holder) -> Result<(), Reason> {
    let Some(rule) = door.two_person else { return Ok(()) };
    match attempt.first {
        Some(first) if first.ago_ms > u64::from(rule.within_ms) => Err(Reason::TwoPersonPending),
        Some(first) if first.person == holder.person => Err(Reason::SamePersonTwice),
        Some(_) => Ok(()),
        None => Err(Reason::TwoPersonPending),
    }
}
