//! Enrolling at core, and fetching tokens: the key is made here and only its proof leaves. Owns the talk with core's
//! HTTP API; the files that come of it are `enrolment`'s.

use crate::dice::Dice;
use crate::enrolment::{CoreKey, DoorEnrolment, Hex32, OwnKey, PhoneEnrolment, events_bytes_default};
use crate::http::wanted;
use anyhow::Context as _;
use keyway_domain::id::KeyId;
use keyway_domain::message::statement::KeyProof;
use keyway_domain::sign::{Algorithm, Kind, SigningKey};
use keyway_domain::time::UnixMs;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Where tokens come from when the one held is no longer taken.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// `http://host:port`
    pub core: String,
    /// `devices` or `phones`.
    pub of: &'static str,
    pub key: SigningKey,
}

/// A key of one's own. A real device has its secure element make it.
pub fn own_key(alg: Algorithm, now: UnixMs, dice: &mut Dice) -> OwnKey {
    OwnKey { kid: KeyId::mint(now, dice.bytes()), alg, seed: Hex32(dice.seed()) }
}

/// Randomness for keys: of the system, not of a clock.
pub fn dice_of_the_system() -> anyhow::Result<Dice> {
    let mut bytes = [0u8; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)
        .context("reading randomness")?;
    Ok(Dice(u64::from_be_bytes(bytes)))
}

async fn proof(core: &str, key: &SigningKey, own_nonce: String) -> anyhow::Result<String> {
    let challenge = wanted("GET", core, "/v1/devices/challenge", None, None).await?;
    // The host that was dialled, whatever the other side says its name is: a proof for one is no proof for another.
    let host = core.trim_end_matches('/').trim_start_matches("http://").to_owned();
    let nonce = challenge["nonce"].as_str().context("a challenge without a nonce")?.to_owned();
    Ok(key.sign_json(Kind::KeyProof, &KeyProof { host, nonce, own_nonce }))
}

fn field<T: DeserializeOwned>(answer: &Value, name: &str) -> anyhow::Result<T> {
    serde_json::from_value(answer[name].clone()).with_context(|| format!("the answer's `{name}`"))
}

async fn enrol(core: &str, of: &str, code: &str, key: &SigningKey, nonce: String) -> anyhow::Result<Value> {
    let proof = proof(core, key, nonce).await?;
    let body = json!({ "code": code, "kid": key.id, "key": key.public(), "proof": proof });
    wanted("POST", core, &format!("/v1/{of}/enrol"), None, Some(&body)).await
}

/// Makes this a device for the door that the code was made for.
pub async fn enrol_door(
    core: &str,
    code: &str,
    own: OwnKey,
    dice: &mut Dice,
) -> anyhow::Result<DoorEnrolment> {
    let answer = enrol(core, "devices", code, &own.signing()?, dice.nonce()).await?;
    let keys: Vec<CoreKey> = field(&answer, "core")?;
    Ok(DoorEnrolment {
        tenant: field(&answer, "tenant")?,
        site: field(&answer, "site")?,
        door: field(&answer, "door")?,
        device: field(&answer, "device")?,
        key: own,
        core: keys,
        keys_version: field(&answer, "keys_version")?,
        reader_key: field(&answer, "reader_key")?,
        events_bytes_max: events_bytes_default(),
        token: field(&answer, "token")?,
        core_url: Some(core.to_owned()),
        socket_url: field(&answer, "socket_url")?,
    })
}

/// Makes this a phone of the person that the code was made for.
pub async fn enrol_phone(
    core: &str,
    code: &str,
    own: OwnKey,
    dice: &mut Dice,
) -> anyhow::Result<PhoneEnrolment> {
    let answer = enrol(core, "phones", code, &own.signing()?, dice.nonce()).await?;
    Ok(PhoneEnrolment {
        tenant: field(&answer, "tenant")?,
        person: field(&answer, "person")?,
        key: own,
        token: field(&answer, "token")?,
        core_url: Some(core.to_owned()),
        socket_url: field(&answer, "socket_url")?,
    })
}

impl Renewal {
    /// A new token for the same key.
    pub async fn token(&self, nonce: String) -> anyhow::Result<String> {
        let proof = proof(&self.core, &self.key, nonce).await?;
        let path = format!("/v1/{}/token", self.of);
        let answer = wanted("POST", &self.core, &path, None, Some(&json!({ "proof": proof }))).await?;
        field(&answer, "token")
    }
}
