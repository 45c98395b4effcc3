//! How much one CPU-second of a gateway's bus does on loopback Redis: publications sent and received, with and
//! without history, and requests answered by a backend in another process. It measures this process's CPU
//! time, not the wall clock: Redis and the backend have their own. Absolute numbers drift with the machine;
//! compare runs on the same one.
//!
//! `cargo bench -p keyway-bus -- [--redis redis://...] [--messages 200000] [--tasks 64]`

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use futures::FutureExt;
use futures::future::join_all;
use keyway_bus::{
    Backend, Bus, BusEvent, Channels, EventSink, Handler, HistoryFilter, NewPublication, Outcome,
    PublishOptions, RedisBackend, RedisBus, RedisOptions, Request, ServeOptions,
};

const PAYLOAD: [u8; 200] = [b'x'; 200];

#[derive(Parser, Clone)]
struct Arguments {
    /// A running Redis; without it one is started on a free port.
    #[arg(long)]
    redis: Option<String>,
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Tasks that publish or ask at the same time, each in its own channel.
    #[arg(long, default_value_t = 64)]
    tasks: u64,
    /// `backend`: serve echoes until killed (what this program starts beside itself).
    #[arg(long)]
    role: Option<String>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match arguments.role.as_deref() {
            Some("backend") => serve(&arguments).await,
            _ => measure(arguments).await,
        }
    })
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let url = arguments.redis.clone().context("--role backend needs --redis")?;
    let backend = RedisBackend::connect(RedisOptions::new(url)).await?;
    let echo = Handler::new(|delivery| async move { Outcome::Reply(Ok(delivery.request.data)) });
    backend.serve(ServeOptions::default(), echo, std::future::pending().boxed()).await?;
    Ok(())
}

/// A process that ends with this one.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(mut arguments: Arguments) -> anyhow::Result<()> {
    let _server = match &arguments.redis {
        Some(_) => None,
        None => {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"]);
            let child =
                command.stdout(Stdio::null()).spawn().context("install the Debian package redis-server")?;
            arguments.redis = Some(format!("redis://127.0.0.1:{port}"));
            Some(Beside(child))
        }
    };
    let url = arguments.redis.clone().context("set above")?;
    let received = Arc::new(AtomicU64::new(0));
    let node = connect(&url, &received).await?;
    println!("{} messages of {} bytes, {} tasks", arguments.messages, PAYLOAD.len(), arguments.tasks);
    publish(&node, &received, &arguments, "publish + receive", PublishOptions::default()).await?;
    let kept = PublishOptions::with_history(100, 60_000);
    publish(&node, &received, &arguments, "publish + receive, history 100", kept).await?;

    let mut command = Command::new(std::env::current_exe()?);
    let _backend = Beside(command.args(["--role", "backend", "--redis", &url]).spawn()?);
    ask(&node, &arguments, 1_000).await?;
    let begun = Sample::now()?;
    ask(&node, &arguments, arguments.messages / 2).await?;
    begun.report("request + reply (gateway side)", arguments.messages / 2)?;
    let lone = Instant::now();
    let count = 2_000;
    for number in 0..count {
        node.request(question(number)).await?.map_err(anyhow::Error::from)?;
    }
    println!(
        "{:<36} {:>8.0} us a request, one at a time",
        "round trip through the backend",
        lone.elapsed().as_micros() as f64 / count as f64
    );
    println!("{:?}", node.health());
    Ok(())
}

async fn connect(url: &str, received: &Arc<AtomicU64>) -> anyhow::Result<Arc<RedisBus>> {
    let received = Arc::clone(received);
    let sink: EventSink = Arc::new(move |event| {
        if matches!(event, BusEvent::Publication { .. }) {
            received.fetch_add(1, Ordering::Relaxed);
        }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    // A server just started needs a moment.
    loop {
        match RedisBus::connect(RedisOptions::new(url), Arc::clone(&sink)).await {
            Err(error) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(error);
            }
            connected => return Ok(connected?),
        }
    }
}

async fn publish(
    node: &Arc<RedisBus>,
    received: &AtomicU64,
    arguments: &Arguments,
    what: &str,
    options: PublishOptions,
) -> anyhow::Result<()> {
    for task in 0..arguments.tasks {
        let channel = format!("site:bench.{task}");
        node.subscribe(&channel).await?;
        node.history(&channel, HistoryFilter::top()).await?;
    }
    let each = arguments.messages / arguments.tasks;
    let total = each * arguments.tasks;
    let before = received.load(Ordering::Relaxed);
    let begun = Sample::now()?;
    let tasks = (0..arguments.tasks).map(|task| {
        let (node, options) = (Arc::clone(node), options.clone());
        tokio::spawn(async move {
            let channel = format!("site:bench.{task}");
            for _ in 0..each {
                node.publish(&channel, NewPublication::of(Bytes::from_static(&PAYLOAD)), &options).await?;
            }
            anyhow::Ok(())
        })
    });
    for task in join_all(tasks).await {
        task??;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while received.load(Ordering::Relaxed) < before + total {
        ensure!(
            Instant::now() < deadline,
            "{} of {total} received",
            received.load(Ordering::Relaxed) - before
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    begun.report(what, total)
}

fn question(number: u64) -> Request {
    Request {
        method: "bench.echo".to_owned(),
        data: Bytes::from_static(&PAYLOAD),
        user: "person".to_owned(),
        client: "2f0c9d6e-0000-4000-8000-000000000000".to_owned(),
        tenant: "acme".to_owned(),
        partition_key: format!("device-{}", number % 1_000),
        deadline_ms: 0,
        meta: Bytes::new(),
    }
}

async fn ask(node: &Arc<RedisBus>, arguments: &Arguments, total: u64) -> anyhow::Result<()> {
    let tasks = (0..arguments.tasks).map(|task| {
        let (node, tasks) = (Arc::clone(node), arguments.tasks);
        tokio::spawn(async move {
            for number in (task..total).step_by(tasks as usize) {
                node.request(question(number)).await?.map_err(anyhow::Error::from)?;
            }
            anyhow::Ok(())
        })
    });
    for task in join_all(tasks).await {
        task??;
    }
    Ok(())
}

struct Sample {
    cpu: Duration,
    wall: Instant,
}

impl Sample {
    fn now() -> anyhow::Result<Sample> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // After the name in parentheses: state is field 3, utime and stime are fields 14 and 15, in 1/100 s.
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Sample { cpu: Duration::from_millis(ticks * 10), wall: Instant::now() })
    }

    fn report(&self, what: &str, count: u64) -> anyhow::Result<()> {
        let cpu = Sample::now()?.cpu.saturating_sub(self.cpu).as_secs_f64();
        let wall = self.wall.elapsed().as_secs_f64();
        println!(
            "{what:<36} {:>8.0} per CPU-second ({:.2} us each), {:.0} per second",
            count as f64 / cpu,
            cpu * 1e6 / count as f64,
            count as f64 / wall
        );
        Ok(())
    }
}
