//! RFC 6455 frames of the server's side: masked frames in, unmasked frames out. Pure and incremental; the socket
//! and the meaning of messages are others' business. Our own, because an idle connection must not keep a read
//! buffer (ready-made libraries hold 4 to 128 KiB for each) and a publication's bytes are shared by receivers.

use keyway_protocol::{Close, Format};

const OP_CONTINUATION: u8 = 0;
const OP_TEXT: u8 = 1;
const OP_BINARY: u8 = 2;
const OP_CLOSE: u8 = 8;
const OP_PING: u8 = 9;
const OP_PONG: u8 = 10;
const FIN: u8 = 0x80;

/// What one complete frame from the client amounts to.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// Answer with the same bytes.
    Ping(&'a [u8]),
    Pong,
    /// The client is leaving; answer with a close frame of the same code.
    Close(Option<u16>),
}

/// The part of a fragmented message that has arrived. Empty on almost every connection, always.
#[derive(Debug, Default)]
pub struct Fragments {
    opcode: Option<u8>,
    bytes: Vec<u8>,
}

/// Where parsing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `consumed` bytes made a frame.
    Frame { consumed: usize },
    /// More bytes are needed; nothing was consumed.
    Partial,
}

struct Header {
    opcode: u8,
    fin: bool,
    mask: [u8; 4],
    start: usize,
    length: usize,
}

/// Takes one frame from the front of `buffer` (unmasking in place) and hands it to `deliver` if it completes
/// something. Errors are the close to send.
pub fn take(
    buffer: &mut [u8],
    format: Format,
    message_bytes_max: usize,
    fragments: &mut Fragments,
    deliver: &mut dyn FnMut(Incoming<'_>),
) -> Result<Step, Close> {
    let Some(header) = parse_header(buffer, message_bytes_max)? else { return Ok(Step::Partial) };
    let end = header.start + header.length;
    if buffer.len() < end {
        return Ok(Step::Partial);
    }
    let payload = &mut buffer[header.start..end];
    unmask(payload, header.mask);
    let expected = if format == Format::Json { OP_TEXT } else { OP_BINARY };
    match header.opcode {
        OP_PING => deliver(Incoming::Ping(payload)),
        OP_PONG => deliver(Incoming::Pong),
        OP_CLOSE => deliver(Incoming::Close(close_code(payload)?)),
        OP_TEXT | OP_BINARY => {
            if fragments.opcode.is_some() {
                return Err(Close::PROTOCOL_ERROR);
            }
            // Text to a Protobuf connection, or the reverse: the client is not speaking our protocol.
            if header.opcode != expected {
                return Err(Close::BAD_REQUEST);
            }
            if header.fin {
                check_text(header.opcode, payload)?;
                deliver(Incoming::Message(payload));
            } else {
                fragments.opcode = Some(header.opcode);
                fragments.bytes = payload.to_vec();
            }
        }
        OP_CONTINUATION => {
            let Some(opcode) = fragments.opcode else { return Err(Close::PROTOCOL_ERROR) };
            if fragments.bytes.len() + payload.len() > message_bytes_max {
                return Err(Close::TOO_LARGE);
            }
            fragments.bytes.extend_from_slice(payload);
            if header.fin {
                let whole = std::mem::take(fragments);
                check_text(opcode, &whole.bytes)?;
                deliver(Incoming::Message(&whole.bytes));
            }
        }
        _ => return Err(Close::PROTOCOL_ERROR),
    }
    Ok(Step::Frame { consumed: end })
}

fn parse_header(buffer: &[u8], message_bytes_max: usize) -> Result<Option<Header>, Close> {
    let [first, second, ..] = *buffer else { return Ok(None) };
    let opcode = first & 0x0f;
    let fin = first & FIN != 0;
    let is_control = opcode & 0x08 != 0;
    // No extension was agreed, so the reserved bits are zero; clients always mask.
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Err(Close::PROTOCOL_ERROR);
    }
    let (length, mask_at) = match second & 0x7f {
        126 => match buffer.get(2..4) {
            Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
            None => return Ok(None),
        },
        127 => match buffer.get(2..10).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            Some(bytes) => (u64::from_be_bytes(bytes), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    if is_control && (length > 125 || !fin) {
        return Err(Close::PROTOCOL_ERROR);
    }
    if length > message_bytes_max as u64 {
        return Err(Close::TOO_LARGE);
    }
    let Some(mask) = buffer.get(mask_at..mask_at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
    else {
        return Ok(None);
    };
    Ok(Some(Header { opcode, fin, mask, start: mask_at + 4, length: length as usize }))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (at, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
}

fn check_text(opcode: u8, payload: &[u8]) -> Result<(), Close> {
    if opcode == OP_TEXT && std::str::from_utf8(payload).is_err() {
        return Err(Close::NOT_UTF8);
    }
    Ok(())
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Close> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if known && std::str::from_utf8(reason).is_ok() {
                Ok(Some(code))
            } else {
                Err(Close::PROTOCOL_ERROR)
            }
        }
        [_] => Err(Close::PROTOCOL_ERROR),
    }
}

/// The header of an unfragmented data frame from the server.
pub fn encode_header(out: &mut Vec<u8>, format: Format, payload_bytes: usize) {
    out.push(FIN | if format == Format::Json { OP_TEXT } else { OP_BINARY });
    encode_length(out, payload_bytes);
}

fn encode_length(out: &mut Vec<u8>, bytes: usize) {
    if bytes < 126 {
        out.push(bytes as u8);
    } else if let Ok(short) = u16::try_from(bytes) {
        out.push(126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(bytes as u64).to_be_bytes());
    }
}

pub fn encode_close(out: &mut Vec<u8>, close: &Close) {
    out.push(FIN | OP_CLOSE);
    encode_length(out, 2 + close.reason.len());
    out.extend_from_slice(&close.code.to_be_bytes());
    out.extend_from_slice(close.reason.as_bytes());
}

pub fn encode_pong(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(FIN | OP_PONG);
    encode_length(out, payload.len());
    out.extend_from_slice(payload);
}

/// A client's masked frame. For load generators, virtual devices and tests.
pub fn encode_client(out: &mut Vec<u8>, opcode: ClientFrame, payload: &[u8], mask: [u8; 4]) {
    let code = match opcode {
        ClientFrame::Text => OP_TEXT,
        ClientFrame::Binary => OP_BINARY,
        ClientFrame::Ping => OP_PING,
        ClientFrame::Close => OP_CLOSE,
    };
    out.push(FIN | code);
    let length_at = out.len();
    encode_length(out, payload.len());
    out[length_at] |= 0x80;
    out.extend_from_slice(&mask);
    let from = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[from..], mask);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFrame {
    Text,
    Binary,
    Ping,
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take_all(mut bytes: Vec<u8>, max: usize) -> Result<Vec<String>, Close> {
        let mut seen = Vec::new();
        let mut fragments = Fragments::default();
        let mut at = 0;
        loop {
            match take(&mut bytes[at..], Format::Json, max, &mut fragments, &mut |it| {
                seen.push(format!("{it:?}"))
            })? {
                Step::Frame { consumed } => at += consumed,
                Step::Partial => return Ok(seen),
            }
        }
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_client(&mut out, ClientFrame::Text, payload, [1, 2, 3, 4]);
        out[0] = first;
        out
    }

    #[test]
    fn whole_and_fragmented_messages() {
        let hello = format!("Message({:?})", b"hello");
        assert_eq!(take_all(masked(0x81, b"hello"), 100).unwrap(), std::slice::from_ref(&hello));
        let fragmented = [masked(0x01, b"he"), masked(0x89, b"p"), masked(0x80, b"llo")].concat();
        assert_eq!(take_all(fragmented, 100).unwrap(), [format!("Ping({:?})", b"p"), hello]);
        assert_eq!(take_all(masked(0x88, &1000u16.to_be_bytes()), 9).unwrap(), ["Close(Some(1000))"]);
    }

    #[test]
    fn wrong_frames_have_their_close() {
        let cases: &[(Vec<u8>, Close)] = &[
            (vec![0x81, 0x01, b'a'], Close::PROTOCOL_ERROR),
            (masked(0xc1, b"a"), Close::PROTOCOL_ERROR),
            (masked(0x80, b"a"), Close::PROTOCOL_ERROR),
            (masked(0x83, b"a"), Close::PROTOCOL_ERROR),
            (masked(0x09, b"a"), Close::PROTOCOL_ERROR),
            (masked(0x89, &[0; 126]), Close::PROTOCOL_ERROR),
            ([masked(0x01, b"a"), masked(0x81, b"b")].concat(), Close::PROTOCOL_ERROR),
            (masked(0x88, &[3]), Close::PROTOCOL_ERROR),
            (masked(0x88, &1005u16.to_be_bytes()), Close::PROTOCOL_ERROR),
            (masked(0x81, &[0xff]), Close::NOT_UTF8),
            (masked(0x82, b"a"), Close::BAD_REQUEST),
            (masked(0x81, &[b'a'; 101]), Close::TOO_LARGE),
            ([masked(0x01, &[b'a'; 60]), masked(0x80, &[b'a'; 60])].concat(), Close::TOO_LARGE),
            (vec![0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], Close::TOO_LARGE),
        ];
        for (bytes, close) in cases {
            assert_eq!(take_all(bytes.clone(), 100).as_ref(), Err(close), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _outcome = take_all(bytes, 200);
        }

        #[test]
        fn what_is_masked_comes_back(
            length in prop::sample::select(vec![0usize, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000]),
            byte in b'a'..=b'z',
            mask in any::<[u8; 4]>(),
        ) {
            let payload = String::from_utf8(vec![byte; length]).unwrap();
            let mut out = Vec::new();
            encode_client(&mut out, ClientFrame::Text, payload.as_bytes(), mask);
            prop_assert_eq!(take_all(out, 80_000).unwrap(), [format!("Message({:?})", payload.as_bytes())]);
        }
    }
}
