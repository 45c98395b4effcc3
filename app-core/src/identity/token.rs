//! Tokens for the gateway, and revocations of them: JWTs that core alone can make. Owns which channels and methods a
//! device or a phone gets; refuses to know how gateways check them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_domain::id::{DeviceId, DoorId, PersonId, SiteId, TenantId};
use keyway_domain::message::{CHANNELS, Caller, METHODS, channel_name};
use keyway_domain::sign::{Algorithm, SigningKey};
use keyway_domain::time::UnixMs;
use serde::Serialize;

/// Gateways give no leeway, so a token counts from a little before it was made: their clocks may be behind ours.
const NOT_BEFORE_S: u64 = 30;
/// A person who holds more doors than a client may have channels asks for their state instead.
const DOORS_MAX: usize = 100;

/// Whose tokens these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minting {
    pub issuer: String,
    pub audience: String,
    pub life_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    Device {
        device: DeviceId,
        site: SiteId,
    },
    Phone {
        person: PersonId,
        doors: Vec<DoorId>,
    },
    /// A console of people who run the place.
    Operator {
        subject: String,
        sites: Vec<SiteId>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    pub token: String,
    pub expires_at: UnixMs,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: Algorithm,
    typ: &'a str,
    kid: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    tenant: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caps: Vec<Capability>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rpc: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
}

#[derive(Serialize)]
struct Capability {
    channels: Vec<String>,
    allow: &'static [&'static str],
}

fn methods(of: Caller) -> Vec<&'static str> {
    METHODS.iter().filter(|method| method.caller == of).map(|method| method.name).collect()
}

fn signed(key: &SigningKey, typ: &str, claims: &Claims<'_>) -> String {
    let header = Header { alg: key.algorithm(), typ, kid: key.id.to_string() };
    let encode = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
    let header = encode(serde_json::to_vec(&header).expect("strings are always JSON"));
    let claims = encode(serde_json::to_vec(claims).expect("strings and numbers are always JSON"));
    let signing = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign_bytes(signing.as_bytes()));
    format!("{signing}.{signature}")
}

impl Minting {
    fn claims(&self, sub: String, tenant: TenantId, now: UnixMs) -> Claims<'_> {
        let now_s = now.0 / 1000;
        Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub,
            tenant: tenant.to_string(),
            iat: now_s,
            nbf: now_s.saturating_sub(NOT_BEFORE_S),
            exp: now_s + self.life_s,
            channels: Vec::new(),
            caps: Vec::new(),
            rpc: Vec::new(),
            before: None,
        }
    }

    pub fn mint(&self, key: &SigningKey, tenant: TenantId, bearer: &Bearer, now: UnixMs) -> Minted {
        let channel = |namespace: &str, id: &dyn std::fmt::Display| channel_name(namespace, tenant, id);
        let (sub, channels, caps, rpc) = match bearer {
            Bearer::Device { device, site } => {
                let channels = vec![channel("device", device), channel("lockdown", site)];
                (device.to_string(), channels, Vec::new(), methods(Caller::Device))
            }
            Bearer::Phone { person, doors } => {
                let doors: Vec<String> =
                    doors.iter().take(DOORS_MAX).map(|door| channel("door", door)).collect();
                let caps = if doors.is_empty() {
                    Vec::new()
                } else {
                    vec![Capability { channels: doors, allow: &["sub", "hst"] }]
                };
                (person.to_string(), vec![channel("#", person)], caps, methods(Caller::Phone))
            }
            Bearer::Operator { subject, sites } => {
                let of_sites = CHANNELS.iter().filter(|row| row.id == "site");
                let channels = of_sites.flat_map(|row| sites.iter().map(|site| channel(row.namespace, site)));
                let caps = vec![Capability { channels: channels.collect(), allow: &["sub", "hst", "prs"] }];
                (subject.clone(), Vec::new(), caps, Vec::new())
            }
        };
        let claims = Claims { channels, caps, rpc, ..self.claims(sub, tenant, now) };
        let expires_at = UnixMs(claims.exp * 1000);
        Minted { token: signed(key, "JWT", &claims), expires_at }
    }

    /// Every token of this subject made until now is void. It has to outlive the last of them.
    pub fn revoke(&self, key: &SigningKey, tenant: TenantId, subject: &str, now: UnixMs) -> String {
        // Tokens count whole seconds: one made in this very second is older than the next.
        let before = now.0 / 1000 + 1;
        let claims = Claims { before: Some(before), ..self.claims(subject.to_owned(), tenant, now) };
        signed(key, "revocation+jwt", &claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_domain::id::KeyId;
    use ws_gateway::auth::{Allow, Expectations, KeySet, Revocations, verify_connection, verify_revocation};

    fn minting() -> Minting {
        Minting { issuer: "keyway-core".into(), audience: "keyway-gateway".into(), life_s: 3600 }
    }

    /// The gateway's own verification is the judge.
    #[test]
    fn gateways_believe_them() {
        let now = UnixMs(1_800_000_000_500);
        let id = [3; 10];
        let key = SigningKey::ed25519(KeyId::mint(now, id), &[7; 32]);
        let jwks = crate::identity::keyring::jwks([(key.id, key.public())].into_iter());
        let keys = KeySet::parse_jwks(jwks.as_bytes()).unwrap();
        let expected = Expectations { issuer: "keyway-core".into(), audience: "keyway-gateway".into() };
        let tenant = TenantId::mint(now, id);
        let (device, site) = (DeviceId::mint(now, id), SiteId::mint(now, id));
        let (person, door) = (PersonId::mint(now, id), DoorId::mint(now, id));
        let mut revocations = Revocations::default();
        let now_s = now.0 / 1000;
        let minted = minting().mint(&key, tenant, &Bearer::Device { device, site }, now);
        let read = |token: &str, revocations: &Revocations, at| {
            verify_connection(token, &keys, &expected, revocations, at)
        };
        let identity = read(&minted.token, &revocations, now_s).unwrap();
        assert_eq!((identity.user, identity.tenant), (device.to_string(), tenant.to_string()));
        assert!(identity.capabilities.allows_method("event.report"));
        assert!(!identity.capabilities.allows_method("door.unlock"));
        assert_eq!(identity.channels.len(), 2);
        assert!(read(&minted.token, &revocations, minted.expires_at.0 / 1000 + 1).is_err());

        let bearer = Bearer::Phone { person, doors: vec![door] };
        let minted = minting().mint(&key, tenant, &bearer, now);
        let identity = read(&minted.token, &revocations, now_s).unwrap();
        let channel = format!("door:{tenant}.{door}");
        assert!(identity.capabilities.allows(Allow::Subscribe, &channel));
        assert!(!identity.capabilities.allows(Allow::Publish, &channel));
        assert!(!identity.capabilities.allows(Allow::Subscribe, &format!("site:{tenant}.{site}")));

        let statement = minting().revoke(&key, tenant, &person.to_string(), now);
        let revocation = verify_revocation(&statement, &keys, &expected, now_s).unwrap();
        revocations.add(revocation, now_s);
        assert!(read(&minted.token, &revocations, now_s).is_err());
        let later = minting().mint(&key, tenant, &bearer, now.plus(1_000));
        assert!(read(&later.token, &revocations, now_s + 1).is_ok());
        assert!(verify_revocation(&minted.token, &keys, &expected, now_s).is_err());
        assert!(read(&statement, &revocations, now_s).is_err());
    }
}
