//! The audit chain in a database: whole under concurrency, signed, and whole after personal data was erased.

use super::database::Database;
use super::samples::{NOW, at, audit, scope, tenant};
use app_core::store::change::{AuditDetails, Change, CheckpointDraft};
use app_core::store::{Store, StoreError, TenantScope};
use keyway_domain::audit::{Checkpoint, Verified, verify};
use keyway_domain::event::ChainHash;
use keyway_domain::id::KeyId;
use keyway_domain::sign::SigningKey;

on_both!(
    the_chain_holds_under_concurrency,
    a_checkpoint_of_another_history_is_refused,
    erased_details_leave_the_chain_whole,
);

fn key() -> SigningKey {
    SigningKey::ed25519(KeyId::mint(NOW, [9; 10]), &[9; 32])
}

async fn lines(store: &Store, scope: TenantScope) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let page = store.audit(scope, lines.len() as u64, 7).await.unwrap();
        if page.is_empty() {
            return lines;
        }
        lines.extend(page.into_iter().map(|row| row.line));
    }
}

async fn check(store: &Store, scope: TenantScope) -> Verified {
    let lines = lines(store, scope).await;
    let notes = store.checkpoints(scope, None, 100).await.unwrap();
    let notes: Vec<&str> = notes.iter().map(|(_, note)| note.as_str()).collect();
    verify(scope.tenant(), lines.iter().map(String::as_str), &notes, &[(key().id, key().public())]).unwrap()
}

async fn sign(store: &Store, number: u64) -> Result<(), StoreError> {
    let head = store.audit_head(scope(number)).await.unwrap();
    let checkpoint = Checkpoint { tenant: tenant(number), size: head.size, head: head.head, at: NOW };
    let note = checkpoint.sign(&key());
    let checkpoints = vec![CheckpointDraft { checkpoint, note }];
    store.commit(scope(number), Change { checkpoints, ..at(9) }).await.map(drop)
}

async fn the_chain_holds_under_concurrency(database: Database) {
    let store = database.open().await;
    let other = database.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..24 {
        let store = if task % 2 == 0 { store.clone() } else { other.clone() };
        tasks.spawn(async move {
            for round in 0..5 {
                let entries = (0..=task % 3).map(|part| audit(format!("{task}.{round}.{part}"))).collect();
                store.commit(scope(task % 2), Change { audit: entries, ..at(round) }).await.unwrap();
                if round == 2 {
                    sign(&store, task % 2).await.unwrap();
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for number in 0..2 {
        sign(&store, number).await.unwrap();
        let verified = check(&store, scope(number)).await;
        assert_eq!((verified.entries, verified.signed_up_to), (120, 120));
        assert_eq!(store.audit_head(scope(number)).await.unwrap().head, verified.head);
    }
}

async fn a_checkpoint_of_another_history_is_refused(database: Database) {
    let store = database.open().await;
    store.commit(scope(1), Change { audit: vec![audit("a"), audit("b")], ..at(1) }).await.unwrap();
    let head = store.audit_head(scope(1)).await.unwrap().head;
    for (size, head, tenant) in [(2, ChainHash([1; 32]), 1), (1, head, 1), (3, head, 1), (2, head, 2)] {
        let checkpoint = Checkpoint { tenant: super::samples::tenant(tenant), size, head, at: NOW };
        let note = checkpoint.sign(&key());
        let change = Change { checkpoints: vec![CheckpointDraft { checkpoint, note }], ..at(2) };
        let error = store.commit(scope(1), change).await.unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Refused { .. }
            ),
            "{size}: {error:?}"
        );
    }
    sign(&store, 1).await.unwrap();
    assert_eq!(check(&store, scope(1)).await.signed_up_to, 2);
}

async fn erased_details_leave_the_chain_whole(database: Database) {
    let store = database.open().await;
    let mut entry = audit("per_someone");
    let details = AuditDetails { hmac: "00ff".into(), key: "k1".into(), json: "{\"name\":\"Ada\"}".into() };
    entry.details = Some(details);
    let id = entry.id;
    store.commit(scope(1), Change { audit: vec![entry], ..at(1) }).await.unwrap();
    let before = store.audit(scope(1), 0, 10).await.unwrap();
    assert_eq!(before[0].details.as_deref(), Some("{\"name\":\"Ada\"}"));
    assert!(before[0].line.contains("00ff") && !before[0].line.contains("Ada"));
    // Of another tenant: nothing to erase there.
    store.commit(scope(2), Change { erase_details: vec![id], ..at(2) }).await.unwrap();
    assert_eq!(store.audit(scope(1), 0, 10).await.unwrap(), before);
    store.commit(scope(1), Change { erase_details: vec![id], ..at(2) }).await.unwrap();
    let after = store.audit(scope(1), 0, 10).await.unwrap();
    assert_eq!((&after[0].line, &after[0].details), (&before[0].line, &None));
    assert_eq!(check(&store, scope(1)).await.entries, 1);
}
