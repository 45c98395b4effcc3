//! What devices and phones are answered, method by method, over a bus in memory: repeated, late, too early, by others.

use crate::api::raw;
use crate::house::{House, config, wait_for};
use app_core::serve::Server;
use app_core::source::Clock;
use bytes::Bytes;
use keyway_bus::{Bus as _, BusEvent, Control, EventSink, MemoryBroker, MemoryBus, Request};
use keyway_devices::enrolment::{DoorEnrolment, PhoneEnrolment};
use keyway_domain::clock::ClockQuality;
use keyway_domain::command::ledger::LedgerReport;
use keyway_domain::command::room::{COMMANDS_MAX, LAG_MS_MAX};
use keyway_domain::credential::{CredentialKind, Digest};
use keyway_domain::event::outbox::EventOutbox;
use keyway_domain::event::{ChainHash, DeviceEvent, Epoch, EventBatch, EventKind, Occurred};
use keyway_domain::id::{DoorId, RequestId};
use keyway_domain::message::device::AccessRequest;
use keyway_domain::message::statement::UnlockRequest;
use keyway_domain::sign::{Kind, SigningKey};
use keyway_domain::time::UnixMs;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Scene {
    house: House,
    bus: Arc<MemoryBus>,
    broker: MemoryBroker,
    clock: Clock,
    door: String,
    device: DoorEnrolment,
    phone: PhoneEnrolment,
    person: String,
    /// Revocations that a gateway has heard.
    revoked: Arc<AtomicUsize>,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let broker = MemoryBroker::default();
    let revoked: Arc<AtomicUsize> = Arc::default();
    let counting = Arc::clone(&revoked);
    let sink: EventSink = Arc::new(move |event| {
        if let BusEvent::Control(Control::Revoke { .. }) = event {
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    let bus = broker.node(sink);
    let clock = Clock::default();
    let server = Server::on(config(folder.path(), ""), clock.clone(), broker.backend()).await.unwrap();
    let house = House::of(server, folder).await;
    let door = house.door("Front").await;
    let person = house.person("Ada").await;
    house.grant(&person, &door).await;
    let device = house.device(&door).await;
    let phone = house.phone(&person).await;
    Scene { house, bus, broker, clock, door, device, phone, person, revoked }
}

impl Scene {
    async fn call(&self, user: &str, method: &str, data: &Value) -> Result<Value, u32> {
        // An unlock for a door that is away is answered when its caller stops waiting; everything else at once, also on
        // a machine that is busy with something else.
        let within_ms = if method == "door.unlock" { 1_500 } else { 20_000 };
        // An answer that did not come means: unknown, ask again with the same id.
        for _ in 0..5 {
            let request = Request {
                method: method.into(),
                data: data.to_string().into(),
                user: user.into(),
                client: "test".into(),
                tenant: self.device.tenant.to_string(),
                partition_key: user.into(),
                deadline_ms: self.clock.now().0 + within_ms,
                meta: Bytes::new(),
            };
            match self.bus.request(request).await {
                Ok(Ok(bytes)) => return Ok(serde_json::from_slice(&bytes).unwrap()),
                Ok(Err(error)) => return Err(error.code),
                Err(_) => {}
            }
        }
        Err(0)
    }

    async fn of_device(&self, method: &str, data: &Value) -> Result<Value, u32> {
        self.call(&self.device.device.to_string(), method, data).await
    }

    async fn of_phone(&self, method: &str, data: &Value) -> Result<Value, u32> {
        self.call(&self.person, method, data).await
    }

    fn key(&self) -> SigningKey {
        self.device.key.signing().unwrap()
    }

    fn unlock(&self, number: u8, within_ms: u64) -> Value {
        let request = UnlockRequest {
            tenant: self.phone.tenant,
            request: RequestId::mint(UnixMs(1), [number; 10]),
            door: DoorId::parse(&self.door).unwrap(),
            deadline: self.clock.now().plus(within_ms),
        };
        json!({ "request": self.phone.key.signing().unwrap().sign_json(Kind::UnlockRequest, &request) })
    }

    fn ledger(&self, as_of: UnixMs) -> String {
        let report = LedgerReport {
            tenant: self.device.tenant,
            door: self.device.door,
            device: self.device.device,
            as_of,
            complete_since: UnixMs(0),
            entries: Vec::new(),
        };
        self.key().sign_json(Kind::LedgerReport, &report)
    }

    fn sync(&self) -> Value {
        json!({
            "firmware": "test", "capabilities": [], "desired_version": 0, "bundle_version": 0,
            "revocation_version": 0, "ledger": self.ledger(self.clock.now()), "events": null, "time_nonce": "n",
        })
    }

    /// Events of these numbers, chained from nothing.
    fn batch(&self, numbers: std::ops::RangeInclusive<u64>) -> Value {
        let occurred = Occurred { at: Some(self.clock.now()), clock: ClockQuality::Synced, error_ms: 1 };
        let event = |seq| DeviceEvent { seq, ..EventOutbox::draft(EventKind::DoorOpened, occurred) };
        let mut before = ChainHash::default();
        let exact = |seq| serde_json::value::to_raw_value(&event(seq)).unwrap();
        (1..*numbers.start()).for_each(|seq| before = before.after(exact(seq).get().as_bytes()));
        let batch = EventBatch {
            tenant: self.device.tenant,
            device: self.device.device,
            epoch: Epoch(7),
            first_seq: *numbers.start(),
            before,
            lost: Vec::new(),
            items: numbers.map(exact).collect(),
        };
        json!({ "batch": self.key().sign_json(Kind::EventBatch, &batch) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlock_is_one_command_however_often_it_comes() {
    let scene = scene().await;
    let asked = scene.unlock(1, 20_000);
    // Nobody has seen the door yet: the command waits for it.
    let first = scene.of_phone("door.unlock", &asked).await.unwrap();
    assert_eq!((&first["state"], &first["final"]), (&json!("queued"), &json!(false)));
    let again = scene.of_phone("door.unlock", &asked).await.unwrap();
    assert_eq!(again["command"], first["command"]);
    let got = scene.of_phone("command.get", &json!({ "command": first["command"] })).await.unwrap();
    assert_eq!(got["state"], "queued");
    let bob = scene.house.person("Bob").await;
    let command = json!({ "command": first["command"] });
    assert_eq!(scene.call(&bob, "command.get", &command).await, Err(404));
    assert_eq!(scene.call(&bob, "command.cancel", &command).await, Err(404));
    let cancelled = scene.of_phone("command.cancel", &command).await.unwrap();
    assert_eq!(cancelled["state"], "cancelled");
    let again = scene.of_phone("door.unlock", &asked).await.unwrap();
    assert_eq!((&again["command"], &again["state"]), (&first["command"], &json!("cancelled")));
    assert_eq!(scene.house.get("/v1/commands").await["items"].as_array().unwrap().len(), 1);
    // One that waits is sent when the door comes; what has been sent is not called back.
    let second = scene.of_phone("door.unlock", &scene.unlock(2, 20_000)).await.unwrap();
    // One's own number on a wish for another door gets no answer about this one.
    let back = UnlockRequest {
        tenant: scene.phone.tenant,
        request: RequestId::mint(UnixMs(1), [2; 10]),
        door: DoorId::parse(&scene.house.door("Back").await).unwrap(),
        deadline: scene.clock.now().plus(20_000),
    };
    let back = scene.phone.key.signing().unwrap().sign_json(Kind::UnlockRequest, &back);
    assert_eq!(scene.of_phone("door.unlock", &json!({ "request": back })).await, Err(422));
    scene.of_device("device.sync", &scene.sync()).await.unwrap();
    let command = json!({ "command": second["command"] });
    let sent = scene.of_phone("command.cancel", &command).await.unwrap();
    assert_eq!(sent["state"], "sent");
    scene.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_far_and_forged_requests_do_nothing() {
    let scene = scene().await;
    assert_eq!(scene.of_phone("door.unlock", &scene.unlock(1, 90_000)).await, Err(422), "too far away");
    assert_eq!(scene.of_phone("door.unlock", &scene.unlock(2, 0)).await, Err(422), "past its deadline");
    let forged = SigningKey::p256(scene.phone.key.kid, &[9; 32]).unwrap();
    let request = UnlockRequest {
        tenant: scene.phone.tenant,
        request: RequestId::mint(UnixMs(1), [3; 10]),
        door: DoorId::parse(&scene.door).unwrap(),
        deadline: scene.clock.now().plus(5_000),
    };
    let asked = json!({ "request": forged.sign_json(Kind::UnlockRequest, &request) });
    assert_eq!(scene.of_phone("door.unlock", &asked).await, Err(401));
    for (method, data, code) in [
        ("door.unlock", json!({}), 400),
        ("door.open", json!({}), 104),
        ("event.report", json!({ "batch": "a.b.c" }), 401),
        ("command.report", json!({ "ledger": scene.unlock(4, 5_000)["request"] }), 401),
        ("access.request", json!({ "request": "" }), 401),
        ("time.sync", json!({ "nonce": "x".repeat(500) }), 400),
    ] {
        assert_eq!(scene.of_device(method, &data).await, Err(code), "{method} {data}");
    }
    assert_eq!(scene.house.get("/v1/commands").await["items"], json!([]));
    scene.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_no_door_saw_expires_and_one_that_was_sent_is_settled() {
    let scene = scene().await;
    let never = scene.of_phone("door.unlock", &scene.unlock(1, 1_200)).await.unwrap();
    let state = async |command: &Value| {
        let got = scene.of_phone("command.get", &json!({ "command": command })).await.unwrap();
        got["state"].as_str().unwrap().to_owned()
    };
    wait_for("the command ends", async || match state(&never["command"]).await {
        found if found == "expired" => Ok(()),
        other => Err(other),
    })
    .await;
    scene.of_device("device.sync", &scene.sync()).await.unwrap();
    let sent = scene.of_phone("door.unlock", &scene.unlock(2, 1_500)).await.unwrap();
    assert_eq!(sent["state"], "sent");
    wait_for("nobody answers", async || match state(&sent["command"]).await {
        found if found == "unresolved" => Ok(()),
        other => Err(other),
    })
    .await;
    // A ledger from before the deadline proves nothing; one from after it does.
    let early = scene.ledger(scene.clock.now().minus(60_000));
    scene.of_device("command.report", &json!({ "ledger": early })).await.unwrap();
    assert_eq!(state(&sent["command"]).await, "unresolved");
    let late = scene.ledger(scene.clock.now().plus(1));
    scene.of_device("command.report", &json!({ "ledger": late })).await.unwrap();
    assert_eq!(state(&sent["command"]).await, "expired");
    scene.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_asked_for_until_they_are_whole() {
    let scene = scene().await;
    let report = async |numbers| {
        let answer = scene.of_device("event.report", &scene.batch(numbers)).await.unwrap();
        (answer["watermark"].as_u64().unwrap(), answer["wanted"].clone())
    };
    assert_eq!(report(1..=2).await, (2, Value::Null));
    assert_eq!(report(5..=6).await, (2, json!([{ "from": 3, "to": 4 }])));
    assert_eq!(report(1..=2).await, (2, json!([{ "from": 3, "to": 4 }])), "a copy changes nothing");
    assert_eq!(report(3..=4).await, (6, Value::Null));
    let events = scene.house.get("/v1/events").await;
    let numbers: Vec<u64> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["source"]["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 5, 6, 3, 4], "each once, in the order of commits");
    let device = scene.house.get(&format!("/v1/devices/{}", scene.device.device)).await;
    assert_eq!(device["state"]["observed"]["position"], "open");
    scene.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counted_use_is_counted_once_for_a_request() {
    let scene = scene().await;
    let path = format!("/v1/doors/{}", scene.door);
    assert_eq!(scene.house.ask("PATCH", &path, Some(json!({ "decided_by": "online" }))).await.0, 200);
    let bob = scene.house.person("Bob").await;
    scene.house.post("/v1/credentials", json!({ "person": bob, "kind": "card", "shown": "4711" })).await;
    let grant = json!({ "who": { "person": bob }, "scope": "tenant", "uses_max": 2 });
    let grant = scene.house.post("/v1/grants", grant).await;
    let ask = async |number: u8| {
        let request = AccessRequest {
            tenant: scene.device.tenant,
            device: scene.device.device,
            request: RequestId::mint(UnixMs(1), [number; 10]),
            door: scene.device.door,
            credential: Digest::of(&scene.device.reader_key.0, CredentialKind::Card, None, b"4711"),
            pin: None,
            first_person: None,
        };
        let signed = scene.key().sign_json(Kind::AccessRequest, &request);
        let answer = scene.of_device("access.request", &json!({ "request": signed })).await.unwrap();
        let keys = scene.device.identity().unwrap().core;
        let decision: Value = keys.read(Kind::Decision, answer["decision"].as_str().unwrap()).unwrap();
        decision["verdict"].as_str().unwrap().to_owned()
    };
    let mut said = Vec::new();
    for number in [1, 1, 2, 3] {
        said.push(ask(number).await);
    }
    assert_eq!(said, ["granted", "granted", "granted", "denied"]);
    let grant = scene.house.get(&format!("/v1/grants/{}", grant["id"].as_str().unwrap())).await;
    assert_eq!(grant["uses_taken"], 2);
    scene.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_hear_of_a_revocation_again_from_the_next_core() {
    let scene = scene().await;
    let heard = async |number| {
        wait_for("gateways hear of it", async || match scene.revoked.load(Ordering::SeqCst) {
            found if found >= number => Ok(()),
            found => Err(found),
        })
        .await;
    };
    assert_eq!(scene.revoked.load(Ordering::SeqCst), 0);
    scene.house.post(&format!("/v1/devices/{}/revoke", scene.device.device), json!({})).await;
    heard(1).await;
    // As after a crash: nobody knows whether the first one was told.
    let config = config(scene.house.folder.path(), "");
    let server = Server::on(config, scene.clock.clone(), scene.broker.backend()).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let second = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    heard(2).await;
    drop(stop);
    second.await.unwrap().unwrap();
    scene.house.stop().await;
}

/// What reads: each method with what it takes, with what it does not, and from somebody whose business it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_sees_their_own() {
    let scene = scene().await;
    let bob = scene.house.person("Bob").await;
    let keys = scene.of_phone("keys.list", &json!({})).await.unwrap();
    assert_eq!(
        (&keys["keys"][0]["door"], &keys["keys"][0]["door_name"]),
        (&json!(scene.door), &json!("Front"))
    );
    assert_eq!(scene.call(&bob, "keys.list", &json!({})).await, Ok(json!({ "keys": [] })));
    let door = json!({ "door": scene.door });
    let state = scene.of_phone("state.get", &door).await.unwrap();
    assert_eq!(
        (&state["door"], &state["mode"], &state["online"]),
        (&json!(scene.door), &json!("normal"), &json!(false))
    );
    scene.of_device("device.sync", &scene.sync()).await.unwrap();
    assert_eq!(scene.of_phone("state.get", &door).await.unwrap()["online"], true);
    assert_eq!(scene.call(&bob, "state.get", &door).await, Err(404), "no grant, no state");
    assert_eq!(scene.of_phone("state.get", &json!({ "door": "window_1" })).await, Err(400));
    // Bob gets in by a group, until the grant is switched off.
    let group = crate::house::id(&scene.house.post("/v1/groups", json!({ "name": "Staff" })).await);
    let path = format!("/v1/people/{bob}");
    assert_eq!(scene.house.ask("PATCH", &path, Some(json!({ "groups": [group] }))).await.0, 200);
    let grant = json!({ "who": { "group": group }, "scope": { "site": scene.house.site } });
    let grant = crate::house::id(&scene.house.post("/v1/grants", grant).await);
    let held =
        async || scene.call(&bob, "keys.list", &json!({})).await.unwrap()["keys"].as_array().unwrap().len();
    assert_eq!(held().await, 1);
    let path = format!("/v1/grants/{grant}");
    assert_eq!(scene.house.ask("PATCH", &path, Some(json!({ "enabled": false }))).await.0, 200);
    assert_eq!(held().await, 0);
    // Time over the very nonce, signed.
    let time = scene.of_device("time.sync", &json!({ "nonce": "n-1" })).await.unwrap();
    let keys = scene.device.identity().unwrap().core;
    let said: Value = keys.read(Kind::Time, time["time"].as_str().unwrap()).unwrap();
    assert_eq!(said["nonce"], "n-1");
    assert!(scene.clock.now().0 - said["time"].as_u64().unwrap() < 60_000, "{said}");
    // A device that was replaced is nobody any more.
    scene.house.device(&scene.door).await;
    for (method, data) in [
        ("device.sync", scene.sync()),
        ("event.report", scene.batch(1..=1)),
        ("command.report", json!({ "ledger": scene.ledger(scene.clock.now()) })),
    ] {
        assert_eq!(scene.of_device(method, &data).await, Err(404), "{method}");
    }
    scene.house.stop().await;
}

/// A key of the API is one command, shown as it is by now; with another body it is a mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_made_once_for_an_idempotency_key() {
    let scene = scene().await;
    let path = format!("/v1/doors/{}/commands", scene.door);
    let key = [("Idempotency-Key", "open-1")];
    let body = r#"{"kind":"unlock","within_ms":20000}"#;
    let (one, two) = tokio::join!(
        raw(&scene.house, "POST", &path, &key, body),
        raw(&scene.house, "POST", &path, &key, body)
    );
    let three = raw(&scene.house, "POST", &path, &key, body).await;
    for (status, _, made) in [&one, &two, &three] {
        assert_eq!((*status, &made["id"]), (202, &one.2["id"]), "{made}");
    }
    assert!(three.1.contains("idempotency-replayed: true"), "{}", three.1);
    let other = raw(&scene.house, "POST", &path, &key, r#"{"kind":"unlock"}"#).await;
    assert_eq!((other.0, other.2["code"].as_str()), (422, Some("idempotency_key_reused")));
    let (status, cancelled) = scene
        .house
        .ask("POST", &format!("/v1/commands/{}/cancel", one.2["id"].as_str().unwrap()), None)
        .await;
    assert_eq!((status, &cancelled["state"]), (200, &json!("cancelled")));
    let again = raw(&scene.house, "POST", &path, &key, body).await;
    assert_eq!((again.0, &again.2["state"]), (200, &json!("cancelled")), "as it is by now");
    assert_eq!(scene.house.get("/v1/commands").await["items"].as_array().unwrap().len(), 1);
    scene.house.stop().await;
}

/// A door that could not remember another command is not asked: who wants in hears it at once, and when to come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_with_too_much_under_way_says_so_at_once() {
    let scene = scene().await;
    scene.of_device("device.sync", &scene.sync()).await.unwrap();
    let path = format!("/v1/doors/{}/commands", scene.door);
    let unlock = json!({ "kind": "unlock", "within_ms": 20_000 });
    for number in 0..COMMANDS_MAX {
        let (status, made) = scene.house.ask("POST", &path, Some(unlock.clone())).await;
        assert_eq!(status, 202, "command {number}: {made}");
    }
    let (status, head, problem) = raw(&scene.house, "POST", &path, &[], &unlock.to_string()).await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("door_busy")), "{problem}");
    let seconds = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((15..=25).contains(&seconds.parse::<u32>().unwrap()), "{head}");
    let asked = scene.unlock(1, 20_000);
    assert_eq!(scene.of_phone("door.unlock", &asked).await, Err(429));
    // Nothing was written: the same request, when there is room, is a command.
    assert_eq!(
        scene.house.get("/v1/commands?limit=200").await["items"].as_array().unwrap().len(),
        COMMANDS_MAX
    );
    scene.clock.shift(15_000);
    assert_eq!(scene.of_phone("door.unlock", &asked).await, Err(429));
    scene.clock.shift(5_000 + LAG_MS_MAX as i64);
    let later = scene.of_phone("door.unlock", &scene.unlock(2, 20_000)).await.unwrap();
    assert_eq!(later["final"], false, "{later}");
    scene.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_cores_share_the_work() {
    let scene = scene().await;
    // The second one on the same database and bus: a phone's request may be one's, the door's word the other's.
    let server =
        Server::on(config(scene.house.folder.path(), ""), scene.clock.clone(), scene.broker.backend())
            .await
            .unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let second = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    for number in 1..=6u64 {
        let answer = scene.of_device("event.report", &scene.batch(number..=number)).await.unwrap();
        assert_eq!(answer["watermark"], number);
        let asked = scene.unlock(number as u8, 20_000);
        let answers =
            tokio::join!(scene.of_phone("door.unlock", &asked), scene.of_phone("door.unlock", &asked));
        assert_eq!(answers.0.unwrap()["command"], answers.1.unwrap()["command"]);
    }
    drop(stop);
    second.await.unwrap().unwrap();
    assert_eq!(scene.of_phone("keys.list", &json!({})).await.unwrap()["keys"].as_array().unwrap().len(), 1);
    scene.house.stop().await;
}
