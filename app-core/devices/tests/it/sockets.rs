//! A door and a phone over real sockets of this machine. The other end speaks the server's side of the client protocol
//! and hands calls to the small core; frames, pings, server-side subscriptions and reconnecting are real.

use futures::{SinkExt as _, StreamExt as _};
use keyway_devices::dice::MORNING;
use keyway_devices::enrolment::{CoreKey, DoorEnrolment, Hex32, OwnKey};
use keyway_devices::flash::{FileFlash, MemoryFlash};
use keyway_devices::net::{Endpoint, Forward, Hand, run_door, unlock};
use keyway_devices::phone::PhoneCore;
use keyway_devices::scene::{DoorShell, make};
use keyway_devices::small_core::{Publication, SmallCore};
use keyway_domain::command::State;
use keyway_domain::id::{DeviceId, EventId, KeyId};
use keyway_domain::message::CloudEvent;
use keyway_domain::message::publication::ToPerson;
use keyway_domain::sign::Algorithm;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

/// A token in these tests is simply who it is.
struct Server {
    core: Mutex<SmallCore>,
    device: DeviceId,
    clock: Forward,
    published: broadcast::Sender<(String, Value)>,
    /// How often the door has synced, which it does after every connect.
    syncs: AtomicUsize,
}

impl Server {
    fn call(&self, who: &str, method: &str, data: &Value) -> Option<Value> {
        let mut core = self.core.lock().unwrap();
        self.syncs.fetch_add(usize::from(method == "device.sync"), Ordering::SeqCst);
        let device = (who == "door").then_some(self.device);
        let answer = core.call(device, method, data.to_string().as_bytes(), self.clock.now());
        for publication in core.take_publications() {
            let at = self.clock.now();
            let event = |data: Value| {
                json!(CloudEvent::of_core(EventId::mint(at, [1; 10]), core.tenant, "test", at, data))
            };
            let _ = match publication {
                Publication::Device(_, push) => self.published.send(("device:x".into(), event(json!(push)))),
                Publication::Lockdown(statement) => {
                    self.published.send(("lockdown:x".into(), event(json!({ "statement": statement }))))
                }
                Publication::Person(_, change) => {
                    self.published.send(("#x".into(), event(json!(ToPerson::Command(change)))))
                }
            };
        }
        answer.map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }
}

async fn serve(server: Arc<Server>, stream: TcpStream) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let mut published = server.published.subscribe();
    let mut who = String::new();
    loop {
        let answers = tokio::select! {
            frame = socket.next() => {
                let Some(Ok(Message::Text(text))) = frame else { return };
                let mut answers = Vec::new();
                for line in text.lines() {
                    let command: Value = serde_json::from_str(line).unwrap();
                    if let Some(connect) = command.get("connect") {
                        who = connect["token"].as_str().unwrap().to_owned();
                        answers.push(json!({ "id": command["id"], "connect": { "client": "c", "version": "t", "ping": 25, "pong": true } }));
                        answers.push(json!({}));
                    } else if let Some(rpc) = command.get("rpc") {
                        let answer = server.call(&who, rpc["method"].as_str().unwrap(), &rpc["data"]);
                        answers.push(match answer {
                            Some(data) => json!({ "id": command["id"], "rpc": { "data": data } }),
                            None => json!({ "id": command["id"], "error": { "code": 100, "message": "internal", "temporary": true } }),
                        });
                    }
                }
                answers
            }
            publication = published.recv() => {
                let Ok((channel, data)) = publication else { return };
                let theirs = (who == "door") != channel.starts_with('#');
                if theirs { vec![json!({ "push": { "channel": channel, "pub": { "data": data } } })] } else { Vec::new() }
            }
        };
        for answer in answers {
            if socket.send(Message::text(answer.to_string())).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until `done`, and says what was last seen if it does not come.
async fn wait_for<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> (bool, T)) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (done, seen) = look();
        if done {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: last seen {seen:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_phone_opens_a_door_over_sockets_and_the_door_reconnects() {
    // The scene makes keys and facts; from here on real time runs, so its bundle has to be made now.
    let made = make(1, 1, 9, |_| MemoryFlash::default()).unwrap();
    let clock = Forward::begin();
    let mut core = made.scene.core;
    for zone in core.facts.zones.values_mut() {
        *zone = keyway_domain::zone::ZoneTable::expand(
            "Europe/Tallinn",
            clock.now(),
            clock.now().plus(31_000_000_000),
        )
        .unwrap();
    }
    let old = &made.scene.doors[0].identity;
    let own = |byte: u8| OwnKey {
        kid: KeyId::mint(MORNING, [byte; 10]),
        alg: Algorithm::ES256,
        seed: Hex32([byte; 32]),
    };
    let (door_key, phone_key) = (own(3), own(4));
    let (door_id, device) = (old.door, old.device);
    core.enrol_device(device, door_id, &door_key.signing().unwrap());
    let key = core
        .facts
        .credentials
        .values()
        .find(|one| one.kind == keyway_domain::credential::CredentialKind::PublicKey);
    let (credential, person) = key.map(|one| (one.id, one.person)).unwrap();
    core.enrol_phone(&phone_key.signing().unwrap(), credential);
    let enrolment = DoorEnrolment {
        tenant: old.tenant,
        site: old.site,
        door: door_id,
        device,
        key: door_key,
        core: vec![CoreKey { kid: core.key.id, key: core.key.public() }],
        keys_version: 1,
        reader_key: Hex32(old.reader_key),
        events_bytes_max: 1 << 16,
        token: "door".into(),
        core_url: None,
        socket_url: None,
    };
    let text = serde_json::to_string(&enrolment).unwrap();
    let enrolment: DoorEnrolment = serde_json::from_str(&text).unwrap();
    let tenant = core.tenant;

    let server = Arc::new(Server {
        core: Mutex::new(core),
        device,
        clock,
        published: broadcast::channel(64).0,
        syncs: AtomicUsize::new(0),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/connection/websocket", listener.local_addr().unwrap());
    let (cut, _) = broadcast::channel::<()>(4);
    let (accepting, cutting) = (server.clone(), cut.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut cut = cutting.subscribe();
            let server = accepting.clone();
            tokio::spawn(async move {
                tokio::select! { () = serve(server, stream) => {}, _ = cut.recv() => {} }
            });
        }
    });

    let folder = tempfile::tempdir().unwrap();
    let flash = FileFlash::open(&folder.path().join("door.ndjson")).unwrap();
    let mut door = DoorShell::start(Arc::new(enrolment.identity().unwrap()), flash, 5, clock.now()).unwrap();
    let endpoint = enrolment.endpoint(Some(url.clone())).unwrap();
    let (tell, mut hands) = tokio::sync::mpsc::channel::<Hand>(4);
    let seen = Arc::new(Mutex::new((0, false)));
    let seeing = seen.clone();
    let running = tokio::spawn(async move {
        let look = |door: &DoorShell<FileFlash>| {
            *seeing.lock().unwrap() = (door.bolt.motions.len(), door.core.bundle().is_some());
        };
        run_door(&endpoint, &mut door, clock, &mut hands, look).await.unwrap();
        door
    });
    let look = || *seen.lock().unwrap();
    wait_for("the door has a bundle", || (look().1, look())).await;

    let endpoint = Endpoint { url, token: "phone".into(), renewal: None };
    let mut phone = PhoneCore::new(tenant, person, phone_key.signing().unwrap());
    for round in 1..=2u8 {
        let state = unlock(&endpoint, &mut phone, door_id, 20_000, clock, [round; 10]).await.unwrap();
        let in_core: Vec<State> =
            server.core.lock().unwrap().commands.values().map(|row| row.record.state).collect();
        assert_eq!(
            state,
            Some(State::Executed),
            "round {round}, core says {in_core:?}, the door {:?}",
            look()
        );
        assert_eq!(seen.lock().unwrap().0, usize::from(round));
        // Every link is cut; the door comes back by itself and hears the time and its state anew.
        let before = server.syncs.load(Ordering::SeqCst);
        cut.send(()).unwrap();
        let syncs = || server.syncs.load(Ordering::SeqCst);
        wait_for("the door is back", || (syncs() > before, syncs())).await;
    }
    drop(tell);
    let door = running.await.unwrap();
    assert_eq!(door.bolt.motions.len(), 2);
}
