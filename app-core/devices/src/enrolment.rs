//! What a device keeps of its enrolment, as a file: who it is, its key, and core's keys. Owns the format; the key lies
//! in it in clear, which is right for a virtual device and wrong for a real one.

use crate::door::Identity;
use crate::enrolling::Renewal;
use crate::net::Endpoint;
use crate::phone::PhoneCore;
use keyway_domain::id::{DeviceId, DoorId, KeyId, PersonId, SiteId, TenantId};
use keyway_domain::sign::{Algorithm, PublicKey, SignError, SigningKey, TrustedKeys};
use serde::{Deserialize, Serialize};

/// 32 bytes as lower-case hex.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex32(pub [u8; 32]);

impl std::fmt::Debug for Hex32 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Hex32(..)")
    }
}

impl From<Hex32> for String {
    fn from(hex: Hex32) -> Self {
        hex.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Hex32 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hash =
            keyway_domain::event::ChainHash::parse(&text).ok_or("expected 64 lower-case hex digits")?;
        Ok(Self(hash.0))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnKey {
    pub kid: KeyId,
    pub alg: Algorithm,
    pub seed: Hex32,
}

impl OwnKey {
    pub fn signing(&self) -> Result<SigningKey, SignError> {
        match self.alg {
            Algorithm::EdDSA => Ok(SigningKey::ed25519(self.kid, &self.seed.0)),
            Algorithm::ES256 => SigningKey::p256(self.kid, &self.seed.0),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoreKey {
    pub kid: KeyId,
    pub key: PublicKey,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DoorEnrolment {
    pub tenant: TenantId,
    pub site: SiteId,
    pub door: DoorId,
    pub device: DeviceId,
    pub key: OwnKey,
    pub core: Vec<CoreKey>,
    /// Of core's keys, when there had been so many.
    #[serde(default)]
    pub keys_version: u64,
    pub reader_key: Hex32,
    #[serde(default = "events_bytes_default")]
    pub events_bytes_max: usize,
    pub token: String,
    /// Where it was enrolled, and where a new token comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_url: Option<String>,
}

/// A few thousand events: a night without a link at a busy door.
pub fn events_bytes_default() -> usize {
    1 << 20
}

impl DoorEnrolment {
    pub fn endpoint(&self, url: Option<String>) -> Result<Endpoint, SignError> {
        let key = self.key.signing()?;
        Ok(endpoint(url, &self.socket_url, &self.token, &self.core_url, "devices", key))
    }

    pub fn identity(&self) -> Result<Identity, SignError> {
        let mut core = TrustedKeys::default();
        self.core.iter().for_each(|one| core.trust(one.kid, one.key.clone()));
        Ok(Identity {
            tenant: self.tenant,
            site: self.site,
            door: self.door,
            device: self.device,
            key: self.key.signing()?,
            core,
            keys_version: self.keys_version,
            reader_key: self.reader_key.0,
            events_bytes_max: self.events_bytes_max,
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PhoneEnrolment {
    pub tenant: TenantId,
    pub person: PersonId,
    pub key: OwnKey,
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_url: Option<String>,
}

/// The socket's address: as told, else as core has told, else where a gateway listens by itself.
fn endpoint(
    url: Option<String>,
    socket_url: &Option<String>,
    token: &str,
    core_url: &Option<String>,
    of: &'static str,
    key: SigningKey,
) -> Endpoint {
    let told = url.or_else(|| socket_url.clone());
    Endpoint {
        url: told.unwrap_or_else(|| "ws://127.0.0.1:8000/connection/websocket".to_owned()),
        token: token.to_owned(),
        renewal: core_url.clone().map(|core| Renewal { core, of, key }),
    }
}

impl PhoneEnrolment {
    pub fn endpoint(&self, url: Option<String>) -> Result<Endpoint, SignError> {
        let key = self.key.signing()?;
        Ok(endpoint(url, &self.socket_url, &self.token, &self.core_url, "phones", key))
    }

    pub fn phone(&self) -> Result<PhoneCore, SignError> {
        Ok(PhoneCore::new(self.tenant, self.person, self.key.signing()?))
    }
}
