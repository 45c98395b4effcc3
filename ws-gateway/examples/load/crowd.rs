//! Scenes of many sockets, or of one that misbehaves: idle ones, a whole node's worth that comes back at once, and
//! a reader that stops reading.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use keyway_bus::{Channels, NewPublication, PublishOptions};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stack::{Kind, Programs, Stack, cpu_s, expect, open, send};
use crate::traffic::{Load, Publisher, Tally, measured, payload, read_marks};

/// Handshakes under way at a time.
const OPENING: usize = 64;

/// What a process needs before its first sockets is no cost per connection.
const WARM: usize = 500;

pub async fn ramp(stack: &Stack, count: usize) -> anyhow::Result<String> {
    // Signed beforehand: the generator's work is not to be measured.
    let greetings: Vec<String> = (0..count).map(|n| stack.greeting(n, &format!("live:a.{n}"))).collect();
    let mut sockets = Vec::new();
    for (n, greeting) in greetings.iter().enumerate().take(WARM) {
        sockets.push(greet(stack, n, greeting).await?);
    }
    let (rss_before, cpu_before, begun) = (stack.rss_kib()?, stack.cpu_s()?, Instant::now());
    for (n, greeting) in greetings.iter().enumerate().skip(WARM) {
        if n % OPENING == 0 {
            let last = (n + OPENING).min(count);
            let opening = (n..last).map(|n| greet(stack, n, &greetings[n]));
            sockets.extend(futures::future::try_join_all(opening).await?);
        } else if n < WARM.next_multiple_of(OPENING) {
            sockets.push(greet(stack, n, greeting).await?);
        }
    }
    let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), stack.cpu_s()? - cpu_before);
    // What the handshakes needed for a moment is given back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let opened = (count - WARM) as f64;
    Ok(format!(
        "{} sockets, {:.1} KiB RSS each ({:.0} KiB in all), {:.0} opened per second, {:.0} per CPU-second",
        sockets.len(),
        (stack.rss_kib()? - rss_before) / opened,
        stack.rss_kib()?,
        opened / wall_s,
        opened / cpu_s
    ))
}

async fn greet(stack: &Stack, number: usize, greeting: &str) -> anyhow::Result<TcpStream> {
    let mut stream = open(stack.address, number, None).await?;
    send(&mut stream, greeting).await?;
    expect(&mut stream, stack.welcome()).await?;
    Ok(stream)
}

/// `count` clients lose their node and come to another one at once, without the pause that SDKs make, each with its
/// position in a channel in which something was published meanwhile.
pub async fn storm(stack: &Stack, programs: &Programs, count: usize) -> anyhow::Result<String> {
    const CHANNELS: usize = 200;
    let backend = stack.backend().await?;
    let options = PublishOptions::with_history(300, 60_000);
    let mut epochs = Vec::new();
    for n in 0..CHANNELS {
        let channel = format!("kept:a.{n}");
        let published = backend.publish(&channel, NewPublication::of(payload(0, 200)), &options).await?;
        epochs.push(published.position.epoch.to_string());
    }
    let mut before = Vec::new();
    for n in 0..count {
        before.push(greet(stack, n, &stack.greeting(n, &format!("kept:a.{}", n % CHANNELS))).await?);
    }
    let (second, address) = stack.another(programs).await?;
    // Both nodes exist before: the first one dies, as a machine does.
    let pid = stack.server.0.id().to_string();
    ensure!(std::process::Command::new("kill").args(["-KILL", &pid]).status()?.success(), "kill");
    for n in 0..CHANNELS {
        let channel = format!("kept:a.{n}");
        backend.publish(&channel, NewPublication::of(payload(1, 200)), &options).await?;
    }
    drop(before);
    let (cpu_before, begun) = (cpu_s(&second)?, Instant::now());
    let epochs = Arc::new(epochs);
    let mut coming = JoinSet::new();
    for n in 0..count {
        let epochs = Arc::clone(&epochs);
        coming.spawn(async move { come_back(address, n, n % CHANNELS, &epochs[n % CHANNELS], begun).await });
    }
    let (mut took, mut retries, mut kept) = (Vec::new(), 0, Vec::new());
    while let Some(one) = coming.join_next().await {
        let (stream, ms, tries) = one??;
        kept.push(stream);
        took.push(ms);
        retries += tries;
    }
    took.sort_unstable();
    Ok(format!(
        "{count} clients back and recovered in {} ms (median {} ms), {retries} tries refused, {:.2} CPU-s of the node",
        took.last().copied().unwrap_or(0),
        took[took.len() / 2],
        cpu_s(&second)? - cpu_before
    ))
}

async fn come_back(
    address: std::net::SocketAddr,
    number: usize,
    channel: usize,
    epoch: &str,
    begun: Instant,
) -> anyhow::Result<(TcpStream, u64, u64)> {
    let text = format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"kept:a.{channel}\",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":1}}}}"
    );
    // Bounded by time: a node that never lets somebody in has failed.
    let mut tries = 0;
    while begun.elapsed() < Duration::from_secs(120) {
        let attempt = async {
            let mut stream = open(address, number, None).await?;
            send(&mut stream, &text).await?;
            let seen = expect(&mut stream, "\"id\":2,").await?;
            anyhow::Ok((stream, seen))
        };
        match attempt.await {
            Ok((stream, seen)) if seen.contains("\"recovered\":true") => {
                return Ok((stream, begun.elapsed().as_millis() as u64, tries));
            }
            Ok((_, seen)) if seen.contains("\"temporary\":true") => {}
            Ok((_, seen)) => anyhow::bail!("not recovered: {seen}"),
            Err(_) => {}
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("client {number} never came back")
}

/// Twenty readers of one channel, one of which stops; 5,000 publications of 8 KiB.
pub async fn slow(stack: &Stack) -> anyhow::Result<String> {
    const BYTES: usize = 8 * 1024;
    /// More than the bound of 1 MiB and the kernel's buffers, less than a recovery holds.
    const UNTIL_BACK: u64 = 260;
    let tally = Tally::new();
    let namespace = if stack.kind == Kind::Gateway { "kept" } else { "live" };
    let channel = format!("{namespace}:a.slow");
    let options = match stack.kind {
        Kind::Gateway => PublishOptions::with_history(300, 60_000),
        Kind::Peer | Kind::Nats => PublishOptions::default(),
    };
    let mut stopped = open(stack.address, 0, Some(16 * 1024)).await?;
    send(&mut stopped, &stack.greeting(0, &channel)).await?;
    let welcome = expect(&mut stopped, stack.welcome()).await?;
    for n in 1..20 {
        let stream = stack.subscriber(n, &channel).await?;
        tokio::spawn(read_marks(stream, Arc::clone(&tally), true));
    }
    let rss_before = stack.rss_kib()?;
    let mut publisher = Publisher::new(stack, options).await?;
    let times = Arc::clone(&tally);
    let load = |count| Load { count, receivers: 19, per_s: 500, evenly: true };
    let mut publish = async |_: u64| publisher.publish(channel.clone(), payload(times.now_us(), BYTES)).await;
    let first = measured(stack, &tally, load(UNTIL_BACK), &mut publish).await?;
    let rss_first = stack.rss_kib()?;
    let story = match stack.kind {
        Kind::Gateway => come_back_slowly(stack, stopped, &welcome, &channel, UNTIL_BACK).await?,
        Kind::Peer | Kind::Nats => {
            // It stays as it is: nothing closes it.
            std::mem::forget(stopped);
            "stays open".to_owned()
        }
    };
    let second = measured(stack, &tally, load(5_000 - UNTIL_BACK), &mut publish).await?;
    Ok(format!(
        "RSS +{:.0} KiB after {UNTIL_BACK}, +{:.0} KiB after 5,000 publications of 8 KiB; the others' p50 {} us, then {} us; {story}",
        rss_first - rss_before,
        stack.rss_kib()? - rss_before,
        first.latency_us.map_or(0, |(p50, _)| p50),
        second.latency_us.map_or(0, |(p50, _)| p50),
    ))
}

/// The reader wakes up: what it had in its buffers, the close frame, then everything else by recovery.
async fn come_back_slowly(
    stack: &Stack,
    mut stopped: TcpStream,
    welcome: &str,
    channel: &str,
    published: u64,
) -> anyhow::Result<String> {
    let mut rest = Vec::new();
    // A cut instead of the close frame is possible, too: the node waits five seconds for a reader.
    let ended = tokio::time::timeout(Duration::from_secs(20), stopped.read_to_end(&mut rest)).await?;
    let heard = String::from_utf8_lossy(&rest).matches("@@at").count() as u64;
    let closed = rest.windows(6).any(|window| window == [0x0b, 0xc0, b's', b'l', b'o', b'w']);
    let epoch =
        welcome.split("\"epoch\":\"").nth(1).and_then(|rest| rest.split('"').next()).context("no epoch")?;
    // Only whole publications move the position; the one that was cut comes again.
    let offset = heard.saturating_sub(1);
    let mut again = open(stack.address, 1, None).await?;
    let text = format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":{offset}}}}}"
    );
    send(&mut again, &text).await?;
    let seen = expect(&mut again, "\"was_recovering\":true").await?;
    let recovered = seen.matches("@@at").count() as u64;
    ensure!(offset + recovered == published, "{offset} heard and {recovered} recovered of {published}");
    Ok(format!(
        "closed with 3008: {closed} ({}), {heard} heard before, {recovered} recovered, none missing",
        ended.map_or_else(|error| error.kind().to_string(), |_| "in order".to_owned())
    ))
}
