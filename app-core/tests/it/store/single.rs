//! What a decision was made from is guarded, on both databases; on Postgres a small one is one statement, which writes
//! nothing when something is not as it takes it to be, and is not written twice when its answer is lost.

use super::database::Database;
use super::samples::{
    at, audit, command, command_id, device, event, intake, new_command, publication, scope, site,
};
use app_core::store::change::{Change, CommandWrite, Expect};
use app_core::store::kind::RecordKind;
use app_core::store::row::EventFilter;
use app_core::store::{Store, StoreError, System};
use keyway_domain::command::State;
use sqlx::Connection as _;
use std::time::{Duration, Instant};

on_both!(
    a_decision_from_an_old_record_is_refused,
    a_decision_that_does_not_know_all_open_commands_is_refused,
    two_processes_take_turns_without_holes,
);

const RELAY: System = System::because("the test is the relay");

fn step(number: u64) -> Change {
    Change { audit: vec![audit(number)], outbox: vec![publication("site:x", number)], ..at(number) }
}

fn is_conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "{outcome:?}");
}

/// Entries and publications as they are: none is missing, none is there twice.
async fn whole(store: &Store, entries: u64) {
    assert_eq!(store.audit_head(scope(1)).await.unwrap().size, entries);
    let seqs: Vec<u64> = store.audit(scope(1), 0, 1_000).await.unwrap().iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (1..=entries).collect::<Vec<_>>());
    let seqs: Vec<u64> = store.outbox(RELAY, 1_000).await.unwrap().iter().map(|row| row.key.seq).collect();
    assert_eq!(seqs, (1..=entries).collect::<Vec<_>>());
}

async fn a_decision_from_an_old_record_is_refused(database: Database) {
    let store = database.open().await;
    let from = |version| vec![(RecordKind::Site, "site_a".to_owned(), version)];
    let with = |version, number| Change { if_records: from(version), ..step(number) };
    store.commit(scope(1), with(0, 1)).await.unwrap();
    is_conflict(store.commit(scope(1), with(1, 2)).await);
    let made = Change { records: vec![site("site_a", Expect::Absent)], ..at(1) };
    store.commit(scope(1), made).await.unwrap();
    is_conflict(store.commit(scope(1), with(0, 2)).await);
    store.commit(scope(1), with(1, 2)).await.unwrap();
    // Another process changes it, which this one has not heard of.
    let changed = Change { records: vec![site("site_a", Expect::Version(1))], ..at(1) };
    database.open().await.commit(scope(1), changed.clone()).await.unwrap();
    is_conflict(store.commit(scope(1), with(1, 3)).await);
    // Together with its own change, and when it is written from an old version.
    is_conflict(store.commit(scope(1), Change { if_records: from(2), ..changed }).await);
    let both = Change { records: vec![site("site_a", Expect::Version(2))], ..with(2, 3) };
    let committed = store.commit(scope(1), both).await.unwrap();
    assert_eq!((committed.record_versions, committed.facts_version), (vec![3], 3));
    let record = store.record(scope(1), RecordKind::Site, "site_a").await.unwrap().unwrap();
    assert_eq!((record.version, record.created_at), (3, at(1).at));
    whole(&store, 3).await;
}

async fn a_decision_that_does_not_know_all_open_commands_is_refused(database: Database) {
    let store = database.open().await;
    let known = |rows: &[(u64, u64)]| {
        let rows = rows.iter().map(|(number, version)| (command_id(*number), *version)).collect();
        Some((device(1), rows))
    };
    let make =
        |number| Change { commands: vec![new_command(command(scope(1), number, number, None))], ..at(1) };
    let end = |number, version| {
        let mut row = command(scope(1), number, number, None);
        row.record.state = State::Executed;
        vec![CommandWrite { expect: Expect::Version(version), row }]
    };
    store.commit(scope(1), make(1)).await.unwrap();
    store.commit(scope(1), make(2)).await.unwrap();
    for wrong in [known(&[]), known(&[(1, 1)]), known(&[(1, 1), (2, 2)]), known(&[(1, 1), (2, 1), (3, 1)])] {
        is_conflict(store.commit(scope(1), Change { if_open: wrong, commands: end(1, 1), ..step(1) }).await);
    }
    let right = Change { if_open: known(&[(1, 1), (2, 1)]), commands: end(1, 1), ..step(1) };
    store.commit(scope(1), right).await.unwrap();
    // Made by another process.
    database.open().await.commit(scope(1), make(3)).await.unwrap();
    is_conflict(
        store.commit(scope(1), Change { if_open: known(&[(2, 1)]), commands: end(2, 1), ..step(2) }).await,
    );
    let right = Change { if_open: known(&[(2, 1), (3, 1)]), commands: end(2, 1), ..step(2) };
    store.commit(scope(1), right).await.unwrap();
    let open = store.open_commands(scope(1), device(1)).await.unwrap();
    assert_eq!(open.iter().map(|row| row.id()).collect::<Vec<_>>(), [command_id(3)]);
    whole(&store, 2).await;
}

async fn two_processes_take_turns_without_holes(database: Database) {
    let stores = [database.open().await, database.open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=80_u64 {
        let store = stores[number as usize % 2].clone();
        tasks.spawn(async move {
            let own = device(number);
            let change = Change {
                events: vec![event(own, 1), event(own, 2)],
                intakes: vec![intake(own, Expect::Absent, 2)],
                ..step(number)
            };
            store.commit(scope(1), change).await.unwrap();
            // The same once more: nobody's watermark is written twice.
            let again = Change { intakes: vec![intake(own, Expect::Absent, 2)], ..at(number) };
            is_conflict(store.commit(scope(1), again).await);
        });
    }
    tasks.join_all().await;
    whole(&stores[0], 80).await;
    let events = stores[1].events(scope(1), &EventFilter::default(), 1_000).await.unwrap();
    assert_eq!(events.iter().map(|row| row.ordinal).collect::<Vec<_>>(), (1..=160).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_small_change_is_one_statement() {
    let database = Database::postgres().await;
    let store = database.open().await;
    // The first one makes the head, which takes a transaction.
    store.commit(scope(1), step(1)).await.unwrap();
    let (before, _) = store.ways();
    for number in 2..12 {
        store.commit(scope(1), step(number)).await.unwrap();
    }
    assert_eq!(store.ways().0 - before, 10);
    // What is known goes the long way, which says so.
    let known = Change { commands: vec![new_command(command(scope(1), 1, 1, None))], ..at(1) };
    store.commit(scope(1), known.clone()).await.unwrap();
    assert!(matches!(store.commit(scope(1), known).await, Err(StoreError::Repeated(_))));
    let twice = Change { events: vec![event(device(1), 1)], ..at(1) };
    assert_eq!(store.commit(scope(1), twice.clone()).await.unwrap().events_known, 0);
    assert_eq!(store.commit(scope(1), twice).await.unwrap().events_known, 1);
    whole(&store, 11).await;
}

/// Ends the connection of the store that has written, as the database sees it.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> \
     pg_backend_pid() AND query LIKE 'WITH head AS%'";

#[tokio::test]
async fn a_connection_that_was_cut_meanwhile_is_not_felt() {
    let database = Database::postgres().await;
    let store = database.open().await;
    for number in 1..=3 {
        store.commit(scope(1), step(number)).await.unwrap();
    }
    database.sql(CUT).await;
    store.commit(scope(1), step(4)).await.unwrap();
    whole(&store, 4).await;
}

/// Waits until a statement of the store waits for a row, and ends its connection.
async fn cut_the_one_that_waits(database: &Database) {
    let mut look = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND \
               wait_event_type = 'Lock' AND query LIKE 'WITH head AS%'";
    while sqlx::query(cut).execute(&mut look).await.unwrap().rows_affected() == 0 {
        assert!(Instant::now() < until, "the statement never waited");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_statement_whose_answer_is_lost_is_written_once() {
    let database = Database::postgres().await;
    let store = database.open().await;
    store.commit(scope(1), step(1)).await.unwrap();
    store.commit(scope(1), step(2)).await.unwrap();
    // The head is held: the statement waits for it, and its connection is cut.
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM tenant_heads FOR UPDATE").execute(&mut other).await.unwrap();
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.commit(scope(1), step(3)).await }
    });
    cut_the_one_that_waits(&database).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    // The head shows that it was not written: it is written now.
    waits.await.unwrap().unwrap();
    whole(&store, 3).await;
}

/// The answer is lost, and somebody else has written since: whether it was written cannot be told, and is not.
#[tokio::test]
async fn what_is_in_doubt_is_told_as_such() {
    let database = Database::postgres().await;
    let store = database.open().await;
    store.commit(scope(1), step(1)).await.unwrap();
    store.commit(scope(1), step(2)).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let write = "BEGIN; UPDATE tenant_heads SET facts_version = facts_version + 1";
    sqlx::raw_sql(write).execute(&mut other).await.unwrap();
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.commit(scope(1), step(3)).await }
    });
    cut_the_one_that_waits(&database).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let error = waits.await.unwrap().unwrap_err();
    assert!(error.may_have_happened(), "{error:?}");
    whole(&store, 2).await;
    store.commit(scope(1), step(3)).await.unwrap();
    whole(&store, 3).await;
}
