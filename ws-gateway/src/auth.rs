//! Verification of core-minted tokens at a given time. Pure: keys, clock and revocations are values. It owns
//! which token is good, which is stale and which is a lie; it fetches nothing and knows no socket.
//!
//! Written here rather than configured into a general library, because every claim is required: a missing
//! `aud`, `iss`, `nbf` or `tenant` is a bad token, there is no leeway, and a key has exactly one algorithm.

mod authority;
mod capability;
mod keys;
mod revocation;

pub use authority::Authority;
pub use capability::{Allow, Capabilities};
pub use keys::{Algorithm, KeyFault, KeySet};
pub use revocation::Revocations;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame is at most 64 KiB; a token with 128 channels and their options stays far below this.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// What every token must say about its maker and its audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    pub issuer: String,
    pub audience: String,
}

/// Why a token is not accepted, by what the client can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Never good again: close 3500, or error 103 for a subscription token.
    #[error("invalid token: {0}")]
    Invalid(&'static str),
    /// Its subject was revoked by core: close 3500.
    #[error("revoked")]
    Revoked,
    /// Error 109: the SDK fetches a new one.
    #[error("expired")]
    Expired,
    /// Its key is not known *yet*, or its time has not come by our clock: error 100, temporary.
    #[error("not verifiable yet: {0}")]
    NotYet(&'static str),
}

impl TokenFault {
    /// For the log: the part that says what to mend.
    pub fn why(self) -> &'static str {
        match self {
            TokenFault::Invalid(why) | TokenFault::NotYet(why) => why,
            TokenFault::Revoked => "revoked",
            TokenFault::Expired => "expired",
        }
    }
}

/// Who is connected, with which rights, until when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Empty for an anonymous user.
    pub user: String,
    pub tenant: String,
    /// Raw JSON that others in a channel see as `conn_info`.
    pub info: Bytes,
    /// Zero when the connection does not expire (no token).
    pub expires_at_s: u64,
    pub issued_at_s: u64,
    /// Channels that the server subscribes by itself.
    pub channels: Vec<String>,
    pub capabilities: Capabilities,
    /// Raw JSON handed to backends with every request.
    pub meta: Bytes,
}

/// The claims of a subscription token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionGrant {
    pub channel: String,
    pub user: String,
    pub tenant: String,
    pub info: Bytes,
    pub expires_at_s: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    typ: String,
    /// Extensions that must be understood; we understand none.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    aud: Option<Audience>,
    iss: Option<String>,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
    sub: Option<String>,
    tenant: Option<String>,
    #[serde(default, borrow)]
    info: Option<&'a RawValue>,
    #[serde(default, borrow)]
    meta: Option<&'a RawValue>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    subs: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default)]
    caps: Vec<capability::Claim>,
    #[serde(default)]
    rpc: Vec<String>,
    /// Revocation statements: tokens issued before this second are void.
    #[serde(default)]
    before: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Audience::One(one) => one == wanted,
            Audience::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

/// What a token is for. One kind is never accepted in another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Connection,
    Subscription,
    Revocation,
}

const REVOCATION_TYPE: &str = "revocation+jwt";

pub fn verify_connection(
    token: &str,
    keys: &KeySet,
    expected: &Expectations,
    revocations: &Revocations,
    unix_s: u64,
) -> Result<Identity, TokenFault> {
    let body = verified_body(token, keys, Purpose::Connection)?;
    let claims = checked_claims(&body, expected, unix_s)?;
    if claims.channel.is_some() {
        return Err(TokenFault::Invalid("a subscription token cannot connect"));
    }
    let identity = Identity {
        user: claims.sub.unwrap_or_default(),
        tenant: claims.tenant.unwrap_or_default(),
        info: raw_bytes(claims.info),
        expires_at_s: claims.exp.unwrap_or_default(),
        issued_at_s: claims.iat.or(claims.nbf).unwrap_or_default(),
        channels: claims.channels.into_iter().chain(claims.subs.into_keys()).collect(),
        capabilities: Capabilities::new(claims.caps, claims.rpc),
        meta: raw_bytes(claims.meta),
    };
    if revocations.covers(&identity) {
        return Err(TokenFault::Revoked);
    }
    Ok(identity)
}

pub fn verify_subscription(
    token: &str,
    keys: &KeySet,
    expected: &Expectations,
    unix_s: u64,
) -> Result<SubscriptionGrant, TokenFault> {
    let body = verified_body(token, keys, Purpose::Subscription)?;
    let claims = checked_claims(&body, expected, unix_s)?;
    let channel = claims.channel.ok_or(TokenFault::Invalid("no `channel`"))?;
    Ok(SubscriptionGrant {
        channel,
        user: claims.sub.unwrap_or_default(),
        tenant: claims.tenant.unwrap_or_default(),
        info: raw_bytes(claims.info),
        expires_at_s: claims.exp.unwrap_or_default(),
    })
}

/// A statement that tokens of a subject (or, with an empty subject, of a whole tenant) are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub tenant: String,
    /// Empty: everybody of the tenant.
    pub user: String,
    /// Tokens issued before this second are void.
    pub before_s: u64,
    /// When the statement may be forgotten: no token it voids lives longer.
    pub until_s: u64,
}

pub fn verify_revocation(
    statement: &str,
    keys: &KeySet,
    expected: &Expectations,
    unix_s: u64,
) -> Result<Revocation, TokenFault> {
    let body = verified_body(statement, keys, Purpose::Revocation)?;
    let claims = checked_claims(&body, expected, unix_s)?;
    Ok(Revocation {
        tenant: claims.tenant.unwrap_or_default(),
        user: claims.sub.unwrap_or_default(),
        before_s: claims.before.ok_or(TokenFault::Invalid("no `before`"))?,
        until_s: claims.exp.unwrap_or_default(),
    })
}

/// Checks the signature and gives the claims' bytes.
fn verified_body(token: &str, keys: &KeySet, purpose: Purpose) -> Result<Vec<u8>, TokenFault> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenFault::Invalid("too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Invalid("not three parts"))?;
    let (header, body) = signed.split_once('.').ok_or(TokenFault::Invalid("not three parts"))?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Invalid("not base64url"));
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Invalid("unreadable header"))?;
    if header.crit.is_some() {
        return Err(TokenFault::Invalid("critical extensions are not understood"));
    }
    let is_revocation = header.typ.eq_ignore_ascii_case(REVOCATION_TYPE);
    let is_plain = header.typ.is_empty() || header.typ.eq_ignore_ascii_case("jwt");
    match purpose {
        Purpose::Revocation if !is_revocation => return Err(TokenFault::Invalid("not a revocation")),
        Purpose::Connection | Purpose::Subscription if !is_plain => {
            return Err(TokenFault::Invalid("another type of token"));
        }
        _ => {}
    }
    let algorithm = Algorithm::parse(&header.alg).ok_or(TokenFault::Invalid("algorithm not accepted"))?;
    let body = decode(body)?;
    keys.verify(&header.kid, algorithm, signed.as_bytes(), &decode(signature)?)?;
    Ok(body)
}

fn checked_claims<'a>(
    body: &'a [u8],
    expected: &Expectations,
    unix_s: u64,
) -> Result<Claims<'a>, TokenFault> {
    let claims: Claims<'a> =
        serde_json::from_slice(body).map_err(|_| TokenFault::Invalid("unreadable claims"))?;
    let audience = claims.aud.as_ref().ok_or(TokenFault::Invalid("no `aud`"))?;
    let issuer = claims.iss.as_ref().ok_or(TokenFault::Invalid("no `iss`"))?;
    let expires = claims.exp.ok_or(TokenFault::Invalid("no `exp`"))?;
    let not_before = claims.nbf.ok_or(TokenFault::Invalid("no `nbf`"))?;
    if claims.sub.is_none() {
        return Err(TokenFault::Invalid("no `sub`"));
    }
    if claims.tenant.is_none() {
        return Err(TokenFault::Invalid("no `tenant`"));
    }
    if !audience.contains(&expected.audience) {
        return Err(TokenFault::Invalid("another audience"));
    }
    if *issuer != expected.issuer {
        return Err(TokenFault::Invalid("another issuer"));
    }
    if expires <= unix_s {
        return Err(TokenFault::Expired);
    }
    if not_before > unix_s {
        return Err(TokenFault::NotYet("`nbf` is in the future"));
    }
    Ok(claims)
}

fn raw_bytes(raw: Option<&RawValue>) -> Bytes {
    raw.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default()
}
