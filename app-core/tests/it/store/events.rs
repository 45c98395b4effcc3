//! Events and watermarks: never twice, without gaps in their places, in step with what core remembers of a device.

use super::database::Database;
use super::samples::{EPOCH, NOW, at, device, door, event, intake, scope};
use app_core::store::StoreError;
use app_core::store::change::{Change, EventDraft, EventSource, Expect};
use app_core::store::row::EventFilter;
use keyway_domain::id::EventId;

on_both!(
    an_event_twice_changes_nothing,
    the_watermark_and_its_events_are_of_one_commit,
    many_devices_at_once_make_one_gapless_list,
    filters_tell_doors_and_kinds_apart,
);

async fn an_event_twice_changes_nothing(database: Database) {
    let store = database.open().await;
    let batch = |seqs: std::ops::RangeInclusive<u64>| Change {
        events: seqs.map(|seq| event(device(1), seq)).collect(),
        ..at(1)
    };
    assert_eq!(store.commit(scope(1), batch(1..=10)).await.unwrap().events_known, 0);
    let again = store.commit(scope(1), batch(8..=12)).await.unwrap();
    assert_eq!((again.events_known, again.last_event), (3, 12));
    // At the same moment, in one group.
    let (one, two) =
        tokio::join!(store.commit(scope(1), batch(10..=20)), store.commit(scope(1), batch(10..=20)));
    assert_eq!(one.unwrap().events_known + two.unwrap().events_known, 3 + 11);
    let rows = store.events(scope(1), &EventFilter::default(), 100).await.unwrap();
    let places: Vec<u64> = rows.iter().map(|row| row.ordinal).collect();
    assert_eq!(places, (1..=20).collect::<Vec<_>>());
    assert_eq!(rows[4].json, "{\"seq\":5}");
    assert_eq!(rows[4].source, EventSource::Device { device: device(1), epoch: EPOCH, seq: 5 });
    assert_eq!(
        (rows[4].door, rows[4].occurred_at, rows[4].received_at),
        (Some(door(1)), Some(NOW), at(1).at)
    );
}

async fn the_watermark_and_its_events_are_of_one_commit(database: Database) {
    let store = database.open().await;
    let batch = |seq: u64, expect| Change {
        events: vec![event(device(1), seq)],
        intakes: vec![intake(device(1), expect, seq)],
        ..at(1)
    };
    store.commit(scope(1), batch(1, Expect::Absent)).await.unwrap();
    let late = store.commit(scope(1), batch(2, Expect::Absent)).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    store.commit(scope(1), batch(2, Expect::Version(1))).await.unwrap();
    let row = store.intake(scope(1), device(1), EPOCH).await.unwrap().unwrap();
    assert_eq!((row.version, row.intake.watermark, row.epoch), (2, 2, EPOCH));
    let rows = store.events(scope(1), &EventFilter { after: 1, ..Default::default() }, 100).await.unwrap();
    assert_eq!(rows.len(), 1);
}

async fn many_devices_at_once_make_one_gapless_list(database: Database) {
    let store = database.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        tasks.spawn(async move {
            for seq in 1..=10 {
                let expect = if seq == 1 { Expect::Absent } else { Expect::Version(seq - 1) };
                let change = Change {
                    events: vec![event(device(number), seq)],
                    intakes: vec![intake(device(number), expect, seq)],
                    ..at(seq)
                };
                store.commit(scope(number % 3), change).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for (number, devices) in [(0, 7), (1, 7), (2, 6)] {
        let rows = store.events(scope(number), &EventFilter::default(), 1_000).await.unwrap();
        let places: Vec<u64> = rows.iter().map(|row| row.ordinal).collect();
        assert_eq!(places, (1..=devices * 10).collect::<Vec<_>>());
        for one in 0..20 {
            let of_one = rows.iter().filter_map(|row| match row.source {
                EventSource::Device { device: of, seq, .. } if of == device(one) => Some(seq),
                _ => None,
            });
            assert!(of_one.is_sorted(), "device {one} in the order of its numbers");
        }
    }
}

async fn filters_tell_doors_and_kinds_apart(database: Database) {
    let store = database.open().await;
    let own = EventDraft {
        source: EventSource::Core(EventId::mint(NOW, [1; 10])),
        kind: "grant.created".into(),
        door: None,
        occurred_at: None,
        json: "{}".into(),
    };
    let other = EventDraft { door: Some(door(2)), kind: "door.opened".into(), ..event(device(1), 2) };
    let change = Change { events: vec![event(device(1), 1), own.clone(), other], ..at(1) };
    store.commit(scope(1), change).await.unwrap();
    let places = async |filter: EventFilter| -> Vec<u64> {
        store.events(scope(1), &filter, 10).await.unwrap().iter().map(|row| row.ordinal).collect()
    };
    assert_eq!(places(EventFilter { door: Some(door(2)), ..Default::default() }).await, [3]);
    assert_eq!(places(EventFilter { kind: Some("grant.created".into()), ..Default::default() }).await, [2]);
    let both = EventFilter { door: Some(door(1)), kind: Some("door.opened".into()), after: 0 };
    assert_eq!(places(both).await, [] as [u64; 0]);
    assert_eq!(places(EventFilter { after: 2, ..Default::default() }).await, [3]);
    assert_eq!(store.commit(scope(1), Change { events: vec![own], ..at(2) }).await.unwrap().events_known, 1);
}
