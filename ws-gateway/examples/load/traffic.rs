//! Messages under way: how they are marked, published, counted and timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use keyway_bus::{Channels, NewPublication, PublishOptions, RedisBackend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stack::{Kind, Stack, resp};

/// The payload's mark: counted in the byte stream, however messages share frames.
const MARK: &[u8] = b"@@at";

/// Digits of the time behind the mark.
const TIME_DIGITS: usize = 16;

/// What a payload is beside its padding.
const PAYLOAD_FRAME: usize = 34;

pub fn payload(sent_us: u64, bytes: usize) -> String {
    let padding = "x".repeat(bytes - PAYLOAD_FRAME);
    format!("{{\"t\":\"@@at{sent_us:016}\",\"p\":\"{padding}\"}}")
}

/// What all readers saw.
pub struct Tally {
    pub received: AtomicU64,
    latencies_us: std::sync::Mutex<Vec<u64>>,
    begun: Instant,
}

impl Tally {
    pub fn new() -> Arc<Tally> {
        Arc::new(Tally {
            received: AtomicU64::new(0),
            latencies_us: Default::default(),
            begun: Instant::now(),
        })
    }

    pub fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// The median and the 99th of a hundred since the last call.
    pub fn percentiles_us(&self) -> Option<(u64, u64)> {
        let mut latencies = std::mem::take(&mut *self.latencies_us.lock().expect("no reader panics"));
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
        Some((at(50)?, at(99)?))
    }
}

/// Counts marks until the socket ends; answers nothing (scenes are shorter than a ping).
pub async fn read_marks(mut stream: TcpStream, tally: Arc<Tally>, measure: bool) {
    let mut buffer = vec![0u8; 16 * 1024];
    let mut kept = 0;
    while let Ok(count) = stream.read(&mut buffer[kept..]).await {
        if count == 0 {
            return;
        }
        let total = kept + count;
        let mut at = 0;
        let mut found = 0;
        while let Some(next) = find(&buffer[at..total]) {
            let from = at + next + MARK.len();
            if from + TIME_DIGITS > total {
                break;
            }
            if measure
                && let Ok(text) = std::str::from_utf8(&buffer[from..from + TIME_DIGITS])
                && let Ok(sent) = text.parse::<u64>()
            {
                let late = tally.now_us().saturating_sub(sent);
                tally.latencies_us.lock().expect("no reader panics").push(late);
            }
            found += 1;
            at = from + TIME_DIGITS;
        }
        // A mark may stand across two reads.
        let keep_from = at.max(total.saturating_sub(MARK.len() + TIME_DIGITS));
        buffer.copy_within(keep_from..total, 0);
        kept = total - keep_from;
        tally.received.fetch_add(found, Ordering::Relaxed);
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    // The mark's first byte is rare in the payload, so that the generator's own work stays small.
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == MARK[0]) {
        let at = from + at;
        if bytes[at..].starts_with(MARK) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

pub struct Row {
    pub messages: u64,
    pub cpu_s: f64,
    pub latency_us: Option<(u64, u64)>,
}

/// How fast `count` messages go to `receivers` each.
#[derive(Clone, Copy)]
pub struct Load {
    pub count: u64,
    pub receivers: u64,
    pub per_s: u64,
    /// One by one instead of in steps of ten milliseconds, where it is the latency that counts.
    pub evenly: bool,
}

/// Sends messages with `publish`, waits for all deliveries, and takes the server's CPU.
pub async fn measured(
    stack: &Stack,
    tally: &Arc<Tally>,
    load: Load,
    mut publish: impl AsyncFnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Row> {
    let (cpu_before, before) = (stack.cpu_s()?, tally.received.load(Ordering::Relaxed));
    let begun = Instant::now();
    for n in 0..load.count {
        let due = Duration::from_micros(n * 1_000_000 / load.per_s);
        // In steps: at high rates a timer for each message would be the load itself.
        let slack = Duration::from_millis(if load.evenly { 0 } else { 10 });
        if due > begun.elapsed() + slack {
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        }
        publish(n).await?;
    }
    let wanted = load.count * load.receivers;
    let waiting = Instant::now();
    while tally.received.load(Ordering::Relaxed) - before < wanted {
        let got = tally.received.load(Ordering::Relaxed) - before;
        ensure!(waiting.elapsed() < Duration::from_secs(30), "{got} of {wanted} arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Row { messages: wanted, cpu_s: stack.cpu_s()? - cpu_before, latency_us: tally.percentiles_us() })
}

/// Publications in flight at a time: enough to keep one Redis connection busy, as a backend under load does.
const IN_FLIGHT: usize = 64;

/// Publishes through the backend library, or with a bare PUBLISH to the peer.
pub struct Publisher {
    ours: Option<(Arc<RedisBackend>, PublishOptions, Arc<tokio::sync::Semaphore>)>,
    bare: Option<tokio::net::tcp::OwnedWriteHalf>,
    kind: Kind,
}

impl Publisher {
    pub async fn new(stack: &Stack, options: PublishOptions) -> anyhow::Result<Publisher> {
        if stack.kind == Kind::Gateway {
            let permits = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
            return Ok(Publisher {
                ours: Some((stack.backend().await?, options, permits)),
                bare: None,
                kind: stack.kind,
            });
        }
        let (mut reader, mut writer) = TcpStream::connect(stack.redis_address()).await?.into_split();
        tokio::spawn(async move {
            let mut sink = vec![0; 64 * 1024];
            while reader.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        });
        if stack.kind == Kind::Nats {
            writer.write_all(b"CONNECT {\"verbose\":false}\r\n").await?;
        }
        Ok(Publisher { ours: None, bare: Some(writer), kind: stack.kind })
    }

    pub async fn publish(&mut self, channel: String, data: String) -> anyhow::Result<()> {
        if let Some((backend, options, permits)) = &self.ours {
            let permit = Arc::clone(permits).acquire_owned().await?;
            let (backend, options) = (Arc::clone(backend), options.clone());
            tokio::spawn(async move {
                if let Err(error) = backend.publish(&channel, NewPublication::of(data), &options).await {
                    eprintln!("not published: {error}");
                }
                drop(permit);
            });
            return Ok(());
        }
        if let Some(writer) = &mut self.bare {
            let text = match self.kind {
                Kind::Nats => format!("PUB {channel} {}\r\n{data}\r\n", data.len()),
                _ => resp(&["PUBLISH", &channel, &data]),
            };
            writer.write_all(text.as_bytes()).await?;
        }
        Ok(())
    }
}
