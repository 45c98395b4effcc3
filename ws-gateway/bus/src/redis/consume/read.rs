//! The blocking reads of request streams, each on a connection of its own that is rebuilt when it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use crate::error::BusError;
use crate::redis::address::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT, plain, unavailable};
use crate::redis::consume::{Shared, Stored};
use crate::redis::keys::GROUP;

/// Entries per stream and read: a batch worth a round trip, and 64 streams stay below the bound in flight.
const READ_COUNT: usize = 16;

/// The pause after a failed read.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// The longest a read blocks: how late a newly leased partition joins it.
const BLOCK_MAX: Duration = Duration::from_millis(500);

type Entries = Vec<(u16, Vec<Stored>)>;

impl Shared {
    /// Reads a group of partitions that one server owns, for ever.
    pub(super) async fn read(self: Arc<Shared>, group: Vec<u16>) {
        let mut connection = None;
        loop {
            if let Err(error) = self.read_once(&group, &mut connection).await {
                tracing::warn!(%error, "reading requests failed; connecting anew");
                connection = None;
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }

    async fn read_once(
        &self,
        group: &[u16],
        connection: &mut Option<MultiplexedConnection>,
    ) -> Result<(), BusError> {
        let block = (self.lease / 4).min(BLOCK_MAX);
        let changed = self.changed.notified();
        let Some((reading, count)) = self.begin(group, block) else {
            // Nothing to read, or no room: something must change first.
            let _ = tokio::time::timeout(self.lease / 3, changed).await;
            return Ok(());
        };
        // However this read ends, its partitions must not stay marked.
        let mut marked = Marked { shared: self, reading, whole: false };
        let read = async {
            let connection = match connection {
                Some(connection) => connection,
                None => connection.insert(self.connect_to(group[0]).await?),
            };
            let failed = |error: RedisError| unavailable("reading requests", &error);
            self.read_streams(connection, &marked.reading, count, block).await.map_err(failed)
        };
        let entries = read.await?;
        marked.whole = true;
        for (partition, entries) in entries {
            let fence =
                marked.reading.iter().find(|(one, _)| *one == partition).map_or(0, |(_, fence)| *fence);
            self.add(partition, fence, entries).await;
        }
        Ok(())
    }

    /// Chooses what to read now: partitions in the right phase whose lease outlasts the blocking read, so that
    /// nothing can be read under a lease that ran out meanwhile.
    fn begin(&self, group: &[u16], block: Duration) -> Option<(Vec<(u16, u64)>, usize)> {
        let mut state = self.state();
        let room = self.in_flight_max.saturating_sub(state.ready.len());
        if room == 0 || state.leaving {
            return None;
        }
        let safe = Instant::now() + block + self.lease / 8;
        let mut reading = Vec::new();
        for (partition, lease) in &mut state.leases {
            if group.contains(partition) && lease.may_be_read(safe) {
                lease.being_read = true;
                reading.push((*partition, lease.fence));
            }
        }
        (!reading.is_empty()).then_some((reading, room.min(READ_COUNT)))
    }

    async fn connect_to(&self, partition: u16) -> Result<MultiplexedConnection, BusError> {
        let topology = self.place.resolve(&[]).await?;
        let owner = topology.iter().find(|(_, partitions)| partitions.contains(&partition));
        let Some((address, _)) = owner else {
            return Err(BusError::Config(format!("no server owns partition {partition}")));
        };
        let failed = |error: RedisError| unavailable(&format!("connecting to {address}"), &error);
        let config = plain().set_response_timeout(Some(BLOCK_MAX + RESPONSE_TIMEOUT));
        let connecting = self.place.connect(address, config);
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting)
            .await
            .unwrap_or_else(|_| Err((redis::ErrorKind::Io, "connecting took too long").into()))
            .map_err(failed)?;
        self.place.check_master(&mut connection).await.map_err(failed)?;
        Ok(connection)
    }

    async fn read_streams(
        &self,
        connection: &mut MultiplexedConnection,
        reading: &[(u16, u64)],
        count: usize,
        block: Duration,
    ) -> Result<Entries, RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.name).arg("COUNT").arg(count);
        command.arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS");
        for (partition, _) in reading {
            command.arg(self.sender.keys.requests(*partition));
        }
        for _ in reading {
            command.arg(">");
        }
        let answer = match command.query_async(connection).await {
            // The streams vanished with Redis's data: the groups must be made again before reading on.
            Err(error) if error.code() == Some("NOGROUP") => {
                let mut state = self.state();
                for (partition, _) in reading {
                    if let Some(lease) = state.leases.get_mut(partition) {
                        lease.unsettled = true;
                    }
                }
                return Ok(Entries::new());
            }
            answer => answer?,
        };
        let names: Vec<(String, u16)> = reading
            .iter()
            .map(|(partition, _)| (self.sender.keys.requests(*partition), *partition))
            .collect();
        Ok(parse(answer, &names))
    }
}

/// Unmarks what a read was about, also when the read failed or was dropped.
struct Marked<'a> {
    shared: &'a Shared,
    reading: Vec<(u16, u64)>,
    /// Its answer came. Without one Redis may have given us entries that we never saw: they are ours until taken over.
    whole: bool,
}

impl Drop for Marked<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let mut due = false;
        for (partition, fence) in &self.reading {
            if let Some(lease) = state.leases.get_mut(partition).filter(|lease| lease.fence == *fence) {
                due |= lease.read_ended(self.whole);
            }
        }
        drop(state);
        if due {
            self.shared.changed.notify_waiters();
        }
    }
}

/// RESP3: `{stream: [[id, [field, value]]]}`; payloads are taken over, not copied.
fn parse(answer: Value, names: &[(String, u16)]) -> Entries {
    let Value::Map(streams) = answer else { return Entries::new() };
    let mut found = Entries::new();
    for (name, entries) in streams {
        let (Value::BulkString(name), Value::Array(entries)) = (name, entries) else { continue };
        let Some((_, partition)) = names.iter().find(|(known, _)| known.as_bytes() == name) else { continue };
        found.push((*partition, entries.into_iter().filter_map(parse_entry).collect()));
    }
    found
}

fn parse_entry(entry: Value) -> Option<Stored> {
    let Value::Array(parts) = entry else { return None };
    let mut parts = parts.into_iter();
    let (Value::BulkString(id), Value::Array(fields)) = (parts.next()?, parts.next()?) else { return None };
    let Value::BulkString(stored) = fields.into_iter().nth(1)? else { return None };
    Some((String::from_utf8(id).ok()?, 1, Bytes::from(stored)))
}
