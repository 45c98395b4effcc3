//! What core, devices and phones sign, beyond commands, lockdowns, bundles and time. Owns the fields under a signature;
//! each is bound to its tenant and receiver, so that a statement for one door is nothing to another.

use crate::clock::TimeStatement;
use crate::credential::Digest;
use crate::decision::{Decision, Outcome, Reason};
use crate::door::DoorMode;
use crate::event::Epoch;
use crate::id::{CredentialId, DeviceId, DoorId, GrantId, KeyId, PersonId, RequestId, TenantId};
use crate::lockdown::LockdownSet;
use crate::sign::{PublicKey, TrustedKeys};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// What a door shall be, whole. It converges: re-sent on every connect, applied before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    pub tenant: TenantId,
    pub device: DeviceId,
    pub door: DoorId,
    /// Rises with every change; a device never goes back.
    pub version: u64,
    pub mode: DoorMode,
    pub mode_version: u64,
    pub lockdowns: LockdownSet,
    /// The bundle the device shall hold.
    pub bundle_version: u64,
}

/// Credentials that open nothing from now on: every one that a bundle still alive somewhere may hold, so that the
/// newest statement says it all. A credential that is given back leaves the list with a new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub tenant: TenantId,
    /// From the tenant's counter of revocations; a device never goes back.
    pub version: u64,
    pub digests: Vec<Digest>,
}

/// Events of this device and epoch are in core's database up to the watermark: the device may forget them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsCommitted {
    pub tenant: TenantId,
    pub device: DeviceId,
    pub epoch: Epoch,
    pub watermark: u64,
}

/// The keys that a tenant's doors trust from now on, whole: the one that signs, and the one before or after it. A device takes
/// only what is signed by a key that it trusts, and never goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreKeys {
    pub tenant: TenantId,
    /// How many keys there have been.
    pub version: u64,
    pub keys: Vec<CoreKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreKey {
    pub kid: KeyId,
    pub key: PublicKey,
}

impl CoreKeys {
    pub fn trusted(&self) -> TrustedKeys {
        let mut trusted = TrustedKeys::default();
        self.keys.iter().for_each(|one| trusted.trust(one.kid, one.key.clone()));
        trusted
    }
}

/// Core's live answer to a tap. Bound to the request, the door and a moment: it opens nothing later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionStatement {
    pub tenant: TenantId,
    pub door: DoorId,
    pub device: DeviceId,
    pub request: RequestId,
    /// In core's time; the door drops it from here on.
    pub deadline: UnixMs,
    pub mode_version: u64,
    #[serde(flatten)]
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    Granted {
        grant: GrantId,
        open_ms: u32,
        #[serde(default)]
        duress: bool,
    },
    Denied {
        reason: Reason,
    },
}

impl From<&Decision> for Verdict {
    /// Core itself has nobody left to ask: an `AskCore` that reaches the wire is a no.
    fn from(decision: &Decision) -> Self {
        match decision.outcome {
            Outcome::Granted(pass) => {
                Self::Granted { grant: pass.grant, open_ms: pass.open_ms, duress: pass.duress }
            }
            Outcome::Denied(reason) => Self::Denied { reason },
            Outcome::AskCore => Self::Denied { reason: Reason::CoreUnreachable },
        }
    }
}

/// Exactly what a phone's key signs to open a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockRequest {
    pub tenant: TenantId,
    /// Made on the phone. Core answers the same id the same way, however often it comes.
    pub request: RequestId,
    pub door: DoorId,
    pub deadline: UnixMs,
}

/// What a device or phone signs to prove its key: core's nonce, its own, and the host it believes to talk to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProof {
    pub host: String,
    pub nonce: String,
    pub own_nonce: String,
}

/// The same statement under the name of the method that carries it.
pub type SignedTime = TimeStatement;
