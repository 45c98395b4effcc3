//! A small backend: serves requests from gateways and publishes what came of them. Start a Redis and two of
//! these, and they share the partitions; stop one, and the other takes over.
//!
//! `cargo run -p keyway-bus --example backend -- --redis redis://127.0.0.1:6379`

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Parser;
use futures::FutureExt;
use keyway_bus::{
    Backend, Channels, Delivery, Handler, NewPublication, Outcome, PublishOptions, RedisBackend,
    RedisOptions, ReplyError, ServeOptions,
};

#[derive(Parser)]
struct Arguments {
    /// redis://, rediss://, redis-sentinel:// or redis-cluster://
    #[arg(long, env = "KEYWAY_REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    redis: String,
    /// The prefix of every key.
    #[arg(long, default_value = "kw")]
    prefix: String,
    /// How long each request takes, as a database would.
    #[arg(long, default_value_t = 0)]
    work_ms: u64,
    /// How long a crash of this process is felt.
    #[arg(long, default_value_t = 3_000)]
    lease_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let arguments = Arguments::parse();
    let options = RedisOptions { key_prefix: arguments.prefix, ..RedisOptions::new(arguments.redis) };
    let backend = RedisBackend::connect(options).await?;
    let work = Duration::from_millis(arguments.work_ms);
    let handler = {
        let backend = Arc::clone(&backend);
        Handler::new(move |delivery| answer(Arc::clone(&backend), delivery, work))
    };
    let serve =
        ServeOptions { name: "example".to_owned(), lease_ms: arguments.lease_ms, ..ServeOptions::default() };
    let stop = tokio::signal::ctrl_c().map(|_| ()).boxed();
    backend.serve(serve, handler, stop).await?;
    Ok(())
}

async fn answer(backend: Arc<RedisBackend>, delivery: Delivery, work: Duration) -> Outcome {
    let Delivery { request, deliveries, .. } = delivery;
    tokio::time::sleep(work).await;
    match request.method.as_str() {
        "example.echo" => Outcome::Reply(Ok(request.data)),
        "example.time" => Outcome::Reply(Ok(Bytes::from(now_ms().to_string()))),
        "example.tell" => {
            // The request's own bytes name the event: delivered twice, it is published once.
            let key = format!("{}-{:x}", request.client, crc(&request.data));
            let channel = format!("site:{}.example", request.tenant);
            let publication = NewPublication { time_ms: now_ms(), ..NewPublication::of(request.data) };
            let options = PublishOptions::with_history(100, 3_600_000).once(key);
            match backend.publish(&channel, publication, &options).await {
                Ok(published) => Outcome::Reply(Ok(Bytes::from(published.position.offset.to_string()))),
                // Nothing may be acknowledged that is not done.
                Err(error) => Outcome::Retry(error.to_string()),
            }
        }
        _ => {
            tracing::info!(request.method, deliveries, "unknown method");
            Outcome::Reply(Err(ReplyError::new(104, "method not found")))
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn crc(data: &[u8]) -> u64 {
    data.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
