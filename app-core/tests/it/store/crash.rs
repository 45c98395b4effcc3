//! A process that writes is killed in the middle: everything that it was told is durable is there, whole and once.

use super::database::Database;
use super::samples::{EPOCH, at, audit, device, event, intake, publication, scope};
use app_core::store::change::{Change, Expect};
use app_core::store::row::EventFilter;
use app_core::store::{Store, StoreOptions, System};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

on_both!(what_was_acknowledged_survives_a_kill);

const URL: &str = "KEYWAY_TEST_STORE_URL";
const WRITERS: u64 = 8;
/// Acknowledged commits before the kill.
const ACKNOWLEDGED: usize = 300;

/// The writing process: this test binary, asked for this test alone and told where. In an ordinary run it does nothing.
#[tokio::test]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let store = Store::open(StoreOptions { deadline_ms: 20_000, ..StoreOptions::at(url) }).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for seq in 1.. {
                store.commit(scope(1), step(writer, seq)).await.unwrap();
                // One write, so that a line is whole or not there.
                let line = format!("done {writer} {seq}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tasks.join_next().await.unwrap().unwrap();
}

fn step(writer: u64, seq: u64) -> Change {
    Change {
        intakes: vec![intake(
            device(writer),
            if seq == 1 { Expect::Absent } else { Expect::Version(seq - 1) },
            seq,
        )],
        events: vec![event(device(writer), seq)],
        audit: vec![audit(format!("{writer}.{seq}"))],
        outbox: vec![publication("site:x", format!("{writer}.{seq}"))],
        ..at(1)
    }
}

async fn what_was_acknowledged_survives_a_kill(database: Database) {
    let url = database.url.clone();
    let acknowledged = tokio::task::spawn_blocking(move || {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::crash::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut done = [0u64; WRITERS as usize];
        let mut take = |line: String| {
            // The test runner says something before the first line, without ending its own.
            let Some(place) = line.find("done ") else { return false };
            let mut numbers = line[place + 5..].split(' ').map(|part| part.parse::<u64>().unwrap());
            let writer = numbers.next().unwrap() as usize;
            done[writer] = done[writer].max(numbers.next().unwrap());
            true
        };
        let mut count = 0;
        while count < ACKNOWLEDGED {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            count += usize::from(take(line));
        }
        child.kill().unwrap();
        // What it still said before the end counts too.
        lines.map_while(Result::ok).for_each(|line| {
            take(line);
        });
        child.wait().unwrap();
        done
    });
    let acknowledged = acknowledged.await.unwrap();
    let store = database.open().await;
    let mut total = 0;
    for writer in 0..WRITERS {
        let row = store.intake(scope(1), device(writer), EPOCH).await.unwrap();
        let (version, watermark) = row.map_or((0, 0), |row| (row.version, row.intake.watermark));
        assert!(
            watermark >= acknowledged[writer as usize],
            "writer {writer}: {watermark} of {acknowledged:?}"
        );
        // One more at most: begun, and killed before it was told.
        assert!(watermark <= acknowledged[writer as usize] + 1 && version == watermark);
        total += watermark;
    }
    let mut events = Vec::new();
    loop {
        let filter = EventFilter { after: events.len() as u64, ..Default::default() };
        let page = store.events(scope(1), &filter, 1_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    // Event, audit entry and publication of every commit, or none of them.
    assert_eq!(events.len() as u64, total);
    assert_eq!(store.audit_head(scope(1)).await.unwrap().size, total);
    let mut published = 0;
    let relay = System::because("the test is the relay");
    loop {
        let page = store.outbox(relay, 1_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        published += page.len() as u64;
        let keys: Vec<_> = page.iter().map(|row| row.key).collect();
        store.outbox_done(relay, &keys).await.unwrap();
    }
    assert_eq!(published, total);
    for writer in 0..WRITERS {
        let last = acknowledged[writer as usize];
        let row = store.intake(scope(1), device(writer), EPOCH).await.unwrap();
        let next = row.map_or(1, |row| row.intake.watermark + 1);
        store.commit(scope(1), step(writer, next)).await.unwrap();
        assert!(next > last);
    }
}
