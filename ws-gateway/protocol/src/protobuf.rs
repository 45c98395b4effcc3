//! The Protobuf encoding: messages prefixed by their length as a varint, several in one frame. A zero-length
//! message is a ping or a pong. The client's side (encoding commands, decoding replies) serves virtual devices,
//! load generators and tests.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::DecodeError;
use crate::command::{Command, WireCommand};
use crate::error::ErrorReply;
use crate::push::{Push, SubscribePush};
use crate::reply::{
    ClientInfo, ConnectResult, HistoryResult, PresenceResult, PresenceStatsResult, Publication,
    RefreshResult, Reply, SubRefreshResult, SubscribeResult,
};

pub fn decode_frame(frame: &[u8]) -> Result<Vec<Command>, DecodeError> {
    messages(frame)?
        .into_iter()
        .map(|message| {
            WireCommand::decode(message)
                .map_err(|error| DecodeError::Protobuf(error.to_string()))?
                .into_command()
        })
        .collect()
}

/// The messages of one frame, without their length prefixes.
pub fn messages(frame: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let mut rest = frame;
    let mut found = Vec::new();
    while rest.has_remaining() {
        let length = prost::decode_length_delimiter(&mut rest)
            .map_err(|error| DecodeError::Protobuf(error.to_string()))?;
        if length > rest.len() {
            return Err(DecodeError::Protobuf(format!("a message of {length} bytes in {}", rest.len())));
        }
        let (message, after) = rest.split_at(length);
        found.push(message);
        rest = after;
    }
    Ok(found)
}

pub fn encode_command(command: Command) -> Bytes {
    delimited(&WireCommand::from(command))
}

pub fn encode_reply(id: u32, reply: &Reply) -> Bytes {
    let mut wire = WireReply { id, ..WireReply::default() };
    match reply.clone() {
        Reply::Error(it) => wire.error = Some(it),
        Reply::Connect(it) => wire.connect = Some(*it),
        Reply::Subscribe(it) => wire.subscribe = Some(*it),
        Reply::Unsubscribe => wire.unsubscribe = Some(Nothing {}),
        Reply::Publish => wire.publish = Some(Nothing {}),
        Reply::Presence(it) => wire.presence = Some(it),
        Reply::PresenceStats(it) => wire.presence_stats = Some(it),
        Reply::History(it) => wire.history = Some(it),
        Reply::Ping => wire.ping = Some(Nothing {}),
        Reply::Rpc { data } => wire.rpc = Some(OnlyData { data }),
        Reply::Refresh(it) => wire.refresh = Some(it),
        Reply::SubRefresh(it) => wire.sub_refresh = Some(it),
    }
    delimited(&wire)
}

pub fn encode_push(channel: &str, push: &Push<'_>) -> Bytes {
    let mut body = WirePush { channel: channel.to_owned(), ..WirePush::default() };
    match *push {
        Push::Publication(it) => body.publication = Some(it.clone()),
        Push::Join(info) => body.join = Some(OnlyInfo { info: Some(info.clone()) }),
        Push::Leave(info) => body.leave = Some(OnlyInfo { info: Some(info.clone()) }),
        Push::Unsubscribe { code, reason } => {
            body.unsubscribe = Some(WireUnsubscribe { code, reason: reason.to_owned() });
        }
        Push::Message { data } => body.message = Some(OnlyData { data: data.clone() }),
        Push::Subscribe(it) => body.subscribe = Some(it.clone()),
        Push::Refresh { expires, ttl } => body.refresh = Some(WireRefresh { expires, ttl }),
    }
    delimited(&WireReply { push: Some(body), ..WireReply::default() })
}

fn delimited(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_length_delimited_to_vec())
}

/// A reply as it travels. Public for the client's side.
#[derive(Clone, PartialEq, Message)]
pub struct WireReply {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(message, optional, tag = "2")]
    pub error: Option<ErrorReply>,
    #[prost(message, optional, tag = "4")]
    pub push: Option<WirePush>,
    #[prost(message, optional, tag = "5")]
    pub connect: Option<ConnectResult>,
    #[prost(message, optional, tag = "6")]
    pub subscribe: Option<SubscribeResult>,
    #[prost(message, optional, tag = "7")]
    pub unsubscribe: Option<Nothing>,
    #[prost(message, optional, tag = "8")]
    pub publish: Option<Nothing>,
    #[prost(message, optional, tag = "9")]
    pub presence: Option<PresenceResult>,
    #[prost(message, optional, tag = "10")]
    pub presence_stats: Option<PresenceStatsResult>,
    #[prost(message, optional, tag = "11")]
    pub history: Option<HistoryResult>,
    #[prost(message, optional, tag = "12")]
    pub ping: Option<Nothing>,
    #[prost(message, optional, tag = "13")]
    pub rpc: Option<OnlyData>,
    #[prost(message, optional, tag = "14")]
    pub refresh: Option<RefreshResult>,
    #[prost(message, optional, tag = "15")]
    pub sub_refresh: Option<SubRefreshResult>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WirePush {
    #[prost(string, tag = "2")]
    pub channel: String,
    #[prost(message, optional, tag = "4")]
    pub publication: Option<Publication>,
    #[prost(message, optional, tag = "5")]
    pub join: Option<OnlyInfo>,
    #[prost(message, optional, tag = "6")]
    pub leave: Option<OnlyInfo>,
    #[prost(message, optional, tag = "7")]
    pub unsubscribe: Option<WireUnsubscribe>,
    #[prost(message, optional, tag = "8")]
    pub message: Option<OnlyData>,
    #[prost(message, optional, tag = "9")]
    pub subscribe: Option<SubscribePush>,
    #[prost(message, optional, tag = "12")]
    pub refresh: Option<WireRefresh>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub struct OnlyData {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnlyInfo {
    #[prost(message, optional, tag = "1")]
    pub info: Option<ClientInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WireUnsubscribe {
    #[prost(uint32, tag = "2")]
    pub code: u32,
    #[prost(string, tag = "3")]
    pub reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WireRefresh {
    #[prost(bool, tag = "1")]
    pub expires: bool,
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
}
