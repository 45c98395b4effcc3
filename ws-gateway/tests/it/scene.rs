//! Two gateways as they are deployed, followers that behave as the SDKs do, and a publisher: the scene in which
//! things break. It says what every follower went through; what is broken, and what must hold then, is the tests'.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyway_bus::{Channels, NewPublication, PublishOptions, RedisBackend, RedisOptions};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::process::GatewayProcess;
use crate::raw::{Raw, Seen, open_within};

pub const CHANNEL: &str = "site:acme.s1";

/// All of a fault, its repair and the catching up.
pub const WITHIN: Duration = Duration::from_secs(60);

/// What a follower went through.
#[derive(Debug, Default)]
pub struct Journey {
    pub heard: Vec<u64>,
    pub epochs: Vec<String>,
    pub connects: u32,
    pub unrecovered: u32,
}

/// What followers and the test tell each other.
#[derive(Default)]
pub struct Shared {
    /// The publication after which a follower goes home; 0 while there is none.
    pub last: AtomicU64,
    /// How many times followers were told that something could not be had.
    pub told: AtomicU64,
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

/// How a scene is set.
pub struct Setting<'a> {
    /// Where the gateways and the publisher find Redis.
    pub url: String,
    pub followers: usize,
    /// Of the gateways, without their prefix.
    pub variables: &'a [(&'a str, &'a str)],
}

impl Setting<'_> {
    pub fn of(url: String) -> Setting<'static> {
        Setting { url, followers: 6, variables: &[] }
    }
}

pub struct Scene {
    pub gateways: Vec<GatewayProcess>,
    pub backend: Arc<RedisBackend>,
    pub shared: Arc<Shared>,
    followers: JoinSet<Journey>,
    expected: usize,
    /// Publications that are surely stored: 1, 2, 3, ...
    pub published: u64,
}

impl Scene {
    pub async fn start(setting: Setting<'_>) -> Scene {
        let Setting { url, followers: expected, variables } = setting;
        let gateways: Vec<GatewayProcess> =
            (0..2).map(|_| GatewayProcess::start_with(&url, variables)).collect();
        let backend = RedisBackend::connect(RedisOptions::new(url)).await.unwrap();
        let shared = Arc::new(Shared::default());
        let addresses: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.public).collect();
        let mut followers = JoinSet::new();
        for turn in 0..expected {
            followers.spawn(follow(addresses.clone(), Arc::clone(&shared), turn));
        }
        let mut scene = Scene { gateways, backend, shared, followers, expected, published: 0 };
        // The first publication is made when everybody is surely there.
        let begun = std::time::Instant::now();
        loop {
            let clients = scene.backend.presence_stats(CHANNEL).await.map_or(0, |stats| stats.clients);
            if clients as usize == expected {
                break;
            }
            assert!(begun.elapsed() < WITHIN, "{clients} of {expected} are there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scene.publish(100).await;
        scene
    }

    /// Publishes as a backend does: the same key again until it is told that it is stored.
    pub async fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.published += 1;
            publish_one(&self.backend, self.published).await;
        }
    }

    /// Publishes in the background while the test breaks things.
    pub fn keep_publishing(&mut self, count: u64) -> JoinHandle<()> {
        let (backend, from) = (Arc::clone(&self.backend), self.published);
        self.published += count;
        tokio::spawn(async move {
            for n in from + 1..=from + count {
                publish_one(&backend, n).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    }

    pub async fn end(mut self) -> Vec<Journey> {
        self.shared.last.store(self.published + 1, Ordering::SeqCst);
        self.publish(1).await;
        let mut journeys = Vec::new();
        let joined = async {
            while let Some(journey) = self.followers.join_next().await {
                journeys.push(journey.unwrap());
            }
        };
        let outcome = tokio::time::timeout(WITHIN, joined).await;
        assert!(outcome.is_ok(), "only {} of {} followers arrived", journeys.len(), self.expected);
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

pub fn assert_complete(journeys: &[Journey], published: u64) {
    for journey in journeys {
        let expected: Vec<u64> = (1..=published).collect();
        assert_eq!(journey.heard, expected, "all, in order, once; {} connects", journey.connects);
        assert_eq!(journey.unrecovered, 0);
    }
}
