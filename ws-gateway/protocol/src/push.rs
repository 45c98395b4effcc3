//! What the server says without being asked. Borrowed: a push is encoded once and its bytes are shared.

use bytes::Bytes;

use crate::reply::{ClientInfo, Publication};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Push<'a> {
    Publication(&'a Publication),
    Join(&'a ClientInfo),
    Leave(&'a ClientInfo),
    Unsubscribe { code: u32, reason: &'a str },
    Message { data: &'a Bytes },
    Subscribe(&'a SubscribePush),
    Refresh { expires: bool, ttl: u32 },
}

/// A subscription that the server made while the connection was open.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscribePush {
    #[prost(bool, tag = "1")]
    pub recoverable: bool,
    #[prost(string, tag = "4")]
    pub epoch: String,
    #[prost(uint64, tag = "5")]
    pub offset: u64,
    #[prost(bool, tag = "6")]
    pub positioned: bool,
    #[prost(bytes = "bytes", tag = "7")]
    pub data: Bytes,
}
