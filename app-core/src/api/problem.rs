//! Problems by RFC 9457: one type for every error of the API, with a stable code and the id of the request. The text of
//! a database or a library never leaves.

use crate::core::Core;
use crate::metrics::add;
use crate::relay::calls::Refused;
use crate::source::random;
use crate::store::StoreError;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// A header that names each request; a caller's own is kept if it is short and plain.
pub const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_CHARS_MAX: usize = 64;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// Every code there is, with its status and title. Codes are never renamed.
        pub const CODES: &[(&str, u16, &str)] = &[$(($code, $status, $title)),*];

        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            fn row(self) -> (&'static str, u16, &'static str) {
                CODES[self as usize]
            }
        }
    };
}

codes! {
    Malformed = "malformed", 400, "The request cannot be read";
    Unauthorized = "unauthorized", 401, "Who asks is not known";
    Forbidden = "forbidden", 403, "This key may not do that";
    NotFound = "not_found", 404, "There is no such thing";
    NoMethod = "method_not_allowed", 405, "This place takes other methods";
    Conflict = "conflict", 409, "Somebody else was faster";
    InUse = "in_use", 409, "Others refer to it";
    Gone = "gone", 410, "It has run out or was used";
    Changed = "precondition_failed", 412, "It has changed since it was read";
    TooLarge = "too_large", 413, "More than this place takes";
    Invalid = "invalid", 422, "A field is not what it has to be";
    BundleTooLarge = "bundle_too_large", 422, "A door could not be told all that it would have to hold";
    KeyReused = "idempotency_key_reused", 422, "The idempotency key was used for another request";
    NeedsMatch = "precondition_required", 428, "Say which version is changed";
    TooMany = "too_many_requests", 429, "Too many attempts";
    DoorBusy = "door_busy", 429, "The door has too many commands under way";
    Internal = "internal", 500, "A fault of core";
    Busy = "temporarily_unavailable", 503, "Come again later";
    Full = "storage_full", 507, "The database has no room";
}

/// An error as a caller sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    /// Which field, as a JSON pointer, where one is to blame.
    field: Option<String>,
    /// When to come again, where that is known; otherwise in a second.
    retry_after_s: Option<u64>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None, retry_after_s: None }
    }

    /// A field that is not what it has to be: which, and what to do.
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(format!("/{field}")), ..Self::new(Code::Invalid, detail) }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what} in this tenant"))
    }

    pub fn is(&self, code: Code) -> bool {
        self.code == code
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.row().1).expect("the table holds real numbers")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Conflict { what, .. } => {
                Self::new(Code::Conflict, format!("{what} has changed or exists already; read it again"))
            }
            StoreError::NotFound { what } => Self::new(Code::NotFound, format!("{what} is not there")),
            StoreError::Refused { what } => Self::new(Code::Invalid, what.clone()),
            StoreError::DoorBusy(busy) => Self {
                retry_after_s: Some(busy.again_ms.div_ceil(1000)),
                ..Self::new(
                    Code::DoorBusy,
                    format!("{busy}; nothing was done, the same request may come again"),
                )
            },
            StoreError::Full => Self::new(Code::Full, "nothing was written; reads still work"),
            passing if passing.is_passing() => {
                tracing::warn!(%error, "the store");
                let detail = if passing.may_have_happened() {
                    "the outcome is unknown; repeat with the same Idempotency-Key"
                } else {
                    "nothing was done; repeat after a pause"
                };
                Self::new(Code::Busy, detail)
            }
            _ => {
                tracing::error!(%error, "the store");
                Self::new(Code::Internal, "core could not do this; its log says why, under the request id")
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Store(error) => error.into(),
            Refused::NotFound(what) => Self::not_found(what),
            Refused::Contended => Self::new(Code::Busy, "too many changes at once; repeat"),
            other => Self::new(Code::Invalid, other.to_string()),
        }
    }
}

/// The problem travels beside an empty body; `finish` writes it out with the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

pub async fn no_route() -> Problem {
    Problem::new(Code::NotFound, "no route of the API; docs/core.md lists them")
}

pub async fn no_method() -> Problem {
    Problem::new(Code::NoMethod, "this path exists with another method")
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= REQUEST_ID_CHARS_MAX
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given
        .filter(plain)
        .map_or_else(|| random::<12>().iter().map(|byte| format!("{byte:02x}")).collect(), ToOwned::to_owned)
}

/// What the library's own refusal says, as a problem. It speaks of what came in the path, the query or the body.
async fn foreign(response: Response) -> Problem {
    let code = match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            return Problem::new(Code::TooLarge, "the body is larger than 512 KiB");
        }
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::NoMethod,
        StatusCode::UNPROCESSABLE_ENTITY => Code::Invalid,
        _ => Code::Malformed,
    };
    let text = axum::body::to_bytes(response.into_body(), FOREIGN_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Problem::new(code, if text.is_empty() { "the request cannot be read" } else { text.as_ref() })
}

/// A line of text.
const FOREIGN_BYTES_MAX: usize = 4_096;

/// Gives every request its id, counts it, and writes problems out.
pub async fn finish(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    // The body limit and the extractors of the library answer in plain text: theirs becomes one of ours.
    if response.status().is_client_error() && response.extensions().get::<Problem>().is_none() {
        response = foreign(response).await.into_response();
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let (code, status, title) = problem.code.row();
        let mut body = json!({
            "type": format!("urn:keyway:problem:{code}"), "title": title, "status": status,
            "code": code, "detail": problem.detail, "request_id": id,
        });
        if let Some(field) = problem.field {
            body["field"] = field.into();
        }
        let headers = response.headers().clone();
        response = (problem.code.row().1.try_into().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body))
            .into_response();
        response.headers_mut().extend(headers);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        if status == 401 {
            // RFC 9110, 11.6.1. A proof of key is no scheme of HTTP: where one was wanted, an API key would be as well.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, 429 | 503) {
            let seconds = problem.retry_after_s.unwrap_or(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    add(&core.metrics.http, 1);
    add(&core.metrics.http_failed, u64::from(status >= 500));
    core.metrics.http_time.observe(begun.elapsed());
    tracing::debug!(request_id = id, %method, path, status, elapsed_us = begun.elapsed().as_micros() as u64, "answered");
    response
}
