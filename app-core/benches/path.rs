//! The whole path on this machine: core, a gateway, Redis and Postgres with its syncs on, a door and a phone. Core,
//! gateway, door and phone share this process and one clock, so that the way can be told hop by hop; between them are
//! real sockets. `cargo bench -p app-core --bench path` prints three tables.
#![allow(clippy::unwrap_used)]

#[path = "../tests/it/cache.rs"]
mod cache;
#[allow(dead_code)]
#[path = "../tests/it/house.rs"]
mod house;
#[allow(dead_code)]
#[path = "../tests/it/store/postgres.rs"]
mod postgres;

use app_core::config::Config;
use app_core::core::HOPS;
use app_core::relay::METHODS;
use app_core::relay::calls::Call;
use app_core::serve::Server;
use app_core::source::Clock;
use cache::Redis;
use house::{ADMIN, House, SECRET};
use keyway_bus::{Bus, RedisBus, RedisOptions};
use keyway_devices::enrolling::dice_of_the_system;
use keyway_devices::enrolment::DoorEnrolment;
use keyway_devices::flash::MemoryFlash;
use keyway_devices::net::{Forward, PhoneLink, run_door};
use keyway_devices::scene::DoorShell;
use keyway_domain::clock::ClockQuality;
use keyway_domain::command::State;
use keyway_domain::command::room::COMMANDS_MAX;
use keyway_domain::event::outbox::EventOutbox;
use keyway_domain::event::{Epoch, EventKind, Occurred};
use keyway_domain::id::DoorId;
use keyway_domain::message::device::EventReport;
use keyway_domain::sign::Kind;
use keyway_domain::time::UnixMs;
use postgres::Postgres;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const UNLOCKS: usize = 500;
/// Unlocks that are not counted: connections, statements and caches become warm.
const WARM: usize = 4 * DOORS;
/// In turn, so that none of them gets more commands than its ledger holds while they live.
const DOORS: usize = 16;
const _: () = assert!((UNLOCKS + WARM).div_ceil(DOORS) < COMMANDS_MAX);
const REQUESTS_PER_S: u32 = 500;
const API_S: u32 = 10;
const DEVICES: usize = 32;
const BATCHES: usize = 60;
/// Connections that the API's requests are spread over.
const CONNECTIONS: usize = 16;

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
    format!("{:.2} | {:.2} | {:.2}", at(0.5), at(0.9), at(0.99))
}

fn core_config(redis: &Redis, database: &Postgres, socket_url: &str) -> Config {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nprivate_listen = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n[bus]\nurl = \"{}\"\n\
         [keys]\nroot_secret = \"{SECRET}\"\n[admin]\nkey = \"{ADMIN}\"\n[gateway]\nsocket_url = \"{socket_url}\"\n",
        database.url("bench"),
        redis.url()
    );
    Config::load(Some(("bench.toml", &text)), []).unwrap()
}

/// Where a request has got to inside core, as it is traced there.
#[derive(Debug, Clone, PartialEq)]
enum Hop {
    Taken(String),
    Committed { commands: u64 },
}

static HOPS_SEEN: Mutex<Vec<(Instant, Hop)>> = Mutex::new(Vec::new());

struct Hops;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Hops {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let now = Instant::now();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            let hop = match field.name() {
                "method" => Hop::Taken(format!("{value:?}").trim_matches('"').to_owned()),
                "commands" => Hop::Committed { commands: format!("{value:?}").parse().unwrap_or(0) },
                _ => return,
            };
            HOPS_SEEN.lock().unwrap().push((now, hop));
        });
    }
}

/// Between the two instants: when the request was taken, and when what came of it was committed.
fn hops(seen: &[(Instant, Hop)], method: &str, from: Instant, to: Instant) -> Option<(Instant, Instant)> {
    let mut within = seen.iter().filter(|(at, _)| (from..=to).contains(at));
    let taken = within.find(|(_, hop)| matches!(hop, Hop::Taken(name) if name == method))?.0;
    let committed = within.find(|(_, hop)| matches!(hop, Hop::Committed { commands } if *commands > 0))?.0;
    Some((taken, committed))
}

const HOP_NAMES: [&str; 6] = [
    "phone signs, gateway, Redis: core has it",
    "core checks, decides, signs: committed",
    "Redis, gateway, door checks, moves the bolt, writes and signs its word",
    "gateway, Redis: core has it",
    "core checks: committed",
    "Redis, gateway: the phone knows",
];

/// A door in a task, which says when its bolt has moved, and how many credentials its bundle has.
fn start_door(enrolment: &DoorEnrolment) -> watch::Receiver<(usize, usize, Instant)> {
    let (tell, told) = watch::channel((0, 0, Instant::now()));
    let clock = Forward::begin();
    let entropy = dice_of_the_system().unwrap().roll();
    let identity = Arc::new(enrolment.identity().unwrap());
    let mut door = DoorShell::start(identity, MemoryFlash::default(), entropy, clock.now()).unwrap();
    let endpoint = enrolment.endpoint(None).unwrap();
    tokio::spawn(async move {
        let (_keep, mut hands) = mpsc::channel(1);
        let look = |door: &DoorShell<MemoryFlash>| {
            let credentials = door.core.bundle().map_or(0, |bundle| bundle.body().credentials.len());
            let seen = (door.bolt.motions.len(), credentials);
            tell.send_if_modified(|known| {
                let new = (known.0, known.1) != seen;
                if new {
                    *known = (seen.0, seen.1, Instant::now());
                }
                new
            });
        };
        run_door(&endpoint, &mut door, clock, &mut hands, look).await.unwrap();
    });
    told
}

/// A door whose ledger can take every command that it gets here: nobody waits for a deadline.
struct Opening {
    id: DoorId,
    seen: watch::Receiver<(usize, usize, Instant)>,
}

async fn unlocks(house: &House, postmaster: u32) {
    let person = house.person("Ada").await;
    let mut names = Vec::new();
    for number in 0..DOORS {
        let door = house.door(&format!("Front {number}")).await;
        house.grant(&person, &door).await;
        names.push(door);
    }
    let enrolment = house.phone(&person).await;
    let mut doors = Vec::new();
    for name in names {
        let mut seen = start_door(&house.device(&name).await);
        // The door has a bundle with the phone's key: it is connected and has synced.
        seen.wait_for(|(_, credentials, _)| *credentials == 1).await.unwrap();
        doors.push(Opening { id: DoorId::parse(&name).unwrap(), seen });
    }
    let mut phone = enrolment.phone().unwrap();
    let mut link = PhoneLink::open(&enrolment.endpoint(None).unwrap()).await.unwrap();
    let mut dice = dice_of_the_system().unwrap();
    let (mut there, mut back, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_hop: [Vec<Duration>; 6] = Default::default();
    let mut cpu = 0.0;
    for number in 0..WARM + UNLOCKS {
        if number == WARM {
            cpu = cpu_s(Some(postmaster));
        }
        let door = &mut doors[number % DOORS];
        let before = door.seen.borrow().0;
        let asked = Instant::now();
        let state = link.unlock(&mut phone, door.id, 10_000, Forward::begin(), dice.bytes()).await.unwrap();
        let told = Instant::now();
        phone.known.clear();
        if number < WARM && state != State::Executed {
            // A ledger takes no command that may have been made before it began: the first comes too soon.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        assert_eq!(state, State::Executed);
        let opened = door.seen.wait_for(|(moved, ..)| *moved > before).await.unwrap().2;
        let seen = std::mem::take(&mut *HOPS_SEEN.lock().unwrap());
        if number >= WARM {
            if let Some((taken, committed)) = hops(&seen, "door.unlock", asked, opened)
                && let Some((heard, settled)) = hops(&seen, "command.report", opened, told)
            {
                let ends = [asked, taken, committed, opened, heard, settled, told];
                ends.windows(2).zip(&mut by_hop).for_each(|(pair, times)| times.push(pair[1] - pair[0]));
            }
            there.push(opened - asked);
            back.push(told.saturating_duration_since(opened));
            whole.push(told - asked);
        }
    }
    println!(
        "\n| {UNLOCKS} unlocks at {DOORS} doors, one after the other | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|"
    );
    println!(
        "| phone, gateway, Redis, core, decision and commit, Redis, gateway, door: the bolt moves | {} |",
        percentiles(there)
    );
    println!(
        "| door, gateway, Redis, core, commit, Redis, gateway: the phone knows | {} |",
        percentiles(back)
    );
    println!("| phone to door to phone | {} |", percentiles(whole));
    println!("\n| hop by hop, {} unlocks | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|", by_hop[0].len());
    for (name, times) in HOP_NAMES.iter().zip(by_hop) {
        assert!(!times.is_empty(), "no unlock was seen hop by hop");
        println!("| {name} | {} |", percentiles(times));
    }
    let each_ms = (cpu_s(Some(postmaster)) - cpu) * 1_000.0 / UNLOCKS as f64;
    println!("\nCPU of all of them and Postgres, without Redis: {each_ms:.2} ms for each unlock");
}

/// One request on a connection that stays.
async fn ask(stream: &mut TcpStream, request: &str) -> u16 {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 8_192];
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        answer.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

async fn api(house: &House) {
    let door = house.door("Back").await;
    let host = house.url.strip_prefix("http://").unwrap().to_owned();
    let head = |line: String, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            house.key,
            body.len()
        )
    };
    // Four reads to a write: who looks at a door, and who adds a person.
    let requests: Arc<[(bool, String)]> = [
        (false, head(format!("GET /v1/doors/{door}"), "")),
        (false, head("GET /v1/doors".into(), "")),
        (false, head("GET /v1/events?limit=20".into(), "")),
        (false, head("GET /v1/commands?limit=20".into(), "")),
        (true, head("POST /v1/people".into(), "{\"name\":\"Somebody\"}")),
    ]
    .into();
    let begun = Instant::now() + Duration::from_millis(100);
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (requests, host) = (Arc::clone(&requests), host.clone());
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(&host).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut times = Vec::new();
            for number in (connection..(REQUESTS_PER_S * API_S) as usize).step_by(CONNECTIONS) {
                // At its time, and measured from it: a server that is late does not slow the clock down.
                let due = begun + Duration::from_secs(1) * number as u32 / REQUESTS_PER_S;
                tokio::time::sleep_until(due.into()).await;
                let (writes, request) = &requests[number % requests.len()];
                let status = ask(&mut stream, request).await;
                assert!((200..300).contains(&status), "{status}");
                times.push((*writes, due.elapsed()));
            }
            times
        });
    }
    let times: Vec<(bool, Duration)> = tasks.join_all().await.into_iter().flatten().collect();
    let of =
        |wanted: bool| times.iter().filter(|(writes, _)| *writes == wanted).map(|(_, time)| *time).collect();
    println!(
        "\n| API, {REQUESTS_PER_S} requests a second for {API_S} s | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|"
    );
    println!("| reads (4 of 5) | {} |", percentiles(of(false)));
    println!("| writes (1 of 5) | {} |", percentiles(of(true)));
    println!("| all | {} |", percentiles(times.iter().map(|(_, time)| *time).collect()));
}

/// Ticks of 10 ms that a process has used, and its parent.
fn ticks(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some((number(1)? as u32, number(11)? + number(12)? + number(13)? + number(14)?))
}

/// CPU of this process and of a Postgres, in seconds.
fn cpu_s(postmaster: Option<u32>) -> f64 {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if let (Some(pid), Some((parent, used))) = (pid, ticks(&stat))
            && (pid == std::process::id() || Some(pid) == postmaster || Some(parent) == postmaster)
        {
            sum += used;
        }
    }
    sum as f64 / 100.0
}

/// `event.report` as the relay serves it: the device's signature and chain verified, watermark and events committed. The
/// batches are signed beforehand, as doors would do it elsewhere.
async fn reports(name: &str, server: Server, postmaster: Option<u32>) {
    let core = Arc::clone(&server.core);
    let house = House::of(server, tempfile::tempdir().unwrap()).await;
    for size in [1, 16] {
        let mut devices = Vec::new();
        for number in 0..DEVICES {
            let door = house.door(&format!("Door {size}.{number}")).await;
            let enrolment = house.device(&door).await;
            let (id, key) = (enrolment.identity().unwrap(), enrolment.key.signing().unwrap());
            let mut outbox = EventOutbox::begun(Epoch(7), 1 << 24);
            let mut calls = Vec::new();
            for _ in 0..BATCHES {
                for _ in 0..size {
                    let occurred = Occurred { at: None, clock: ClockQuality::Unset, error_ms: 0 };
                    outbox.append(EventOutbox::draft(EventKind::AccessRequested, occurred));
                }
                let held = outbox.held().unwrap();
                let batch = outbox.batch(id.tenant, id.device, held.from).unwrap();
                let report = EventReport { batch: key.sign_json(Kind::EventBatch, &batch) };
                outbox.committed(held.to);
                calls.push(serde_json::to_vec(&report).unwrap());
            }
            devices.push((id.tenant, id.device.to_string(), calls));
        }
        let (began, cpu) = (Instant::now(), cpu_s(postmaster));
        let mut tasks = tokio::task::JoinSet::new();
        for (tenant, user, calls) in devices {
            let core = Arc::clone(&core);
            tasks.spawn(async move {
                let method = METHODS.iter().find(|method| method.name == "event.report").unwrap();
                for data in calls {
                    let deadline = UnixMs(u64::MAX >> 1);
                    let call = Call { tenant, user: user.clone(), data: data.into(), deadline };
                    (method.serve)(Arc::clone(&core), call).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let events = (DEVICES * BATCHES * size) as f64;
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_s(postmaster) - cpu);
        println!(
            "| {name} | {size} | {:.0} | {:.0} | {:.0} |",
            events / cpu,
            events / size as f64 / cpu,
            events / seconds
        );
    }
    house.stop().await;
}

async fn measure_reports() {
    println!(
        "\n| event.report, {DEVICES} doors at once | events in a batch | events per CPU-s | batches per CPU-s | events per s |"
    );
    println!("|---|---|---|---|---|");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::embedded(house::config(folder.path(), ""), Clock::default()).await.unwrap();
    reports("SQLite", server, None).await;
    let (redis, database) = (Redis::start(), Postgres::durable());
    database.sql("postgres", "CREATE DATABASE bench");
    let config = core_config(&redis, &database, "ws://127.0.0.1:1/connection/websocket");
    let server = Server::start(config, Clock::default()).await.unwrap();
    reports("Postgres", server, Some(database.pid)).await;
}

async fn measure() {
    let redis = Redis::start();
    let database = Postgres::durable();
    database.sql("postgres", "CREATE DATABASE bench");
    // Core has to say where the gateway is, the gateway where core's keys are: the gateway takes a port first.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket_url = format!("ws://{port}/connection/websocket");
    let server = Server::start(core_config(&redis, &database, &socket_url), Clock::default()).await.unwrap();
    let keys = format!("http://{}/.well-known/jwks.json", server.public_address().unwrap());
    let variables = [
        ("LISTEN", port.to_string()),
        ("PRIVATE_LISTEN", "127.0.0.1:0".to_owned()),
        ("TOKENS__JWKS_URL", keys),
        ("NAMESPACES__DEVICE__PRESENCE", "true".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (format!("{}{name}", ws_gateway::config::PREFIX), value));
    let gateway_config = ws_gateway::Config::load(None, variables).unwrap();
    let options = RedisOptions::new(redis.url().to_owned());
    let gateway = ws_gateway::Gateway::start(gateway_config, async |sink| {
        Ok(RedisBus::connect(options, sink).await? as Arc<dyn Bus>)
    });
    let gateway = gateway.await.unwrap();
    let gateway = tokio::spawn(gateway.run(std::future::pending()));
    let house = House::of(server, tempfile::tempdir().unwrap()).await;
    unlocks(&house, database.pid).await;
    api(&house).await;
    house.stop().await;
    gateway.abort();
}

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // `-- unlocks` or `-- reports`: one of the two; both without a word.
    let asked = |word: &str| {
        let mut words = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
        words.peek().is_none() || words.any(|argument| argument == word)
    };
    let only_hops = tracing_subscriber::filter::Targets::new().with_target(HOPS, tracing::Level::TRACE);
    tracing_subscriber::registry().with(only_hops).with(Hops).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if asked("reports") {
        runtime.block_on(measure_reports());
    }
    if asked("unlocks") {
        runtime.block_on(measure());
    }
}
