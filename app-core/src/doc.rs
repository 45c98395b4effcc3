//! The documents that core keeps as records: their fields and nothing else. What a document means for a door is the
//! domain's; how it is written is the store's.

use keyway_domain::bundle::BundleBody;
use keyway_domain::credential::Digest;
use keyway_domain::door::{DecidedBy, DoorMode, Observed, SecurityLevel, Timings, TwoPersonRule};
use keyway_domain::facts::BUNDLE_LIFE_MS_DEFAULT;
use keyway_domain::id::{AreaId, CredentialId, DeviceId, DoorId, KeyId, PersonId, SiteId, TenantId};
use keyway_domain::message::device::Capability;
use keyway_domain::sign::PublicKey;
use keyway_domain::time::UnixMs;
use serde::{Deserialize, Serialize};

/// A door as people set it up. Mode is wanted state and has a version of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorDoc {
    pub id: DoorId,
    pub name: String,
    pub site: SiteId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<AreaId>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub timings: Timings,
    #[serde(default)]
    pub levels: Vec<SecurityLevel>,
    #[serde(default)]
    pub two_person: Option<TwoPersonRule>,
    #[serde(default)]
    pub decided_by: DecidedBy,
    #[serde(default = "bundle_life_default")]
    pub bundle_life_ms: u64,
    #[serde(default)]
    pub mode: DoorMode,
    #[serde(default)]
    pub mode_version: u64,
}

fn bundle_life_default() -> u64 {
    BUNDLE_LIFE_MS_DEFAULT
}

/// A controller that has proven its key. It serves one door until it is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDoc {
    pub id: DeviceId,
    pub door: DoorId,
    pub kid: KeyId,
    pub key: PublicKey,
    pub enrolled_at: UnixMs,
    #[serde(default)]
    pub revoked: bool,
}

/// A phone's enrolled key, and the credential that it is in the eyes of `decide`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneDoc {
    pub id: KeyId,
    pub key: PublicKey,
    pub person: PersonId,
    pub credential: CredentialId,
    pub enrolled_at: UnixMs,
    #[serde(default)]
    pub revoked: bool,
}

/// What was last seen of a device and its door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    pub device: DeviceId,
    pub door: DoorId,
    pub online: bool,
    /// When that became so.
    pub since: UnixMs,
    pub seen_at: UnixMs,
    #[serde(default)]
    pub firmware: String,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    #[serde(default)]
    pub bundle_version: u64,
    #[serde(default)]
    pub desired_version: u64,
    #[serde(default)]
    pub revocation_version: u64,
    #[serde(default)]
    pub keys_version: u64,
    #[serde(default)]
    pub observed: Observed,
}

/// The bundle that a device shall hold, and the one before, to make a delta from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleDoc {
    pub body: BundleBody,
    #[serde(default)]
    pub previous: Option<BundleBody>,
}

/// Every credential that a bundle still alive somewhere may hold although it opens nothing any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationDoc {
    pub version: u64,
    pub digests: Vec<RevokedDigest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedDigest {
    pub digest: Digest,
    /// No bundle that was made before lives longer.
    pub until: UnixMs,
}

/// A private key of core, sealed under the root secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyDoc {
    pub id: KeyId,
    pub purpose: KeyPurpose,
    pub public: PublicKey,
    /// base64url.
    pub sealed: String,
    pub made_at: UnixMs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Tokens and revocations that gateways check.
    Gateway,
    /// Everything that a tenant's doors check, and its audit checkpoints.
    Tenant,
}

/// A secret of a tenant that is not a signing key: the reader key. base64url of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedDoc {
    pub sealed: String,
}

/// What a one-time code opens. Found by the hash of the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentDoc {
    pub id: String,
    pub of: Enrols,
    pub made_at: UnixMs,
    pub expires_at: UnixMs,
    #[serde(default)]
    pub used_at: Option<UnixMs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enrols {
    /// A controller for this door.
    Device(DoorId),
    /// A phone for this person.
    Phone(PersonId),
}

/// A key of the API. Only the hash of its secret is kept, as the name it is found by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyDoc {
    pub id: keyway_domain::id::ApiKeyId,
    pub name: String,
    pub rights: Rights,
    pub made_at: UnixMs,
    #[serde(default)]
    pub expires_at: Option<UnixMs>,
    #[serde(default)]
    pub revoked: bool,
}

/// What a key may do, each including the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    Read,
    /// Also commands and door modes.
    Operate,
    Write,
    /// Also enrolment, keys and the audit trail.
    Admin,
}

/// A statement that voids tokens, as long as one of them could still be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidedDoc {
    pub statement: String,
    pub until: UnixMs,
}

/// Settings with this in front of a subject hold the newest statement about its tokens.
pub const VOIDED: &str = "voided/";
/// Where the setting of this name stands, per tenant.
pub const READER_KEY: &str = "reader-key";
/// The id of a tenant's one revocation record.
pub const REVOCATION: &str = "revocation";

/// Where keys stand that belong to no tenant: the gateway's.
pub fn system_tenant() -> TenantId {
    TenantId::mint(UnixMs(0), [0; 10])
}
