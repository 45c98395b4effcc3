//! One connection's rules, pure: `handle(input, now)` appends outputs, `next_deadline_ms()` says when to tick.
//! It owns what a client may do and in which order things happen; it moves no byte and asks nobody. Commands on
//! one channel are handled in order, different channels and calls run side by side, and nothing delays a pong.

mod calls;
mod connect;
mod control;
mod delivery;
mod recovery;
mod refresh;
mod subscribe;
mod subscription;
mod timing;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use keyway_bus::{ClientInfo, History, NewPublication, PresenceStats, PublishOptions};
use keyway_protocol::{
    Close, Command, ConnectionId, DecodeError, EncodeError, ErrorReply, Format, Push, Reply, Request,
    encode_push, encode_reply,
};

use crate::auth::{Authority, Identity};
use crate::event::ChannelEvent;
use crate::limits::{Bucket, Limits, Now};
use crate::namespace::Namespaces;

use connect::Connecting;
pub use control::{Instruction, SubscribeOptions};
use subscription::Subscriptions;
use timing::Timing;

/// What all connections of a node share.
pub struct Rules {
    pub limits: Limits,
    pub namespaces: Namespaces,
    pub authority: Arc<Authority>,
    /// Development: no token needed, everything allowed.
    pub insecure: bool,
    /// Tokens are configured: a refresh makes sense.
    pub tokens: bool,
    /// A connection without a token is an anonymous user without rights beyond the namespaces' own.
    pub anonymous: bool,
    /// What users without a token are called. Usually nothing.
    pub anonymous_user: String,
    /// Every user gets `#<tenant>.<user>` subscribed by the server.
    pub personal: bool,
    pub rpc: bool,
    pub send: bool,
}

/// Names a subscription of a session beyond its life: an event for an older one is recognised and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionKey {
    pub slot: u32,
    pub generation: u32,
}

pub enum Input {
    /// One frame's commands.
    Frame(Result<Vec<Command>, DecodeError>),
    /// The node's answer to [`Output::Admit`]: the rate bucket of the user, or why not.
    Admitted(Result<Arc<Mutex<Bucket>>, Close>),
    /// The answer to [`Output::Attach`].
    Attached {
        key: SubscriptionKey,
        result: Result<History, ErrorReply>,
    },
    Event {
        key: SubscriptionKey,
        event: Arc<ChannelEvent>,
    },
    /// The answer to a call: publish, rpc, history, presence.
    Answered {
        call: u32,
        answer: Result<Answer, ErrorReply>,
    },
    /// From a backend, the server API, or the node itself.
    Instruction(Instruction),
    /// The outbound queue is over its bound.
    Overflow,
    Tick,
}

pub enum Answer {
    Published,
    Replied(Bytes),
    History(History),
    Presence(Vec<ClientInfo>),
    Stats(PresenceStats),
}

/// What to read of a channel's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRead {
    /// After (or, reversed, before) this position. An empty epoch means the current one.
    pub since: Option<(String, u64)>,
    pub limit: usize,
    pub reverse: bool,
}

#[derive(Debug)]
pub enum Output {
    /// One encoded message for the outbox.
    Send(Bytes),
    /// The last output there will be, apart from those of `leave`. What was wrong is for the log; the client is not told
    /// which claim of a token to forge next.
    Close(Close, Cow<'static, str>),
    /// Register this connection under its user; answered by [`Input::Admitted`] at once.
    Admit(Arc<Identity>),
    /// A new token is in force: what revocations and instructions look at.
    Renew(Arc<Identity>),
    /// A token names a key that is not known: read core's set again.
    RefreshKeys,
    /// Register for the channel's events first, then read; answered by [`Input::Attached`].
    /// Without a read the answer is an empty history: the channel keeps none.
    Attach {
        key: SubscriptionKey,
        channel: Arc<str>,
        read: Option<HistoryRead>,
    },
    Detach {
        key: SubscriptionKey,
        channel: Arc<str>,
    },
    Publish {
        call: u32,
        channel: String,
        publication: NewPublication,
        options: PublishOptions,
    },
    Request {
        call: u32,
        request: keyway_bus::Request,
    },
    /// A request without an answer.
    Tell(keyway_bus::Request),
    ReadHistory {
        call: u32,
        channel: String,
        read: HistoryRead,
    },
    ReadPresence {
        call: u32,
        channel: String,
    },
    ReadPresenceStats {
        call: u32,
        channel: String,
    },
    PresenceAdd {
        channel: Arc<str>,
        info: ClientInfo,
        ttl_ms: u64,
    },
    PresenceRemove {
        channel: Arc<str>,
    },
    Join {
        channel: Arc<str>,
        info: ClientInfo,
    },
    Leave {
        channel: Arc<str>,
        info: ClientInfo,
    },
    /// For the metrics: a client asked to recover, and how it went.
    Recovery {
        recovered: bool,
        /// What the answer brings; the queue makes room for it.
        bytes: usize,
    },
}

enum Phase {
    /// Nothing but `connect` is in order.
    Fresh,
    Connecting(Box<Connecting>),
    Connected,
    Closed,
}

pub struct Session {
    id: ConnectionId,
    format: Format,
    rules: Arc<Rules>,
    phase: Phase,
    identity: Arc<Identity>,
    subscriptions: Subscriptions,
    calls: Vec<calls::Call>,
    next_call: u32,
    waiting: VecDeque<Command>,
    bucket: Bucket,
    user_bucket: Option<Arc<Mutex<Bucket>>>,
    timing: Timing,
    draining: bool,
    /// What recoveries may still bring before the next pong.
    recovery_bytes_left: usize,
}

impl Session {
    /// `jitter` is random: it spreads pings and ages of connections that were opened together.
    pub fn new(id: ConnectionId, format: Format, rules: Arc<Rules>, jitter: u16, now: Now) -> Session {
        let bucket = Bucket::new(rules.limits.commands_per_s, rules.limits.commands_burst, now);
        let timing = Timing::new(&rules.limits, jitter, now);
        let recovery_bytes_left = rules.limits.recovery_bytes_max;
        Session {
            id,
            format,
            rules,
            phase: Phase::Fresh,
            identity: Arc::default(),
            subscriptions: Subscriptions::default(),
            calls: Vec::new(),
            next_call: 0,
            waiting: VecDeque::new(),
            bucket,
            user_bucket: None,
            timing,
            draining: false,
            recovery_bytes_left,
        }
    }

    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// When `handle(Input::Tick, ..)` is due, on the monotonic clock.
    pub fn next_deadline_ms(&self) -> u64 {
        self.timing.next_ms()
    }

    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        if self.is_closed() {
            return;
        }
        match input {
            Input::Event { key, event } => return self.deliver(key, event, now, out),
            Input::Frame(Ok(commands)) => {
                for command in commands {
                    if self.is_closed() {
                        return;
                    }
                    self.accept(command, now, out);
                }
            }
            Input::Frame(Err(fault)) => self.close_for(Close::BAD_REQUEST, undecoded(&fault), out),
            Input::Admitted(answer) => self.admitted(answer, now, out),
            Input::Attached { key, result } => self.attached(key, result, now, out),
            Input::Answered { call, answer } => self.answered(call, answer, now, out),
            Input::Instruction(instruction) => self.instructed(instruction, now, out),
            Input::Overflow => self.close(Close::SLOW, out),
            Input::Tick => self.tick(now, out),
        }
        self.run_waiting(now, out);
        if self.draining && self.calls.is_empty() && self.waiting.is_empty() {
            self.close(Close::SHUTDOWN, out);
        }
        self.plan();
    }

    /// What the connection leaves behind. Called once, when the socket is gone, for whatever reason.
    pub fn leave(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Closed;
        for subscription in self.subscriptions.take_all() {
            self.detach(subscription, out);
        }
    }

    fn accept(&mut self, command: Command, now: Now, out: &mut Vec<Output>) {
        if matches!(command.request, Request::Pong) {
            return self.pong(out);
        }
        if !self.bucket.take(now) {
            return self.close(Close::TOO_MANY_REQUESTS, out);
        }
        match (&self.phase, &command.request) {
            (Phase::Fresh, Request::Connect(_)) => return self.run(command, now, out),
            (Phase::Fresh, _) => return self.close_for(Close::BAD_REQUEST, "a command before connect", out),
            (_, Request::Connect(_)) => return self.close_for(Close::BAD_REQUEST, "a second connect", out),
            (_, Request::Ping) => return self.close_for(Close::BAD_REQUEST, "a ping command", out),
            _ => {}
        }
        if let Some(bucket) = &self.user_bucket
            && !bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(now)
        {
            if command.id > 0 {
                self.reply(command.id, &ErrorReply::too_many_requests().into(), out);
            }
            return;
        }
        if self.must_wait(&command.request, self.waiting.iter().filter_map(|c| channel_of(&c.request))) {
            if self.waiting.len() >= self.rules.limits.waiting_commands_max {
                return self.close(Close::TOO_MANY_REQUESTS, out);
            }
            self.waiting.push_back(command);
        } else {
            self.run(command, now, out);
        }
    }

    fn must_wait<'a>(&self, request: &Request, mut before: impl Iterator<Item = &'a str>) -> bool {
        if !self.is_connected() {
            return true;
        }
        channel_of(request).is_some_and(|channel| {
            before.any(|other| other == channel)
                || self.subscriptions.is_attaching(channel)
                || self.calls.iter().any(|call| call.channel.as_deref() == Some(channel))
        })
    }

    /// Runs what no longer has to wait, in order.
    fn run_waiting(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.waiting.is_empty() || !self.is_connected() {
            return;
        }
        let mut still: VecDeque<Command> = VecDeque::new();
        for command in std::mem::take(&mut self.waiting) {
            if self.is_closed() {
                return;
            }
            if self.must_wait(&command.request, still.iter().filter_map(|c| channel_of(&c.request))) {
                still.push_back(command);
            } else {
                self.run(command, now, out);
            }
        }
        self.waiting = still;
    }

    fn run(&mut self, command: Command, now: Now, out: &mut Vec<Output>) {
        let id = command.id;
        if self.draining && !matches!(command.request, Request::Unsubscribe { .. }) {
            return self.reply(id, &ErrorReply::internal().into(), out);
        }
        match command.request {
            Request::Connect(request) => self.connect(id, *request, now, out),
            Request::Subscribe(request) => self.subscribe(id, *request, now, out),
            Request::Unsubscribe { channel } => self.unsubscribe(id, &channel, out),
            Request::Publish(request) => self.publish(id, request, now, out),
            Request::Presence { channel } => self.presence(id, channel, now, out),
            Request::PresenceStats { channel } => self.presence_stats(id, channel, now, out),
            Request::History(request) => self.history(id, request, now, out),
            Request::Rpc(request) => self.rpc(id, request, now, out),
            Request::Send { data } => self.send(data, now, out),
            Request::Refresh(request) => self.refresh(id, &request, now, out),
            Request::SubRefresh(request) => self.sub_refresh(id, &request, now, out),
            Request::Ping | Request::Pong => self.close(Close::BAD_REQUEST, out),
        }
    }

    fn reply(&mut self, id: u32, reply: &Reply, out: &mut Vec<Output>) {
        match encode_reply(self.format, id, reply) {
            Ok(bytes) => out.push(Output::Send(bytes)),
            Err(EncodeError::NotJson) => self.close(Close::INAPPROPRIATE_PROTOCOL, out),
        }
    }

    fn push(&mut self, channel: &str, push: &Push<'_>, out: &mut Vec<Output>) {
        match encode_push(self.format, channel, push) {
            Ok(bytes) => out.push(Output::Send(bytes)),
            Err(EncodeError::NotJson) => self.close(Close::INAPPROPRIATE_PROTOCOL, out),
        }
    }

    fn close(&mut self, close: Close, out: &mut Vec<Output>) {
        self.close_for(close, "", out);
    }

    fn close_for(&mut self, close: Close, why: impl Into<Cow<'static, str>>, out: &mut Vec<Output>) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            out.push(Output::Close(close, why.into()));
        }
    }

    /// Who this client is for others in a channel.
    fn client_info(&self, chan_info: Bytes) -> ClientInfo {
        ClientInfo {
            user: self.identity.user.clone(),
            client: self.id.to_string(),
            conn_info: self.identity.info.clone(),
            chan_info,
        }
    }
}

/// For the log, where no part of a frame belongs: it may be a token in the wrong place.
fn undecoded(fault: &DecodeError) -> Cow<'static, str> {
    match fault {
        DecodeError::Json(_) => "not JSON as the protocol has it".into(),
        DecodeError::Protobuf(_) => "not Protobuf as the protocol has it".into(),
        other => other.to_string().into(),
    }
}

fn channel_of(request: &Request) -> Option<&str> {
    match request {
        Request::Subscribe(it) => Some(&it.channel),
        Request::Unsubscribe { channel }
        | Request::Presence { channel }
        | Request::PresenceStats { channel } => Some(channel),
        Request::Publish(it) => Some(&it.channel),
        Request::History(it) => Some(&it.channel),
        Request::SubRefresh(it) => Some(&it.channel),
        _ => None,
    }
}
