//! Calls while things break. A reply means committed: whatever happens to gateways and Redis, no device is ever told
//! that something is done which the backend has not done, every call is done in the end, and each device's in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use keyway_bus::{Backend, Delivery, Handler, Outcome, RedisBackend, RedisOptions, ServeOptions};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::process::{GatewayProcess, Redis};
use crate::raw::{Seen, open_within};
use crate::scene::WITHIN;

/// What the backend has committed, by device, in the order in which it came first.
type Ledger = Arc<Mutex<HashMap<String, Vec<u64>>>>;

const DEVICES: usize = 6;
const EVENTS: u64 = 60;

/// Keeps what it is told, once, as core's database does.
fn serve(url: String, ledger: Ledger) -> JoinHandle<()> {
    let handler = Handler::new(move |delivery: Delivery| {
        let ledger = Arc::clone(&ledger);
        async move {
            let event: Value = serde_json::from_slice(&delivery.request.data).unwrap();
            let (device, number) =
                (event["device"].as_str().unwrap().to_owned(), event["n"].as_u64().unwrap());
            let mut ledger = ledger.lock().unwrap();
            let events = ledger.entry(device).or_default();
            if !events.contains(&number) {
                events.push(number);
            }
            Outcome::Reply(Ok(json!({"watermark": number}).to_string().into()))
        }
    });
    tokio::spawn(async move {
        let backend = RedisBackend::connect(RedisOptions::new(url)).await.unwrap();
        let options = ServeOptions { lease_ms: 2_000, ..ServeOptions::default() };
        backend.serve(options, handler, std::future::pending().boxed()).await.unwrap();
    })
}

/// A device with an outbox: an event leaves it only when a reply says that it is committed.
async fn report(addresses: Vec<SocketAddr>, device: String, ledger: Ledger) -> u32 {
    let (mut next, mut turn, mut connects) = (1, device.len(), 0);
    let begun = Instant::now();
    while next <= EVENTS {
        assert!(begun.elapsed() < WITHIN, "{device} got to {next}");
        turn += 1;
        let Some(mut raw) = open_within(addresses[turn % addresses.len()], Duration::from_millis(500)).await
        else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        connects += 1;
        raw.send(r#"{"id":1,"connect":{}}"#).await;
        while next <= EVENTS {
            let data = json!({"device": device, "n": next});
            raw.send(&json!({"id": next + 1, "rpc": {"method": "event.report", "data": data}}).to_string())
                .await;
            let Some(reply) = reply_to(&mut raw, next + 1).await else { break };
            if reply["rpc"].is_object() {
                let is_done =
                    ledger.lock().unwrap().get(&device).is_some_and(|events| events.contains(&next));
                assert!(is_done, "{device} was told that {next} is done: {reply}");
                next += 1;
            } else {
                assert_eq!(reply["error"]["temporary"], true, "{reply}");
            }
        }
    }
    connects
}

async fn reply_to(raw: &mut crate::raw::Raw, id: u64) -> Option<Value> {
    loop {
        let Seen::Line(line) = raw.next().await else { return None };
        if line == "{}" {
            raw.send("{}").await;
            continue;
        }
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["id"] == id {
            return Some(message);
        }
    }
}

struct Stage {
    redis: Redis,
    gateways: Vec<GatewayProcess>,
    ledger: Ledger,
    serving: JoinHandle<()>,
    devices: JoinSet<u32>,
}

impl Stage {
    async fn set() -> Stage {
        let redis = Redis::start();
        let gateways: Vec<GatewayProcess> =
            (0..2).map(|_| GatewayProcess::start_with(&redis.url(), &[])).collect();
        let ledger = Ledger::default();
        let serving = serve(redis.url(), Arc::clone(&ledger));
        let addresses: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.public).collect();
        let mut devices = JoinSet::new();
        for n in 0..DEVICES {
            devices.spawn(report(
                addresses.clone(),
                format!("dev_{n}{}", "x".repeat(n)),
                Arc::clone(&ledger),
            ));
        }
        let stage = Stage { redis, gateways, ledger, serving, devices };
        stage.until_committed(5).await;
        stage
    }

    /// Waits until the slowest device has got that far.
    async fn until_committed(&self, count: usize) {
        let begun = Instant::now();
        loop {
            let slowest = {
                let ledger = self.ledger.lock().unwrap();
                if ledger.len() < DEVICES { 0 } else { ledger.values().map(Vec::len).min().unwrap_or(0) }
            };
            if slowest >= count {
                return;
            }
            assert!(begun.elapsed() < WITHIN, "the slowest device has {slowest} of {count}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(mut self) {
        while let Some(device) = self.devices.join_next().await {
            assert!(device.unwrap() >= 1);
        }
        self.serving.abort();
        for (device, events) in self.ledger.lock().unwrap().iter() {
            assert_eq!(*events, (1..=EVENTS).collect::<Vec<u64>>(), "{device}: all, in order");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_done_that_is_not_when_gateways_restart() {
    let mut stage = Stage::set().await;
    stage.gateways[0].kill();
    stage.gateways[0].start_again();
    stage.until_committed(15).await;
    tokio::task::block_in_place(|| {
        stage.gateways[1].terminate();
        stage.gateways[1].start_again();
    });
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_done_that_is_not_when_redis_restarts() {
    let mut stage = Stage::set().await;
    stage.redis.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.redis.start_again(true);
    stage.until_committed(15).await;
    // Without its data: what waited in the streams is gone, and devices that had no reply report it again.
    stage.redis.kill();
    stage.redis.start_again(false);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_done_that_is_not_when_the_backend_dies() {
    let mut stage = Stage::set().await;
    stage.serving.abort();
    stage.serving = serve(stage.redis.url(), Arc::clone(&stage.ledger));
    stage.end().await;
}
