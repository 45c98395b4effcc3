//! The JSON encoding: objects separated by newlines, zero values omitted, `bytes` fields embedded as raw JSON.
//! Written by hand in the reference library's field order. A payload that is not JSON is never embedded, and
//! one with line breaks between its tokens gets spaces for them, because a line break ends a message.

use bytes::Bytes;

use crate::command::{Command, WireCommand};
use crate::push::{Push, SubscribePush};
use crate::reply::{ClientInfo, ConnectResult, HistoryResult, Publication, Reply, SubscribeResult};
use crate::{DecodeError, EncodeError};

pub fn decode_frame(frame: &[u8]) -> Result<Vec<Command>, DecodeError> {
    let mut commands = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(frame).into_iter::<WireCommand>();
    loop {
        // Derived decoders also read a struct from an array; the protocol has objects only.
        let rest = frame[stream.byte_offset()..].trim_ascii_start();
        if rest.first().is_some_and(|byte| *byte != b'{') {
            return Err(DecodeError::Json("a command is an object".to_owned()));
        }
        match stream.next() {
            None => return Ok(commands),
            Some(Ok(wire)) => commands.push(wire.into_command()?),
            Some(Err(error)) => return Err(DecodeError::Json(error.to_string())),
        }
    }
}

/// Whether `data` can stand in a JSON message.
pub fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok()
}

pub fn encode_reply(id: u32, reply: &Reply) -> Result<Bytes, EncodeError> {
    let mut out = Object::open(Vec::with_capacity(128));
    out.number("id", u64::from(id));
    match reply {
        Reply::Error(error) => out.object("error", |o| {
            o.number("code", u64::from(error.code));
            o.text("message", &error.message);
            o.flag("temporary", error.temporary);
            Ok(())
        })?,
        Reply::Connect(it) => out.object("connect", |o| connect_fields(o, it))?,
        Reply::Subscribe(it) => out.object("subscribe", |o| subscribe_fields(o, it))?,
        Reply::Unsubscribe => out.object("unsubscribe", |_| Ok(()))?,
        Reply::Publish => out.object("publish", |_| Ok(()))?,
        Reply::Presence(it) => out.object("presence", |o| {
            o.object("presence", |o| {
                for (client, info) in &it.presence {
                    o.object(client, |o| info_fields(o, info))?;
                }
                Ok(())
            })
        })?,
        Reply::PresenceStats(it) => out.object("presence_stats", |o| {
            o.number_always("num_clients", u64::from(it.num_clients));
            o.number_always("num_users", u64::from(it.num_users));
            Ok(())
        })?,
        Reply::History(it) => out.object("history", |o| history_fields(o, it))?,
        Reply::Ping => out.object("ping", |_| Ok(()))?,
        Reply::Rpc { data } => out.object("rpc", |o| o.raw("data", data))?,
        Reply::Refresh(it) => out.object("refresh", |o| {
            o.text("client", &it.client);
            o.text("version", &it.version);
            o.flag("expires", it.expires);
            o.number("ttl", u64::from(it.ttl));
            Ok(())
        })?,
        Reply::SubRefresh(it) => out.object("sub_refresh", |o| {
            o.flag("expires", it.expires);
            o.number("ttl", u64::from(it.ttl));
            Ok(())
        })?,
    }
    Ok(out.close())
}

pub fn encode_push(channel: &str, push: &Push<'_>) -> Result<Bytes, EncodeError> {
    let capacity = match push {
        Push::Publication(it) => it.data.len() + 128,
        _ => 192,
    };
    let mut out = Object::open(Vec::with_capacity(capacity + channel.len()));
    out.object("push", |o| {
        o.text("channel", channel);
        match push {
            Push::Publication(it) => o.object("pub", |o| publication_fields(o, it)),
            Push::Join(info) => o.object("join", |o| o.object("info", |o| info_fields(o, info))),
            Push::Leave(info) => o.object("leave", |o| o.object("info", |o| info_fields(o, info))),
            Push::Unsubscribe { code, reason } => o.object("unsubscribe", |o| {
                o.number("code", u64::from(*code));
                o.text("reason", reason);
                Ok(())
            }),
            Push::Message { data } => o.object("message", |o| o.raw("data", data)),
            Push::Subscribe(it) => o.object("subscribe", |o| subscribe_push_fields(o, it)),
            Push::Refresh { expires, ttl } => o.object("refresh", |o| {
                o.flag("expires", *expires);
                o.number("ttl", u64::from(*ttl));
                Ok(())
            }),
        }
    })?;
    Ok(out.close())
}

fn connect_fields(o: &mut Object, it: &ConnectResult) -> Result<(), EncodeError> {
    o.text("client", &it.client);
    o.text("version", &it.version);
    o.flag("expires", it.expires);
    o.number("ttl", u64::from(it.ttl));
    o.raw("data", &it.data)?;
    if !it.subs.is_empty() {
        o.object("subs", |o| {
            for (channel, result) in &it.subs {
                o.object(channel, |o| subscribe_fields(o, result))?;
            }
            Ok(())
        })?;
    }
    o.number("ping", u64::from(it.ping));
    o.flag("pong", it.pong);
    Ok(())
}

fn subscribe_fields(o: &mut Object, it: &SubscribeResult) -> Result<(), EncodeError> {
    o.flag("expires", it.expires);
    o.number("ttl", u64::from(it.ttl));
    o.flag("recoverable", it.recoverable);
    o.text("epoch", &it.epoch);
    if !it.publications.is_empty() {
        o.list("publications", &it.publications, publication_fields)?;
    }
    o.flag("recovered", it.recovered);
    o.number("offset", it.offset);
    o.flag("positioned", it.positioned);
    o.raw("data", &it.data)?;
    o.flag("was_recovering", it.was_recovering);
    Ok(())
}

fn subscribe_push_fields(o: &mut Object, it: &SubscribePush) -> Result<(), EncodeError> {
    o.flag("recoverable", it.recoverable);
    o.text("epoch", &it.epoch);
    o.number("offset", it.offset);
    o.flag("positioned", it.positioned);
    o.raw("data", &it.data)
}

fn history_fields(o: &mut Object, it: &HistoryResult) -> Result<(), EncodeError> {
    o.list("publications", &it.publications, publication_fields)?;
    o.text_always("epoch", &it.epoch);
    o.number_always("offset", it.offset);
    Ok(())
}

fn publication_fields(o: &mut Object, it: &Publication) -> Result<(), EncodeError> {
    o.raw("data", &it.data)?;
    if let Some(info) = &it.info {
        o.object("info", |o| info_fields(o, info))?;
    }
    o.number("offset", it.offset);
    if !it.tags.is_empty() {
        o.object("tags", |o| {
            for (name, value) in &it.tags {
                o.text_always(name, value);
            }
            Ok(())
        })?;
    }
    if it.time > 0 {
        o.number("time", it.time.unsigned_abs());
    }
    o.text("epoch", &it.epoch);
    Ok(())
}

fn info_fields(o: &mut Object, it: &ClientInfo) -> Result<(), EncodeError> {
    o.text_always("user", &it.user);
    o.text_always("client", &it.client);
    o.raw("conn_info", &it.conn_info)?;
    o.raw("chan_info", &it.chan_info)
}

/// An object being written. Field names of the protocol need no escaping; channel names and ids as keys do.
struct Object {
    out: Vec<u8>,
    first: bool,
}

impl Object {
    fn open(mut out: Vec<u8>) -> Object {
        out.push(b'{');
        Object { out, first: true }
    }

    fn close(mut self) -> Bytes {
        self.out.push(b'}');
        Bytes::from(self.out)
    }

    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        // The protocol's own names have nothing to escape.
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            self.out.push(b'"');
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            self.string(key);
            self.out.push(b':');
        }
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text).expect("a string is written to memory");
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.text_always(key, text);
        }
    }

    fn text_always(&mut self, key: &str, text: &str) {
        self.key(key);
        self.string(text);
    }

    fn number(&mut self, key: &str, number: u64) {
        if number != 0 {
            self.number_always(key, number);
        }
    }

    fn number_always(&mut self, key: &str, number: u64) {
        self.key(key);
        serde_json::to_writer(&mut self.out, &number).expect("a number is written to memory");
    }

    fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.key(key);
            self.out.extend_from_slice(b"true");
        }
    }

    fn raw(&mut self, key: &str, data: &[u8]) -> Result<(), EncodeError> {
        if data.is_empty() {
            return Ok(());
        }
        if !is_json(data) {
            return Err(EncodeError::NotJson);
        }
        self.key(key);
        let from = self.out.len();
        self.out.extend_from_slice(data);
        // Inside a JSON string a line break is always escaped, so these stand between tokens.
        if memchr::memchr2(b'\n', b'\r', data).is_some() {
            for byte in &mut self.out[from..] {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        key: &str,
        fields: impl FnOnce(&mut Object) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.key(key);
        self.nested(fields)
    }

    fn list<T>(
        &mut self,
        key: &str,
        items: &[T],
        fields: impl Fn(&mut Object, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.key(key);
        self.out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.nested(|o| fields(o, item))?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn nested(
        &mut self,
        fields: impl FnOnce(&mut Object) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.out.push(b'{');
        self.first = true;
        let result = fields(self);
        self.out.push(b'}');
        self.first = false;
        result
    }
}
