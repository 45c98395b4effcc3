//! Real gateways and a real Redis while things are killed and restarted. One property for all faults: every follower
//! gets every publication that its publisher was told is stored, in order and once, or is told that it could not be had.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::process::Redis;
use crate::scene::{Scene, Setting, WITHIN, assert_complete};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_killed() {
    let redis = Redis::start();
    let mut scene = Scene::start(Setting::of(redis.url())).await;
    let publishing = scene.keep_publishing(200);
    scene.gateways[0].kill();
    publishing.await.unwrap();
    let published = scene.published + 1;
    let journeys = scene.end().await;
    assert!(journeys.iter().any(|journey| journey.connects > 1), "somebody had to move");
    assert_complete(&journeys, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_to_redis_are_killed() {
    let redis = Redis::start();
    let mut scene = Scene::start(Setting::of(redis.url())).await;
    let publishing = scene.keep_publishing(250);
    // What delivers, what sends, and both again while the first are being rebuilt.
    for kind in ["pubsub", "normal", "pubsub", "normal", "pubsub"] {
        redis.cli(&["CLIENT", "KILL", "TYPE", kind]);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    publishing.await.unwrap();
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back_with_its_data() {
    let mut redis = Redis::start();
    let mut scene = Scene::start(Setting::of(redis.url())).await;
    let publishing = scene.keep_publishing(150);
    tokio::time::sleep(Duration::from_millis(50)).await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.start_again(true);
    publishing.await.unwrap();
    let published = scene.published + 1;
    assert_complete(&scene.end().await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_comes_back_empty_and_everybody_is_told() {
    let mut redis = Redis::start();
    let mut scene = Scene::start(Setting::of(redis.url())).await;
    redis.kill();
    redis.start_again(false);
    let begun = Instant::now();
    while scene.shared.told.load(Ordering::SeqCst) < 6 {
        assert!(begun.elapsed() < WITHIN, "{} of 6 were told", scene.shared.told.load(Ordering::SeqCst));
        scene.publish(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.publish(20).await;
    for journey in scene.end().await {
        assert_eq!(journey.epochs.len(), 2, "a new numbering: {journey:?}");
        assert_eq!(journey.unrecovered, 1, "told once");
        // What Redis took with it, the last of the 100 perhaps: whoever had not heard it yet cannot have it.
        let before = journey.heard.iter().zip(1..).take_while(|(heard, n)| *heard == n).count();
        assert!(before > 0 && journey.heard[..before] == (1..=before as u64).collect::<Vec<u64>>());
        assert!(
            journey.heard[before..].is_sorted_by(|a, b| *b == a + 1),
            "no hole and no repeat but where it was told: {journey:?}"
        );
        assert!(journey.heard[before..].iter().all(|n| *n > before as u64), "{journey:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load() {
    let redis = Redis::start();
    let mut scene = Scene::start(Setting::of(redis.url())).await;
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

/// A node's whole share comes to the other one at once, without the pause that SDKs make, past a bound on accepts that
/// lets a part of them in at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_comes_back_at_once() {
    let redis = Redis::start();
    let variables = [("LIMITS__ACCEPTS_PER_S", "50"), ("LIMITS__ACCEPTS_BURST", "60")];
    let setting = Setting { followers: 300, variables: &variables, ..Setting::of(redis.url()) };
    let mut scene = Scene::start(setting).await;
    let publishing = scene.keep_publishing(100);
    scene.gateways[0].kill();
    publishing.await.unwrap();
    let metrics = || crate::process::ask(scene.gateways[1].private, "/metrics");
    let begun = Instant::now();
    while !metrics().lines().any(|line| line == "keyway_gateway_connections 300") {
        assert!(begun.elapsed() < WITHIN, "they did not come back: {}", metrics());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = metrics();
    let refused = metrics.lines().find(|line| line.contains("refused_total{reason=\"rate\"}")).unwrap();
    assert!(!refused.ends_with(" 0"), "the bound was reached: {refused}");
    let published = scene.published + 1;
    let journeys = scene.end().await;
    assert_complete(&journeys, published);
    // Refused followers try the other node in turn, so that it is not exactly a half.
    let moved = journeys.iter().filter(|journey| journey.connects > 1).count();
    assert!(moved >= 75, "only {moved} of 300 had to move");
}
