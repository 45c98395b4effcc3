//! What is not killed but worse: a Redis that stands still, fails over, is a cluster, and links that are dead without
//! saying so. The property is that of `survive.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyway_bus::Channels;
use tokio::net::{TcpListener, TcpStream};

use crate::process::{Redis, free_port};
use crate::raw::Raw;
use crate::scene::{CHANNEL, Scene, Setting, WITHIN, assert_complete};

/// Redis stands still for ten seconds: calls are told so in time, nobody is disconnected for it, and when it goes on
/// everything that was published arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stands_still_for_ten_seconds() {
    let redis = Redis::start();
    let mut scene = Scene::start(Setting::of(redis.url())).await;
    let mut caller = Raw::connected(scene.gateways[0].public).await;
    let publishing = scene.keep_publishing(50);
    redis.freeze();
    let frozen = Instant::now();
    let answer = caller.ask(r#"{"id":7,"rpc":{"method":"door.unlock","data":{}}}"#).await;
    assert_eq!(answer["error"]["code"], 100, "{answer}");
    assert_eq!(answer["error"]["temporary"], true, "{answer}");
    assert!(frozen.elapsed() < Duration::from_secs(10), "before Redis went on");
    let live = crate::process::ask(scene.gateways[0].public, "/health/live");
    assert!(live.starts_with("HTTP/1.1 200"), "an outage restarts nobody: {live}");
    until("not ready while Redis stands still", async || {
        crate::process::ask(scene.gateways[0].public, "/health/ready").starts_with("HTTP/1.1 503")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(10).saturating_sub(frozen.elapsed())).await;
    redis.thaw();
    publishing.await.unwrap();
    until("ready again", async || {
        crate::process::ask(scene.gateways[0].public, "/health/ready").starts_with("HTTP/1.1 200")
    })
    .await;
    let still = caller.ask(r#"{"id":8,"presence_stats":{"channel":"site:acme.s1"}}"#).await;
    assert!(still.is_object(), "the caller's socket lived through it");
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

/// The master dies and its replica takes over, as Sentinels decide. What was stored on both stays what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_fails_over() {
    let mut master = Redis::start();
    let replica = Redis::start();
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let sentinel = Redis::sentinel(master.port);
    let url = format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName=main", sentinel.port);
    let mut scene = Scene::start(Setting::of(url)).await;
    until("the sentinel has found the replica", async || {
        sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port.to_string())
    })
    .await;
    until("the replica has everything", async || {
        let link = replica.ask(&["INFO", "replication"]);
        let offset_of = |text: &str, name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        let ours = offset_of(&link, "slave_repl_offset:");
        let theirs = offset_of(&master.ask(&["INFO", "replication"]), "master_repl_offset:");
        link.contains("master_link_status:up") && ours.is_some() && ours >= theirs.map(|theirs| theirs - 200)
    })
    .await;
    // What was stored a moment ago is on both.
    assert_eq!(master.ask(&["WAIT", "1", "5000"]).trim(), "1");
    master.kill();
    let publishing = scene.keep_publishing(100);
    publishing.await.unwrap();
    assert!(replica.ask(&["ROLE"]).contains("master"), "the replica has taken over");
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

/// Three masters that share the slots: channels, presence, calls and recovery go on when every link is cut and a
/// gateway dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start_with(&["--cluster-enabled", "yes"])).collect();
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    create.push("--cluster-yes");
    servers[0].ask(&create);
    for server in &servers {
        until("the cluster is made", async || server.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
            .await;
    }
    let url = format!("redis-cluster://{}?node={}&node={}", addresses[0], addresses[1], addresses[2]);
    let mut scene = Scene::start(Setting::of(url)).await;
    let serving = {
        let backend = Arc::clone(&scene.backend);
        tokio::spawn(async move { crate::gateway::serve(backend).await })
    };
    let mut caller = Raw::connected(scene.gateways[1].public).await;
    let mut replies = 0;
    let begun = Instant::now();
    while replies < 20 {
        // The first wait until the backend has its leases.
        assert!(begun.elapsed() < WITHIN, "{replies} calls were answered");
        let answer = caller.ask(r#"{"id":9,"rpc":{"method":"echo","data":{"n":1}}}"#).await;
        replies += usize::from(answer["rpc"]["data"]["n"] == 1);
    }
    let publishing = scene.keep_publishing(150);
    for server in &servers {
        server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
    scene.gateways[0].kill();
    publishing.await.unwrap();
    serving.abort();
    let published = scene.published + 1;
    let journeys = scene.end().await;
    assert!(journeys.iter().any(|journey| journey.connects > 1), "somebody had to move");
    assert_complete(&journeys, published);
}

/// The gateways' connections to Redis go silent, as they do behind a firewall that has forgotten them: nothing
/// comes, nothing is refused. New connections work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_to_redis_that_are_dead_without_saying_so() {
    let redis = Redis::start();
    let wire = Wire::to(SocketAddr::from(([127, 0, 0, 1], redis.port))).await;
    let mut scene = Scene::start(Setting::of(format!("redis://{}", wire.address))).await;
    let publishing = scene.keep_publishing(100);
    wire.forget();
    publishing.await.unwrap();
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

/// A phone's network goes without a word: the gateway finds out by the missing pong, and its presence ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_gone_without_saying_so() {
    let redis = Redis::start();
    let variables = [("LIMITS__PING_INTERVAL_MS", "1000"), ("LIMITS__PONG_WITHIN_MS", "500")];
    let scene = Scene::start(Setting { variables: &variables, ..Setting::of(redis.url()) }).await;
    let wire = Wire::to(scene.gateways[0].public).await;
    let mut phone = Raw::connected(wire.address).await;
    phone.ask(&format!(r#"{{"id":2,"subscribe":{{"channel":"{CHANNEL}"}}}}"#)).await;
    let backend = Arc::clone(&scene.backend);
    let present = async || backend.presence_stats(CHANNEL).await.unwrap().clients;
    until("it is present", async || present().await == 7).await;
    wire.forget();
    until("its presence has ended", async || present().await == 6).await;
    let metrics = crate::process::ask(scene.gateways[0].private, "/metrics");
    assert!(metrics.contains("closes_total{code=\"3012\"} 1"), "{metrics}");
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

/// Waits for what must become true.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < WITHIN, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A TCP wire in between that can forget its connections: they stay open and carry nothing more.
struct Wire {
    address: SocketAddr,
    /// Of the connections made until now.
    dead: Arc<std::sync::Mutex<Arc<AtomicBool>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
        let address = listener.local_addr().unwrap();
        let dead: Arc<std::sync::Mutex<Arc<AtomicBool>>> = Arc::default();
        let current = Arc::clone(&dead);
        let accepting = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let dead = Arc::clone(&current.lock().unwrap());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let (near, far) = (near.into_split(), far.into_split());
                    let there = carry(near.0, far.1, Arc::clone(&dead));
                    let back = carry(far.0, near.1, Arc::clone(&dead));
                    futures::future::select(Box::pin(there), Box::pin(back)).await;
                    while dead.load(Ordering::SeqCst) {
                        // Both ends are kept open for the rest of the test.
                        tokio::time::sleep(WITHIN).await;
                    }
                });
            }
        });
        Wire { address, dead, accepting }
    }

    fn forget(&self) {
        let mut current = self.dead.lock().unwrap();
        current.store(true, Ordering::SeqCst);
        *current = Arc::default();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    dead: Arc<AtomicBool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if dead.load(Ordering::SeqCst) {
            // Taken and dropped, as a network does.
            continue;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}
