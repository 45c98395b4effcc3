//! The Centrifuge client protocol v2 as plain data: commands, replies and pushes, their JSON and Protobuf
//! encodings, error and close codes, channel names. A pure leaf: it owns what bytes mean on the wire and knows
//! no socket, no clock, no session and no bus.

pub mod channel;
pub mod close;
pub mod command;
pub mod error;
pub mod id;
pub mod json;
pub mod protobuf;
pub mod push;
pub mod reply;

pub use channel::{ChannelFault, ChannelName};
pub use close::Close;
pub use command::{
    Command, ConnectRequest, HistoryRequest, PublishRequest, RefreshRequest, Request, RpcRequest,
    StreamPosition, SubRefreshRequest, SubscribeRequest,
};
pub use error::{ERRORS, ErrorReply};
pub use id::ConnectionId;
pub use push::{Push, SubscribePush};
pub use reply::{
    ClientInfo, ConnectResult, HistoryResult, PresenceResult, PresenceStatsResult, Publication,
    RefreshResult, Reply, SubRefreshResult, SubscribeResult,
};

use bytes::Bytes;

/// How a connection speaks. Chosen once, by subprotocol or query, before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text frames, one object per line.
    Json,
    /// Binary frames, each message prefixed by its length as a varint.
    Protobuf,
}

/// Why a frame from a client cannot be used. All of them close the connection with 3501.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the frame holds no command")]
    Empty,
    #[error("not JSON as the protocol has it: {0}")]
    Json(String),
    #[error("not Protobuf as the protocol has it: {0}")]
    Protobuf(String),
    #[error("command {id} names no method this server knows")]
    UnknownMethod { id: u32 },
    #[error("`{method}` needs an id above zero")]
    MissingId { method: &'static str },
}

/// Why a message cannot be sent in the connection's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The payload is binary and the client speaks JSON: close 3506.
    #[error("the payload is not JSON and the client speaks JSON")]
    NotJson,
}

/// Every command of one frame, in order. At least one, or an error.
pub fn decode_frame(format: Format, frame: &[u8]) -> Result<Vec<Command>, DecodeError> {
    let commands = match format {
        Format::Json => json::decode_frame(frame)?,
        Format::Protobuf => protobuf::decode_frame(frame)?,
    };
    if commands.is_empty() { Err(DecodeError::Empty) } else { Ok(commands) }
}

/// One reply, ready to be put into a frame (alone, or after others with [`SEPARATOR`] between JSON messages).
pub fn encode_reply(format: Format, id: u32, reply: &Reply) -> Result<Bytes, EncodeError> {
    match format {
        Format::Json => json::encode_reply(id, reply),
        Format::Protobuf => Ok(protobuf::encode_reply(id, reply)),
    }
}

/// One push. The same bytes serve every receiver that speaks `format`.
pub fn encode_push(format: Format, channel: &str, push: &Push<'_>) -> Result<Bytes, EncodeError> {
    match format {
        Format::Json => json::encode_push(channel, push),
        Format::Protobuf => Ok(protobuf::encode_push(channel, push)),
    }
}

/// The application-level ping: an empty object, or an empty message.
pub fn encode_ping(format: Format) -> Bytes {
    match format {
        Format::Json => Bytes::from_static(b"{}"),
        Format::Protobuf => Bytes::from_static(&[0]),
    }
}

/// Stands between two JSON messages of one frame. Protobuf messages carry their length instead.
pub const SEPARATOR: u8 = b'\n';
