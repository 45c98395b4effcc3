//! No call with one tenant's scope reads or changes another tenant's rows: every call against every foreign row.

use super::database::Database;
use super::samples::{
    EPOCH, at, audit, command, command_id, device, event, intake, new_command, publication, request, scope,
    site,
};
use app_core::store::change::{Change, CommandWrite, Expect, OnceDraft, RecordChange};
use app_core::store::kind::{OnceSpace, RecordKind};
use app_core::store::row::EventFilter;
use app_core::store::{Store, StoreError, TenantScope};

on_both!(nothing_of_another_tenant_is_read, nothing_of_another_tenant_is_written);

async fn fill(store: &Store, scope: TenantScope) {
    let change = Change {
        records: vec![site("site_a", Expect::Absent)],
        commands: vec![new_command(command(scope, 1, 1, None))],
        intakes: vec![intake(device(1), Expect::Absent, 1)],
        events: vec![event(device(1), 1)],
        audit: vec![audit("a")],
        outbox: vec![publication("site:x", "body")],
        once: vec![OnceDraft {
            space: OnceSpace::Idempotency,
            key: "k".into(),
            asked_digest: "d".into(),
            answer: "a".into(),
            expires_at: at(1_000).at,
        }],
        ..at(1)
    };
    store.commit(scope, change).await.unwrap();
}

/// Everything that a scope can see, as text.
async fn seen(store: &Store, scope: TenantScope) -> Vec<(&'static str, String)> {
    let show = |value: &dyn std::fmt::Debug| format!("{value:?}");
    vec![
        ("record", show(&store.record(scope, RecordKind::Site, "site_a").await.unwrap())),
        ("records", show(&store.records(scope, RecordKind::Site, None, None, 9).await.unwrap().items)),
        ("facts", show(&store.facts(scope).await.unwrap().records)),
        ("command", show(&store.command(scope, command_id(1)).await.unwrap())),
        ("of request", show(&store.command_of_request(scope, request(1)).await.unwrap())),
        ("commands", show(&store.commands(scope, None, 9).await.unwrap().items)),
        ("open commands", show(&store.open_commands(scope, device(1)).await.unwrap())),
        ("intake", show(&store.intake(scope, device(1), EPOCH).await.unwrap())),
        ("events", show(&store.events(scope, &EventFilter::default(), 9).await.unwrap())),
        ("audit", show(&store.audit(scope, 0, 9).await.unwrap())),
        ("checkpoints", show(&store.checkpoints(scope, None, 100).await.unwrap())),
        ("once", show(&store.once(scope, OnceSpace::Idempotency, "k").await.unwrap())),
    ]
}

async fn nothing_of_another_tenant_is_read(database: Database) {
    let store = database.open().await;
    fill(&store, scope(1)).await;
    for (call, text) in seen(&store, scope(2)).await {
        assert!(["None", "[]"].contains(&text.as_str()), "{call} shows {text}");
    }
    let own = seen(&store, scope(1)).await;
    let empty: Vec<_> = own.iter().filter(|(_, text)| ["None", "[]"].contains(&text.as_str())).collect();
    assert_eq!(empty.len(), 1, "only checkpoints were left out: {empty:?}");
    assert_eq!(store.facts_version(scope(2)).await.unwrap(), 0);
    assert_eq!(store.audit_head(scope(2)).await.unwrap().size, 0);
}

async fn nothing_of_another_tenant_is_written(database: Database) {
    let store = database.open().await;
    fill(&store, scope(1)).await;
    let before = seen(&store, scope(1)).await;
    let gone = RecordChange::Delete { kind: RecordKind::Site, id: "site_a".into(), expect: Expect::Any };
    let attempts = [
        ("delete", Change { records: vec![gone], ..at(2) }),
        ("put", Change { records: vec![site("site_a", Expect::Version(1))], ..at(2) }),
        ("intake", Change { intakes: vec![intake(device(1), Expect::Version(1), 9)], ..at(2) }),
        ("command", {
            let row = command(scope(2), 1, 1, None);
            Change { commands: vec![CommandWrite { expect: Expect::Version(1), row }], ..at(2) }
        }),
    ];
    for (name, change) in attempts {
        let error = store.commit(scope(2), change).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{name}: {error:?}");
    }
    let foreign = CommandWrite { expect: Expect::Version(1), row: command(scope(1), 1, 1, None) };
    let error = store.commit(scope(2), Change { commands: vec![foreign], ..at(2) }).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    // The same ids in the other tenant are other rows.
    fill(&store, scope(2)).await;
    assert_eq!(seen(&store, scope(1)).await, before);
}
