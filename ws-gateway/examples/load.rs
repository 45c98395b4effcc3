//! The load generator: starts a Redis, a server (this gateway, or the `ws` + `ioredis` peer) and thousands of
//! sockets, and prints what the *server's* CPU did per message. Absolute numbers drift with the machine; compare
//! rows of one run. See docs/performance.md.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};
use keyway_bus::{
    Backend, Channels, Delivery, Handler, NewPublication, Outcome, PublishOptions, RedisBackend,
    RedisOptions, ServeOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use ws_gateway::frame::{ClientFrame, encode_client};

#[derive(Parser)]
#[command(about = "Load for the gateway and its peer, measured in the server's CPU")]
struct Arguments {
    /// The gateway's binary, built with --release
    #[arg(long)]
    gateway: PathBuf,
    /// A folder with peer.mjs and node_modules (tests/clients/gateway after `npm ci`); without it only the
    /// gateway is measured
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Which scenes, in this order
    #[arg(value_enum, default_values_t = [Scene::Point, Scene::History, Scene::Relay, Scene::Fanout, Scene::Ramp])]
    scenes: Vec<Scene>,
    /// Sockets of the ramp
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// How often each scene is run; all results are printed
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Scene {
    /// One publication, one receiver, no history.
    Point,
    /// The same with history (the gateway only).
    History,
    /// Device -> backend -> phone.
    Relay,
    /// One publication, 1,000 receivers.
    Fanout,
    /// Idle sockets with one channel each: memory and connection rate.
    Ramp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Gateway,
    Peer,
}

/// Processes that end with the run.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Stack {
    kind: Kind,
    server: Started,
    address: SocketAddr,
    redis_port: u16,
    _redis: Started,
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn wait_for(port: u16) -> anyhow::Result<()> {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("nothing listens on {port} after 10 s")
}

impl Stack {
    async fn start(kind: Kind, arguments: &Arguments) -> anyhow::Result<Stack> {
        let (redis_port, port) = (free_port()?, free_port()?);
        let redis = Command::new("redis-server")
            .args(["--port", &redis_port.to_string(), "--save", "", "--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server")?;
        let redis = Started(redis);
        wait_for(redis_port).await?;
        let url = format!("redis://127.0.0.1:{redis_port}");
        let mut command = match (kind, &arguments.peer) {
            (Kind::Peer, Some(folder)) => {
                let mut command = Command::new("node");
                command.arg("peer.mjs").current_dir(folder).env("PORT", port.to_string()).env("REDIS", &url);
                command
            }
            (Kind::Peer, None) => bail!("--peer is needed for the peer"),
            (Kind::Gateway, _) => {
                let mut command = Command::new(&arguments.gateway);
                for (name, value) in [
                    ("INSECURE", "true"),
                    ("LISTEN", &format!("127.0.0.1:{port}")),
                    ("PRIVATE_LISTEN", "127.0.0.1:0"),
                    ("BUS__KIND", "redis"),
                    ("BUS__URL", &url),
                    ("LOG__FILTER", "warn"),
                    ("LIMITS__ACCEPTS_PER_S", "0"),
                    ("LIMITS__COMMANDS_PER_S", "0"),
                    ("LIMITS__USER_COMMANDS_PER_S", "0"),
                    ("NAMESPACES__LIVE__PRESENCE", "false"),
                    ("NAMESPACES__KEPT__HISTORY_SIZE", "100"),
                    ("NAMESPACES__KEPT__HISTORY_TTL_S", "60"),
                ] {
                    command.env(format!("KEYWAY_GATEWAY_{name}"), value);
                }
                command
            }
        };
        let server = Started(command.spawn().context("starting the server")?);
        wait_for(port).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Stack { kind, server, address, redis_port, _redis: redis })
    }

    /// User and system time of the server so far, in seconds.
    fn cpu_s(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server.0.id()))?;
        let after_name = stat.rsplit_once(')').context("stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        // Linux counts in hundredths of a second on every platform we run on.
        Ok(ticks / 100.0)
    }

    fn rss_kib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.0.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("VmRSS")?.parse()?)
    }

    async fn backend(&self) -> anyhow::Result<Arc<RedisBackend>> {
        Ok(RedisBackend::connect(RedisOptions::new(format!("redis://127.0.0.1:{}", self.redis_port))).await?)
    }

    /// A socket that hears `channel`.
    async fn subscriber(&self, number: usize, channel: &str) -> anyhow::Result<TcpStream> {
        let mut stream = open(self.address, number).await?;
        match self.kind {
            Kind::Gateway => {
                let both = format!(
                    "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
                );
                send(&mut stream, &both).await?;
                expect(&mut stream, "\"id\":2,\"subscribe\"").await?;
            }
            Kind::Peer => {
                send(&mut stream, &format!("{{\"sub\":\"{channel}\"}}")).await?;
                expect(&mut stream, "{\"ok\":1}").await?;
            }
        }
        Ok(stream)
    }
}

/// 20,000 sockets a source address stay clear of the ephemeral port range's end.
async fn open(address: SocketAddr, number: usize) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2 + (number / 20_000) as u8), 0)))?;
    let mut stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    expect(&mut stream, "\r\n\r\n").await?;
    Ok(stream)
}

async fn send(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let mut out = Vec::new();
    encode_client(&mut out, ClientFrame::Text, text.as_bytes(), [1, 2, 3, 4]);
    Ok(stream.write_all(&out).await?)
}

async fn expect(stream: &mut TcpStream, wanted: &str) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    let mut chunk = [0u8; 2048];
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let count = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut chunk)).await??;
        ensure!(count > 0, "closed before {wanted}: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..count]);
    }
    Ok(())
}

/// The payload's mark: counted in the byte stream, however messages share frames.
const MARK: &[u8] = b"@@at";

fn payload(sent_us: u64) -> String {
    let padding = "x".repeat(200 - 34);
    format!("{{\"t\":\"@@at{sent_us:016}\",\"p\":\"{padding}\"}}")
}

/// What all readers saw.
struct Tally {
    received: AtomicU64,
    latencies_us: std::sync::Mutex<Vec<u64>>,
    begun: Instant,
}

impl Tally {
    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}

/// Counts marks until the socket ends; answers nothing (scenes are shorter than a ping).
async fn read_marks(mut stream: TcpStream, tally: Arc<Tally>, measure: bool) {
    let mut buffer = vec![0u8; 16 * 1024];
    let mut kept = 0;
    while let Ok(count) = stream.read(&mut buffer[kept..]).await {
        if count == 0 {
            return;
        }
        let total = kept + count;
        let mut at = 0;
        let mut found = 0;
        while let Some(next) = buffer[at..total].windows(MARK.len()).position(|window| window == MARK) {
            let from = at + next + MARK.len();
            if from + 16 > total {
                break;
            }
            if measure
                && let Ok(text) = std::str::from_utf8(&buffer[from..from + 16])
                && let Ok(sent) = text.parse::<u64>()
            {
                let late = tally.now_us().saturating_sub(sent);
                tally.latencies_us.lock().expect("no reader panics").push(late);
            }
            found += 1;
            at = from + 16;
        }
        // A mark may stand across two reads.
        let keep_from = at.max(total.saturating_sub(MARK.len() + 16));
        buffer.copy_within(keep_from..total, 0);
        kept = total - keep_from;
        tally.received.fetch_add(found, Ordering::Relaxed);
    }
}

struct Row {
    messages: u64,
    cpu_s: f64,
    p50_us: Option<u64>,
}

/// Sends `count` messages at `per_s` with `publish`, waits for all deliveries, and takes the server's CPU.
async fn measured(
    stack: &Stack,
    tally: &Arc<Tally>,
    count: u64,
    receivers: u64,
    per_s: u64,
    mut publish: impl AsyncFnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Row> {
    let (cpu_before, before) = (stack.cpu_s()?, tally.received.load(Ordering::Relaxed));
    let begun = Instant::now();
    for n in 0..count {
        // In steps of ten milliseconds: a timer for each message would be the load itself.
        let due = Duration::from_micros(n * 1_000_000 / per_s);
        if due > begun.elapsed() + Duration::from_millis(10) {
            tokio::time::sleep(due - begun.elapsed()).await;
        }
        publish(n).await?;
    }
    let wanted = count * receivers;
    let waiting = Instant::now();
    while tally.received.load(Ordering::Relaxed) - before < wanted {
        let got = tally.received.load(Ordering::Relaxed) - before;
        ensure!(waiting.elapsed() < Duration::from_secs(30), "{got} of {wanted} arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut latencies = std::mem::take(&mut *tally.latencies_us.lock().expect("no reader panics"));
    latencies.sort_unstable();
    Ok(Row {
        messages: wanted,
        cpu_s: stack.cpu_s()? - cpu_before,
        p50_us: latencies.get(latencies.len() / 2).copied(),
    })
}

fn tally() -> Arc<Tally> {
    Arc::new(Tally { received: AtomicU64::new(0), latencies_us: Default::default(), begun: Instant::now() })
}

/// Publications in flight at a time: enough to keep one Redis connection busy, as a backend under load does.
const IN_FLIGHT: usize = 64;

/// Publishes through the backend library, or with a bare PUBLISH to the peer.
struct Publisher {
    ours: Option<(Arc<RedisBackend>, PublishOptions, Arc<tokio::sync::Semaphore>)>,
    bare: Option<tokio::net::tcp::OwnedWriteHalf>,
}

impl Publisher {
    async fn new(stack: &Stack, options: PublishOptions) -> anyhow::Result<Publisher> {
        if stack.kind == Kind::Gateway {
            let permits = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
            return Ok(Publisher { ours: Some((stack.backend().await?, options, permits)), bare: None });
        }
        let (mut reader, writer) = TcpStream::connect(("127.0.0.1", stack.redis_port)).await?.into_split();
        tokio::spawn(async move {
            let mut sink = vec![0; 64 * 1024];
            while reader.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        });
        Ok(Publisher { ours: None, bare: Some(writer) })
    }

    async fn publish(&mut self, channel: String, data: String) -> anyhow::Result<()> {
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
            writer.write_all(resp(&["PUBLISH", &channel, &data]).as_bytes()).await?;
        }
        Ok(())
    }
}

fn resp(words: &[&str]) -> String {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out
}

async fn point(stack: &Stack, namespace: &str, options: PublishOptions) -> anyhow::Result<Row> {
    let tally = tally();
    for n in 0..200 {
        let stream = stack.subscriber(n, &format!("{namespace}:a.{n}")).await?;
        tokio::spawn(read_marks(stream, Arc::clone(&tally), true));
    }
    let mut publisher = Publisher::new(stack, options).await?;
    let times = Arc::clone(&tally);
    measured(stack, &tally, 60_000, 1, 12_000, async |n| {
        publisher.publish(format!("{namespace}:a.{}", n % 200), payload(times.now_us())).await
    })
    .await
}

async fn fanout(stack: &Stack) -> anyhow::Result<Row> {
    let tally = tally();
    for n in 0..1000 {
        let stream = stack.subscriber(n, "live:a.all").await?;
        tokio::spawn(read_marks(stream, Arc::clone(&tally), n % 50 == 0));
    }
    let mut publisher = Publisher::new(stack, PublishOptions::default()).await?;
    let times = Arc::clone(&tally);
    measured(stack, &tally, 1_000, 1000, 200, async |_| {
        publisher.publish("live:a.all".to_owned(), payload(times.now_us())).await
    })
    .await
}

/// 100 devices report, a backend answers and tells 100 phones.
async fn relay(stack: &Stack) -> anyhow::Result<Row> {
    let tally = tally();
    let mut devices = Vec::new();
    for n in 0..100 {
        let phone = stack.subscriber(n, &format!("live:a.{n}")).await?;
        tokio::spawn(read_marks(phone, Arc::clone(&tally), true));
        let device = stack.subscriber(n, &format!("live:d.{n}")).await?;
        let (mut reader, writer) = device.into_split();
        tokio::spawn(async move {
            let mut sink = vec![0; 16 * 1024];
            while reader.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        });
        devices.push(writer);
    }
    let serving = match stack.kind {
        Kind::Gateway => {
            let backend = stack.backend().await?;
            let publisher = Arc::clone(&backend);
            let handler = Handler::new(move |delivery: Delivery| {
                let publisher = Arc::clone(&publisher);
                async move {
                    let channel = format!("live:a.{}", delivery.request.method);
                    let publication = NewPublication::of(delivery.request.data);
                    match publisher.publish(&channel, publication, &PublishOptions::default()).await {
                        Ok(_) => Outcome::Reply(Ok("{}".into())),
                        Err(error) => {
                            Outcome::Reply(Err(keyway_bus::ReplyError::temporary(error.to_string())))
                        }
                    }
                }
            });
            tokio::spawn(async move {
                let options = ServeOptions::default();
                let forever = Box::pin(std::future::pending());
                if let Err(error) = backend.serve(options, handler, forever).await {
                    eprintln!("the backend ended: {error}");
                }
            })
        }
        Kind::Peer => {
            let (mut reader, mut writer) =
                TcpStream::connect(("127.0.0.1", stack.redis_port)).await?.into_split();
            writer.write_all(resp(&["SUBSCRIBE", "up"]).as_bytes()).await?;
            let mut publisher = Publisher::new(stack, PublishOptions::default()).await?;
            tokio::spawn(async move {
                // Messages are of one length, so the number stands at a known distance before the mark.
                let mut text = String::new();
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = reader.read(&mut chunk).await {
                    text.push_str(&String::from_utf8_lossy(&chunk[..count]));
                    while let (Some(from), Some(end)) = (text.find("{\"to\":"), text.find("}}\r\n")) {
                        let message: String = text[from..end + 2].to_owned();
                        text.drain(..end + 4);
                        let to = message[6..].split(',').next().unwrap_or("0").to_owned();
                        let data =
                            message[message.find("\"data\":").unwrap_or(0) + 7..message.len() - 1].to_owned();
                        if publisher.publish(format!("live:a.{to}"), data).await.is_err() {
                            return;
                        }
                    }
                }
                drop(writer);
            })
        }
    };
    // Leases are taken within moments; the first requests wait for them.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (times, kind) = (Arc::clone(&tally), stack.kind);
    let row = measured(stack, &tally, 20_000, 1, 4_000, async |n| {
        let (to, data) = ((n % 100) as usize, payload(times.now_us()));
        let text = match kind {
            Kind::Gateway => format!("{{\"id\":{},\"rpc\":{{\"method\":\"{to}\",\"data\":{data}}}}}", n + 10),
            Kind::Peer => format!("{{\"to\":{to},\"data\":{data}}}"),
        };
        let mut out = Vec::new();
        encode_client(&mut out, ClientFrame::Text, text.as_bytes(), [1, 2, 3, 4]);
        Ok(devices[to].write_all(&out).await?)
    })
    .await;
    serving.abort();
    row
}

async fn ramp(stack: &Stack, count: usize) -> anyhow::Result<()> {
    // What a process needs before its first thousand sockets is no cost per connection.
    let mut sockets = Vec::new();
    for n in 0..500 {
        sockets.push(stack.subscriber(n, &format!("live:a.{n}")).await?);
    }
    let (rss_before, cpu_before, begun) = (stack.rss_kib()?, stack.cpu_s()?, Instant::now());
    let mut opening = tokio::task::JoinSet::new();
    let mut next = 500;
    while next < count || !opening.is_empty() {
        while next < count && opening.len() < 64 {
            let (address, kind, number) = (stack.address, stack.kind, next);
            opening.spawn(async move {
                let mut stream = open(address, number).await?;
                let text = match kind {
                    Kind::Gateway => format!(
                        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"live:a.{number}\"}}}}"
                    ),
                    Kind::Peer => format!("{{\"sub\":\"live:a.{number}\"}}"),
                };
                send(&mut stream, &text).await?;
                let wanted = if kind == Kind::Gateway { "\"subscribe\"" } else { "{\"ok\":1}" };
                expect(&mut stream, wanted).await?;
                anyhow::Ok(stream)
            });
            next += 1;
        }
        if let Some(opened) = opening.join_next().await {
            sockets.push(opened??);
        }
    }
    let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), stack.cpu_s()? - cpu_before);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let opened = (count - 500) as f64;
    println!(
        "{:?} Ramp: {} sockets, {:.1} KiB RSS each ({:.0} KiB in all), {:.0} opened per second, {:.0} per CPU-second",
        stack.kind,
        sockets.len(),
        (stack.rss_kib()? - rss_before) / opened,
        stack.rss_kib()?,
        opened / wall_s,
        opened / cpu_s
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let kinds: &[Kind] =
        if arguments.peer.is_some() { &[Kind::Gateway, Kind::Peer] } else { &[Kind::Gateway] };
    for scene in &arguments.scenes {
        for round in 0..arguments.rounds * kinds.len() {
            let kind = kinds[round % kinds.len()];
            if *scene == Scene::History && kind == Kind::Peer {
                continue;
            }
            let stack = Stack::start(kind, &arguments).await?;
            let row = match scene {
                Scene::Point => point(&stack, "live", PublishOptions::default()).await?,
                Scene::History => point(&stack, "kept", PublishOptions::with_history(100, 60_000)).await?,
                Scene::Relay => relay(&stack).await?,
                Scene::Fanout => fanout(&stack).await?,
                Scene::Ramp => {
                    ramp(&stack, arguments.idle).await?;
                    continue;
                }
            };
            println!(
                "{kind:?} {scene:?}: {} messages, {:.2} CPU-s, {:.0} per CPU-second, p50 {} us",
                row.messages,
                row.cpu_s,
                row.messages as f64 / row.cpu_s,
                row.p50_us.unwrap_or(0)
            );
        }
    }
    Ok(())
}
