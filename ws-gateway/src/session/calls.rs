//! Calls that somebody else answers: publish, rpc, history, presence. Bounded in number and in time; what is
//! late is answered with error 100 `temporary` before the SDK gives up, and a late answer is dropped.

use bytes::Bytes;
use keyway_bus::NewPublication;
use keyway_protocol::{
    ChannelName, Close, ErrorReply, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult,
    PublishRequest, Reply, RpcRequest,
};

use super::{Answer, HistoryRead, Output, Session};
use crate::auth::Allow;
use crate::event::{info_on_wire, publication_on_wire};
use crate::limits::Now;

pub(super) struct Call {
    pub number: u32,
    /// The command's id.
    pub command: u32,
    /// The channel it keeps busy; none for rpc.
    pub channel: Option<String>,
    pub deadline_ms: u64,
    /// The epoch a history reader named.
    since_epoch: String,
}

impl Session {
    /// None: too many in flight, and the client has been told.
    fn open_call(&mut self, id: u32, channel: Option<&str>, now: Now, out: &mut Vec<Output>) -> Option<u32> {
        if self.calls.len() >= self.rules.limits.calls_in_flight_max {
            self.reply(id, &ErrorReply::too_many_requests().into(), out);
            return None;
        }
        self.next_call = self.next_call.wrapping_add(1);
        self.calls.push(Call {
            number: self.next_call,
            command: id,
            channel: channel.map(str::to_owned),
            deadline_ms: now.mono_ms + self.rules.limits.call_deadline_ms,
            since_epoch: String::new(),
        });
        Some(self.next_call)
    }

    pub(super) fn answered(
        &mut self,
        number: u32,
        answer: Result<Answer, ErrorReply>,
        _now: Now,
        out: &mut Vec<Output>,
    ) {
        // Unknown: it was late, and has been answered already.
        let Some(at) = self.calls.iter().position(|call| call.number == number) else { return };
        let call = self.calls.swap_remove(at);
        let reply = match answer {
            Err(error) => Reply::Error(error),
            Ok(Answer::Published) => Reply::Publish,
            Ok(Answer::Replied(data)) => Reply::Rpc { data },
            Ok(Answer::History(history)) => {
                if !call.since_epoch.is_empty() && call.since_epoch != history.top.epoch.as_str() {
                    Reply::Error(ErrorReply::unrecoverable_position())
                } else {
                    Reply::History(HistoryResult {
                        publications: history.publications.iter().map(|it| publication_on_wire(it)).collect(),
                        epoch: history.top.epoch.as_str().to_owned(),
                        offset: history.top.offset,
                    })
                }
            }
            Ok(Answer::Presence(clients)) => Reply::Presence(PresenceResult {
                presence: clients.iter().map(|info| (info.client.clone(), info_on_wire(info))).collect(),
            }),
            Ok(Answer::Stats(stats)) => Reply::PresenceStats(PresenceStatsResult {
                num_clients: u32::try_from(stats.clients).unwrap_or(u32::MAX),
                num_users: u32::try_from(stats.users).unwrap_or(u32::MAX),
            }),
        };
        self.reply(call.command, &reply, out);
    }

    pub(super) fn expire_calls(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut late = Vec::new();
        self.calls.retain(|call| {
            let in_time = call.deadline_ms > now.mono_ms;
            if !in_time {
                late.push(call.command);
            }
            in_time
        });
        for id in late {
            self.reply(id, &ErrorReply::internal().into(), out);
        }
    }

    pub(super) fn publish(&mut self, id: u32, request: PublishRequest, now: Now, out: &mut Vec<Output>) {
        if let Err(fault) = ChannelName::parse(&request.channel) {
            return self.refuse_name(id, fault, out);
        }
        if request.data.is_empty() {
            return self.close(Close::BAD_REQUEST, out);
        }
        let options = match self.options_of(&request.channel) {
            Ok(options) => options,
            Err(error) => return self.reply(id, &error.into(), out),
        };
        if request.kind > 0 {
            return self.reply(id, &ErrorReply::bad_request().into(), out);
        }
        if !self.may(Allow::Publish, options.allow_publish, &request.channel) {
            return self.reply(id, &ErrorReply::permission_denied().into(), out);
        }
        let options = options.publish_options();
        let Some(call) = self.open_call(id, Some(&request.channel), now, out) else { return };
        let chan_info =
            self.subscriptions.find(&request.channel).map(|it| it.chan_info.clone()).unwrap_or_default();
        // Anonymous publishers have nothing to show.
        let info =
            (!self.identity.user.is_empty() && !self.rules.insecure).then(|| self.client_info(chan_info));
        let publication = NewPublication { data: request.data, info, tags: Vec::new(), time_ms: 0 };
        out.push(Output::Publish { call, channel: request.channel, publication, options });
    }

    pub(super) fn rpc(&mut self, id: u32, request: RpcRequest, now: Now, out: &mut Vec<Output>) {
        if !self.rules.rpc {
            return self.reply(id, &ErrorReply::not_available().into(), out);
        }
        if !self.rules.insecure && !self.identity.capabilities.allows_method(&request.method) {
            return self.reply(id, &ErrorReply::permission_denied().into(), out);
        }
        let Some(call) = self.open_call(id, None, now, out) else { return };
        let request = self.request(request.method, request.data, now);
        out.push(Output::Request { call, request });
    }

    pub(super) fn send(&mut self, data: Bytes, now: Now, out: &mut Vec<Output>) {
        if !self.rules.send {
            return self.close(Close::NOT_AVAILABLE, out);
        }
        let request = self.request("send".to_owned(), data, now);
        out.push(Output::Tell(request));
    }

    fn request(&self, method: String, data: Bytes, now: Now) -> keyway_bus::Request {
        let client = self.id.to_string();
        let user = self.identity.user.clone();
        // A device's or person's requests stay in order; anonymous ones have only their connection.
        let partition_key = if user.is_empty() { client.clone() } else { user.clone() };
        keyway_bus::Request {
            method,
            data,
            user,
            client,
            tenant: self.identity.tenant.clone(),
            partition_key,
            deadline_ms: now.unix_ms + self.rules.limits.call_deadline_ms,
            meta: self.identity.meta.clone(),
        }
    }

    pub(super) fn history(&mut self, id: u32, request: HistoryRequest, now: Now, out: &mut Vec<Output>) {
        if let Err(fault) = ChannelName::parse(&request.channel) {
            return self.refuse_name(id, fault, out);
        }
        let allowed = match self.options_of(&request.channel) {
            Err(error) => return self.reply(id, &error.into(), out),
            Ok(options) if !options.has_history() => {
                return self.reply(id, &ErrorReply::not_available().into(), out);
            }
            Ok(options) => self.may(Allow::History, options.allow_history, &request.channel),
        };
        if !allowed {
            return self.reply(id, &ErrorReply::permission_denied().into(), out);
        }
        let max = self.rules.limits.history_publications_max;
        let limit = usize::try_from(request.limit).map_or(max, |limit| limit.min(max));
        let Some(call) = self.open_call(id, Some(&request.channel), now, out) else { return };
        let since = request.since.map(|since| (since.epoch, since.offset));
        if let (Some((epoch, _)), Some(open)) = (&since, self.calls.last_mut()) {
            open.since_epoch = epoch.clone();
        }
        let read = HistoryRead { since, limit, reverse: request.reverse };
        out.push(Output::ReadHistory { call, channel: request.channel, read });
    }

    pub(super) fn presence(&mut self, id: u32, channel: String, now: Now, out: &mut Vec<Output>) {
        if let Some(call) = self.presence_call(id, &channel, now, out) {
            out.push(Output::ReadPresence { call, channel });
        }
    }

    pub(super) fn presence_stats(&mut self, id: u32, channel: String, now: Now, out: &mut Vec<Output>) {
        if let Some(call) = self.presence_call(id, &channel, now, out) {
            out.push(Output::ReadPresenceStats { call, channel });
        }
    }

    fn presence_call(&mut self, id: u32, channel: &str, now: Now, out: &mut Vec<Output>) -> Option<u32> {
        if let Err(fault) = ChannelName::parse(channel) {
            self.refuse_name(id, fault, out);
            return None;
        }
        let error = match self.options_of(channel) {
            Err(error) => Some(error),
            Ok(options) if !options.presence => Some(ErrorReply::not_available()),
            Ok(options) if !self.may(Allow::Presence, options.allow_presence, channel) => {
                Some(ErrorReply::permission_denied())
            }
            Ok(_) => None,
        };
        match error {
            Some(error) => {
                self.reply(id, &error.into(), out);
                None
            }
            None => self.open_call(id, Some(channel), now, out),
        }
    }
}
