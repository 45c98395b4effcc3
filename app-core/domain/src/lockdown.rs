//! Lockdown as one signed statement per activation, and the mode that follows for a door. Owns rank and version rules;
//! refuses to know how statements travel and who may make them.

use crate::door::DoorMode;
use crate::id::{ActivationId, PlanId, TenantId};
use crate::place::{Place, Scope};
use crate::time::{Moment, UnixMs};
use serde::{Deserialize, Serialize};

/// Live statements that a device holds at most. A tenant with more plans active at once than this is refused by core;
/// 32 of them stay under 16 KiB on the wire.
pub const STATEMENTS_MAX: usize = 32;

/// In the order of strength: with equal rank the later one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    LockedOpen,
    /// Nobody gets in but responders whose grant overrides.
    RespondersOnly,
    Nobody,
}

/// `{tenant, scope, plan, rank, version, effect}`. A revert is a later version of the same activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockdownStatement {
    pub tenant: TenantId,
    pub activation: ActivationId,
    pub plan: PlanId,
    pub scope: Scope,
    /// Higher wins.
    pub rank: u32,
    /// Rises with every change of this activation; a device never goes back.
    pub version: u64,
    pub effect: Effect,
    /// False takes the activation back.
    pub live: bool,
    /// Ends by itself, if the plan says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
}

impl LockdownStatement {
    /// Live until the earliest instant that `now` may mean has passed the end: a slow clock keeps it longer, never shorter.
    fn holds(&self, place: &Place, now: Moment) -> bool {
        self.live
            && self.tenant == place.tenant
            && self.until.is_none_or(|until| now.earliest() < until)
            && self.scope.covers(place)
    }
}

/// The statement that governs a door now: highest rank, and of equals the strongest effect.
pub fn governing<'s>(
    statements: &'s [LockdownStatement],
    place: &Place,
    now: Moment,
) -> Option<&'s LockdownStatement> {
    statements.iter().filter(|one| one.holds(place, now)).max_by_key(|one| (one.rank, one.effect))
}

/// What a lockdown, if any, leaves of a door's own mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectiveMode {
    Own(DoorMode),
    Ruled(Effect),
}

pub fn effective_mode(
    own: DoorMode,
    statements: &[LockdownStatement],
    place: &Place,
    now: Moment,
) -> EffectiveMode {
    governing(statements, place, now).map_or(EffectiveMode::Own(own), |one| EffectiveMode::Ruled(one.effect))
}

/// What came of a statement that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Applied,
    /// The same or an older version: the floor holds.
    Old,
    /// Of another tenant.
    Foreign,
    /// `STATEMENTS_MAX` live ones are held and this would be one more. The door asks core for the whole set.
    Full,
}

/// What a device holds. Versions come from one counter per tenant, so that a whole set can say "everything up to here
/// is in me": an old `locked_open` cannot be replayed after its activation has been forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockdownSet {
    pub floor: u64,
    pub statements: Vec<LockdownStatement>,
}

impl LockdownSet {
    /// Without those that have ended by themselves: they take nobody's place any more.
    pub fn in_force(&self, now: UnixMs) -> Self {
        let lasts = |one: &&LockdownStatement| one.until.is_none_or(|until| now < until);
        Self { floor: self.floor, statements: self.statements.iter().filter(lasts).cloned().collect() }
    }

    /// Takes one verified statement, as it came over the lockdown channel.
    pub fn take(&mut self, tenant: TenantId, arrived: LockdownStatement) -> Taken {
        if arrived.tenant != tenant {
            return Taken::Foreign;
        }
        if arrived.version <= self.floor {
            return Taken::Old;
        }
        if let Some(held) = self.statements.iter_mut().find(|held| held.activation == arrived.activation) {
            if held.version >= arrived.version {
                return Taken::Old;
            }
            *held = arrived;
        } else if self.statements.len() >= STATEMENTS_MAX {
            return Taken::Full;
        } else {
            self.statements.push(arrived);
        }
        Taken::Applied
    }

    /// Takes the whole set from a verified desired state. Statements that came live and are newer than it stay.
    pub fn replace(&mut self, tenant: TenantId, arrived: LockdownSet) -> Taken {
        if arrived.floor < self.floor {
            return Taken::Old;
        }
        if arrived.statements.len() > STATEMENTS_MAX {
            return Taken::Full;
        }
        if arrived.statements.iter().any(|one| one.tenant != tenant) {
            return Taken::Foreign;
        }
        let newer: Vec<_> = self.statements.drain(..).filter(|held| held.version > arrived.floor).collect();
        *self = arrived;
        for one in newer {
            self.take(tenant, one);
        }
        Taken::Applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DoorId, SiteId};

    fn statement(activation: u8, version: u64, effect: Effect, live: bool) -> LockdownStatement {
        let mint = |byte| [byte; 10];
        LockdownStatement {
            tenant: TenantId::mint(UnixMs(1), mint(1)),
            activation: ActivationId::mint(UnixMs(1), mint(activation)),
            plan: PlanId::mint(UnixMs(1), mint(1)),
            scope: Scope::Tenant,
            rank: 10,
            version,
            effect,
            live,
            until: None,
        }
    }

    fn mode(set: &LockdownSet) -> EffectiveMode {
        let place = Place {
            tenant: TenantId::mint(UnixMs(1), [1; 10]),
            site: SiteId::mint(UnixMs(1), [1; 10]),
            area: None,
            door: DoorId::mint(UnixMs(1), [1; 10]),
            tags: Vec::new(),
        };
        effective_mode(DoorMode::Normal, &set.statements, &place, Moment::exact(UnixMs(5)))
    }

    #[test]
    fn rank_then_strength_and_never_back() {
        let tenant = TenantId::mint(UnixMs(1), [1; 10]);
        let mut set = LockdownSet::default();
        assert_eq!(set.take(tenant, statement(1, 5, Effect::RespondersOnly, true)), Taken::Applied);
        assert_eq!(set.take(tenant, statement(2, 4, Effect::LockedOpen, true)), Taken::Applied);
        assert_eq!(mode(&set), EffectiveMode::Ruled(Effect::RespondersOnly));
        assert_eq!(set.take(tenant, statement(1, 6, Effect::RespondersOnly, false)), Taken::Applied);
        assert_eq!(set.take(tenant, statement(1, 5, Effect::RespondersOnly, true)), Taken::Old);
        assert_eq!(mode(&set), EffectiveMode::Ruled(Effect::LockedOpen));
        // The whole set without either: neither can be replayed.
        assert_eq!(set.replace(tenant, LockdownSet { floor: 7, statements: Vec::new() }), Taken::Applied);
        assert_eq!(set.take(tenant, statement(2, 4, Effect::LockedOpen, true)), Taken::Old);
        assert_eq!(mode(&set), EffectiveMode::Own(DoorMode::Normal));
    }

    #[test]
    fn a_late_whole_set_keeps_what_is_newer() {
        let tenant = TenantId::mint(UnixMs(1), [1; 10]);
        let mut set = LockdownSet::default();
        set.take(tenant, statement(1, 9, Effect::Nobody, true));
        set.replace(tenant, LockdownSet { floor: 8, statements: Vec::new() });
        assert_eq!(mode(&set), EffectiveMode::Ruled(Effect::Nobody));
    }
}
