//! The outbox: the order of commits, what has been sent does not come again, a signal wakes the relay.

use super::database::Database;
use super::samples::{at, publication, scope};
use app_core::store::change::Change;
use app_core::store::row::OutboxRow;
use app_core::store::{Store, System};

on_both!(
    publications_come_in_the_order_of_commits,
    what_was_sent_does_not_come_again_even_after_a_restart,
    a_commit_wakes_the_relay,
);

const RELAY: System = System::because("the test is the relay");

async fn commit(store: &Store, tenant: u64, ms: u64, bodies: &[&str]) {
    let outbox = bodies.iter().map(|body| publication("site:x", body)).collect();
    store.commit(scope(tenant), Change { outbox, ..at(ms) }).await.unwrap();
}

fn bodies(rows: &[OutboxRow]) -> Vec<&str> {
    rows.iter().map(|row| row.body.as_str()).collect()
}

async fn publications_come_in_the_order_of_commits(database: Database) {
    let store = database.open().await;
    commit(&store, 1, 50, &["1a", "1b"]).await;
    // A clock that goes back does not turn the order round.
    commit(&store, 1, 40, &["1c"]).await;
    commit(&store, 2, 45, &["2a"]).await;
    commit(&store, 1, 60, &["1d"]).await;
    let rows = store.outbox(RELAY, 10).await.unwrap();
    assert_eq!(bodies(&rows), ["2a", "1a", "1b", "1c", "1d"]);
    assert_eq!(bodies(&store.outbox(RELAY, 2).await.unwrap()), ["2a", "1a"]);
}

async fn what_was_sent_does_not_come_again_even_after_a_restart(database: Database) {
    let store = database.open().await;
    commit(&store, 1, 1, &["a", "b", "c", "d"]).await;
    let rows = store.outbox(RELAY, 2).await.unwrap();
    let keys: Vec<_> = rows.iter().map(|row| row.key).collect();
    store.outbox_done(RELAY, &keys).await.unwrap();
    assert_eq!(bodies(&store.outbox(RELAY, 1).await.unwrap()), ["c"]);
    assert_eq!(bodies(&store.outbox(RELAY, 10).await.unwrap()), ["c", "d"]);
    // Twice, and for rows that are not there: nothing happens.
    store.outbox_done(RELAY, &keys).await.unwrap();
    store.close().await;
    let store = database.open().await;
    assert_eq!(bodies(&store.outbox(RELAY, 10).await.unwrap()), ["c", "d"]);
    commit(&store, 1, 2, &["e"]).await;
    assert_eq!(bodies(&store.outbox(RELAY, 10).await.unwrap()), ["c", "d", "e"]);
}

async fn a_commit_wakes_the_relay(database: Database) {
    let store = database.open().await;
    let mut signal = store.outbox_signal();
    signal.mark_unchanged();
    store.commit(scope(1), at(1)).await.unwrap();
    assert!(!signal.has_changed().unwrap());
    commit(&store, 1, 1, &["a"]).await;
    tokio::time::timeout(std::time::Duration::from_secs(10), signal.changed()).await.unwrap().unwrap();
    assert_eq!(bodies(&store.outbox(RELAY, 10).await.unwrap()), ["a"]);
}
