//! One connection's bounded queue of encoded messages, and their packing into WebSocket frames. Pure: bytes in,
//! bytes out. It knows no socket; the buffers are shared with every other receiver of the same publication.

use std::collections::VecDeque;

use bytes::Bytes;
use keyway_protocol::{Close, Format, SEPARATOR};

use crate::frame;

/// Messages are merged into frames up to this size: a phone's parser starts early, and one write fills several
/// TCP segments. A single larger message has a frame of its own.
const FRAME_BYTES_TARGET: usize = 16 * 1024;

/// An idle queue gives its memory back when a burst had made it larger than this many messages.
const IDLE_CAPACITY: usize = 16;

/// The queue is over its bound: close 3008 and drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

#[derive(Debug)]
pub struct Outbox {
    format: Format,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// What remains of the frames handed out last: they are on the wire in part and must be finished.
    unsent: Bytes,
    closing: Option<Bytes>,
    bytes_max: usize,
    /// What may be queued beyond the bound, until the queue has been empty again.
    allowance: usize,
}

impl Outbox {
    pub fn new(format: Format, bytes_max: usize) -> Outbox {
        Outbox {
            format,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unsent: Bytes::new(),
            closing: None,
            bytes_max,
            allowance: 0,
        }
    }

    pub fn push(&mut self, message: Bytes) -> Result<(), Overflow> {
        if self.closing.is_some() {
            return Ok(());
        }
        let bytes = self.queued_bytes + self.unsent.len() + message.len();
        if bytes > self.bytes_max + self.allowance {
            return Err(Overflow);
        }
        self.queued_bytes += message.len();
        self.queue.push_back(message);
        Ok(())
    }

    /// Makes room for an answer that the client asked for and that has a bound of its own.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance += bytes;
    }

    /// Queues a control frame's answer (a WebSocket pong) behind what is being written now.
    pub fn push_control(&mut self, encoded: &[u8]) {
        if self.closing.is_none() && self.unsent.len() + encoded.len() <= self.bytes_max {
            self.unsent = Bytes::from([&self.unsent[..], encoded].concat());
        }
    }

    /// After this only the unfinished frame and the close frame leave. `drop_queue` for a slow reader.
    pub fn close(&mut self, close: &Close, drop_queue: bool) {
        if self.closing.is_some() {
            return;
        }
        if drop_queue {
            self.queue = VecDeque::new();
            self.queued_bytes = 0;
        }
        let mut encoded = Vec::new();
        frame::encode_close(&mut encoded, close);
        self.closing = Some(Bytes::from(encoded));
    }

    pub fn bytes(&self) -> usize {
        self.queued_bytes + self.unsent.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.unsent.is_empty() && self.closing.as_ref().is_none_or(Bytes::is_empty)
    }

    /// Everything has left, the close frame included.
    pub fn is_closed(&self) -> bool {
        self.closing.as_ref().is_some_and(Bytes::is_empty) && self.is_empty()
    }

    /// Fills `buffer` with bytes for the socket, at most about `room`. Empty when there is nothing to send.
    /// What the socket does not take must come back through [`Outbox::give_back`] before the next call.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, room: usize) {
        buffer.clear();
        if !self.unsent.is_empty() {
            buffer.extend_from_slice(&self.unsent);
            self.unsent = Bytes::new();
        }
        while buffer.len() < room && !self.queue.is_empty() {
            self.append_frame(buffer);
            if self.queue.is_empty() {
                self.allowance = 0;
            }
        }
        if self.queue.is_empty() {
            if self.queue.capacity() > IDLE_CAPACITY {
                self.queue = VecDeque::new();
            }
            if let Some(close) = &mut self.closing {
                buffer.extend_from_slice(close);
                *close = Bytes::new();
            }
        }
    }

    /// Returns the part of the last `fill` that the socket did not take.
    pub fn give_back(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.unsent = Bytes::copy_from_slice(rest);
        }
    }

    fn append_frame(&mut self, buffer: &mut Vec<u8>) {
        let separator = usize::from(self.format == Format::Json);
        let mut count = 0;
        let mut payload_bytes = 0;
        for message in &self.queue {
            let with_next = payload_bytes + message.len() + if count > 0 { separator } else { 0 };
            if count > 0 && with_next > FRAME_BYTES_TARGET {
                break;
            }
            payload_bytes = with_next;
            count += 1;
        }
        frame::encode_header(buffer, self.format, payload_bytes);
        for at in 0..count {
            let Some(message) = self.queue.pop_front() else { break };
            if at > 0 && separator > 0 {
                buffer.push(SEPARATOR);
            }
            self.queued_bytes -= message.len();
            buffer.extend_from_slice(&message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(outbox: &mut Outbox) -> Vec<u8> {
        let mut buffer = Vec::new();
        outbox.fill(&mut buffer, 64 * 1024);
        buffer
    }

    #[test]
    fn json_messages_share_a_frame_line_by_line() {
        let mut outbox = Outbox::new(Format::Json, 1024);
        outbox.push(Bytes::from_static(b"{\"a\":1}")).unwrap();
        outbox.push(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(filled(&mut outbox), b"\x81\x0a{\"a\":1}\n{}");
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn protobuf_messages_follow_each_other() {
        let mut outbox = Outbox::new(Format::Protobuf, 1024);
        outbox.push(Bytes::from_static(&[1, 9])).unwrap();
        outbox.push(Bytes::from_static(&[0])).unwrap();
        assert_eq!(filled(&mut outbox), [0x82, 3, 1, 9, 0]);
    }

    #[test]
    fn the_bound_counts_everything_not_yet_taken() {
        let mut outbox = Outbox::new(Format::Json, 100);
        outbox.push(Bytes::from(vec![b'1'; 60])).unwrap();
        let sent = filled(&mut outbox);
        outbox.give_back(&sent[2..]);
        assert_eq!(outbox.push(Bytes::from(vec![b'1'; 60])), Err(Overflow));
        outbox.close(&Close::SLOW, true);
        let rest = filled(&mut outbox);
        assert_eq!(&rest[..60], &sent[2..], "the frame on the wire is finished first");
        assert_eq!(rest[60], 0x88);
        assert!(outbox.is_closed());
    }

    #[test]
    fn a_recovery_may_be_larger_than_the_bound_once() {
        let mut outbox = Outbox::new(Format::Json, 100);
        outbox.allow(150);
        outbox.push(Bytes::from(vec![b'1'; 200])).unwrap();
        outbox.push(Bytes::from(vec![b'2'; 40])).unwrap();
        assert_eq!(outbox.push(Bytes::from(vec![b'2'; 40])), Err(Overflow));
        assert!(filled(&mut outbox).len() > 240);
        assert_eq!(outbox.push(Bytes::from(vec![b'3'; 200])), Err(Overflow), "the bound is back");
    }

    #[test]
    fn large_queues_become_several_frames() {
        let mut outbox = Outbox::new(Format::Json, 1 << 20);
        for _ in 0..100 {
            outbox.push(Bytes::from(vec![b'7'; 1000])).unwrap();
        }
        let bytes = filled(&mut outbox);
        let mut frames = 0;
        let mut at = 0;
        while at < bytes.len() {
            let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            assert!(bytes[at + 1] == 126 && length <= FRAME_BYTES_TARGET);
            at += 4 + length;
            frames += 1;
        }
        assert_eq!((frames, outbox.is_empty()), (5, false), "about 64 KiB at a time");
    }
}
