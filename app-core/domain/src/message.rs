//! The one catalogue of channels and methods, and the envelope of publications. Owns names and payload types; refuses
//! to know how they travel: the gateway moves these bytes and never looks inside.
//!
//! Readers ignore fields they do not know and read unknown words as `other`, so that both sides can be newer.

pub mod device;
pub mod phone;
pub mod publication;
pub mod statement;

use crate::id::{EventId, TenantId};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Device,
    Phone,
}

/// One row of the catalogue. Protocol documents are generated from these rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    pub name: &'static str,
    pub caller: Caller,
    pub request: &'static str,
    pub reply: &'static str,
    /// A reply means: committed in core's database.
    pub about: &'static str,
}

pub const METHODS: &[Method] = &[
    Method {
        name: "device.sync",
        caller: Caller::Device,
        request: "SyncRequest",
        reply: "SyncReply",
        about: "right after connect and on a nudge: what the device holds, against what it should hold",
    },
    Method {
        name: "event.report",
        caller: Caller::Device,
        request: "EventReport",
        reply: "EventReply",
        about: "a signed batch of events; the reply is the durable watermark and what is missing",
    },
    Method {
        name: "command.report",
        caller: Caller::Device,
        request: "CommandReport",
        reply: "Empty",
        about: "the ledger's word on a command, signed",
    },
    Method {
        name: "access.request",
        caller: Caller::Device,
        request: "AccessCall",
        reply: "AccessReply",
        about: "an online door asks, signed; without a signed decision in 800 ms it falls back to its bundle",
    },
    Method {
        name: "time.sync",
        caller: Caller::Device,
        request: "TimeRequest",
        reply: "TimeReply",
        about: "core-signed time over the device's nonce",
    },
    Method {
        name: "door.unlock",
        caller: Caller::Phone,
        request: "UnlockCall",
        reply: "CommandReply",
        about: "a request signed by the phone's enrolled key; the final state if it is reached within 4 s",
    },
    Method {
        name: "command.get",
        caller: Caller::Phone,
        request: "CommandGet",
        reply: "CommandReply",
        about: "the state of one's own command",
    },
    Method {
        name: "command.cancel",
        caller: Caller::Phone,
        request: "CommandGet",
        reply: "CommandReply",
        about: "takes a command back that has not been sent yet",
    },
    Method {
        name: "keys.list",
        caller: Caller::Phone,
        request: "Empty",
        reply: "KeysReply",
        about: "the doors one may open, and when",
    },
    Method {
        name: "state.get",
        caller: Caller::Phone,
        request: "StateGet",
        reply: "publication::DoorState",
        about: "the state of a door one may open",
    },
    Method {
        name: "thread.send",
        caller: Caller::Phone,
        request: "ThreadSend",
        reply: "Empty",
        about: "a message to a thread one is a member of",
    },
];

/// One row of the channel catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    pub namespace: &'static str,
    /// What the id after the tenant is.
    pub id: &'static str,
    pub history: History,
    pub payload: &'static str,
    pub readers: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// What was missed is asked for by `device.sync`: a live command must never arrive late.
    None,
    Latest,
    Kept,
}

pub const CHANNELS: &[Channel] = &[
    Channel {
        namespace: "device",
        id: "device",
        history: History::None,
        payload: "publication::ToDevice",
        readers: "that device",
    },
    Channel {
        namespace: "lockdown",
        id: "site",
        history: History::Latest,
        payload: "publication::Lockdown",
        readers: "devices and operators of the site",
    },
    Channel {
        namespace: "site",
        id: "site",
        history: History::Kept,
        payload: "publication::AtSite",
        readers: "operators of the site",
    },
    Channel {
        namespace: "alerts",
        id: "site",
        history: History::Kept,
        payload: "publication::AtSite",
        readers: "security, responders",
    },
    Channel {
        namespace: "door",
        id: "door",
        history: History::Latest,
        payload: "publication::DoorState",
        readers: "holders of an active grant",
    },
    Channel {
        namespace: "#",
        id: "person",
        history: History::Kept,
        payload: "publication::ToPerson",
        readers: "that person",
    },
    Channel {
        namespace: "thread",
        id: "thread",
        history: History::Kept,
        payload: "publication::ThreadMessage",
        readers: "members",
    },
];

/// The name of a channel: `<namespace>:<tenant>.<id>`, or `#<tenant>.<person>`.
pub fn channel_name(namespace: &str, tenant: TenantId, id: impl std::fmt::Display) -> String {
    if namespace == "#" { format!("#{tenant}.{id}") } else { format!("{namespace}:{tenant}.{id}") }
}

/// CloudEvents 1.0 in JSON. `source` and `id` together are the key to tell a copy from a new event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent<T> {
    pub specversion: SpecVersion,
    pub id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub data: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SpecVersion {
    #[default]
    #[serde(rename = "1.0")]
    V1,
}

impl<T> CloudEvent<T> {
    /// An event made by core.
    pub fn of_core(id: EventId, tenant: TenantId, kind: &str, at: UnixMs, data: T) -> Self {
        Self {
            specversion: SpecVersion::V1,
            id: id.to_string(),
            source: format!("/tenants/{tenant}"),
            kind: kind.into(),
            time: at.to_rfc3339(),
            subject: None,
            data,
        }
    }
}

/// A request or reply without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}
