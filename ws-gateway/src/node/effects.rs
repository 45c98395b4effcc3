//! Carries out what a session decided: calls on the bus, each started in the order decided, its answer left in
//! the connection's mailbox. A call is polled once where it was decided, so that what it enqueues keeps the
//! connection's order; only what then waits becomes a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use keyway_bus::{Bus, BusError, History, HistoryFilter, Position, ReplyError};
use keyway_protocol::{Close, ErrorReply};

use super::Node;
use crate::auth::Identity;
use crate::hub::bus_error;
use crate::link::Link;
use crate::session::{Answer, HistoryRead, Input, Instruction, Output};

/// One connection's way to the node.
pub struct Effects {
    pub node: Arc<Node>,
    pub link: Arc<Link>,
}

impl Effects {
    /// Carries out one output that is not the transport's business. What is known at once is given back as an
    /// input; what takes time arrives in the mailbox.
    pub fn perform(&self, output: Output, cx: &mut Context<'_>) -> Option<Input> {
        let node = &self.node;
        let bus = Arc::clone(node.bus());
        match output {
            Output::Admit(identity) => {
                let answer = node.registry.admit(&self.link, &identity, &node.rules.limits, node.now());
                node.metrics.connects.add(u64::from(answer.is_ok()));
                self.look_for_revocation(&identity);
                return Some(Input::Admitted(answer));
            }
            Output::Renew(identity) => {
                self.link.set_identity(&identity);
                self.look_for_revocation(&identity);
            }
            Output::RefreshKeys => node.keys_wanted.notify_one(),
            Output::Attach { key, channel, read } => {
                let joining = node.hub.add(&bus, &channel, key, &self.link);
                return self.begin(cx, async move {
                    let result = match joining {
                        Some(joining) => joining.await,
                        None => Ok(()),
                    };
                    let result = match (result, read) {
                        (Ok(()), Some(read)) => {
                            read_history(&*bus, &channel, read).await.map_err(|error| bus_error(&error))
                        }
                        (Ok(()), None) => Ok(History::default()),
                        (Err(error), _) => Err(error),
                    };
                    Input::Attached { key, result }
                });
            }
            Output::Detach { key, channel } => {
                node.hub.remove(&channel, key, &self.link, node.now().mono_ms);
            }
            Output::Publish { call, channel, mut publication, options } => {
                node.metrics.publications.add(1);
                publication.time_ms = node.now().unix_ms;
                return self.call(cx, call, async move {
                    bus.publish(&channel, publication, &options).await.map(|_| Answer::Published)
                });
            }
            Output::Request { call, request } => self.request(call, request),
            Output::Tell(request) => {
                self.background(cx, async move { bus.send(request).await });
            }
            Output::ReadHistory { call, channel, read } => {
                return self.call(cx, call, async move {
                    read_history(&*bus, &channel, read).await.map(Answer::History)
                });
            }
            Output::ReadPresence { call, channel } => {
                return self.call(
                    cx,
                    call,
                    async move { bus.presence(&channel).await.map(Answer::Presence) },
                );
            }
            Output::ReadPresenceStats { call, channel } => {
                return self.call(
                    cx,
                    call,
                    async move { bus.presence_stats(&channel).await.map(Answer::Stats) },
                );
            }
            Output::PresenceAdd { channel, info, ttl_ms } => {
                self.background(cx, async move { bus.presence_add(&channel, &info, ttl_ms).await });
            }
            Output::PresenceRemove { channel } => {
                let client = self.link.id.to_string();
                self.background(cx, async move { bus.presence_remove(&channel, &client).await });
            }
            Output::Join { channel, info } => {
                self.background(cx, async move { bus.publish_join(&channel, &info).await });
            }
            Output::Leave { channel, info } => {
                self.background(cx, async move { bus.publish_leave(&channel, &info).await });
            }
            Output::Recovery { recovered: true, .. } => node.metrics.recovered.add(1),
            Output::Recovery { recovered: false, .. } => node.metrics.unrecovered.add(1),
            Output::Send(_) | Output::Close(..) => {}
        }
        None
    }

    /// A revocation that came between the check of the token and the entry in the registry has not found us there.
    fn look_for_revocation(&self, identity: &Identity) {
        if self.node.rules.authority.is_revoked(identity) {
            self.link.push(Input::Instruction(Instruction::Disconnect(Close::FORCE_DISCONNECT)), 0);
        }
    }

    /// Neither task nor timer waits for the answer: the session has its own deadline.
    fn request(&self, call: u32, request: keyway_bus::Request) {
        self.node.metrics.requests.add(1);
        let (node, link) = (Arc::clone(&self.node), Arc::clone(&self.link));
        let done = Box::new(move |outcome| {
            let answer = match outcome {
                Ok(Ok(data)) => Ok(Answer::Replied(data)),
                Ok(Err(ReplyError { code, message, temporary })) => {
                    Err(ErrorReply { code, message, temporary })
                }
                Err(error) => {
                    node.metrics.requests_failed.add(1);
                    Err(bus_error(&error))
                }
            };
            link.push(Input::Answered { call, answer }, 0);
        });
        self.node.bus().ask(request, done);
    }

    fn call(
        &self,
        cx: &mut Context<'_>,
        call: u32,
        work: impl Future<Output = Result<Answer, BusError>> + Send + 'static,
    ) -> Option<Input> {
        self.begin(cx, async move {
            Input::Answered { call, answer: work.await.map_err(|error| bus_error(&error)) }
        })
    }

    fn begin(
        &self,
        cx: &mut Context<'_>,
        work: impl Future<Output = Input> + Send + 'static,
    ) -> Option<Input> {
        let mut work: Pin<Box<dyn Future<Output = Input> + Send>> = Box::pin(work);
        match work.as_mut().poll(cx) {
            // Through the mailbox all the same: events that the call itself caused are there already, and a
            // publisher hears its publication before the reply.
            Poll::Ready(input) => {
                self.link.push(input, 0);
                None
            }
            Poll::Pending => {
                let link = Arc::clone(&self.link);
                tokio::spawn(async move { link.push(work.await, 0) });
                None
            }
        }
    }

    /// For what nobody waits for. A failure mends itself: presence with the next ping, a leave with its expiry.
    fn background(
        &self,
        cx: &mut Context<'_>,
        work: impl Future<Output = Result<(), BusError>> + Send + 'static,
    ) {
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            if let Err(error) = work.await {
                tracing::debug!(%error, "not told to the bus");
            }
        });
        if work.as_mut().poll(cx).is_pending() {
            tokio::spawn(work);
        }
    }
}

async fn read_history(bus: &dyn Bus, channel: &str, read: HistoryRead) -> Result<History, BusError> {
    let since = match read.since {
        None => None,
        // A reader without an epoch means the current one.
        Some((epoch, offset)) if epoch.is_empty() => {
            let top = bus.history(channel, HistoryFilter::top()).await?.top;
            Some(Position::new(top.epoch, offset))
        }
        Some((epoch, offset)) => Some(Position::new(keyway_bus::Epoch::new(&epoch), offset)),
    };
    bus.history(channel, HistoryFilter { since, limit: read.limit, reverse: read.reverse }).await
}
