//! What a client may ask. The structs carry both wire shapes (Protobuf tags, JSON names); bytes are raw JSON in
//! JSON frames. Unknown fields are ignored because the protocol grows with every release.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use crate::DecodeError;

/// One command. `id` is above zero except for `send` and pong, which have no reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub id: u32,
    pub request: Request,
}

/// The first field set in a command decides what it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Connect(Box<ConnectRequest>),
    Subscribe(Box<SubscribeRequest>),
    Unsubscribe {
        channel: String,
    },
    Publish(PublishRequest),
    Presence {
        channel: String,
    },
    PresenceStats {
        channel: String,
    },
    History(HistoryRequest),
    Ping,
    Send {
        data: Bytes,
    },
    Rpc(RpcRequest),
    Refresh(RefreshRequest),
    SubRefresh(SubRefreshRequest),
    /// The empty command: an answer to the server's ping.
    Pong,
}

impl Request {
    pub fn method(&self) -> &'static str {
        match self {
            Request::Connect(_) => "connect",
            Request::Subscribe(_) => "subscribe",
            Request::Unsubscribe { .. } => "unsubscribe",
            Request::Publish(_) => "publish",
            Request::Presence { .. } => "presence",
            Request::PresenceStats { .. } => "presence_stats",
            Request::History(_) => "history",
            Request::Ping => "ping",
            Request::Send { .. } => "send",
            Request::Rpc(_) => "rpc",
            Request::Refresh(_) => "refresh",
            Request::SubRefresh(_) => "sub_refresh",
            Request::Pong => "pong",
        }
    }
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct ConnectRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub token: String,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(deserialize_with = "raw")]
    pub data: Bytes,
    /// Positions of server-side subscriptions that the client wants to recover.
    #[prost(btree_map = "string, message", tag = "3")]
    #[serde(deserialize_with = "or_default")]
    pub subs: BTreeMap<String, SubscribeRequest>,
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[prost(string, tag = "5")]
    #[serde(deserialize_with = "or_default")]
    pub version: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct SubscribeRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub channel: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub token: String,
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "or_default")]
    pub recover: bool,
    #[prost(string, tag = "6")]
    #[serde(deserialize_with = "or_default")]
    pub epoch: String,
    #[prost(uint64, tag = "7")]
    #[serde(deserialize_with = "or_default")]
    pub offset: u64,
    #[prost(bytes = "bytes", tag = "8")]
    #[serde(deserialize_with = "raw")]
    pub data: Bytes,
    #[prost(bool, tag = "9")]
    #[serde(deserialize_with = "or_default")]
    pub positioned: bool,
    #[prost(bool, tag = "10")]
    #[serde(deserialize_with = "or_default")]
    pub recoverable: bool,
    #[prost(bool, tag = "11")]
    #[serde(deserialize_with = "or_default")]
    pub join_leave: bool,
    /// Declined by leaving `delta` out of the reply.
    #[prost(string, tag = "12")]
    #[serde(deserialize_with = "or_default")]
    pub delta: String,
    /// A filter by tags is not supported: only its presence matters, for error 107.
    #[prost(message, optional, tag = "13")]
    pub tf: Option<FilterNode>,
    #[prost(int64, tag = "14")]
    #[serde(deserialize_with = "or_default")]
    pub flag: i64,
    /// Above zero: map and shared-poll subscriptions, which this server does not have.
    #[prost(int32, tag = "15")]
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: i32,
}

impl SubscribeRequest {
    /// Answer error 112 when the position cannot be recovered.
    pub const FLAG_REJECT_UNRECOVERED: i64 = 2;
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
pub struct FilterNode {}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct PublishRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub channel: String,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(deserialize_with = "raw")]
    pub data: Bytes,
    /// Above zero: map publications, which this server does not have.
    #[prost(int32, tag = "3")]
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct RpcRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "raw")]
    pub data: Bytes,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub method: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct StreamPosition {
    #[prost(uint64, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub offset: u64,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub epoch: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub channel: String,
    /// 0 asks for the position only, below zero for everything up to the bound.
    #[prost(int32, tag = "7")]
    #[serde(deserialize_with = "or_default")]
    pub limit: i32,
    #[prost(message, optional, tag = "8")]
    pub since: Option<StreamPosition>,
    #[prost(bool, tag = "9")]
    #[serde(deserialize_with = "or_default")]
    pub reverse: bool,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct RefreshRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub token: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct SubRefreshRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub channel: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub token: String,
    /// Above zero: key tracking of shared polls, which this server does not have.
    #[prost(int32, tag = "3")]
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(crate) struct OnlyChannel {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub channel: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(crate) struct OnlyData {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "raw")]
    pub data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
pub(crate) struct Nothing {}

/// A command as it travels: every method is an optional field of its own.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(crate) struct WireCommand {
    #[prost(uint32, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub id: u32,
    #[prost(message, optional, boxed, tag = "4")]
    pub connect: Option<Box<ConnectRequest>>,
    #[prost(message, optional, boxed, tag = "5")]
    pub subscribe: Option<Box<SubscribeRequest>>,
    #[prost(message, optional, tag = "6")]
    pub unsubscribe: Option<OnlyChannel>,
    #[prost(message, optional, tag = "7")]
    pub publish: Option<PublishRequest>,
    #[prost(message, optional, tag = "8")]
    pub presence: Option<OnlyChannel>,
    #[prost(message, optional, tag = "9")]
    pub presence_stats: Option<OnlyChannel>,
    #[prost(message, optional, tag = "10")]
    pub history: Option<HistoryRequest>,
    #[prost(message, optional, tag = "11")]
    pub ping: Option<Nothing>,
    #[prost(message, optional, tag = "12")]
    pub send: Option<OnlyData>,
    #[prost(message, optional, tag = "13")]
    pub rpc: Option<RpcRequest>,
    #[prost(message, optional, tag = "14")]
    pub refresh: Option<RefreshRequest>,
    #[prost(message, optional, tag = "15")]
    pub sub_refresh: Option<SubRefreshRequest>,
}

impl WireCommand {
    pub(crate) fn into_command(self) -> Result<Command, DecodeError> {
        let id = self.id;
        let request = if let Some(connect) = self.connect {
            Request::Connect(connect)
        } else if let Some(subscribe) = self.subscribe {
            Request::Subscribe(subscribe)
        } else if let Some(OnlyChannel { channel }) = self.unsubscribe {
            Request::Unsubscribe { channel }
        } else if let Some(publish) = self.publish {
            Request::Publish(publish)
        } else if let Some(OnlyChannel { channel }) = self.presence {
            Request::Presence { channel }
        } else if let Some(OnlyChannel { channel }) = self.presence_stats {
            Request::PresenceStats { channel }
        } else if let Some(history) = self.history {
            Request::History(history)
        } else if self.ping.is_some() {
            Request::Ping
        } else if let Some(OnlyData { data }) = self.send {
            Request::Send { data }
        } else if let Some(rpc) = self.rpc {
            Request::Rpc(rpc)
        } else if let Some(refresh) = self.refresh {
            Request::Refresh(refresh)
        } else if let Some(sub_refresh) = self.sub_refresh {
            Request::SubRefresh(sub_refresh)
        } else if id == 0 {
            Request::Pong
        } else {
            return Err(DecodeError::UnknownMethod { id });
        };
        match request {
            Request::Pong | Request::Send { .. } => Ok(Command { id, request }),
            _ if id == 0 => Err(DecodeError::MissingId { method: request.method() }),
            _ => Ok(Command { id, request }),
        }
    }
}

impl From<Command> for WireCommand {
    /// The client's side: virtual devices, tests and load generators speak through it.
    fn from(command: Command) -> WireCommand {
        let mut wire = WireCommand { id: command.id, ..WireCommand::default() };
        match command.request {
            Request::Connect(it) => wire.connect = Some(it),
            Request::Subscribe(it) => wire.subscribe = Some(it),
            Request::Unsubscribe { channel } => wire.unsubscribe = Some(OnlyChannel { channel }),
            Request::Publish(it) => wire.publish = Some(it),
            Request::Presence { channel } => wire.presence = Some(OnlyChannel { channel }),
            Request::PresenceStats { channel } => wire.presence_stats = Some(OnlyChannel { channel }),
            Request::History(it) => wire.history = Some(it),
            Request::Ping => wire.ping = Some(Nothing {}),
            Request::Send { data } => wire.send = Some(OnlyData { data }),
            Request::Rpc(it) => wire.rpc = Some(it),
            Request::Refresh(it) => wire.refresh = Some(it),
            Request::SubRefresh(it) => wire.sub_refresh = Some(it),
            Request::Pong => {}
        }
        wire
    }
}

/// `null` is as good as a missing field: some SDKs write it.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// The bytes of an embedded JSON value, untouched.
fn raw<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let value = <&serde_json::value::RawValue>::deserialize(from)?;
    Ok(Bytes::copy_from_slice(value.get().as_bytes()))
}
