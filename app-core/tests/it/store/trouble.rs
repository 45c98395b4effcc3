//! Full, locked, gone, slow, too new, misaddressed: each has its clear answer, nothing is half-written, and the store
//! works again when the trouble is over.

use super::database::Database;
use super::postgres::Postgres;
use super::samples::{at, audit, publication, scope, site};
use app_core::store::change::{Change, Expect};
use app_core::store::{Store, StoreError, StoreOptions, TenantScope, migrate};
use sqlx::Connection as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

on_both!(
    a_newer_schema_is_refused,
    an_older_schema_is_refused_unless_asked_to_migrate,
    a_changed_migration_is_noticed,
    a_closed_store_says_so,
);

/// What the trouble must not have left behind.
async fn audit_size(store: &Store, scope: TenantScope) -> u64 {
    let head = store.audit_head(scope).await.unwrap();
    let mut entries = 0;
    loop {
        let page = store.audit(scope, entries, 1_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        entries += page.len() as u64;
    }
    assert_eq!(entries, head.size);
    entries
}

fn change() -> Change {
    Change { audit: vec![audit("a")], outbox: vec![publication("site:x", "x".repeat(4_000))], ..at(1) }
}

/// Commits until it succeeds, for as long as a recovery may take.
async fn recovers(store: &Store) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match store.commit(scope(1), change()).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < until && error.is_passing(), "did not recover: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_newer_schema_is_refused(database: Database) {
    database.open().await.close().await;
    database.sql("INSERT INTO schema_migrations (number, name, sha256) SELECT max(number) + 1, 'later', '' FROM schema_migrations").await;
    for wants in [true, false] {
        let error = Store::open(StoreOptions { migrate: wants, ..database.options() }).await.err().unwrap();
        assert!(matches!(error, StoreError::TooNew { .. }), "{error:?}");
    }
    assert!(matches!(migrate(&database.options()).await, Err(StoreError::TooNew { .. })));
}

async fn an_older_schema_is_refused_unless_asked_to_migrate(database: Database) {
    let unasked = StoreOptions { migrate: false, ..database.options() };
    let error = Store::open(unasked.clone()).await.err().unwrap();
    assert!(matches!(error, StoreError::NotMigrated { found: 0, .. }), "{error:?}");
    // Two at once: one of them does the work.
    let options = database.options();
    let (one, two) = tokio::join!(migrate(&options), migrate(&options));
    let numbers = [one.unwrap(), two.unwrap()].concat();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
    Store::open(unasked).await.unwrap().close().await;
}

async fn a_changed_migration_is_noticed(database: Database) {
    database.open().await.close().await;
    database.sql("UPDATE schema_migrations SET sha256 = 'other'").await;
    let error = Store::open(database.options()).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

async fn a_closed_store_says_so(database: Database) {
    let store = database.open().await;
    store.ready().await.unwrap();
    store.close().await;
    assert!(matches!(
        store.commit(scope(1), change()).await,
        Err(StoreError::Unavailable { maybe: false, .. })
    ));
    assert!(matches!(store.facts(scope(1)).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.ready().await, Err(StoreError::Unavailable { .. })));
    store.close().await;
}

#[tokio::test]
async fn bad_addresses_are_told_without_their_secrets() {
    for url in ["", "core.db", "sqlite:", "sqlite::memory:", "mysql://x", "postgres://u:hunter2@[bad/db"] {
        let error = Store::open(StoreOptions::at(url)).await.err().unwrap();
        assert!(matches!(error, StoreError::Address { .. }), "{url}: {error:?}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let nowhere =
        StoreOptions { deadline_ms: 5_000, ..StoreOptions::at("sqlite:/nonexistent/folder/core.db") };
    assert!(matches!(Store::open(nowhere).await.err(), Some(StoreError::Unavailable { .. })));
    let nobody = StoreOptions { deadline_ms: 5_000, ..StoreOptions::at("postgres://postgres@127.0.0.1:1/x") };
    assert!(matches!(Store::open(nobody).await.err(), Some(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn sqlite_full() {
    let database = Database::sqlite();
    let store = database.open().await;
    recovers(&store).await;
    store.close().await;
    let small = StoreOptions { sqlite_pages_max: Some(80), ..database.options() };
    let store = Store::open(small).await.unwrap();
    let mut written = 1;
    let error = loop {
        match store.commit(scope(1), change()).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert_eq!(audit_size(&store, scope(1)).await, written);
    store.close().await;
    let store = database.open().await;
    assert_eq!(audit_size(&store, scope(1)).await, written);
    recovers(&store).await;
}

/// A disk of a few megabytes, where that can be had: mounting is for root, elsewhere the test says so and is over.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("keyway-disk").tempdir().unwrap();
        let path = dir.path().to_owned();
        let run = |program: &str, arguments: &[&str]| {
            let done = Command::new(program).args(arguments).arg(&path).output();
            done.is_ok_and(|output| output.status.success())
        };
        let there = run("mount", &["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"])
            .then(|| Self(dir))
            .filter(|_| run("chown", &["postgres:postgres"]));
        if there.is_none() {
            eprintln!("skipped: a small disk can only be mounted by root, with a user named postgres");
        }
        there
    }

    fn grow(&self) {
        let path = self.0.path();
        assert!(
            Command::new("mount").args(["-o", "remount,size=128m"]).arg(path).status().unwrap().success()
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A real disk that runs full under the tables; room is made, and it goes on.
#[tokio::test]
async fn postgres_full() {
    // Dropped in this order: the server, and then its disk.
    let Some(disk) = SmallDisk::mount() else { return };
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let place = disk.0.path().display();
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{place}'"));
    server.sql("postgres", "CREATE DATABASE core TABLESPACE small");
    let options = StoreOptions { deadline_ms: 20_000, ..StoreOptions::at(server.url("core")) };
    let store = Store::open(options).await.unwrap();
    let mut written = 0;
    let error = loop {
        // Not compressed away: every row is other text.
        let text: String = (0..900)
            .map(|_| format!("{:016x}", super::samples::fresh().wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let change = Change { outbox: vec![publication("site:x", text)], ..change() };
        match store.commit(scope(1), change).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    // Nothing half-written, and reads go on.
    assert_eq!(audit_size(&store, scope(1)).await, written);
    store.ready().await.unwrap();
    assert!(matches!(store.commit(scope(1), change()).await, Err(StoreError::Full) | Ok(_)));
    disk.grow();
    recovers(&store).await;
    assert!(audit_size(&store, scope(1)).await > written);
    store.close().await;
    drop(server);
    drop(disk);
}

/// Not the bound that we set ourselves: the disk under the file has no room.
#[tokio::test]
async fn sqlite_on_a_disk_that_is_full() {
    let Some(disk) = SmallDisk::mount() else { return };
    let url = format!("sqlite:{}", disk.0.path().join("core.db").display());
    let store = Store::open(StoreOptions { deadline_ms: 20_000, ..StoreOptions::at(url) }).await.unwrap();
    let mut written = 0;
    let error = loop {
        let change = Change { outbox: vec![publication("site:x", "x".repeat(60_000))], ..change() };
        match store.commit(scope(1), change).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert_eq!(audit_size(&store, scope(1)).await, written);
    disk.grow();
    recovers(&store).await;
    store.close().await;
}

#[tokio::test]
async fn sqlite_locked_by_another_process() {
    let database = Database::sqlite();
    let store = Store::open(StoreOptions { deadline_ms: 3_000, ..database.options() }).await.unwrap();
    // The one above is told to be impatient; what is there is read by one that is not.
    let patient = database.open().await;
    recovers(&store).await;
    let before = audit_size(&patient, scope(1)).await;
    let path = database.url.strip_prefix("sqlite:").unwrap();
    let mut other = sqlx::SqliteConnection::connect(path).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.commit(scope(1), change()).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked), "{error:?}");
    // Readers do not mind.
    assert_eq!(audit_size(&patient, scope(1)).await, before);
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    recovers(&store).await;
    assert!(audit_size(&patient, scope(1)).await > before);
}

#[tokio::test]
async fn a_file_that_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core.db");
    std::fs::write(&path, "not a database at all, but long enough to be asked for its header".repeat(20))
        .unwrap();
    let error = Store::open(StoreOptions::at(format!("sqlite:{}", path.display()))).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// A row of a tenant is held by a transaction that does not go on.
#[tokio::test]
async fn postgres_locked_by_another_process() {
    let database = Database::postgres().await;
    let store = Store::open(StoreOptions { deadline_ms: 800, ..database.options() }).await.unwrap();
    let patient = database.open().await;
    recovers(&store).await;
    let before = audit_size(&patient, scope(1)).await;
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM tenant_heads FOR UPDATE").execute(&mut other).await.unwrap();
    let error = store.commit(scope(1), change()).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked | StoreError::Slow { .. }), "{error:?}");
    assert_eq!(audit_size(&patient, scope(1)).await, before);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    recovers(&store).await;
}

#[tokio::test]
async fn postgres_gone_and_back() {
    let mut server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    server.sql("postgres", "CREATE DATABASE core");
    let options = StoreOptions { deadline_ms: 5_000, ..StoreOptions::at(server.url("core")) };
    let store = Store::open(options).await.unwrap();
    recovers(&store).await;
    let server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    });
    let mut server = server.await.unwrap();
    let error = store.commit(scope(1), change()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(matches!(store.facts(scope(1)).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.ready().await, Err(StoreError::Unavailable { .. })));
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let server = server.await.unwrap();
    recovers(&store).await;
    store.ready().await.unwrap();
    assert_eq!(audit_size(&store, scope(1)).await, 2);
    drop(store);
    drop(server);
}

#[tokio::test]
async fn postgres_paused_is_slow() {
    let server = Arc::new(tokio::task::spawn_blocking(Postgres::start).await.unwrap());
    let database = Database::on(Arc::clone(&server));
    let store = Store::open(StoreOptions { deadline_ms: 400, ..database.options() }).await.unwrap();
    let patient = database.open().await;
    recovers(&store).await;
    let before = audit_size(&patient, scope(1)).await;
    server.pause();
    let began = Instant::now();
    let error = store.commit(scope(1), change()).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow { .. }) && error.may_have_happened(), "{error:?}");
    let error = store.facts(scope(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow { .. }), "{error:?}");
    // One that never left the queue was certainly not written.
    let (one, two) = tokio::join!(store.commit(scope(1), change()), store.commit(scope(1), change()));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(error, StoreError::Slow { .. } | StoreError::Busy { .. }), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "deadlines are kept");
    server.resume();
    recovers(&store).await;
    let entries = audit_size(&patient, scope(1)).await;
    // Three were asked for while it was paused, and one or more afterwards.
    assert!(entries > before, "{entries}");
    let ids = patient.audit(scope(1), 0, 1_000).await.unwrap();
    let distinct: std::collections::BTreeSet<_> = ids.iter().map(|row| row.id).collect();
    assert_eq!(distinct.len() as u64, entries, "each at most once");
}

/// More than the queue holds: an answer at once, and what was taken is written.
#[tokio::test]
async fn a_full_queue_is_busy() {
    let database = Database::sqlite();
    let store = Store::open(StoreOptions { queue_max: 4, ..database.options() }).await.unwrap();
    let path = database.url.strip_prefix("sqlite:").unwrap();
    let mut other = sqlx::SqliteConnection::connect(path).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..300 {
        let store = store.clone();
        let change = Change { records: vec![site(&format!("site_{number}"), Expect::Absent)], ..at(1) };
        tasks.spawn(async move { store.commit(scope(1), change).await });
    }
    // The first group is in the writer's hands, four wait, the others are told at once.
    let mut busy = 0;
    while busy < 300 - 128 - 4 {
        let answer = tasks.join_next().await.unwrap().unwrap();
        assert!(matches!(answer, Err(StoreError::Busy { .. })), "{answer:?}");
        busy += 1;
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let mut written = 0;
    while let Some(answer) = tasks.join_next().await {
        match answer.unwrap() {
            Ok(_) => written += 1,
            Err(StoreError::Busy { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(written > 0);
    let sites =
        store.records(scope(1), app_core::store::kind::RecordKind::Site, None, None, 1_000).await.unwrap();
    assert_eq!(sites.items.len(), written);
}
