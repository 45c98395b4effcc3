//! Documents: versions, conflicts, names, pages; and that a change is written whole or not at all.

use super::database::Database;
use super::samples::{at, audit, command, device, event, intake, new_command, publication, scope, site};
use app_core::store::change::{Change, Expect, OnceDraft, RecordChange, RecordDraft};
use app_core::store::kind::{LookupSpace, OnceSpace, RecordKind};
use app_core::store::row::EventFilter;
use app_core::store::{Store, StoreError, System};

on_both!(
    versions_rise_and_old_ones_conflict,
    a_fault_in_the_middle_leaves_nothing,
    the_first_bad_part_refuses_all_of_a_change,
    names_are_unique_over_tenants_and_follow_their_record,
    of_two_processes_one_gets_a_name,
    once_is_once_until_it_expires,
    facts_have_a_version_that_only_facts_raise,
    pages_hold_every_record_once,
    writers_of_one_row_do_not_overtake_each_other,
    what_can_never_be_written_is_refused_alone,
);

const TEST: System = System::because("the test looks at everything");

async fn put(store: &Store, record: RecordChange) -> Result<u64, StoreError> {
    let change = Change { records: vec![record], ..at(1) };
    Ok(store.commit(scope(1), change).await?.record_versions[0])
}

async fn versions_rise_and_old_ones_conflict(database: Database) {
    let store = database.open().await;
    assert_eq!(put(&store, site("site_a", Expect::Absent)).await.unwrap(), 1);
    assert_eq!(put(&store, site("site_a", Expect::Version(1))).await.unwrap(), 2);
    assert_eq!(put(&store, site("site_a", Expect::Any)).await.unwrap(), 3);
    for bad in [Expect::Absent, Expect::Version(2), Expect::Version(4)] {
        let error = put(&store, site("site_a", bad)).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Conflict { what, .. } if what == "site site_a"),
            "{bad:?}: {error:?}"
        );
    }
    let error = put(&store, site("site_b", Expect::Version(1))).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    let delete = |id: &str, expect| RecordChange::Delete { kind: RecordKind::Site, id: id.into(), expect };
    assert!(matches!(put(&store, delete("site_b", Expect::Any)).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(
        put(&store, delete("site_a", Expect::Version(2))).await,
        Err(StoreError::Conflict { .. })
    ));
    put(&store, delete("site_a", Expect::Version(3))).await.unwrap();
    assert_eq!(store.record(scope(1), RecordKind::Site, "site_a").await.unwrap(), None);
    assert_eq!(put(&store, site("site_a", Expect::Absent)).await.unwrap(), 1);
}

/// One of every part.
fn everything() -> Change {
    Change {
        records: vec![site("site_a", Expect::Absent)],
        commands: vec![new_command(command(scope(1), 1, 1, None))],
        intakes: vec![intake(device(1), Expect::Absent, 1)],
        events: vec![event(device(1), 1)],
        audit: vec![audit("a"), audit("b")],
        outbox: vec![publication("site:x", "poison")],
        once: vec![OnceDraft {
            space: OnceSpace::Idempotency,
            key: "k".into(),
            asked_digest: "d".into(),
            answer: "a".into(),
            expires_at: at(1_000).at,
        }],
        ..at(1)
    }
}

async fn nothing_is_there(store: &Store) {
    assert_eq!(store.record(scope(1), RecordKind::Site, "site_a").await.unwrap(), None);
    assert_eq!(store.commands(scope(1), None, 10).await.unwrap().items, []);
    assert_eq!(store.intake(scope(1), device(1), super::samples::EPOCH).await.unwrap(), None);
    assert_eq!(store.events(scope(1), &EventFilter::default(), 10).await.unwrap(), []);
    assert_eq!(store.audit(scope(1), 0, 10).await.unwrap(), []);
    assert_eq!(store.audit_head(scope(1)).await.unwrap().size, 0);
    assert_eq!(store.outbox(TEST, 10).await.unwrap(), []);
    assert_eq!(store.once(scope(1), OnceSpace::Idempotency, "k").await.unwrap(), None);
    assert_eq!(store.facts_version(scope(1)).await.unwrap(), 0);
}

async fn a_fault_in_the_middle_leaves_nothing(database: Database) {
    let store = database.open().await;
    // The outbox is written after everything else: its failure comes when all other rows are already in.
    if database.is_postgres() {
        database
            .sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.body = 'poison' THEN \
                 RAISE 'no' USING ERRCODE = '53100'; END IF; RETURN NEW; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
            )
            .await;
    } else {
        database
            .sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON outbox WHEN NEW.body = 'poison' BEGIN SELECT RAISE(ABORT, 'no'); END",
            )
            .await;
    }
    let error = store.commit(scope(1), everything()).await.unwrap_err();
    if database.is_postgres() {
        assert!(matches!(error, StoreError::Full), "{error:?}");
    } else {
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    }
    nothing_is_there(&store).await;
    let mut good = everything();
    good.outbox = vec![publication("site:x", "good")];
    let committed = store.commit(scope(1), good).await.unwrap();
    assert_eq!((committed.audit_size, committed.last_event, committed.facts_version), (2, 1, 1));
}

async fn the_first_bad_part_refuses_all_of_a_change(database: Database) {
    let store = database.open().await;
    let other = Change { records: vec![site("site_b", Expect::Absent)], ..at(0) };
    assert_eq!(store.commit(scope(1), other).await.unwrap().facts_version, 1);
    let bad_parts: Vec<(&str, Change)> = vec![
        ("facts", Change { if_facts: Some(7), ..everything() }),
        ("record", {
            let mut change = everything();
            change.records.push(site("site_b", Expect::Absent));
            change
        }),
        ("intake", Change { intakes: vec![intake(device(1), Expect::Version(1), 1)], ..everything() }),
        ("command", {
            let mut change = everything();
            change.commands[0].expect = Expect::Version(3);
            change
        }),
    ];
    for (name, change) in bad_parts {
        let error = store.commit(scope(1), change).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Conflict { .. } | StoreError::NotFound { .. }),
            "{name}: {error:?}"
        );
        assert_eq!(store.audit_head(scope(1)).await.unwrap().size, 0, "{name}");
        assert_eq!(store.outbox(TEST, 10).await.unwrap(), [], "{name}");
        assert_eq!(store.record(scope(1), RecordKind::Site, "site_a").await.unwrap(), None, "{name}");
    }
    store.commit(scope(1), Change { if_facts: Some(1), ..everything() }).await.unwrap();
}

async fn names_are_unique_over_tenants_and_follow_their_record(database: Database) {
    let store = database.open().await;
    let key = |id: &str, names: &[&str]| {
        let draft = RecordDraft::of(RecordKind::ApiKey, id, Expect::Any, &serde_json::json!({}));
        RecordChange::Put(names.iter().fold(draft, |draft, name| draft.found_by(LookupSpace::ApiKey, name)))
    };
    let commit = async |number: u64, record: RecordChange| {
        store.commit(scope(number), Change { records: vec![record], ..at(1) }).await
    };
    let whose = async |name: &str| {
        let found = store.lookup(TEST, LookupSpace::ApiKey, name).await.unwrap();
        found.map(|record| (record.tenant, record.id))
    };
    commit(1, key("api_a", &["one", "two"])).await.unwrap();
    assert_eq!(whose("one").await, Some((scope(1).tenant(), "api_a".into())));
    assert!(matches!(commit(2, key("api_b", &["two"])).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(commit(1, key("api_b", &["two"])).await, Err(StoreError::Conflict { .. })));
    commit(1, key("api_a", &["two", "three"])).await.unwrap();
    assert_eq!(whose("one").await, None);
    assert_eq!(whose("three").await, Some((scope(1).tenant(), "api_a".into())));
    commit(2, key("api_b", &["one"])).await.unwrap();
    assert_eq!(whose("one").await, Some((scope(2).tenant(), "api_b".into())));
    let gone = RecordChange::Delete { kind: RecordKind::ApiKey, id: "api_a".into(), expect: Expect::Any };
    commit(1, gone).await.unwrap();
    assert_eq!((whose("two").await, whose("three").await), (None, None));
    let site = RecordDraft::of(RecordKind::Site, "site_a", Expect::Any, &serde_json::json!({}));
    let error = commit(1, RecordChange::Put(site.found_by(LookupSpace::ApiKey, "x"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

async fn of_two_processes_one_gets_a_name(database: Database) {
    let stores = [database.open().await, database.open().await];
    for round in 0..40 {
        let name = format!("name {round}");
        let take = async |number: u64| {
            let draft = RecordDraft::of(RecordKind::ApiKey, format!("api_{round}"), Expect::Absent, &());
            let records = vec![RecordChange::Put(draft.found_by(LookupSpace::ApiKey, &name))];
            stores[number as usize].commit(scope(number), Change { records, ..at(1) }).await
        };
        let winner = match tokio::join!(take(0), take(1)) {
            (Ok(_), Err(StoreError::Conflict { .. })) => 0,
            (Err(StoreError::Conflict { .. }), Ok(_)) => 1,
            other => panic!("{other:?}"),
        };
        let found = stores[0].lookup(TEST, LookupSpace::ApiKey, &name).await.unwrap().unwrap();
        assert_eq!(found.tenant, scope(winner).tenant());
    }
}

async fn once_is_once_until_it_expires(database: Database) {
    let store = database.open().await;
    let once = |answer: &str, at_ms: u64| {
        let draft = OnceDraft {
            space: OnceSpace::Idempotency,
            key: "key".into(),
            asked_digest: "body".into(),
            answer: answer.into(),
            expires_at: at(100).at,
        };
        Change { once: vec![draft], audit: vec![audit(answer)], ..at(at_ms) }
    };
    store.commit(scope(1), once("first", 1)).await.unwrap();
    match store.commit(scope(1), once("second", 99)).await {
        Err(StoreError::Already(row)) => assert_eq!(row.answer, "first"),
        other => panic!("{other:?}"),
    }
    store.commit(scope(2), once("of another tenant", 1)).await.unwrap();
    assert_eq!(store.audit_head(scope(1)).await.unwrap().size, 1);
    // Two at once: one of them.
    let (one, two) =
        tokio::join!(store.commit(scope(3), once("one", 1)), store.commit(scope(3), once("two", 1)));
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(), 1, "{one:?} {two:?}");
    assert_eq!(store.sweep(TEST, at(99).at).await.unwrap(), 0);
    assert_eq!(store.sweep(TEST, at(100).at).await.unwrap(), 3);
    store.commit(scope(1), once("after", 100)).await.unwrap();
}

async fn facts_have_a_version_that_only_facts_raise(database: Database) {
    let store = database.open().await;
    assert_eq!(store.facts(scope(1)).await.unwrap().version, 0);
    let state = RecordDraft::of(RecordKind::DeviceState, "dev_a", Expect::Any, &serde_json::json!({}));
    let committed =
        store.commit(scope(1), Change { records: vec![RecordChange::Put(state)], ..at(1) }).await.unwrap();
    assert_eq!(committed.facts_version, 0);
    let two =
        Change { records: vec![site("site_b", Expect::Absent), site("site_a", Expect::Absent)], ..at(1) };
    assert_eq!(store.commit(scope(1), two).await.unwrap().facts_version, 1);
    let facts = store.facts(scope(1)).await.unwrap();
    let ids: Vec<&str> = facts.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!((facts.version, ids), (1, vec!["site_a", "site_b"]));
    assert_eq!(store.facts(scope(2)).await.unwrap(), Default::default());
}

async fn pages_hold_every_record_once(database: Database) {
    let store = database.open().await;
    let many = (0..25).map(|number| {
        let id = format!("door_{number:03}");
        let draft = RecordDraft::of(RecordKind::Door, &id, Expect::Absent, &serde_json::json!({}));
        RecordChange::Put(draft.under(if number % 5 == 0 { "site_a" } else { "site_b" }))
    });
    store.commit(scope(1), Change { records: many.collect(), ..at(1) }).await.unwrap();
    for (parent, wanted) in [(None, 25), (Some("site_a"), 5), (Some("site_b"), 20), (Some("site_c"), 0)] {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let page = store.records(scope(1), RecordKind::Door, parent, after.as_deref(), 4).await.unwrap();
            assert!(page.items.len() <= 4);
            ids.extend(page.items.into_iter().map(|record| record.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(ids.len(), wanted, "{parent:?}");
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    }
    let all = store.records_of_all(TEST, RecordKind::Door, None, 20).await.unwrap();
    let rest = store.records_of_all(TEST, RecordKind::Door, all.next.as_deref(), 20).await.unwrap();
    assert_eq!((all.items.len(), rest.items.len(), rest.next), (20, 5, None));
}

async fn writers_of_one_row_do_not_overtake_each_other(database: Database) {
    let store = database.open().await;
    // A second process, as the database sees it.
    let other = database.open().await;
    put(&store, site("site_a", Expect::Absent)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = if task % 2 == 0 { store.clone() } else { other.clone() };
        tasks.spawn(async move {
            let mut done = 0;
            while done < 5 {
                let held = store.record(scope(1), RecordKind::Site, "site_a").await.unwrap().unwrap();
                match put(&store, site("site_a", Expect::Version(held.version))).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let held = store.record(scope(1), RecordKind::Site, "site_a").await.unwrap().unwrap();
    assert_eq!(held.version, 41);
    assert_eq!(store.facts_version(scope(1)).await.unwrap(), 41);
}

async fn what_can_never_be_written_is_refused_alone(database: Database) {
    let store = database.open().await;
    let refused: Vec<(&str, Change)> = vec![
        ("NUL", Change { outbox: vec![publication("site:x", "a\0b")], ..at(1) }),
        ("empty id", Change { records: vec![site("", Expect::Any)], ..at(1) }),
        ("long id", Change { records: vec![site(&"x".repeat(600), Expect::Any)], ..at(1) }),
        ("twice", Change { records: vec![site("a", Expect::Any), site("a", Expect::Any)], ..at(1) }),
        ("far future", at(u64::MAX - super::samples::NOW.0)),
        ("foreign command", Change { commands: vec![new_command(command(scope(2), 1, 1, None))], ..at(1) }),
        ("number", Change { events: vec![event(device(1), u64::MAX)], ..at(1) }),
    ];
    for (name, change) in refused {
        let good = Change { audit: vec![audit(name)], ..at(1) };
        let (bad, good) = tokio::join!(store.commit(scope(1), change), store.commit(scope(1), good));
        assert!(matches!(bad, Err(StoreError::Refused { .. })), "{name}: {bad:?}");
        good.unwrap();
    }
}
