//! What the bus tells its node: publications, presence changes, controls, and doubts about positions.

use std::sync::Arc;

use bytes::Bytes;

use crate::message::{ClientInfo, Publication};
use crate::position::Position;

/// Called for every event, in order per channel, from the bus's own tasks and with one of its locks held: it
/// must not block and must not call back into the bus (hand work to a task instead).
pub type EventSink = Arc<dyn Fn(BusEvent) + Send + Sync>;

#[derive(Debug, Clone, PartialEq)]
pub enum BusEvent {
    /// `position` is not positioned on channels without history. Offsets of a channel arrive without holes and
    /// without repeats as long as no [`BusEvent::Gap`] says otherwise.
    Publication {
        channel: Arc<str>,
        publication: Arc<Publication>,
        position: Position,
    },
    Join {
        channel: Arc<str>,
        info: Arc<ClientInfo>,
    },
    Leave {
        channel: Arc<str>,
        info: Arc<ClientInfo>,
    },
    Control(Control),
    /// Publications of this channel were missed and the stream could not give them back (trimmed, or a new
    /// epoch). Sessions positioned before `top` are to recover: unsubscribe push 2500, close 3010.
    Gap {
        channel: Arc<str>,
        top: Position,
    },
    /// A link was rebuilt, or the receive queue ran over: channels *without* history, joins and leaves may have
    /// missed something. Positioned channels are checked and repaired by the bus itself.
    PositionsSuspect,
}

/// Which connections a control means. Empty fields match everything, but `user` and `client` are never both
/// empty except in [`Control::Revoke`], which carries its own subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    pub user: String,
    pub client: String,
    pub session: String,
}

impl Target {
    pub fn user(user: impl Into<String>) -> Target {
        Target { user: user.into(), ..Target::default() }
    }

    pub fn client(client: impl Into<String>) -> Target {
        Target { client: client.into(), ..Target::default() }
    }
}

/// A word to every node. Opaque fields are the gateway's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    Disconnect {
        target: Target,
        code: u32,
        reason: String,
        /// Client ids that stay connected although they match.
        keep: Vec<String>,
    },
    Subscribe {
        target: Target,
        channel: String,
        options: Bytes,
    },
    Unsubscribe {
        target: Target,
        channel: String,
        code: u32,
        reason: String,
    },
    Refresh {
        target: Target,
        expired: bool,
        expire_at_s: Option<u64>,
        info: Option<Bytes>,
    },
    /// A statement signed by core; each node verifies it before it closes anything.
    Revoke {
        statement: Bytes,
    },
    /// Anything else two versions of the gateway agree on.
    Custom {
        name: String,
        data: Bytes,
    },
}
