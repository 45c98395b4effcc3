//! What travels up: a client's request to the backends, its delivery, its reply, its grave. Data only.

use bytes::Bytes;

/// A client's request as the gateway hands it to the backends. The gateway vouches for `user`, `client` and
/// `tenant` (from the token); `data` is the client's own and opaque.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub method: String,
    pub data: Bytes,
    pub user: String,
    pub client: String,
    pub tenant: String,
    /// Requests with the same key are delivered one after the other, in order. A device or a person.
    pub partition_key: String,
    /// After this instant (milliseconds since 1970) the requester no longer waits.
    pub deadline_ms: u64,
    /// What the requester wants its backend to know besides: opaque (trace id, token claims).
    pub meta: Bytes,
}

/// A backend's answer: its bytes, or a numbered error for the client.
pub type Reply = Result<Bytes, ReplyError>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {message}")]
pub struct ReplyError {
    pub code: u32,
    pub message: String,
    pub temporary: bool,
}

impl ReplyError {
    /// Error 100 of the client protocol: the outcome is unknown, repeat with the same id.
    pub fn temporary(message: impl Into<String>) -> ReplyError {
        ReplyError { code: 100, message: message.into(), temporary: true }
    }

    pub fn new(code: u32, message: impl Into<String>) -> ReplyError {
        ReplyError { code, message: message.into(), temporary: false }
    }
}

/// One delivery of a request to a backend. At least once: the same request may come again, to another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub request: Request,
    pub partition: u16,
    /// Grows with every change of the partition's holder. A backend that stores it with its commits can refuse
    /// the late write of a holder that has lost its lease without knowing.
    pub fence: u64,
    /// 1 the first time.
    pub deliveries: u32,
    /// Whether somebody waits for the answer ([`crate::Bus::request`]) or not ([`crate::Bus::send`]).
    pub wants_reply: bool,
}

/// A request that was given up, with why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// `<partition>:<entry>`, unique over all partitions.
    pub id: String,
    pub request: Request,
    pub deliveries: u32,
    pub reason: String,
    /// When it was given up, in milliseconds since 1970.
    pub buried_ms: u64,
}
