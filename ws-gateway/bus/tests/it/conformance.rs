//! What every bus promises, as asynchronous functions over a [`World`]: nodes and backends of one bus.
//! One file because each promise is checked by the same few verbs, on every implementation, in one order.

mod requests;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use keyway_bus::{
    Backend, Bus, BusError, BusEvent, ClientInfo, Control, Delivery, EventSink, Handler, HistoryFilter,
    NewPublication, Outcome, Position, PublishOptions, Request, ServeOptions, Target,
};
use tokio::task::JoinHandle;

use crate::recorder::{Recorder, until};

pub use requests::*;

#[async_trait]
pub trait World: Send + Sync {
    async fn node(&self, sink: EventSink) -> Arc<dyn Bus>;
    async fn backend(&self) -> Arc<dyn Backend>;
    /// The bound of one partition's request stream, small enough to be reached here.
    fn partition_requests_max(&self) -> usize;
}

/// Hands the names of all cases to another macro: `cases!(macro argument)` is `macro!(argument: case, ...)`.
macro_rules! cases {
    ($run:ident $argument:ident) => {
        $run! { $argument:
            publications_reach_subscribers_in_order_with_positions, publications_carry_everything,
            without_history_nothing_is_stored, a_key_is_published_once, history_pages_both_ways,
            history_is_bounded_and_expires, removed_history_goes_on_counting, joins_and_leaves,
            unsubscribed_nodes_hear_nothing, presence_is_counted_and_expires, controls_reach_every_node,
            a_new_node_hears_of_revocations, bad_names_are_refused, requests_are_answered, what_is_asked_is_done_once, a_request_without_backend_has_no_reply,
            order_is_kept_per_key, a_failed_request_holds_its_key_back, a_panic_is_a_failed_delivery, poison_is_buried_listed_and_replayed,
            a_dead_letter_is_discarded, two_backends_share_partitions, a_dead_backend_s_requests_come_again,
            a_stopped_backend_finishes, a_leaving_backend_keeps_nothing, late_replies_are_dropped, a_full_stream_is_unavailable,
        }
    };
}
pub(crate) use cases;

/// `as_tests!(world: case, ...)`: each case as a test of its own, in a new world.
macro_rules! as_tests {
    ($world:ident: $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$case(&$world().await).await;
            }
        )*
    };
}
pub(crate) use as_tests;

fn text(data: impl Into<String>) -> NewPublication {
    NewPublication::of(data.into())
}

fn kept() -> PublishOptions {
    PublishOptions::with_history(100, 60_000)
}

fn person(user: &str, client: &str) -> ClientInfo {
    ClientInfo { user: user.into(), client: client.into(), ..ClientInfo::default() }
}

pub fn question(key: &str, data: &str) -> Request {
    Request {
        method: "test.echo".into(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        user: "alice".into(),
        client: "c1".into(),
        tenant: "acme".into(),
        partition_key: key.into(),
        deadline_ms: 0,
        meta: Bytes::from_static(b"m"),
    }
}

/// A question whose asker waits through a change of holders.
pub fn patient(key: &str, data: &str) -> Request {
    Request { deadline_ms: now_ms() + 20_000, ..question(key, data) }
}

fn quick() -> ServeOptions {
    ServeOptions { lease_ms: 1_500, retry_first_ms: 10, handler_ms_max: 2_000, ..ServeOptions::default() }
}

/// A backend at work in its own task; dropped, it crashes.
pub struct Serving {
    task: JoinHandle<Result<(), BusError>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Serving {
    pub fn start(backend: Arc<dyn Backend>, handler: Handler) -> Serving {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = stopped.map(|_| ()).boxed();
        let task = tokio::spawn(async move { backend.serve(quick(), handler, stopped).await });
        Serving { task, stop: Some(stop) }
    }

    pub async fn finish(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A handler that notes `key data deliveries` and answers.
pub fn recording() -> (Handler, impl Fn() -> Vec<String>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let read = Arc::clone(&seen);
    let handler = Handler::new(move |delivery: Delivery| {
        let seen = Arc::clone(&seen);
        async move {
            let data = String::from_utf8_lossy(&delivery.request.data).into_owned();
            let key = &delivery.request.partition_key;
            seen.lock().unwrap().push(format!("{key} {data} {}", delivery.deliveries));
            Outcome::Reply(Ok(delivery.request.data))
        }
    });
    (handler, move || read.lock().unwrap().clone())
}

pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub async fn publications_reach_subscribers_in_order_with_positions(world: &dyn World) {
    let (one, other) = (Recorder::new(), Recorder::new());
    let first = world.node(one.sink()).await;
    let second = world.node(other.sink()).await;
    first.subscribe("site:acme.1").await.unwrap();
    second.subscribe("site:acme.1").await.unwrap();
    let wanted: Vec<String> = (1..=50).map(|number| format!("p{number}")).collect();
    let mut epochs = Vec::new();
    for (index, data) in wanted.iter().enumerate() {
        let published = first.publish("site:acme.1", text(data), &kept()).await.unwrap();
        assert_eq!(published.position.offset, index as u64 + 1);
        epochs.push(published.position.epoch);
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "one epoch");
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    one.wait_for_payloads("site:acme.1", &wanted).await;
    other.wait_for_payloads("site:acme.1", &wanted).await;
    for (index, event) in
        other.events().iter().filter(|one| matches!(one, BusEvent::Publication { .. })).enumerate()
    {
        let BusEvent::Publication { position, publication, .. } = event else { unreachable!() };
        assert_eq!(position, &Position::new(epochs[0].clone(), index as u64 + 1));
        assert_eq!(publication.offset, position.offset);
    }
}

pub async fn publications_carry_everything(world: &dyn World) {
    let recorder = Recorder::new();
    let node = world.node(recorder.sink()).await;
    let backend = world.backend().await;
    node.subscribe("thread:acme.1").await.unwrap();
    let publication = NewPublication {
        data: Bytes::from_static(b"\x00:\xff:data"),
        info: Some(ClientInfo {
            user: "alice".into(),
            client: "c:1".into(),
            conn_info: Bytes::from_static(b"{\"a\":1}"),
            chan_info: Bytes::from_static(b"\x01"),
        }),
        tags: vec![("kind".into(), "door".into()), ("n".into(), String::new())],
        time_ms: 1_763_670_000_123,
    };
    backend.publish("thread:acme.1", publication.clone(), &kept()).await.unwrap();
    recorder.wait_for_payloads("thread:acme.1", &["\0:\u{fffd}:data"]).await;
    let events = recorder.events();
    let live = events.iter().find_map(|event| match event {
        BusEvent::Publication { publication, .. } => Some(Arc::clone(publication)),
        _ => None,
    });
    let live = live.unwrap();
    let stored = node.history("thread:acme.1", HistoryFilter::all()).await.unwrap();
    assert_eq!(stored.publications, vec![Arc::clone(&live)], "stored as delivered");
    assert_eq!(
        (live.offset, &live.data, &live.info, &live.tags, live.time_ms),
        (1, &publication.data, &publication.info, &publication.tags, publication.time_ms)
    );
}

pub async fn without_history_nothing_is_stored(world: &dyn World) {
    let recorder = Recorder::new();
    let node = world.node(recorder.sink()).await;
    node.subscribe("device:acme.1").await.unwrap();
    let published = node.publish("device:acme.1", text("ring"), &PublishOptions::default()).await.unwrap();
    assert!(!published.position.is_positioned());
    recorder.wait_for_payloads("device:acme.1", &["ring"]).await;
    let history = node.history("device:acme.1", HistoryFilter::all()).await.unwrap();
    assert_eq!((history.publications.len(), history.top.offset), (0, 0));
    // With a key and without history: still once.
    let once = PublishOptions::default().once("ring-2");
    assert!(!node.publish("device:acme.1", text("ring 2"), &once).await.unwrap().duplicate);
    assert!(node.publish("device:acme.1", text("ring 2"), &once).await.unwrap().duplicate);
    node.publish("device:acme.1", text("end"), &PublishOptions::default()).await.unwrap();
    recorder.wait_for_payloads("device:acme.1", &["ring", "ring 2", "end"]).await;
}

pub async fn a_key_is_published_once(world: &dyn World) {
    let recorder = Recorder::new();
    let node = world.node(recorder.sink()).await;
    let backend = world.backend().await;
    node.subscribe("site:acme.1").await.unwrap();
    let first = backend.publish("site:acme.1", text("a"), &kept().once("evt_1")).await.unwrap();
    let again = backend.publish("site:acme.1", text("a"), &kept().once("evt_1")).await.unwrap();
    let from_node = node.publish("site:acme.1", text("a"), &kept().once("evt_1")).await.unwrap();
    assert!(!first.duplicate && again.duplicate && from_node.duplicate);
    assert_eq!(first.position, again.position);
    assert_eq!(first.position, from_node.position);
    // The same key in another channel is another event.
    assert!(!backend.publish("site:acme.2", text("a"), &kept().once("evt_1")).await.unwrap().duplicate);
    // A forgotten key is new again.
    let brief = PublishOptions { idempotency_ttl_ms: 50, ..kept().once("evt_2") };
    backend.publish("site:acme.1", text("b"), &brief).await.unwrap();
    until(
        "the key to be forgotten",
        || async { backend.publish("site:acme.1", text("c"), &brief).await.unwrap().duplicate },
        |duplicate| !duplicate,
    )
    .await;
    recorder.wait_for_payloads("site:acme.1", &["a", "b", "c"]).await;
}

pub async fn history_pages_both_ways(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let empty = node.history("site:acme.1", HistoryFilter::top()).await.unwrap();
    assert_eq!(empty.top.offset, 0);
    assert!(empty.top.is_positioned(), "a channel never seen has an epoch");
    for number in 1..=10 {
        node.publish("site:acme.1", text(format!("p{number}")), &kept()).await.unwrap();
    }
    let epoch = empty.top.epoch.clone();
    let at = |offset| Some(Position::new(epoch.clone(), offset));
    let check = async |since: Option<Position>, limit: usize, reverse: bool, wanted: &[u64]| {
        let filter = HistoryFilter { since, limit, reverse };
        let history = node.history("site:acme.1", filter.clone()).await.unwrap();
        let offsets: Vec<u64> = history.publications.iter().map(|one| one.offset).collect();
        assert_eq!(offsets, wanted, "{filter:?}");
        assert_eq!(history.top, Position::new(epoch.clone(), 10), "{filter:?}");
        for one in &history.publications {
            assert_eq!(one.data, format!("p{}", one.offset));
        }
    };
    check(None, 0, false, &[]).await;
    check(None, 3, false, &[1, 2, 3]).await;
    check(None, 3, true, &[10, 9, 8]).await;
    check(None, usize::MAX, false, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).await;
    check(at(4), 3, false, &[5, 6, 7]).await;
    check(at(4), 100, true, &[3, 2, 1]).await;
    check(at(0), 2, false, &[1, 2]).await;
    check(at(10), 100, false, &[]).await;
    check(at(99), 100, false, &[]).await;
    check(at(0), 100, true, &[]).await;
    check(Some(Position::new(keyway_bus::Epoch::new("another"), 4)), 100, false, &[]).await;
    check(Some(Position::new(keyway_bus::Epoch::default(), 8)), 100, false, &[9, 10]).await;
}

pub async fn history_is_bounded_and_expires(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    for number in 1..=10 {
        let options = PublishOptions::with_history(3, 60_000);
        node.publish("site:acme.1", text(format!("p{number}")), &options).await.unwrap();
        node.publish("lockdown:acme.1", text(format!("v{number}")), &PublishOptions::with_history(1, 60_000))
            .await
            .unwrap();
    }
    let offsets =
        |history: keyway_bus::History| history.publications.iter().map(|one| one.offset).collect::<Vec<_>>();
    assert_eq!(offsets(node.history("site:acme.1", HistoryFilter::all()).await.unwrap()), [8, 9, 10]);
    assert_eq!(offsets(node.history("lockdown:acme.1", HistoryFilter::all()).await.unwrap()), [10]);

    node.publish("door:acme.1", text("open"), &PublishOptions::with_history(5, 100)).await.unwrap();
    let history = until(
        "the publication to expire",
        || async { node.history("door:acme.1", HistoryFilter::all()).await.unwrap() },
        |history| history.publications.is_empty(),
    )
    .await;
    assert_eq!(history.top.offset, 1, "the position outlives the publication");
    let next = node.publish("door:acme.1", text("shut"), &kept()).await.unwrap();
    assert_eq!(next.position, Position::new(history.top.epoch, 2));
}

pub async fn removed_history_goes_on_counting(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    node.publish("site:acme.1", text("a"), &kept()).await.unwrap();
    node.remove_history("site:acme.1").await.unwrap();
    let history = node.history("site:acme.1", HistoryFilter::all()).await.unwrap();
    assert_eq!((history.publications.len(), history.top.offset), (0, 1));
    assert_eq!(node.publish("site:acme.1", text("b"), &kept()).await.unwrap().position.offset, 2);
}

pub async fn joins_and_leaves(world: &dyn World) {
    let recorder = Recorder::new();
    let node = world.node(recorder.sink()).await;
    let other = world.node(Recorder::new().sink()).await;
    node.subscribe("thread:acme.1").await.unwrap();
    other.publish_join("thread:acme.1", &person("alice", "c1")).await.unwrap();
    other.publish("thread:acme.1", text("hello"), &PublishOptions::default()).await.unwrap();
    other.publish_leave("thread:acme.1", &person("alice", "c1")).await.unwrap();
    recorder.wait_for("three events", |recorder| recorder.lines().len() >= 3).await;
    let wanted = ["thread:acme.1 join alice/c1", "thread:acme.1 0 hello", "thread:acme.1 leave alice/c1"];
    assert_eq!(recorder.lines(), wanted);
}

pub async fn unsubscribed_nodes_hear_nothing(world: &dyn World) {
    let recorder = Recorder::new();
    let node = world.node(recorder.sink()).await;
    let channels = ["a", "b"];
    join_all(channels.iter().map(|channel| node.subscribe(channel)))
        .await
        .into_iter()
        .for_each(Result::unwrap);
    node.subscribe("a").await.unwrap();
    node.publish("a", text("1"), &kept()).await.unwrap();
    recorder.wait_for_payloads("a", &["1"]).await;
    node.unsubscribe("a").await.unwrap();
    node.unsubscribe("never").await.unwrap();
    node.publish("a", text("2"), &kept()).await.unwrap();
    node.publish("b", text("3"), &kept()).await.unwrap();
    recorder.wait_for_payloads("b", &["3"]).await;
    assert_eq!(recorder.payloads("a"), ["1"]);
    node.subscribe("a").await.unwrap();
    node.publish("a", text("4"), &kept()).await.unwrap();
    recorder.wait_for_payloads("a", &["1", "4"]).await;
}

pub async fn presence_is_counted_and_expires(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let other = world.node(Recorder::new().sink()).await;
    let minute = 60_000;
    node.presence_add("thread:acme.1", &person("alice", "c1"), minute).await.unwrap();
    node.presence_add("thread:acme.1", &person("alice", "c2"), minute).await.unwrap();
    other.presence_add("thread:acme.1", &person("bob", "c3"), minute).await.unwrap();
    other.presence_add("thread:acme.1", &person("bob", "c3"), minute).await.unwrap();
    other.presence_add("thread:acme.1", &person("carol", "c4"), 100).await.unwrap();
    let stats = async || {
        let stats = node.presence_stats("thread:acme.1").await.unwrap();
        (stats.clients, stats.users)
    };
    until("carol to expire", &stats, |stats| *stats == (3, 2)).await;
    let mut present: Vec<_> = other
        .presence("thread:acme.1")
        .await
        .unwrap()
        .into_iter()
        .map(|one| (one.user, one.client))
        .collect();
    present.sort();
    let wanted = [("alice", "c1"), ("alice", "c2"), ("bob", "c3")];
    assert_eq!(present, wanted.map(|(user, client)| (user.to_owned(), client.to_owned())));
    node.presence_remove("thread:acme.1", "c1").await.unwrap();
    node.presence_remove("thread:acme.1", "c1").await.unwrap();
    assert_eq!(stats().await, (2, 2));
    node.presence_remove("thread:acme.1", "c2").await.unwrap();
    node.presence_remove("thread:acme.1", "c3").await.unwrap();
    assert_eq!(stats().await, (0, 0));
    assert_eq!(node.presence("thread:acme.1").await.unwrap(), []);
}

pub async fn controls_reach_every_node(world: &dyn World) {
    let recorders = [Recorder::new(), Recorder::new()];
    let mut nodes = Vec::new();
    for recorder in &recorders {
        nodes.push(world.node(recorder.sink()).await);
    }
    let backend = world.backend().await;
    let target = Target { user: "alice".into(), client: "c1".into(), session: "s1".into() };
    let sent = [
        Control::Disconnect {
            target: Target::user("alice"),
            code: 3503,
            reason: "revoked".into(),
            keep: vec!["c9".into()],
        },
        Control::Subscribe {
            target: target.clone(),
            channel: "a".into(),
            options: Bytes::from_static(b"{}"),
        },
        Control::Unsubscribe {
            target: target.clone(),
            channel: "a".into(),
            code: 2500,
            reason: String::new(),
        },
        Control::Refresh {
            target,
            expired: true,
            expire_at_s: Some(7),
            info: Some(Bytes::from_static(b"i")),
        },
        Control::Refresh { target: Target::client("c1"), expired: false, expire_at_s: None, info: None },
        Control::Revoke { statement: Bytes::from_static(b"\x00signed") },
        Control::Custom { name: "n".into(), data: Bytes::new() },
    ];
    backend.disconnect(Target::user("early"), 3000, "").await.unwrap();
    for control in &sent {
        backend.control(control.clone()).await.unwrap();
    }
    for recorder in &recorders {
        recorder.wait_for("eight controls", |recorder| recorder.lines().len() >= 8).await;
        let controls = recorder.events().into_iter().filter_map(|event| match event {
            BusEvent::Control(control) => Some(control),
            _ => None,
        });
        let heard: Vec<_> = controls.skip(1).collect();
        assert_eq!(heard, sent);
    }
}

/// The tokens that a revocation voids live longer than a node may: one that starts later has to know of it.
pub async fn a_new_node_hears_of_revocations(world: &dyn World) {
    let backend = world.backend().await;
    let statement = |number: usize| Bytes::from(format!("signed {number}"));
    // More than one reading gives.
    let count = 1_100;
    for number in 0..count {
        backend.revoke(statement(number)).await.unwrap();
        backend.disconnect(Target::user(number.to_string()), 3503, "").await.unwrap();
    }
    let recorder = Recorder::new();
    let node = world.node(recorder.sink()).await;
    let revoked = |number: usize| BusEvent::Control(Control::Revoke { statement: statement(number) });
    let heard = recorder.events();
    assert_eq!(heard, (0..count).map(revoked).collect::<Vec<_>>(), "all, and nothing that is over");
    backend.revoke(statement(count)).await.unwrap();
    recorder.wait_for("a later one", |recorder| recorder.events().last() == Some(&revoked(count))).await;
    drop(node);
}

pub async fn bad_names_are_refused(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let invalid =
        |result: Result<(), BusError>| assert!(matches!(result, Err(BusError::Invalid { .. })), "{result:?}");
    invalid(node.subscribe("").await);
    invalid(node.subscribe(&"x".repeat(256)).await);
    invalid(node.subscribe(" control").await);
    invalid(node.publish(" control", text("forged"), &kept()).await.map(drop));
    invalid(node.publish("a", text("a"), &kept().once("k".repeat(256))).await.map(drop));
    invalid(node.publish("", text("a"), &kept()).await.map(drop));
    let large = NewPublication::of(vec![0; keyway_bus::PAYLOAD_BYTES_MAX + 1]);
    invalid(node.publish("a", large, &kept()).await.map(drop));
    node.subscribe(&"x".repeat(255)).await.unwrap();
    node.publish("ключ:🚪 {p3} *", text("a"), &kept()).await.unwrap();
    assert_eq!(node.history("ключ:🚪 {p3} *", HistoryFilter::all()).await.unwrap().publications.len(), 1);
}
