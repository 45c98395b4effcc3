//! What can go wrong on the bus, by what the caller can do about it.

use std::fmt;

use crate::limits::{CHANNEL_BYTES_MAX, PAYLOAD_BYTES_MAX};

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Temporary: nothing is known to have happened. Clients get error 100 with `temporary: true`.
    #[error("bus unavailable while {attempted}: {why}")]
    Unavailable { attempted: String, why: Unavailable },
    /// The request was queued but no answer came in time. The outcome is *unknown*: repeat with the same id.
    #[error("no reply to `{method}` by its deadline")]
    NoReply { method: String },
    /// The caller's own fault; repeating it changes nothing.
    #[error("{field}: {fault}; {remedy}")]
    Invalid { field: &'static str, fault: String, remedy: &'static str },
    /// The address or options given at the start are wrong.
    #[error("bus configuration: {0}")]
    Config(String),
    /// Something stored or received is not what this version writes.
    #[error("unreadable {what} in `{place}`")]
    Unreadable { what: &'static str, place: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// A bounded stream or table is full: whoever reads it is behind.
    Full { bound: usize },
    /// No answer within the time a client can wait.
    Slow { waited_ms: u64 },
    /// The connection is down, or the server refused.
    Absent { reason: String },
    /// The bus is being shut down.
    Stopped,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::Full { bound } => write!(f, "full at {bound}"),
            Unavailable::Slow { waited_ms } => write!(f, "no answer within {waited_ms} ms"),
            Unavailable::Absent { reason } => f.write_str(reason),
            Unavailable::Stopped => f.write_str("stopped"),
        }
    }
}

impl BusError {
    /// True when the caller may repeat the call later and hope.
    pub fn is_temporary(&self) -> bool {
        matches!(self, BusError::Unavailable { .. } | BusError::NoReply { .. })
    }

    pub(crate) fn full(attempted: impl Into<String>, bound: usize) -> BusError {
        BusError::Unavailable { attempted: attempted.into(), why: Unavailable::Full { bound } }
    }
}

pub(crate) fn check_channel(channel: &str) -> Result<(), BusError> {
    if channel.is_empty() || channel.len() > CHANNEL_BYTES_MAX {
        return Err(BusError::Invalid {
            field: "channel",
            fault: format!("{} bytes long", channel.len()),
            remedy: "channel names have 1 to 255 bytes",
        });
    }
    Ok(())
}

pub(crate) fn check_payload(field: &'static str, bytes: usize) -> Result<(), BusError> {
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(BusError::Invalid {
            field,
            fault: format!("{bytes} bytes long"),
            remedy: "payloads have at most 1 MiB; publish a reference instead",
        });
    }
    Ok(())
}
