//! What devices ask and core answers. Signed parts travel as JWS strings, opaque to everything between the two.

use crate::credential::Digest;
use crate::event::{Epoch, SeqRange};
use crate::id::{DeviceId, DoorId, RequestId, TenantId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    pub firmware: String,
    pub capabilities: Vec<Capability>,
    pub desired_version: u64,
    pub bundle_version: u64,
    pub revocation_version: u64,
    /// Of the `CoreKeys` it trusts; 0 for those of its enrolment, before these had a number.
    #[serde(default)]
    pub keys_version: u64,
    /// A `LedgerReport`, signed.
    pub ledger: String,
    pub events: Option<HeldEvents>,
    /// For the signed time in the reply.
    pub time_nonce: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    OfflineDecisions,
    BundleDeltas,
    Keypad,
    DoorSensor,
    BoltSensor,
    TwoPerson,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldEvents {
    pub epoch: Epoch,
    #[serde(flatten)]
    pub range: SeqRange,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReply {
    /// A `CoreKeys`, signed by a key that the device trusts; taken before anything else, and everything else comes anew with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
    /// A `DesiredState`, signed; left out when the device holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// A whole bundle or a delta, signed; left out when the device holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<SignedBundle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<String>,
    /// A `TimeStatement`, signed.
    pub time: String,
    /// Durable up to here. What the device may forget says `committed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<u64>,
    /// An `EventsCommitted`, signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<SeqRange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignedBundle {
    Whole(String),
    Delta(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReport {
    /// An `EventBatch`, signed.
    pub batch: String,
}

/// Sent after the commit, never before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReply {
    pub epoch: Epoch,
    /// Where to go on. What the device may forget says `committed`.
    pub watermark: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<SeqRange>,
    /// An `EventsCommitted`, signed; left out while there is nothing to forget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReport {
    /// A `LedgerReport`, signed.
    pub ledger: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessCall {
    /// An `AccessRequest`, signed by the device.
    pub request: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    pub tenant: TenantId,
    pub device: DeviceId,
    pub request: RequestId,
    pub door: DoorId,
    pub credential: Digest,
    /// Bound to the person that the door's bundle names for this credential; never the digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_person: Option<FirstTap>,
}

/// Somebody who was right, but alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstTap {
    pub person: crate::id::PersonId,
    pub ago_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessReply {
    /// A `DecisionStatement`, signed.
    pub decision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRequest {
    pub nonce: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeReply {
    /// A `TimeStatement`, signed.
    pub time: String,
}
