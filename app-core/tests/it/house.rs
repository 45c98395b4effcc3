//! A small company with everything real: core and gateway on sockets of this machine, set up over the API, with
//! virtual doors and phones that enrol as anybody's would.

use app_core::config::Config;
use app_core::core::Core;
use app_core::serve::Server;
use app_core::source::Clock;
use keyway_devices::dice::Dice;
use keyway_devices::enrolling::{dice_of_the_system, enrol_door, enrol_phone, own_key};
use keyway_devices::enrolment::{DoorEnrolment, PhoneEnrolment};
use keyway_devices::flash::MemoryFlash;
use keyway_devices::http::{call, wanted};
use keyway_devices::net::{Forward, Hand, run_door, unlock};
use keyway_devices::scene::DoorShell;
use keyway_domain::command::{Doubt, State};
use keyway_domain::id::DoorId;
use keyway_domain::sign::Algorithm;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub const ADMIN: &str = "the administrators key of this test 0123456789";
pub const SECRET: &str = "the root secret of this test, 0123456789abcdef";

/// Waits until `look` gives something, and says what was last seen if it does not come.
pub async fn wait_for<T, S: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(tokio::time::Instant::now() < end, "{what}: last seen {seen:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub struct House {
    pub url: String,
    pub key: String,
    pub core: Arc<Core>,
    pub site: String,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    pub folder: tempfile::TempDir,
}

pub fn config(folder: &std::path::Path, more: &str) -> Config {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nprivate_listen = \"127.0.0.1:0\"\n\
         [store]\nurl = \"sqlite:{}\"\n[bus]\nkind = \"memory\"\n[keys]\nroot_secret = \"{SECRET}\"\n\
         [admin]\nkey = \"{ADMIN}\"\n[embedded]\ngateway_listen = \"127.0.0.1:0\"\n\
         gateway_private_listen = \"127.0.0.1:0\"\n{more}",
        folder.join("keyway.db").display()
    );
    Config::load(Some(("test.toml", &text)), []).unwrap()
}

impl House {
    /// An embedded core with one tenant and one site.
    pub async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::embedded(config(folder.path(), ""), Clock::default()).await.unwrap();
        Self::of(server, folder).await
    }

    /// The same on a database of either kind.
    #[allow(dead_code, reason = "the bench has its own")]
    pub async fn on(database_url: &str, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), "");
        config.store.url = database_url.to_owned();
        Self::of(Server::embedded(config, clock).await.unwrap(), folder).await
    }

    pub async fn of(server: Server, folder: tempfile::TempDir) -> Self {
        let url = format!("http://{}", server.public_address().unwrap());
        let core = Arc::clone(&server.core);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let tenant = wanted("POST", &url, "/v1/tenants", Some(ADMIN), Some(&json!({ "name": "Acme" }))).await;
        let key = tenant.unwrap()["api_key"]["secret"].as_str().unwrap().to_owned();
        let mut house =
            Self { url, key, core, site: String::new(), stop: Some(stop), running: Some(running), folder };
        let site = house.post("/v1/sites", json!({ "name": "Tallinn", "zone": "Europe/Tallinn" })).await;
        house.site = id(&site);
        house
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        wanted("POST", &self.url, path, Some(&self.key), Some(&body)).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        wanted("GET", &self.url, path, Some(&self.key), None).await.unwrap()
    }

    /// Status and body, whatever they are.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        call(method, &self.url, path, Some(&self.key), body.as_ref()).await.unwrap()
    }

    pub async fn door(&self, name: &str) -> String {
        id(&self.post("/v1/doors", json!({ "name": name, "site": self.site })).await)
    }

    pub async fn person(&self, name: &str) -> String {
        id(&self.post("/v1/people", json!({ "name": name })).await)
    }

    pub async fn grant(&self, person: &str, door: &str) -> String {
        let body = json!({ "who": { "person": person }, "scope": { "doors": [door] } });
        id(&self.post("/v1/grants", body).await)
    }

    pub async fn device(&self, door: &str) -> DoorEnrolment {
        let code = self.post(&format!("/v1/doors/{door}/enrolments"), json!({})).await;
        let mut dice = dice_of_the_system().unwrap();
        let own = own_key(Algorithm::ES256, Forward::begin().now(), &mut dice);
        enrol_door(&self.url, code["code"].as_str().unwrap(), own, &mut dice).await.unwrap()
    }

    pub async fn phone(&self, person: &str) -> PhoneEnrolment {
        let code = self.post(&format!("/v1/people/{person}/enrolments"), json!({})).await;
        let mut dice = dice_of_the_system().unwrap();
        let own = own_key(Algorithm::ES256, Forward::begin().now(), &mut dice);
        enrol_phone(&self.url, code["code"].as_str().unwrap(), own, &mut dice).await.unwrap()
    }

    pub async fn stop(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap().unwrap();
        self.folder
    }
}

pub fn id(made: &Value) -> String {
    made["id"].as_str().unwrap_or_else(|| panic!("no id in {made}")).to_owned()
}

/// What a test sees of a running door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub moved: usize,
    pub bundle: u64,
    pub credentials: usize,
    pub connected: bool,
    pub events_held: bool,
    pub lockdowns: usize,
    pub mode_version: u64,
}

/// A door that runs in a task until it is stopped.
pub struct Running {
    pub hands: mpsc::Sender<Hand>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<DoorShell<MemoryFlash>>,
}

impl Running {
    pub fn start(enrolment: &DoorEnrolment) -> Self {
        let clock = Forward::begin();
        let identity = Arc::new(enrolment.identity().unwrap());
        let entropy = dice_of_the_system().unwrap().roll();
        let mut door = DoorShell::start(identity, MemoryFlash::default(), entropy, clock.now()).unwrap();
        let endpoint = enrolment.endpoint(None).unwrap();
        let (hands, mut taken) = mpsc::channel(16);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let seeing = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let look = |door: &DoorShell<MemoryFlash>| {
                *seeing.lock().unwrap() = Seen {
                    moved: door.bolt.motions.len(),
                    bundle: door.core.bundle().map_or(0, |bundle| bundle.body().version),
                    credentials: door.core.bundle().map_or(0, |bundle| bundle.body().credentials.len()),
                    connected: door.is_connected(),
                    events_held: door.core.events().held().is_some(),
                    lockdowns: door.core.lockdowns().iter().filter(|one| one.live).count(),
                    mode_version: door.core.mode_version(),
                };
            };
            run_door(&endpoint, &mut door, clock, &mut taken, look).await.unwrap();
            door
        });
        Self { hands, seen, task }
    }

    /// Until it has a bundle.
    pub async fn await_connected(self) -> Self {
        self.until("the door has synced", |seen| seen.connected && seen.bundle > 0).await;
        self
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        wait_for(what, async || {
            let seen = self.seen();
            if wanted(&seen) { Ok(seen) } else { Err(seen) }
        })
        .await
    }

    pub async fn stop(self) -> DoorShell<MemoryFlash> {
        drop(self.hands);
        self.task.await.unwrap()
    }
}

pub async fn open(phone: &PhoneEnrolment, door: &str) -> Option<State> {
    let mut dice: Dice = dice_of_the_system().unwrap();
    let mut core = phone.phone().unwrap();
    let endpoint = phone.endpoint(None).unwrap();
    let door = DoorId::parse(door).unwrap();
    loop {
        let clock = Forward::begin();
        let said = unlock(&endpoint, &mut core, door, 20_000, clock, dice.bytes()).await.unwrap();
        // A ledger that has just begun takes no command that may have been made before it: on a busy machine the first one
        // may come within the error of the door's first time. The next one is later.
        if said != Some(State::Unresolved(Doubt::Forgotten)) {
            return said;
        }
    }
}
