//! The bytes that travel over Redis: publications, joins, leaves, controls, replies, canaries and requests.
//! A leading byte tells the kind; what a version does not know it refuses as unreadable and skips. Decoding
//! copies no payload: slices share the received buffer.

mod codec;

use bytes::Bytes;

use crate::envelope::codec::{Reader, Writer};
use crate::event::{Control, Target};
use crate::message::{ClientInfo, NewPublication, Publication};
use crate::request::{Reply, ReplyError, Request};

/// What was found unreadable; the caller knows where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// One message of a pub/sub channel, behind its `offset:epoch:`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    Publication(Publication),
    Join(ClientInfo),
    Leave(ClientInfo),
    Control(Control),
    Reply { number: u64, reply: Reply },
    Canary { number: u64 },
}

/// A message with its place in the channel's stream; offset 0 and no epoch without history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub offset: u64,
    pub epoch: Bytes,
    pub payload: Bytes,
}

const PUBLICATION: u8 = b'P';
const JOIN: u8 = b'J';
const LEAVE: u8 = b'L';
const CONTROL: u8 = b'C';
const REPLY: u8 = b'R';
const CANARY: u8 = b'N';

/// The version byte of a stored request.
const REQUEST: u8 = 1;

const HAS_INFO: u8 = 1;
const HAS_TAGS: u8 = 2;

/// The prefix of what has no place in a stream.
pub(crate) const UNPOSITIONED: &[u8] = b"0::";

/// Tags of one publication: enough for labels, few enough that a hostile count allocates nothing.
const TAGS_MAX: u64 = 64;

/// Splits `offset:epoch:payload` without copying.
pub(crate) fn parse_frame(mut bytes: Bytes) -> Result<Frame, Unreadable> {
    // Twenty digits and a short epoch: a prefix without its colons is not searched to the end.
    let head = &bytes[..bytes.len().min(96)];
    let first = head.iter().position(|byte| *byte == b':').ok_or(Unreadable)?;
    let second = head[first + 1..].iter().position(|byte| *byte == b':').ok_or(Unreadable)?;
    let offset = parse_decimal(&bytes[..first])?;
    let payload = bytes.split_off(first + second + 2);
    let epoch = bytes.slice(first + 1..first + 1 + second);
    Ok(Frame { offset, epoch, payload })
}

fn parse_decimal(digits: &[u8]) -> Result<u64, Unreadable> {
    if digits.is_empty() {
        return Err(Unreadable);
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10).ok_or(Unreadable)?;
        sum.checked_mul(10).and_then(|sum| sum.checked_add(u64::from(value))).ok_or(Unreadable)
    })
}

/// `prefix` is written first, so that an unpositioned publication needs no second buffer.
pub(crate) fn encode_publication(prefix: &[u8], publication: &NewPublication) -> Bytes {
    let NewPublication { data, info, tags, time_ms } = publication;
    let mut writer = Writer::with_capacity(prefix.len() + data.len() + 32);
    writer.raw(prefix);
    writer.byte(PUBLICATION);
    let info_flag = if info.is_some() { HAS_INFO } else { 0 };
    let tags_flag = if tags.is_empty() { 0 } else { HAS_TAGS };
    writer.byte(info_flag | tags_flag);
    writer.number(*time_ms);
    if let Some(info) = info {
        put_info(&mut writer, info);
    }
    if !tags.is_empty() {
        let tags = &tags[..tags.len().min(TAGS_MAX as usize)];
        writer.number(tags.len() as u64);
        for (name, value) in tags {
            writer.text(name);
            writer.text(value);
        }
    }
    writer.raw(data);
    writer.finish()
}

pub(crate) fn encode_presence_change(joined: bool, info: &ClientInfo) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    writer.raw(UNPOSITIONED);
    writer.byte(if joined { JOIN } else { LEAVE });
    put_info(&mut writer, info);
    writer.finish()
}

pub(crate) fn encode_reply(number: u64, reply: &Reply) -> Bytes {
    let mut writer = Writer::with_capacity(reply.as_ref().map_or(64, |data| data.len() + 16));
    writer.raw(UNPOSITIONED);
    writer.byte(REPLY);
    writer.number(number);
    match reply {
        Ok(data) => {
            writer.byte(0);
            writer.raw(data);
        }
        Err(error) => {
            writer.byte(1);
            writer.number(u64::from(error.code));
            writer.byte(u8::from(error.temporary));
            writer.text(&error.message);
        }
    }
    writer.finish()
}

pub(crate) fn encode_canary(number: u64) -> Bytes {
    let mut writer = Writer::with_capacity(16);
    writer.raw(UNPOSITIONED);
    writer.byte(CANARY);
    writer.number(number);
    writer.finish()
}

/// Reads a message; `offset` goes into a publication as its own.
pub(crate) fn decode_message(payload: Bytes, offset: u64) -> Result<Message, Unreadable> {
    let mut reader = Reader::new(payload);
    match reader.byte()? {
        PUBLICATION => get_publication(reader, offset).map(Message::Publication),
        JOIN => get_info(&mut reader).map(Message::Join),
        LEAVE => get_info(&mut reader).map(Message::Leave),
        CONTROL => get_control(reader).map(Message::Control),
        REPLY => {
            let number = reader.number()?;
            let reply = match reader.byte()? {
                0 => Ok(reader.rest()),
                1 => {
                    let code = u32::try_from(reader.number()?).map_err(|_| Unreadable)?;
                    let temporary = reader.byte()? == 1;
                    Err(ReplyError { code, temporary, message: reader.text()? })
                }
                _ => return Err(Unreadable),
            };
            Ok(Message::Reply { number, reply })
        }
        CANARY => Ok(Message::Canary { number: reader.number()? }),
        _ => Err(Unreadable),
    }
}

fn get_publication(mut reader: Reader, offset: u64) -> Result<Publication, Unreadable> {
    let flags = reader.byte()?;
    let time_ms = reader.number()?;
    let info = if flags & HAS_INFO != 0 { Some(get_info(&mut reader)?) } else { None };
    let mut tags = Vec::new();
    if flags & HAS_TAGS != 0 {
        let count = reader.number()?;
        if count > TAGS_MAX {
            return Err(Unreadable);
        }
        for _ in 0..count {
            tags.push((reader.text()?, reader.text()?));
        }
    }
    Ok(Publication { offset, data: reader.rest(), info, tags, time_ms })
}

fn put_info(writer: &mut Writer, info: &ClientInfo) {
    writer.text(&info.user);
    writer.text(&info.client);
    writer.bytes(&info.conn_info);
    writer.bytes(&info.chan_info);
}

fn get_info(reader: &mut Reader) -> Result<ClientInfo, Unreadable> {
    Ok(ClientInfo {
        user: reader.text()?,
        client: reader.text()?,
        conn_info: reader.bytes()?,
        chan_info: reader.bytes()?,
    })
}

/// A client's info alone, as presence stores it.
pub(crate) fn encode_info(info: &ClientInfo) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    put_info(&mut writer, info);
    writer.finish()
}

pub(crate) fn decode_info(bytes: Bytes) -> Result<ClientInfo, Unreadable> {
    get_info(&mut Reader::new(bytes))
}

/// A request with the node and number its answer goes to; number 0 wants none.
pub(crate) fn encode_request(request: &Request, node: &str, number: u64) -> Bytes {
    let mut writer = Writer::with_capacity(request.data.len() + request.meta.len() + 192);
    writer.byte(REQUEST);
    writer.text(node);
    writer.number(number);
    writer.text(&request.method);
    writer.text(&request.user);
    writer.text(&request.client);
    writer.text(&request.tenant);
    writer.text(&request.partition_key);
    writer.number(request.deadline_ms);
    writer.bytes(&request.meta);
    writer.raw(&request.data);
    writer.finish()
}

pub(crate) fn decode_request(bytes: Bytes) -> Result<(Request, String, u64), Unreadable> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != REQUEST {
        return Err(Unreadable);
    }
    let node = reader.text()?;
    let number = reader.number()?;
    let request = Request {
        method: reader.text()?,
        user: reader.text()?,
        client: reader.text()?,
        tenant: reader.text()?,
        partition_key: reader.text()?,
        deadline_ms: reader.number()?,
        meta: reader.bytes()?,
        data: reader.rest(),
    };
    Ok((request, node, number))
}

pub(crate) fn encode_control(control: &Control) -> Bytes {
    let mut writer = Writer::with_capacity(128);
    writer.byte(CONTROL);
    match control {
        Control::Disconnect { target, code, reason, keep } => {
            writer.byte(1);
            put_target(&mut writer, target);
            writer.number(u64::from(*code));
            writer.text(reason);
            for client in keep {
                writer.text(client);
            }
        }
        Control::Subscribe { target, channel, options } => {
            writer.byte(2);
            put_target(&mut writer, target);
            writer.text(channel);
            writer.bytes(options);
        }
        Control::Unsubscribe { target, channel, code, reason } => {
            writer.byte(3);
            put_target(&mut writer, target);
            writer.text(channel);
            writer.number(u64::from(*code));
            writer.text(reason);
        }
        Control::Refresh { target, expired, expire_at_s, info } => {
            writer.byte(4);
            put_target(&mut writer, target);
            writer.byte(u8::from(*expired));
            writer.number(expire_at_s.unwrap_or(0));
            writer.byte(u8::from(info.is_some()));
            writer.bytes(info.as_deref().unwrap_or_default());
        }
        Control::Revoke { statement } => {
            writer.byte(5);
            writer.raw(statement);
        }
        Control::Custom { name, data } => {
            writer.byte(6);
            writer.text(name);
            writer.raw(data);
        }
    }
    writer.finish()
}

fn get_control(mut reader: Reader) -> Result<Control, Unreadable> {
    Ok(match reader.byte()? {
        1 => {
            let target = get_target(&mut reader)?;
            let code = get_code(&mut reader)?;
            let reason = reader.text()?;
            let mut keep = Vec::new();
            // Ends with the bytes: each text takes at least one.
            while !reader.is_empty() {
                keep.push(reader.text()?);
            }
            Control::Disconnect { target, code, reason, keep }
        }
        2 => Control::Subscribe {
            target: get_target(&mut reader)?,
            channel: reader.text()?,
            options: reader.bytes()?,
        },
        3 => Control::Unsubscribe {
            target: get_target(&mut reader)?,
            channel: reader.text()?,
            code: get_code(&mut reader)?,
            reason: reader.text()?,
        },
        4 => {
            let target = get_target(&mut reader)?;
            let expired = reader.byte()? == 1;
            let expire_at_s = Some(reader.number()?).filter(|at| *at > 0);
            let info = if reader.byte()? == 1 { Some(reader.bytes()?) } else { None };
            Control::Refresh { target, expired, expire_at_s, info }
        }
        5 => Control::Revoke { statement: reader.rest() },
        6 => Control::Custom { name: reader.text()?, data: reader.rest() },
        _ => return Err(Unreadable),
    })
}

fn get_code(reader: &mut Reader) -> Result<u32, Unreadable> {
    u32::try_from(reader.number()?).map_err(|_| Unreadable)
}

fn put_target(writer: &mut Writer, target: &Target) {
    writer.text(&target.user);
    writer.text(&target.client);
    writer.text(&target.session);
}

fn get_target(reader: &mut Reader) -> Result<Target, Unreadable> {
    Ok(Target { user: reader.text()?, client: reader.text()?, session: reader.text()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_split_at_the_first_two_colons() {
        let check = |text: &'static str, wanted: Option<(u64, &str, &str)>| {
            let frame = parse_frame(Bytes::from_static(text.as_bytes())).ok();
            let found = frame.as_ref().map(|frame| {
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                (frame.offset, text(&frame.epoch), text(&frame.payload))
            });
            assert_eq!(found, wanted, "{text}");
        };
        check("17:abc:payload:with:colons", Some((17, "abc", "payload:with:colons")));
        check("0::", Some((0, "", "")));
        check("18446744073709551615:e:p", Some((u64::MAX, "e", "p")));
        check("18446744073709551616:e:p", None);
        check(":e:p", None);
        check("-1:e:p", None);
        check("1:e", None);
        check("", None);
    }

    /// Whatever is cut off a message, decoding says so and never panics.
    #[test]
    fn cut_messages_are_unreadable_or_shorter() {
        let info = ClientInfo { user: "u".into(), client: "c".into(), ..ClientInfo::default() };
        let publication = NewPublication {
            data: Bytes::from_static(b"data"),
            info: Some(info.clone()),
            tags: vec![("a".into(), "b".into())],
            time_ms: 1 << 40,
        };
        let whole = [
            encode_publication(b"", &publication),
            encode_presence_change(true, &info).slice(UNPOSITIONED.len()..),
            encode_reply(300, &Err(ReplyError::temporary("x"))).slice(UNPOSITIONED.len()..),
            encode_control(&Control::Custom { name: "n".into(), data: Bytes::new() }),
        ];
        for bytes in whole {
            let message = decode_message(bytes.clone(), 1).unwrap();
            for length in 0..bytes.len() {
                assert_ne!(decode_message(bytes.slice(..length), 1), Ok(message.clone()));
            }
        }
    }

    #[test]
    fn a_hostile_length_allocates_nothing() {
        let mut bytes = vec![JOIN];
        bytes.extend([0xff; 9]);
        bytes.push(0x01);
        assert_eq!(decode_message(bytes.into(), 0), Err(Unreadable));
        assert_eq!(
            decode_message(Bytes::from_static(&[PUBLICATION, HAS_TAGS, 0, 0xff, 0x7f]), 0),
            Err(Unreadable)
        );
    }
}
