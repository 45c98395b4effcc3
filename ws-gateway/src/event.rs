//! Something that happened on a channel, as all its receivers on this node share it: encoded at most once per
//! format, however many connections get it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use keyway_bus::{ClientInfo, Position, Publication};
use keyway_protocol::{EncodeError, Format, Push, encode_push};

#[derive(Debug)]
pub struct ChannelEvent {
    pub channel: Arc<str>,
    pub kind: EventKind,
    json: OnceLock<Result<Bytes, EncodeError>>,
    protobuf: OnceLock<Result<Bytes, EncodeError>>,
}

#[derive(Debug)]
pub enum EventKind {
    Publication {
        publication: Arc<Publication>,
        position: Position,
    },
    Join(Arc<ClientInfo>),
    Leave(Arc<ClientInfo>),
    /// Publications were lost and cannot be had again from here: whoever stands before `top` recovers.
    Gap {
        top: Position,
    },
}

impl ChannelEvent {
    pub fn new(channel: Arc<str>, kind: EventKind) -> ChannelEvent {
        ChannelEvent { channel, kind, json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// The push for a receiver of `format`. An error when the payload cannot be shown in it.
    pub fn encoded(&self, format: Format) -> Result<Bytes, EncodeError> {
        let cell = match format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        };
        cell.get_or_init(|| self.encode(format)).clone()
    }

    /// What it costs in a receiver's queue; an estimate before it is encoded.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            EventKind::Publication { publication, .. } => publication.data.len() + self.channel.len() + 64,
            _ => self.channel.len() + 128,
        }
    }

    fn encode(&self, format: Format) -> Result<Bytes, EncodeError> {
        match &self.kind {
            EventKind::Publication { publication, position } => {
                let mut wire = publication_on_wire(publication);
                if position.is_positioned() {
                    wire.epoch = position.epoch.as_str().to_owned();
                }
                encode_push(format, &self.channel, &Push::Publication(&wire))
            }
            EventKind::Join(info) => encode_push(format, &self.channel, &Push::Join(&info_on_wire(info))),
            EventKind::Leave(info) => encode_push(format, &self.channel, &Push::Leave(&info_on_wire(info))),
            EventKind::Gap { .. } => Ok(Bytes::new()),
        }
    }
}

pub fn info_on_wire(info: &ClientInfo) -> keyway_protocol::ClientInfo {
    keyway_protocol::ClientInfo {
        user: info.user.clone(),
        client: info.client.clone(),
        conn_info: info.conn_info.clone(),
        chan_info: info.chan_info.clone(),
    }
}

/// Without the epoch, which only pushes carry, and without the time: payloads are envelopes with their own, and
/// twenty bytes a message are a tenth of a small one.
pub fn publication_on_wire(publication: &Publication) -> keyway_protocol::Publication {
    keyway_protocol::Publication {
        data: publication.data.clone(),
        info: publication.info.as_ref().map(info_on_wire),
        offset: publication.offset,
        tags: publication.tags.iter().cloned().collect(),
        time: 0,
        epoch: String::new(),
    }
}
