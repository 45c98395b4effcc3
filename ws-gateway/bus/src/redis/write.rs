//! Queueing requests over the links. A link's connection is there anyway, and it writes what many tasks ask in one
//! go, where the sending half (`send.rs`) flushes after every script: a third of a relayed call's cost. It owns
//! the connections by partition; whatever a server surely did not do goes the other way.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{BusError, Unavailable};
use crate::limits::PARTITIONS;
use crate::redis::address::unavailable;
use crate::redis::scripts::PUSH;

/// Commands waiting for the link's task; then askers wait in line, in order, within their timeout.
pub(crate) const WAITING_MAX: usize = 4096;

pub(crate) struct Writers {
    by_partition: Vec<RwLock<Option<MultiplexedConnection>>>,
    timeout: Duration,
}

impl Writers {
    pub(crate) fn new(timeout: Duration) -> Writers {
        Writers { by_partition: (0..PARTITIONS).map(|_| RwLock::default()).collect(), timeout }
    }

    fn set(&self, partitions: &[u16], connection: Option<&MultiplexedConnection>) {
        for partition in partitions {
            let mut place =
                self.by_partition[usize::from(*partition)].write().unwrap_or_else(PoisonError::into_inner);
            *place = connection.map(|connection| {
                let mut connection = connection.clone();
                connection.set_response_timeout(self.timeout);
                connection
            });
        }
    }

    /// Uses the connection for these partitions as long as the returned value lives.
    pub(crate) async fn lend<'a>(
        &'a self,
        partitions: &'a [u16],
        connection: &MultiplexedConnection,
    ) -> Lent<'a> {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(PUSH.text.as_str());
        // A server that refuses this is asked the other way, each time.
        if let Err(error) = load.query_async::<()>(&mut connection.clone()).await {
            tracing::warn!(%error, "the script for requests was not loaded");
        }
        self.set(partitions, Some(connection));
        Lent { writers: self, partitions }
    }

    /// Queues a stored request. None: there is no link, or the server surely did nothing.
    pub(crate) async fn push(
        &self,
        partition: u16,
        stream: &str,
        requests_max: usize,
        stored: &[u8],
    ) -> Option<Result<i64, BusError>> {
        const ATTEMPTED: &str = "queueing a request";
        let mut connection = self.by_partition[usize::from(partition)]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let mut command = redis::cmd("EVALSHA");
        command.arg(PUSH.sha.as_str()).arg(1).arg(stream).arg(requests_max).arg(stored);
        match command.query_async(&mut connection).await {
            Ok(answer) => Some(Ok(answer)),
            Err(error) if is_untouched(&error) => None,
            Err(error) if error.is_timeout() => Some(Err(BusError::Unavailable {
                attempted: ATTEMPTED.to_owned(),
                why: Unavailable::Slow { waited_ms: self.timeout.as_millis() as u64 },
            })),
            Err(error) => Some(Err(unavailable(ATTEMPTED, &error))),
        }
    }
}

/// A link's connection in use; at its end requests go the other way until there is a new link.
pub(crate) struct Lent<'a> {
    writers: &'a Writers,
    partitions: &'a [u16],
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.writers.set(self.partitions, None);
    }
}

/// Refused before anything happened: by a server that does not know the script, or is not the one to ask.
fn is_untouched(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, NoScript, ReadOnly, TryAgain};
    let ErrorKind::Server(kind) = error.kind() else { return false };
    matches!(kind, Ask | BusyLoading | ClusterDown | MasterDown | Moved | NoScript | ReadOnly | TryAgain)
}
