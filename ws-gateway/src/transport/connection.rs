//! One open socket: bytes in, session, bytes out, in a single task that never awaits one of them alone. It owns
//! no buffer while idle: reading and writing go through the worker thread's scratch memory.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use keyway_protocol::{Close, ConnectionId, Format, decode_frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::frame::{self, Fragments, Incoming, Step};
use crate::limits::Now;
use crate::link::Link;
use crate::node::{Effects, Node};
use crate::outbox::Outbox;
use crate::session::{Input, Output, Session};

/// Read at once: one socket buffer's worth on a fast link.
const READ_BYTES: usize = 64 * 1024;

/// Written at once: what a fan-out burst leaves for one receiver.
const WRITE_BYTES: usize = 64 * 1024;

/// Socket reads per turn: a chatty client shares its worker with others.
const READS_PER_TURN: usize = 4;

/// After a close frame: time for the peer to take it and answer. A slow reader that takes longer sees 1006 and
/// reconnects all the same.
const LINGER_MS: u64 = 5_000;

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static WRITE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<(Vec<Input>, Vec<Output>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

pub(super) struct Connection {
    effects: Effects,
    socket: TcpStream,
    session: Session,
    outbox: Outbox,
    fragments: Fragments,
    /// Bytes of a frame that has not arrived whole.
    carry: Bytes,
    timer: Pin<Box<Sleep>>,
    timer_at_ms: u64,
    /// Set with the close frame; when it passes the socket is dropped.
    linger_until_ms: Option<u64>,
    left: bool,
    write_shut: bool,
    queue_bytes_reported: i64,
}

impl Connection {
    pub fn open(
        node: Arc<Node>,
        id: ConnectionId,
        format: Format,
        jitter: u16,
        socket: TcpStream,
        early: Bytes,
    ) -> Connection {
        let now = node.now();
        let bytes_max = node.rules.limits.queue_bytes_max;
        let link = Arc::new(Link::new(id, bytes_max));
        node.registry.add(&link);
        let session = Session::new(id, format, Arc::clone(&node.rules), jitter, now);
        let timer_at_ms = session.next_deadline_ms();
        let timer = Box::pin(sleep_until(Instant::from_std(node.instant(timer_at_ms))));
        Connection {
            effects: Effects { node, link },
            socket,
            session,
            outbox: Outbox::new(format, bytes_max),
            fragments: Fragments::default(),
            carry: early,
            timer,
            timer_at_ms,
            linger_until_ms: None,
            left: false,
            write_shut: false,
            queue_bytes_reported: 0,
        }
    }

    pub async fn run(mut self) {
        let turns = AssertUnwindSafe(poll_fn(|cx| self.turn(cx))).catch_unwind().await;
        if turns.is_err() {
            // The memory it shared with others of its thread: what was half decided here must not go to the next one.
            OUTPUTS.with_borrow_mut(|(inputs, outputs)| {
                inputs.clear();
                outputs.clear();
            });
            tracing::error!(connection = %self.session.id(), "a connection panicked and is dropped");
        }
        self.leave_with(&mut Context::from_waker(futures::task::noop_waker_ref()));
        self.report_queue(0);
    }

    /// One turn of the task: everything that can be done now, then the wakers of what cannot.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.effects.link.listen(cx.waker());
        let now = self.effects.node.now();
        self.take_mail(now, cx);
        let read = self.read(now, cx);
        // Answers that came at once, so that they leave with the same write.
        self.take_mail(now, cx);
        if self.timer.as_mut().poll_timer(cx) || self.session.next_deadline_ms() <= now.mono_ms {
            self.handle(Input::Tick, now, cx);
        }
        let written = self.write(cx);
        if self.linger_until_ms.is_some_and(|until| until <= now.mono_ms) || read.is_err() || written.is_err()
        {
            return Poll::Ready(());
        }
        self.set_timer(cx);
        Poll::Pending
    }

    fn take_mail(&mut self, now: Now, cx: &mut Context<'_>) {
        OUTPUTS.with_borrow_mut(|(inputs, outputs)| {
            self.effects.link.take(inputs);
            for input in inputs.drain(..) {
                self.session.handle(input, now, outputs);
                self.perform(outputs, now, cx);
            }
        });
    }

    fn handle(&mut self, input: Input, now: Now, cx: &mut Context<'_>) {
        OUTPUTS.with_borrow_mut(|(_, outputs)| {
            self.session.handle(input, now, outputs);
            self.perform(outputs, now, cx);
        });
    }

    /// Carries out what the session decided, and what it decides on what is known at once.
    fn perform(&mut self, outputs: &mut Vec<Output>, now: Now, cx: &mut Context<'_>) {
        let mut answers = Vec::new();
        loop {
            for output in outputs.drain(..) {
                match output {
                    Output::Send(message) => {
                        if self.outbox.push(message).is_err() {
                            answers.push(Input::Overflow);
                        } else {
                            self.effects.node.metrics.messages_out.add(1);
                        }
                    }
                    Output::Close(close, why) => self.close(&close, &why, now),
                    other => {
                        if let Output::Recovery { bytes, .. } = other {
                            self.outbox.allow(bytes);
                        }
                        answers.extend(self.effects.perform(other, cx));
                    }
                }
            }
            if answers.is_empty() {
                break;
            }
            for answer in answers.drain(..) {
                self.session.handle(answer, now, outputs);
            }
        }
        if self.session.is_closed() && !self.left {
            self.left = true;
            self.session.leave(outputs);
            for output in outputs.drain(..) {
                self.effects.perform(output, cx);
            }
            self.effects.link.retire();
            self.effects.node.registry.remove(&self.effects.link);
        }
    }

    fn close(&mut self, close: &Close, why: &str, now: Now) {
        if self.linger_until_ms.is_none() {
            self.outbox.close(close, close.code == Close::SLOW.code);
            self.linger_until_ms = Some(now.mono_ms + LINGER_MS);
            self.effects.node.metrics.closed(close.code);
            let user = &*self.session.identity().user;
            let why = (!why.is_empty()).then_some(why);
            tracing::info!(connection = %self.session.id(), user, code = close.code, reason = &*close.reason, why, "closed");
        }
    }

    /// The socket is gone or the peer has said goodbye: the session learns nothing more.
    fn leave_with(&mut self, cx: &mut Context<'_>) {
        if !self.left {
            let mut outputs = Vec::new();
            self.session.leave(&mut outputs);
            self.perform(&mut outputs, self.effects.node.now(), cx);
        }
    }

    /// Err: the connection is over.
    fn read(&mut self, now: Now, cx: &mut Context<'_>) -> Result<(), ()> {
        // Bytes that came together with the handshake, before anything is read from the socket.
        if !self.carry.is_empty() && !self.session.is_connected() && self.linger_until_ms.is_none() {
            READ.with_borrow_mut(|buffer| self.parse(buffer, 0, now, cx));
        }
        for _ in 0..READS_PER_TURN {
            let outcome = READ.with_borrow_mut(|buffer| {
                let kept = if self.linger_until_ms.is_some() { 0 } else { self.carry.len() };
                if buffer.len() < kept + READ_BYTES {
                    buffer.resize(kept + READ_BYTES, 0);
                }
                let mut unread = ReadBuf::new(&mut buffer[kept..kept + READ_BYTES]);
                // Knows by a part-filled buffer that there is no more: one call less than asking again.
                let read = Pin::new(&mut self.socket).poll_read(cx, &mut unread);
                let count = unread.filled().len();
                match read {
                    Poll::Pending => Ok(false),
                    Poll::Ready(Ok(())) if count > 0 => {
                        // While closing, what still comes is read and dropped: a reset would lose the close frame.
                        if self.linger_until_ms.is_none() {
                            self.parse(buffer, count, now, cx);
                        }
                        Ok(true)
                    }
                    Poll::Ready(_) => Err(()),
                }
            });
            if !outcome? {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Takes the frames out of `carry` followed by `count` fresh bytes, which stand in `buffer` behind its length.
    fn parse(&mut self, buffer: &mut Vec<u8>, count: usize, now: Now, cx: &mut Context<'_>) {
        let carry = std::mem::take(&mut self.carry);
        let total = carry.len() + count;
        if buffer.len() < total {
            buffer.resize(total, 0);
        }
        buffer[..carry.len()].copy_from_slice(&carry);
        let metrics = &self.effects.node.metrics;
        metrics.bytes_in.add(count as u64);
        let frame_bytes_max = self.effects.node.rules.limits.frame_bytes_max;
        let format = self.session.format();
        let mut at = 0;
        while at < total && self.linger_until_ms.is_none() {
            let mut control = None;
            let step = OUTPUTS.with_borrow_mut(|(_, outputs)| {
                let step = frame::take(
                    &mut buffer[at..total],
                    format,
                    frame_bytes_max,
                    &mut self.fragments,
                    &mut |incoming| match incoming {
                        Incoming::Message(bytes) => {
                            metrics_frame(&self.effects);
                            self.session.handle(Input::Frame(decode_frame(format, bytes)), now, outputs);
                        }
                        Incoming::Ping(payload) => {
                            let mut encoded = Vec::with_capacity(payload.len() + 2);
                            frame::encode_pong(&mut encoded, payload);
                            self.outbox.push_control(&encoded);
                        }
                        Incoming::Pong => {}
                        Incoming::Close(code) => control = Some(code),
                    },
                );
                self.perform(outputs, now, cx);
                step
            });
            match step {
                Ok(Step::Frame { consumed }) => at += consumed,
                Ok(Step::Partial) => break,
                Err(close) => self.end(&close, now, cx),
            }
            if let Some(code) = control {
                // RFC 6455, 5.5.1: the answer carries the code that was received.
                let close = match code {
                    Some(code) => Close { code, ..Close::NORMAL },
                    None => Close::NORMAL,
                };
                self.end(&close, now, cx);
            }
        }
        if at < total && self.linger_until_ms.is_none() {
            self.carry = Bytes::copy_from_slice(&buffer[at..total]);
        }
    }

    /// The transport itself ends the connection.
    fn end(&mut self, close: &Close, now: Now, cx: &mut Context<'_>) {
        self.close(close, "", now);
        self.leave_with(cx);
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        while !self.outbox.is_empty() {
            let blocked = WRITE.with_borrow_mut(|buffer| {
                self.outbox.fill(buffer, WRITE_BYTES);
                let written = match self.socket.try_write(buffer) {
                    Ok(written) => written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    Err(_) => return Err(()),
                };
                self.outbox.give_back(&buffer[written..]);
                let metrics = &self.effects.node.metrics;
                metrics.bytes_out.add(written as u64);
                metrics.writes_out.add(1);
                Ok(written < buffer.len())
            })?;
            if blocked {
                match self.socket.poll_write_ready(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(()),
                }
            }
        }
        self.report_queue(self.outbox.bytes() as i64);
        if self.outbox.is_closed() && !self.write_shut {
            match Pin::new(&mut self.socket).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.write_shut = true,
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn report_queue(&mut self, bytes: i64) {
        if bytes != self.queue_bytes_reported {
            self.effects.node.metrics.queue_bytes.add(bytes - self.queue_bytes_reported);
            self.queue_bytes_reported = bytes;
        }
    }

    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let due_ms = self.linger_until_ms.unwrap_or_else(|| self.session.next_deadline_ms());
        // A timer that fires early only looks at the clock; resetting it for every pong would cost more.
        if due_ms < self.timer_at_ms || self.timer.is_elapsed() {
            self.timer_at_ms = due_ms;
            let instant = Instant::from_std(self.effects.node.instant(due_ms));
            self.timer.as_mut().reset(instant);
            if self.timer.as_mut().poll_timer(cx) {
                cx.waker().wake_by_ref();
            }
        }
    }
}

fn metrics_frame(effects: &Effects) {
    effects.node.metrics.frames_in.add(1);
}

/// A timer as a question: has it fired?
trait PollTimer {
    fn poll_timer(self, cx: &mut Context<'_>) -> bool;
}

impl PollTimer for Pin<&mut Sleep> {
    fn poll_timer(self, cx: &mut Context<'_>) -> bool {
        fn poll(sleep: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
            ready!(std::future::Future::poll(sleep, cx));
            Poll::Ready(())
        }
        poll(self, cx).is_ready()
    }
}
