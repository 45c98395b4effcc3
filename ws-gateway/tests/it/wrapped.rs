//! A bus with faults where calls are made: one channel whose history waits until the test lets it go, one whose
//! publications panic. Everything else is the bus it wraps.

use std::sync::Arc;

use async_trait::async_trait;
use keyway_bus::{
    Answered, Bus, BusError, BusHealth, Channels, ClientInfo, Control, History, HistoryFilter,
    NewPublication, PresenceStats, PublishOptions, Published, Reply, Request,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::gateway::{self, DEVELOPMENT};
use crate::raw::{Raw, Seen};

const SLOW: &str = "site:a.slow";
const PANICS: &str = "site:a.panics";

struct Faulty {
    bus: Arc<dyn Bus>,
    readings: Arc<Semaphore>,
}

#[async_trait]
impl Channels for Faulty {
    async fn publish(
        &self,
        channel: &str,
        publication: NewPublication,
        options: &PublishOptions,
    ) -> Result<Published, BusError> {
        assert_ne!(channel, PANICS, "as asked");
        self.bus.publish(channel, publication, options).await
    }

    async fn publish_join(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError> {
        self.bus.publish_join(channel, info).await
    }

    async fn publish_leave(&self, channel: &str, info: &ClientInfo) -> Result<(), BusError> {
        self.bus.publish_leave(channel, info).await
    }

    async fn history(&self, channel: &str, filter: HistoryFilter) -> Result<History, BusError> {
        if channel == SLOW {
            self.readings.acquire().await.unwrap().forget();
        }
        self.bus.history(channel, filter).await
    }

    async fn remove_history(&self, channel: &str) -> Result<(), BusError> {
        self.bus.remove_history(channel).await
    }

    async fn presence_add(&self, channel: &str, info: &ClientInfo, ttl_ms: u64) -> Result<(), BusError> {
        self.bus.presence_add(channel, info, ttl_ms).await
    }

    async fn presence_remove(&self, channel: &str, client: &str) -> Result<(), BusError> {
        self.bus.presence_remove(channel, client).await
    }

    async fn presence(&self, channel: &str) -> Result<Vec<ClientInfo>, BusError> {
        self.bus.presence(channel).await
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, BusError> {
        self.bus.presence_stats(channel).await
    }

    async fn control(&self, control: Control) -> Result<(), BusError> {
        self.bus.control(control).await
    }
}

#[async_trait]
impl Bus for Faulty {
    fn node_id(&self) -> &str {
        self.bus.node_id()
    }

    async fn subscribe(&self, channel: &str) -> Result<(), BusError> {
        self.bus.subscribe(channel).await
    }

    async fn unsubscribe(&self, channel: &str) -> Result<(), BusError> {
        self.bus.unsubscribe(channel).await
    }

    async fn request(&self, request: Request) -> Result<Reply, BusError> {
        self.bus.request(request).await
    }

    fn ask(&self, request: Request, done: Answered) {
        self.bus.ask(request, done);
    }

    async fn send(&self, request: Request) -> Result<(), BusError> {
        self.bus.send(request).await
    }

    fn health(&self) -> BusHealth {
        self.bus.health()
    }
}

async fn start() -> (gateway::Running, Arc<Semaphore>) {
    let readings = Arc::new(Semaphore::new(0));
    let given = Arc::clone(&readings);
    let text = format!("listen = \"127.0.0.1:0\"\nprivate_listen = \"127.0.0.1:0\"\n{DEVELOPMENT}");
    let wrap = |bus| Arc::new(Faulty { bus, readings: given }) as Arc<dyn Bus>;
    let gateway = gateway::start_with(keyway_bus::MemoryBroker::default(), &text, wrap).await;
    (gateway, readings)
}

/// What comes during a reading is held back, up to a bound; above it the subscriber is told to try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_held_back_during_a_reading_are_bounded() {
    for (count, wanted) in [(512, "subscribe"), (513, "error")] {
        let (gateway, readings) = start().await;
        let backend = gateway.broker.backend();
        let mut raw = Raw::connected(gateway.public).await;
        raw.send(&json!({"id": 2, "subscribe": {"channel": SLOW}}).to_string()).await;
        raw.ask(r#"{"id":3,"rpc":{"method":"echo","data":1}}"#).await;
        for n in 1..=count {
            // Without history, so that the reading later brings none of them.
            let publication = NewPublication::of(n.to_string());
            backend.publish(SLOW, publication, &PublishOptions::default()).await.unwrap();
        }
        if wanted == "subscribe" {
            readings.add_permits(1);
        }
        let reply = raw.next().await.json();
        assert_eq!(reply["id"], 2, "{reply}");
        assert!(reply[wanted].is_object(), "{count}: {reply}");
        if wanted == "subscribe" {
            for n in 1..=count {
                assert_eq!(raw.next().await.json()["push"]["pub"]["data"], n);
            }
        } else {
            assert_eq!(reply["error"]["temporary"], true);
            readings.add_permits(2);
            let again = raw.ask(&json!({"id": 4, "subscribe": {"channel": SLOW}}).to_string()).await;
            assert!(again["subscribe"].is_object(), "{again}");
        }
    }
}

/// One connection's panic ends that connection, and leaves nothing of it to those it shared a thread with.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_ends_one_connection() {
    let (gateway, _readings) = start().await;
    let mut other = Raw::connected(gateway.public).await;
    let mut raw = Raw::connected(gateway.public).await;
    let presence = r#"{"id":2,"subscribe":{"channel":"thread:a.1"}}"#;
    assert!(raw.ask(presence).await["subscribe"].is_object());
    // The batch's other answers are decided before and after the panic.
    let batch = [
        json!({"id": 3, "presence_stats": {"channel": "nowhere:x"}}).to_string(),
        json!({"id": 4, "publish": {"channel": PANICS, "data": {}}}).to_string(),
        json!({"id": 5, "presence": {"channel": "nowhere:x"}}).to_string(),
    ];
    raw.send(&batch.join("\n")).await;
    assert_eq!(raw.end().await, Seen::Cut);
    other.send(r#"{"id":9,"rpc":{"method":"echo","data":1}}"#).await;
    let reply = other.next().await.json();
    assert_eq!(reply["id"], 9, "another connection's answer: {reply}");
    let begun = std::time::Instant::now();
    while gateway.node.registry.len() > 1 || !gateway.node.hub.channels().is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "something of it is left");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
