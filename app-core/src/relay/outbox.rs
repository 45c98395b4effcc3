//! Sends what commits have put into the outbox: in order within a channel, channels side by side. What this process has
//! committed itself is handed to it, and is read only where something else has to go before. A publication leaves
//! the outbox when the bus has taken it; a bus that is away delays it and loses nothing. Of several cores on one database
//! one sends, so that they never overtake each other.

use crate::core::Core;
use crate::metrics::add;
use crate::store::System;
use crate::store::row::{History, OutboxKey, OutboxRow};
use futures::StreamExt as _;
use futures::stream;
use keyway_bus::{Channels, HistoryOptions, NewPublication, PublishOptions};
use keyway_domain::id::TenantId;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SYSTEM: System = System::because("the relay sends the publications of every tenant");
/// One page: a busy second. What is behind it waits in the database.
const PAGE: usize = 512;
/// Channels that are published to at a time: enough to fill a connection's pipeline.
const SIDE_BY_SIDE: usize = 64;
/// What another process has put in is found by looking.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after a failure grows from here to there: a bus that is back is used within a second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longer than any outage that a backlog is sent after; the bus forgets ids afterwards.
const KNOWN_MS: u64 = 10 * 60_000;

/// Tenants that are remembered; beyond it the table is begun anew, and the database is asked once for each.
const TENANTS_MAX: usize = 10_000;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How much of a channel the bus keeps: the gateway's own settings of these namespaces.
fn kept(channel: &str, history: History) -> Option<HistoryOptions> {
    let (size, ttl_ms) = match (history, channel.split(':').next().unwrap_or("")) {
        (History::None, _) => return None,
        (History::Latest, _) => (1, 30 * DAY_MS),
        (History::Kept, "site") => (300, HOUR_MS),
        (History::Kept, namespace) if namespace.starts_with('#') => (100, DAY_MS),
        (History::Kept, _) => (300, DAY_MS),
    };
    Some(HistoryOptions { size, ttl_ms })
}

/// Runs until the future is dropped.
pub async fn run(core: Arc<Core>, bus: Arc<dyn Channels>) {
    let mut signal = core.store.outbox_signal();
    let mut pause = PAUSE_MIN;
    let mut upto = Upto::default();
    let mut looked = Instant::now();
    let mut look = true;
    loop {
        if !core.store.leads() {
            core.store.until_it_leads().await;
            // Another one has sent meanwhile: what was handed over here is old.
            core.store.outbox_handed(SYSTEM);
            (upto, look) = (Upto::default(), true);
        }
        signal.borrow_and_update();
        let handed = core.store.outbox_handed(SYSTEM);
        look |= handed.look || looked.elapsed() >= LOOK_EVERY;
        let next = upto.next(handed.rows);
        look |= next.is_none();
        let mut rows = next.unwrap_or_default();
        if rows.is_empty() && look {
            looked = Instant::now();
            rows = match core.store.outbox(SYSTEM, PAGE).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "reading the outbox failed");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
            };
            // A page that is not full was all there is.
            look = rows.len() >= PAGE;
        }
        if rows.is_empty() {
            let _ = tokio::time::timeout(LOOK_EVERY, signal.changed()).await;
            continue;
        }
        let keys: Vec<OutboxKey> = rows.iter().map(|row| row.key).collect();
        let done = send(&core, bus.as_ref(), rows).await;
        upto.sent(&keys, &done);
        if done.len() == keys.len() {
            pause = PAUSE_MIN;
        } else {
            look = true;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Sends a page. What of it has left.
async fn send(core: &Core, bus: &dyn Channels, rows: Vec<OutboxRow>) -> Vec<OutboxKey> {
    let mut channels: indexed::Channels = indexed::Channels::default();
    rows.into_iter().for_each(|row| channels.push(row));
    let sent = stream::iter(channels.rows)
        .map(|rows| async move { send_channel(core, bus, rows).await })
        .buffer_unordered(SIDE_BY_SIDE);
    let done: Vec<OutboxKey> = sent.concat().await;
    if let Err(error) = core.store.outbox_done(SYSTEM, &done).await {
        // They come again, and the bus knows them by their ids.
        tracing::warn!(%error, "noting what was sent failed");
        return Vec::new();
    }
    done
}

/// One channel's rows in order, up to the first that the bus does not take.
async fn send_channel(core: &Core, bus: &dyn Channels, rows: Vec<OutboxRow>) -> Vec<OutboxKey> {
    let mut done = Vec::with_capacity(rows.len());
    for row in rows {
        if !core.store.leads() {
            // Somebody else is about to send it, and what comes after it.
            break;
        }
        let now = core.clock.now();
        if row.expires_at.is_some_and(|until| until <= now) {
            // A command past its deadline or a nudge that is old: delivered now it would be noise, or late.
            add(&core.metrics.expired, 1);
            done.push(row.key);
            continue;
        }
        let options = PublishOptions {
            history: kept(&row.channel, row.history),
            idempotency_key: Some(row.idempotency),
            idempotency_ttl_ms: KNOWN_MS,
        };
        let publication = NewPublication { time_ms: now.0, ..NewPublication::of(row.body) };
        match bus.publish(&row.channel, publication, &options).await {
            Ok(_) => {
                add(&core.metrics.published, 1);
                done.push(row.key);
            }
            Err(error) if error.is_temporary() => {
                add(&core.metrics.publish_failed, 1);
                tracing::warn!(channel = row.channel, %error, "not published; it is sent again");
                break;
            }
            Err(error) => {
                // Never taken however often: it must not hold its channel up.
                add(&core.metrics.publish_failed, 1);
                tracing::error!(channel = row.channel, %error, "a publication that no bus takes is let go");
                done.push(row.key);
            }
        }
    }
    done
}

/// How far each tenant's publications have left, without a hole. What a commit hands over may go at once where it is the
/// next of its tenant: everything before it has gone. Elsewhere the database has to say what there is.
#[derive(Debug, Default)]
struct Upto(HashMap<TenantId, u64>);

impl Upto {
    /// The rows that go now; `None` when something comes before them.
    fn next(&self, handed: Vec<OutboxRow>) -> Option<Vec<OutboxRow>> {
        let mut reached: HashMap<TenantId, u64> = HashMap::new();
        let mut rows = Vec::with_capacity(handed.len());
        for row in handed {
            let OutboxKey { tenant, seq } = row.key;
            let upto = reached.get(&tenant).or_else(|| self.0.get(&tenant)).copied()?;
            if seq <= upto {
                // Read from the database, and sent, before it was looked for here.
                continue;
            }
            if seq != upto + 1 {
                return None;
            }
            reached.insert(tenant, seq);
            rows.push(row);
        }
        Some(rows)
    }

    /// These were to be sent, in their order from the first that there was, and of them these have left.
    fn sent(&mut self, keys: &[OutboxKey], done: &[OutboxKey]) {
        let done: HashSet<&OutboxKey> = done.iter().collect();
        if self.0.len() >= TENANTS_MAX {
            self.0.clear();
        }
        for key in keys {
            let last = self.0.entry(key.tenant).or_default();
            *last = key.seq.max(*last);
        }
        for left in keys.iter().filter(|key| !done.contains(key)) {
            self.0.remove(&left.tenant);
        }
    }
}

mod indexed {
    //! Rows by channel, in the order of their first one.
    use super::OutboxRow;
    use std::collections::HashMap;

    #[derive(Default)]
    pub struct Channels {
        places: HashMap<String, usize>,
        pub rows: Vec<Vec<OutboxRow>>,
    }

    impl Channels {
        pub fn push(&mut self, row: OutboxRow) {
            let next = self.rows.len();
            let place = *self.places.entry(row.channel.clone()).or_insert(next);
            if place == next {
                self.rows.push(Vec::new());
            }
            self.rows[place].push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_domain::time::UnixMs;

    fn row(tenant: u8, seq: u64) -> OutboxRow {
        OutboxRow {
            key: OutboxKey { tenant: TenantId::mint(UnixMs(1), [tenant; 10]), seq },
            channel: String::new(),
            body: String::new(),
            history: History::None,
            idempotency: String::new(),
            committed_at: UnixMs(1),
            expires_at: None,
        }
    }

    #[test]
    fn only_what_is_next_goes_unread() {
        let rows =
            |keys: &[(u8, u64)]| keys.iter().map(|(tenant, seq)| row(*tenant, *seq)).collect::<Vec<_>>();
        let keys = |numbers: &[(u8, u64)]| rows(numbers).iter().map(|row| row.key).collect::<Vec<_>>();
        let mut upto = Upto::default();
        assert_eq!(upto.next(rows(&[(1, 1)])), None, "nothing is known of this tenant");
        upto.sent(&keys(&[(1, 4), (1, 5), (2, 9)]), &keys(&[(1, 4), (1, 5), (2, 9)]));
        for (handed, goes) in [
            (rows(&[]), Some(rows(&[]))),
            (rows(&[(1, 6), (1, 7), (2, 10)]), Some(rows(&[(1, 6), (1, 7), (2, 10)]))),
            (rows(&[(1, 5), (1, 6)]), Some(rows(&[(1, 6)]))),
            (rows(&[(1, 7)]), None),
            (rows(&[(1, 6), (1, 8)]), None),
            (rows(&[(1, 6), (3, 1)]), None),
        ] {
            assert_eq!(upto.next(handed), goes);
        }
        upto.sent(&keys(&[(1, 6), (2, 10)]), &keys(&[(2, 10)]));
        assert_eq!(upto.next(rows(&[(1, 7)])), None, "what was held up is still there");
        assert_eq!(upto.next(rows(&[(2, 11)])), Some(rows(&[(2, 11)])));
    }
}
