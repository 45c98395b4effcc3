//! What the store does per second of CPU, on SQLite and on a real Postgres with its syncs on: changes as `event.report`
//! and `door.unlock` make them, from 64 callers at once. `cargo bench -p app-core --bench store` prints a table; CPU is
//! that of this process and of Postgres together, since both have to be paid for.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/it/store/postgres.rs"]
mod postgres;
#[allow(dead_code)]
#[path = "../tests/it/store/samples.rs"]
mod samples;

use app_core::store::change::{Change, Expect};
use app_core::store::{Store, StoreOptions, System};
use samples::{at, audit, command, device, event, intake, new_command, publication, scope};
use std::time::{Duration, Instant};

const CALLERS: u64 = 64;
/// Long enough for a few checkpoints of SQLite's log.
const MEASURED: Duration = Duration::from_secs(4);

/// Ticks of 10 ms that a process has used.
fn ticks(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // Own time and that of children that have ended.
    Some((number(1)? as u32, number(11)? + number(12)? + number(13)? + number(14)?))
}

fn cpu_s(postmaster: Option<u32>) -> f64 {
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let mut sum = ticks(&own).unwrap().1;
    if let Some(postmaster) = postmaster {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            if let (Some(pid), Some((parent, used))) = (pid, ticks(&stat))
                && (pid == postmaster || parent == postmaster)
            {
                sum += used;
            }
        }
    }
    sum as f64 / 100.0
}

struct Measured {
    changes: u64,
    seconds: f64,
    cpu_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Lets 64 callers write one change after the other.
async fn measure(store: &Store, postmaster: Option<u32>, make: fn(u64, u64) -> Change) -> Measured {
    let (began, cpu) = (Instant::now(), cpu_s(postmaster));
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            let mut number = 0;
            while began.elapsed() < MEASURED {
                number += 1;
                let change = make(caller, number);
                let sent = Instant::now();
                store.commit(scope(caller % 4), change).await.unwrap();
                times.push(sent.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
    Measured {
        changes: times.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        cpu_s: cpu_s(postmaster) - cpu,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    }
}

fn report(caller: u64, number: u64, size: u64) -> Change {
    let expect = if number == 1 { Expect::Absent } else { Expect::Version(number - 1) };
    let first = (number - 1) * size + 1;
    Change {
        events: (first..first + size).map(|seq| event(device(caller), seq)).collect(),
        intakes: vec![intake(device(caller), expect, first + size - 1)],
        outbox: (0..size).map(|_| publication("site:bench", "{\"specversion\":\"1.0\"}")).collect(),
        ..at(number)
    }
}

fn report_of_one(caller: u64, number: u64) -> Change {
    // Devices of their own, so that each row of the table begins with new ones.
    report(caller, number, 1)
}

fn report_of_sixteen(caller: u64, number: u64) -> Change {
    report(caller + 1_000, number, 16)
}

fn unlock(caller: u64, number: u64) -> Change {
    let id = caller << 32 | number;
    Change {
        commands: vec![new_command(command(scope(caller % 4), id, id, Some(at(1).at)))],
        audit: vec![audit(number)],
        outbox: vec![publication("device:bench", "{}"), publication("site:bench", "{}")],
        ..at(number)
    }
}

type Row = (&'static str, u64, fn(u64, u64) -> Change);
const ROWS: [Row; 3] = [
    ("event.report of 1 event", 1, report_of_one),
    ("event.report of 16 events", 16, report_of_sixteen),
    ("a command, its audit entry and two publications", 1, unlock),
];

/// A relay that sends what is there: without it the outbox would grow as it never does.
async fn relay(store: Store) {
    let system = System::because("the bench is the relay");
    let mut signal = store.outbox_signal();
    loop {
        let keys: Vec<_> = match store.outbox(system, 1_000).await {
            Ok(rows) => rows.iter().map(|row| row.key).collect(),
            Err(_) => return,
        };
        if keys.is_empty() && signal.changed().await.is_err() {
            return;
        }
        while store.outbox_done(system, &keys).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn table(name: &str, url: String, postmaster: Option<u32>) {
    let store = Store::open(StoreOptions { deadline_ms: 30_000, ..StoreOptions::at(url) }).await.unwrap();
    let relay = tokio::spawn(relay(store.clone()));
    for (what, size, make) in ROWS {
        let got = measure(&store, postmaster, make).await;
        println!(
            "| {name} | {what} | {:.0} | {:.0} | {:.1} | {:.1} |",
            got.changes as f64 * size as f64 / got.cpu_s,
            got.changes as f64 * size as f64 / got.seconds,
            got.p50_ms,
            got.p99_ms
        );
    }
    relay.abort();
    store.close().await;
}

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("| store | what | per CPU-second | per second | p50 ms | p99 ms |\n|---|---|---|---|---|---|");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("bench.db").display());
    runtime.block_on(table("SQLite", url, None));
    let server = postgres::Postgres::durable();
    server.sql("postgres", "CREATE DATABASE bench");
    runtime.block_on(table("Postgres", server.url("bench"), Some(server.pid)));
}
