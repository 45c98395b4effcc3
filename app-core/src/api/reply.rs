//! The shape of answers: versions as ETags, pages with a cursor, and a POST that is done once under its
//! `Idempotency-Key`. The answer of such a POST is kept sealed, since it may hold a code or a key.

use super::problem::{Code, Problem};
use crate::core::{Core, sha256_hex};
use crate::source::random;
use crate::store::change::{Change, Committed, OnceDraft};
use crate::store::kind::OnceSpace;
use crate::store::{StoreError, TenantScope};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_domain::time::UnixMs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A day: longer than any sane client repeats.
const REMEMBERED_MS: u64 = 24 * 3_600_000;
const KEY_CHARS_MAX: usize = 128;
pub const PAGE_DEFAULT: usize = 50;
pub const PAGE_MAX: usize = 200;

/// An answer as it is kept and sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    pub body: Value,
    #[serde(skip)]
    pub replayed: bool,
}

impl Answer {
    pub fn ok(body: Value) -> Self {
        Self { status: 200, version: None, location: None, body, replayed: false }
    }

    pub fn created(location: String, body: Value) -> Self {
        Self { status: 201, location: Some(location), ..Self::ok(body) }
    }

    pub fn at(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = if status == StatusCode::NO_CONTENT {
            status.into_response()
        } else {
            (status, Json(self.body)).into_response()
        };
        let headers = response.headers_mut();
        if let Some(value) = self.version.and_then(|version| HeaderValue::from_str(&etag(version)).ok()) {
            headers.insert(header::ETAG, value);
        }
        if let Some(value) = self.location.and_then(|place| HeaderValue::from_str(&place).ok()) {
            headers.insert(header::LOCATION, value);
        }
        if self.replayed {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        // Codes and keys are in some of these: nothing in between is to keep them.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

pub fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The version that a change was made from. Required where a thing is replaced.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or("").trim();
    // Whatever it is at, as long as it is there.
    if text == "*" {
        return Ok(None);
    }
    let text = text.trim_start_matches("W/").trim_matches('"');
    match text.parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(Problem::new(
            Code::Malformed,
            "If-Match: send the ETag of the thing as it was read, like \"3\"",
        )),
    }
}

pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        if !error.is_data() {
            return Problem::new(Code::Malformed, format!("the body is not JSON: {error}"));
        }
        let field = serde_json::from_slice(bytes).ok().and_then(|value| blamed::<T>(value));
        unfit(field, &error.to_string())
    })
}

/// The same for a body that has been read, and merged with what was there.
pub fn fields<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    T::deserialize(&value).map_err(|error| unfit(blamed::<T>(value), &error.to_string()))
}

fn unfit(field: Option<String>, why: &str) -> Problem {
    let detail = format!("the body: {why}");
    match field {
        Some(field) => Problem::field(&field, detail),
        None => Problem::new(Code::Invalid, detail),
    }
}

/// Fields that are tried before the search for the one to blame is given up: nothing of ours has so many.
const FIELDS_TRIED_MAX: usize = 32;

/// Which field of an object it is that does not fit: the one that is missing, or the one without which it fails in another
/// way or not at all.
fn blamed<T: DeserializeOwned>(value: Value) -> Option<String> {
    let first = T::deserialize(&value).err()?.to_string();
    let Value::Object(mut held) = value else { return None };
    if let Some(missing) = first.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return Some(missing.to_owned());
    }
    let names: Vec<String> = held.keys().take(FIELDS_TRIED_MAX).cloned().collect();
    for name in names {
        let Some(field) = held.remove(&name) else { continue };
        let without = Value::Object(held);
        let differs = T::deserialize(&without).map_or_else(|error| error.to_string() != first, |_| true);
        let Value::Object(rest) = without else { return None };
        held = rest;
        held.insert(name.clone(), field);
        if differs {
            return Some(name);
        }
    }
    None
}

fn reused() -> Problem {
    Problem::new(
        Code::KeyReused,
        "this Idempotency-Key came with another path or body before; take a new one",
    )
}

/// One POST: its key, if it has one, and what it asks.
pub struct Once {
    key: Option<String>,
    digest: String,
}

impl Once {
    pub fn of(caller: &str, headers: &HeaderMap, path: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let digest = sha256_hex(&[path.as_bytes(), b"\n", bytes].concat());
        let Some(given) = headers.get("idempotency-key") else { return Ok(Self { key: None, digest }) };
        let given = given.to_str().unwrap_or("");
        if given.is_empty() || given.len() > KEY_CHARS_MAX {
            return Err(Problem::new(Code::Malformed, "Idempotency-Key: 1 to 128 printable characters"));
        }
        Ok(Self { key: Some(format!("{caller}/{given}")), digest })
    }

    /// Bytes that are the same whenever this key comes, for the id of a thing that is found again by nothing else.
    pub fn seed(&self) -> Option<[u8; 10]> {
        use sha2::{Digest as _, Sha256};
        let hash = Sha256::digest(self.key.as_deref()?.as_bytes());
        Some(std::array::from_fn(|place| hash[place]))
    }

    /// The answer of the same request made before, if there was one.
    pub async fn earlier(&self, core: &Core, scope: TenantScope) -> Result<Option<Answer>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        match core.store.once(scope, OnceSpace::Idempotency, key).await? {
            Some(row) if row.expires_at > core.clock.now() => {
                self.replay(core, &row.asked_digest, &row.answer).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// For what is kept once by a row of its own: whether the key came before, which is refused with another body.
    pub async fn asked_before(&self, core: &Core, scope: TenantScope) -> Result<bool, Problem> {
        let Some(key) = &self.key else { return Ok(false) };
        match core.store.once(scope, OnceSpace::Idempotency, key).await? {
            Some(row) if row.expires_at > core.clock.now() && row.asked_digest != self.digest => {
                Err(reused())
            }
            row => Ok(row.is_some_and(|row| row.expires_at > core.clock.now())),
        }
    }

    /// Remembers the key without an answer, for `asked_before`.
    pub fn without_answer(&self, now: UnixMs) -> Option<OnceDraft> {
        let key = self.key.clone()?;
        let (asked_digest, expires_at) = (self.digest.clone(), now.plus(REMEMBERED_MS));
        Some(OnceDraft {
            space: OnceSpace::Idempotency,
            key,
            asked_digest,
            answer: String::new(),
            expires_at,
        })
    }

    fn replay(&self, core: &Core, asked: &str, sealed: &str) -> Result<Answer, Problem> {
        if asked != self.digest {
            return Err(reused());
        }
        let key = self.key.as_deref().unwrap_or("");
        let answer = URL_SAFE_NO_PAD
            .decode(sealed)
            .ok()
            .and_then(|sealed| core.root.open(key, &sealed).ok())
            .and_then(|plain| serde_json::from_slice::<Answer>(&plain).ok());
        match answer {
            Some(answer) => Ok(Answer { replayed: true, ..answer }),
            None => Err(Problem::new(Code::Internal, "the answer that was kept cannot be read")),
        }
    }

    /// Commits a change and the answer to it together. Asked a second time at the same moment, the first answer counts.
    pub async fn commit(
        &self,
        core: &Core,
        scope: TenantScope,
        mut change: Change,
        answer: impl FnOnce(Option<&Committed>) -> Answer,
    ) -> Result<Answer, Problem> {
        let Some(key) = &self.key else {
            let committed = core.commit(scope, change).await?;
            return Ok(answer(Some(&committed)));
        };
        // Versions of new things are 1; the answer has to be known before the commit that keeps it.
        let answer = answer(None);
        let plain = serde_json::to_vec(&answer).expect("an answer is JSON");
        change.once.push(OnceDraft {
            space: OnceSpace::Idempotency,
            key: key.clone(),
            asked_digest: self.digest.clone(),
            answer: URL_SAFE_NO_PAD.encode(core.root.seal(key, &plain, random())),
            expires_at: change.at.plus(REMEMBERED_MS),
        });
        match core.commit(scope, change).await {
            Ok(_) => Ok(answer),
            Err(StoreError::Already(row)) => self.replay(core, &row.asked_digest, &row.answer),
            Err(error) => Err(error.into()),
        }
    }
}

/// The body of a request that says all in its path: none, or an empty object.
pub struct Nothing;

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let empty = bytes.is_empty()
            || matches!(serde_json::from_slice(&bytes), Ok(Value::Object(held)) if held.is_empty());
        if empty {
            Ok(Self)
        } else {
            Err(Problem::new(Code::Invalid, "this takes no fields").into_response())
        }
    }
}

/// A word of a query. No id or kind has a control character, and not every database takes them all.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Word(pub String);

impl TryFrom<String> for Word {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.chars().any(char::is_control) { Err("control characters are in it") } else { Ok(Self(text)) }
    }
}

/// `?limit=50&after=…`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    pub limit: Option<usize>,
    after: Option<Word>,
    /// Of the kinds that stand under something: only these.
    parent: Option<Word>,
}

impl Paging {
    pub fn after(&self) -> Option<&str> {
        self.after.as_ref().map(|word| word.0.as_str())
    }

    pub fn parent(&self) -> Option<&str> {
        self.parent.as_ref().map(|word| word.0.as_str())
    }

    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX)
    }
}

pub fn page(items: Vec<Value>, next: Option<String>) -> Answer {
    Answer::ok(serde_json::json!({ "items": items, "next": next }))
}
