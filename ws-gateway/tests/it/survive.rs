//! Real gateways and a real Redis while things break. One property for all faults: every follower gets every
//! publication that its publisher was told is stored, in order and once, or is told that it could not be had.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyway_bus::{Channels, NewPublication, PublishOptions, RedisBackend, RedisOptions};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::process::{GatewayProcess, Redis};
use crate::raw::{Raw, Seen, open_within};

const CHANNEL: &str = "site:acme.s1";

/// All of a fault, its repair and the catching up.
const WITHIN: Duration = Duration::from_secs(60);

/// What a follower went through.
#[derive(Debug, Default)]
struct Journey {
    heard: Vec<u64>,
    epochs: Vec<String>,
    connects: u32,
    unrecovered: u32,
}

/// What followers and the test tell each other.
#[derive(Default)]
struct Shared {
    /// The publication after which a follower goes home; 0 while there is none.
    last: AtomicU64,
    /// How many times followers were told that something could not be had.
    told: AtomicU64,
}

/// A client as the SDKs are: reconnects anywhere, recovers from its position, until it has heard `last` in an
/// epoch of its own.
async fn follow(addresses: Vec<SocketAddr>, shared: Arc<Shared>, mut turn: usize) -> Journey {
    let mut journey = Journey::default();
    let mut position: Option<(String, u64)> = None;
    loop {
        turn += 1;
        let Some(mut raw) = open_within(addresses[turn % addresses.len()], Duration::from_millis(500)).await
        else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        journey.connects += 1;
        raw.send(r#"{"id":1,"connect":{}}"#).await;
        subscribe(&mut raw, &position).await;
        loop {
            let line = match raw.next().await {
                Seen::Line(line) if line == "{}" => {
                    raw.send("{}").await;
                    continue;
                }
                Seen::Line(line) => line,
                _ => break,
            };
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["error"].is_object() {
                assert_eq!(message["error"]["temporary"], true, "{message}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                if message["id"] == 1 {
                    break;
                }
                subscribe(&mut raw, &position).await;
                continue;
            }
            if let Some(reply) = message["subscribe"].as_object() {
                let epoch = reply["epoch"].as_str().unwrap().to_owned();
                let offset = reply.get("offset").and_then(Value::as_u64).unwrap_or(0);
                if position.is_some() && reply.get("recovered") != Some(&json!(true)) {
                    journey.unrecovered += 1;
                    shared.told.fetch_add(1, Ordering::SeqCst);
                }
                if journey.epochs.last() != Some(&epoch) {
                    journey.epochs.push(epoch.clone());
                }
                position = Some((epoch, offset));
                for publication in reply.get("publications").and_then(Value::as_array).into_iter().flatten() {
                    take(&mut journey, &mut position, publication);
                }
            }
            if message["push"]["pub"].is_object() {
                take(&mut journey, &mut position, &message["push"]["pub"]);
            }
            if message["push"]["unsubscribe"]["code"].as_u64().is_some_and(|code| code >= 2500) {
                subscribe(&mut raw, &position).await;
            }
            let last = shared.last.load(Ordering::SeqCst);
            if last > 0 && journey.heard.last() == Some(&last) {
                return journey;
            }
        }
    }
}

fn take(journey: &mut Journey, position: &mut Option<(String, u64)>, publication: &Value) {
    journey.heard.push(publication["data"].as_u64().unwrap());
    position.as_mut().expect("subscribed").1 = publication["offset"].as_u64().unwrap();
}

async fn subscribe(raw: &mut Raw, position: &Option<(String, u64)>) {
    let mut command = json!({"channel": CHANNEL});
    if let Some((epoch, offset)) = position {
        command = json!({"channel": CHANNEL, "recover": true, "epoch": epoch, "offset": offset});
    }
    raw.send(&json!({"id": 2, "subscribe": command}).to_string()).await;
}

struct Scene {
    redis: Redis,
    gateways: Vec<GatewayProcess>,
    backend: Arc<RedisBackend>,
    shared: Arc<Shared>,
    followers: JoinSet<Journey>,
    /// Publications that are surely stored: 1, 2, 3, ...
    published: u64,
}

impl Scene {
    async fn start() -> Scene {
        let redis = Redis::start();
        let gateways: Vec<GatewayProcess> = (0..2).map(|_| GatewayProcess::start(&redis)).collect();
        let backend = RedisBackend::connect(RedisOptions::new(redis.url())).await.unwrap();
        let shared = Arc::new(Shared::default());
        let addresses: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.public).collect();
        let mut followers = JoinSet::new();
        for turn in 0..6 {
            followers.spawn(follow(addresses.clone(), Arc::clone(&shared), turn));
        }
        let mut scene = Scene { redis, gateways, backend, shared, followers, published: 0 };
        // The first publication is made when everybody is surely there.
        let begun = std::time::Instant::now();
        loop {
            let clients = scene.backend.presence_stats(CHANNEL).await.map_or(0, |stats| stats.clients);
            if clients == 6 {
                break;
            }
            assert!(begun.elapsed() < WITHIN, "{clients} of 6 are there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scene.publish(100).await;
        scene
    }

    /// Publishes as a backend does: the same key again until it is told that it is stored.
    async fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.published += 1;
            publish_one(&self.backend, self.published).await;
        }
    }

    /// Publishes in the background while the test breaks things.
    fn keep_publishing(&mut self, count: u64) -> JoinHandle<()> {
        let (backend, from) = (Arc::clone(&self.backend), self.published);
        self.published += count;
        tokio::spawn(async move {
            for n in from + 1..=from + count {
                publish_one(&backend, n).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    }

    async fn end(mut self) -> Vec<Journey> {
        self.shared.last.store(self.published + 1, Ordering::SeqCst);
        self.publish(1).await;
        let mut journeys = Vec::new();
        let joined = async {
            while let Some(journey) = self.followers.join_next().await {
                journeys.push(journey.unwrap());
            }
        };
        let outcome = tokio::time::timeout(WITHIN, joined).await;
        assert!(outcome.is_ok(), "only {} of 6 followers arrived: {journeys:?}", journeys.len());
        journeys
    }
}

async fn publish_one(backend: &RedisBackend, n: u64) {
    let options = PublishOptions::with_history(300, 600_000).once(n.to_string());
    let begun = std::time::Instant::now();
    while let Err(error) = backend.publish(CHANNEL, NewPublication::of(n.to_string()), &options).await {
        assert!(error.is_temporary() && begun.elapsed() < WITHIN, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_complete(journeys: &[Journey], published: u64) {
    for journey in journeys {
        let expected: Vec<u64> = (1..=published).collect();
        assert_eq!(journey.heard, expected, "all, in order, once; {} connects", journey.connects);
        assert_eq!(journey.unrecovered, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_killed() {
    let mut scene = Scene::start().await;
    let publishing = scene.keep_publishing(200);
    scene.gateways[0].kill();
    publishing.await.unwrap();
    let published = scene.published + 1;
    let journeys = scene.end().await;
    assert!(journeys.iter().any(|journey| journey.connects > 1), "somebody had to move");
    assert_complete(&journeys, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_links_are_killed() {
    let mut scene = Scene::start().await;
    let publishing = scene.keep_publishing(250);
    for _ in 0..3 {
        scene.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    publishing.await.unwrap();
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back_with_its_data() {
    let mut scene = Scene::start().await;
    let publishing = scene.keep_publishing(150);
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.redis.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.redis.start_again(true);
    publishing.await.unwrap();
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_comes_back_empty_and_everybody_is_told() {
    let mut scene = Scene::start().await;
    scene.redis.kill();
    scene.redis.start_again(false);
    let begun = std::time::Instant::now();
    while scene.shared.told.load(Ordering::SeqCst) < 6 {
        assert!(begun.elapsed() < WITHIN, "{} of 6 were told", scene.shared.told.load(Ordering::SeqCst));
        scene.publish(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.publish(20).await;
    for journey in scene.end().await {
        assert_eq!(journey.epochs.len(), 2, "a new numbering: {journey:?}");
        assert_eq!(journey.unrecovered, 1, "told once");
        assert_eq!(journey.heard[..100], (1..=100).collect::<Vec<u64>>());
        assert!(
            journey.heard[100..].is_sorted_by(|a, b| b - a == 1),
            "no hole after it was told: {journey:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load() {
    let mut scene = Scene::start().await;
    let publishing = scene.keep_publishing(1500);
    for at in 0..2 {
        let gateway = &mut scene.gateways[at];
        // Blocks this thread until the drain is over; the others go on.
        tokio::task::block_in_place(|| {
            gateway.terminate();
            gateway.start_again();
        });
    }
    publishing.await.unwrap();
    let published = scene.published + 1;
    let journeys = scene.end().await;
    assert!(journeys.iter().all(|journey| journey.connects >= 2), "everybody was moved");
    assert_complete(&journeys, published);
}
