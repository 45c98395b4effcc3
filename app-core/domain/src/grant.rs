//! Grants and guest links: the reason why somebody may. Owns window, schedule and count of a grant; refuses to know
//! doors beyond the scope that names them.

use crate::credential::Validity;
use crate::id::{GrantId, GroupId, GuestLinkId, PersonId, ScheduleId};
use crate::place::Scope;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    Person(PersonId),
    Group(GroupId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseCount {
    pub most: u32,
    /// As far as core has committed it.
    pub taken: u32,
}

/// The part of a grant that decides, the same in core and in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRule {
    pub id: GrantId,
    #[serde(default)]
    pub validity: Validity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<UseCount>,
    /// A responder's: holds in a lockdown that lets responders pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overrides_lockdown: bool,
    /// Set in bundles only: core has to be asked, because the door cannot know all that decides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask_core: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub rule: GrantRule,
    pub who: Who,
    pub scope: Scope,
    pub enabled: bool,
    /// Holds at an `online` door while core cannot be asked.
    #[serde(default)]
    pub offline_ok: bool,
}

/// A link to hand on. Claiming it makes a guest person who has its grant; the secret is stored hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLink {
    pub id: GuestLinkId,
    pub grant: GrantId,
    /// SHA-256 of the 160-bit secret, lower-case hex.
    pub secret_sha256: String,
    pub claims: UseCount,
    pub until: UnixMs,
}

/// Why a guest link gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the link has run out")]
    Expired,
    #[error("the link has been claimed as often as it may be")]
    Exhausted,
}

impl GuestLink {
    /// The link after one more claim.
    pub fn claim(&self, now: UnixMs) -> Result<Self, ClaimError> {
        if now >= self.until {
            return Err(ClaimError::Expired);
        }
        if self.claims.taken >= self.claims.most {
            return Err(ClaimError::Exhausted);
        }
        let claims = UseCount { taken: self.claims.taken + 1, ..self.claims };
        Ok(Self { claims, ..self.clone() })
    }
}
