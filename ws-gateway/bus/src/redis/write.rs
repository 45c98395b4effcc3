//! Queueing requests over the links. A link's connection is there anyway, and a task of its own writes what many
//! connections ask in one pipeline, so that a request costs no task, no timer and no wake-up until its answer comes. It
//! owns the queues by partition; whatever a server surely did not do goes the other way, over the sending half.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::{mpsc, oneshot};

use crate::error::{BusError, Unavailable};
use crate::limits::PARTITIONS;
use crate::pending::Pending;
use crate::redis::address::unavailable;
use crate::redis::scripts::PUSH;
use crate::redis::send::Sender;

/// Commands waiting in the connection's own queue; each is a pipeline.
pub(crate) const WAITING_MAX: usize = 4096;

/// Requests waiting for the task that writes, beside those that Redis has not answered: a second of them at the rate that
/// one node is measured at. At the 64 KiB that one may have, 256 MiB.
const ASKED_MAX: usize = 4096;

/// Requests in one pipeline: enough for a burst of devices, little enough that the first does not wait for the last.
const PIPELINE_MAX: usize = 128;

/// Pipelines that Redis has not answered. More only wait somewhere else.
const UNANSWERED_MAX: usize = 32;

const ATTEMPTED: &str = "queueing a request";

pub(crate) type Confirm = oneshot::Sender<Result<(), BusError>>;

/// A request on its way into its stream.
pub(crate) struct Asked {
    pub partition: u16,
    pub stored: Bytes,
    /// Of the question that fails when this cannot be queued; 0 is none.
    pub number: u64,
    /// Who wants to know that it is queued.
    pub confirm: Option<Confirm>,
}

pub(crate) struct Writers {
    by_partition: Vec<RwLock<Option<mpsc::Sender<Asked>>>>,
    /// The name of each partition's stream.
    streams: Vec<String>,
    timeout: Duration,
    sender: Arc<Sender>,
    pending: Arc<Pending>,
}

impl Writers {
    pub(crate) fn new(timeout: Duration, sender: Arc<Sender>, pending: Arc<Pending>) -> Writers {
        let by_partition = (0..PARTITIONS).map(|_| RwLock::default()).collect();
        let streams = (0..PARTITIONS).map(|partition| sender.keys.requests(partition)).collect();
        Writers { by_partition, streams, timeout, sender, pending }
    }

    fn place(&self, partition: u16) -> RwLockWriteGuard<'_, Option<mpsc::Sender<Asked>>> {
        self.by_partition[usize::from(partition)].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the connection for these partitions as long as the returned value lives.
    pub(crate) async fn lend<'a>(
        self: Arc<Writers>,
        partitions: &'a [u16],
        connection: &MultiplexedConnection,
    ) -> Lent<'a> {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(PUSH.text.as_str());
        // A server that refuses this is asked the other way, each time.
        if let Err(error) = load.query_async::<()>(&mut connection.clone()).await {
            tracing::warn!(%error, "the script for requests was not loaded");
        }
        let mut connection = connection.clone();
        connection.set_response_timeout(self.timeout);
        let (queue, asked) = mpsc::channel(ASKED_MAX);
        // Not aborted with the link: what is queued is answered for, by a failure if need be.
        tokio::spawn(Arc::clone(&self).write(asked, connection));
        for partition in partitions {
            *self.place(*partition) = Some(queue.clone());
        }
        Lent { writers: self, partitions, queue }
    }

    /// Err: surely not queued.
    pub(crate) fn queue(self: &Arc<Writers>, asked: Asked) -> Result<(), BusError> {
        let refused = {
            let place = self.by_partition[usize::from(asked.partition)]
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            match &*place {
                Some(queue) => queue.try_send(asked),
                None => Err(mpsc::error::TrySendError::Closed(asked)),
            }
        };
        match refused {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(BusError::full(ATTEMPTED, ASKED_MAX)),
            Err(mpsc::error::TrySendError::Closed(asked)) => {
                let writers = Arc::clone(self);
                // Bounded by the timeout of the command and by the questions that may wait.
                tokio::spawn(async move {
                    writers.push_apart(asked).await;
                });
                Ok(())
            }
        }
    }

    /// Writes until the link is gone and its queue is empty.
    async fn write(self: Arc<Writers>, mut asked: mpsc::Receiver<Asked>, connection: MultiplexedConnection) {
        let mut unanswered = FuturesUnordered::new();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = asked.recv_many(&mut batch, PIPELINE_MAX), if unanswered.len() < UNANSWERED_MAX => {
                    if count == 0 {
                        break;
                    }
                    unanswered.push(self.push_together(std::mem::take(&mut batch), connection.clone()));
                }
                Some(()) = unanswered.next() => {}
            }
        }
        while unanswered.next().await.is_some() {}
    }

    async fn push_together(&self, batch: Vec<Asked>, mut connection: MultiplexedConnection) {
        let mut pipeline = redis::Pipeline::with_capacity(batch.len());
        for asked in &batch {
            pipeline
                .cmd("EVALSHA")
                .arg(PUSH.sha.as_str())
                .arg(1)
                .arg(&self.streams[usize::from(asked.partition)])
                .arg(self.sender.partition_requests_max)
                .arg(&*asked.stored);
        }
        let answers = match connection.send_packed_commands(&pipeline, 0, batch.len()).await {
            Ok(answers) => answers,
            Err(error) => {
                for asked in batch {
                    self.settle(asked, Err(self.failed(&error)));
                }
                return;
            }
        };
        let mut answers = answers.into_iter();
        // Once the sending half cannot either, the rest need not wait for it one after the other.
        let mut apart = true;
        for asked in batch {
            match answers.next() {
                Some(Value::Int(0)) => {
                    let full = BusError::full(ATTEMPTED, self.sender.partition_requests_max);
                    self.settle(asked, Err(full));
                }
                Some(Value::ServerError(error)) => {
                    let error = RedisError::from(error);
                    if is_untouched(&error) && apart {
                        apart = self.push_apart(asked).await;
                    } else {
                        self.settle(asked, Err(self.failed(&error)));
                    }
                }
                Some(_) => self.settle(asked, Ok(())),
                None => {
                    self.settle(asked, Err(self.failed(&(ErrorKind::Parse, "an answer is missing").into())))
                }
            }
        }
    }

    /// Over the sending half: there is no link, or its server would not do it. Answers whether that half works.
    async fn push_apart(&self, asked: Asked) -> bool {
        let bound = self.sender.partition_requests_max;
        let stream = self.streams[usize::from(asked.partition)].as_str();
        let arguments = vec![(bound as i64).into(), asked.stored.clone().into()];
        let pushed: Result<i64, BusError> =
            self.sender.run(ATTEMPTED, asked.partition, &PUSH, vec![stream.into()], arguments).await;
        let works = pushed.is_ok();
        let outcome = match pushed {
            Ok(0) => Err(BusError::full(ATTEMPTED, bound)),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        self.settle(asked, outcome);
        works
    }

    fn settle(&self, asked: Asked, outcome: Result<(), BusError>) {
        match (asked.confirm, outcome) {
            (Some(confirm), outcome) => {
                // Who no longer waits does not want to know.
                let _gone = confirm.send(outcome);
            }
            (None, Err(error)) => self.pending.fail(asked.number, error),
            (None, Ok(())) => {}
        }
    }

    fn failed(&self, error: &RedisError) -> BusError {
        if error.is_timeout() {
            let why = Unavailable::Slow { waited_ms: self.timeout.as_millis() as u64 };
            return BusError::Unavailable { attempted: ATTEMPTED.to_owned(), why };
        }
        unavailable(ATTEMPTED, error)
    }
}

/// A link's connection in use; at its end requests go the other way until there is a new link.
pub(crate) struct Lent<'a> {
    writers: Arc<Writers>,
    partitions: &'a [u16],
    queue: mpsc::Sender<Asked>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        for partition in self.partitions {
            let mut place = self.writers.place(*partition);
            // Where a later link has lent its own already, that one stays.
            if place.as_ref().is_some_and(|queue| queue.same_channel(&self.queue)) {
                *place = None;
            }
        }
    }
}

/// Refused before anything happened: by a server that does not know the script, or is not the one to ask.
fn is_untouched(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, NoScript, ReadOnly, TryAgain};
    let ErrorKind::Server(kind) = error.kind() else { return false };
    matches!(kind, Ask | BusyLoading | ClusterDown | MasterDown | Moved | NoScript | ReadOnly | TryAgain)
}
