//! Backup, restore and audit export through the verbs of the binary: between both databases, under load, and with files
//! that were cut off or changed.

use super::database::Database;
use super::samples::{
    NOW, at, audit, command, device, event, intake, new_command, publication, scope, site, tenant,
};
use app_core::command::audit::{AuditVerb, NamedKey};
use app_core::command::backup::BackupArguments;
use app_core::command::restore::RestoreArguments;
use app_core::command::{StoreVerb, run};
use app_core::store::change::{
    AuditDetails, Change, CheckpointDraft, Expect, OnceDraft, RecordChange, RecordDraft,
};
use app_core::store::kind::{LookupSpace, OnceSpace, RecordKind};
use app_core::store::{Store, System};
use keyway_domain::audit::Checkpoint;
use keyway_domain::id::KeyId;
use keyway_domain::sign::SigningKey;
use std::path::Path;

on_both!(
    a_backup_restores_into_either_database_byte_for_byte,
    a_bent_backup_is_refused_and_writes_nothing,
    a_backup_under_load_is_of_one_moment,
    an_export_verifies_offline_and_names_what_was_changed,
);

fn key() -> SigningKey {
    SigningKey::ed25519(KeyId::mint(NOW, [9; 10]), &[9; 32])
}

/// Two tenants with something in every table.
async fn fill(store: &Store) {
    let key_doc = serde_json::json!({ "public": key().public(), "sealed": "…" });
    for number in 1..=2 {
        let scope = scope(number);
        let mut signing = RecordDraft::of(RecordKind::SigningKey, key().id, Expect::Absent, &key_doc);
        signing = signing
            .found_by(LookupSpace::Key, format!("{}-{number}", key().id))
            .under("über \"ß\"\n\u{1f511}");
        let mut entry = audit("per_someone");
        entry.details = Some(AuditDetails { hmac: "ff".into(), key: "k".into(), json: "{}".into() });
        let change = Change {
            records: vec![site("site_a", Expect::Absent), RecordChange::Put(signing)],
            commands: vec![new_command(command(scope, 1, 1, Some(NOW)))],
            intakes: vec![intake(device(1), Expect::Absent, 300)],
            events: (1..=300).map(|seq| event(device(1), seq)).collect(),
            audit: vec![entry, audit("b"), audit("c")],
            outbox: vec![publication("site:x", "body"), publication("site:x", "more")],
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
        let head = store.audit_head(scope).await.unwrap();
        let checkpoint = Checkpoint { tenant: tenant(number), size: head.size, head: head.head, at: NOW };
        let note = checkpoint.sign(&key());
        let checkpoints = vec![CheckpointDraft { checkpoint, note }];
        store.commit(scope, Change { checkpoints, audit: vec![audit("after")], ..at(2) }).await.unwrap();
    }
}

async fn backup(database: &Database, file: &Path) -> anyhow::Result<String> {
    run(StoreVerb::Backup(BackupArguments::to(file)), database.options()).await
}

async fn restore(database: &Database, file: &Path) -> anyhow::Result<String> {
    run(StoreVerb::Restore(RestoreArguments::exactly(file)), database.options()).await
}

async fn a_backup_restores_into_either_database_byte_for_byte(database: Database) {
    let dir = tempfile::tempdir().unwrap();
    fill(&database.open().await).await;
    let first = dir.path().join("first.ndjson");
    let told = backup(&database, &first).await.unwrap();
    assert!(told.starts_with("wrote 6"), "{told}");
    let error = format!("{:#}", backup(&database, &first).await.unwrap_err());
    assert!(error.contains("is there already"), "{error}");
    for other in [Database::sqlite(), Database::postgres().await] {
        let told = restore(&other, &first).await.unwrap();
        assert!(told.contains("audit chains of 2 tenants, 8 entries"), "{told}");
        let again = dir.path().join("again.ndjson");
        backup(&other, &again).await.unwrap();
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&again).unwrap(), "another backup came out");
        std::fs::remove_file(&again).unwrap();
        // It lives: counters go on where they were.
        let store = other.open().await;
        let change = Change { audit: vec![audit("d")], outbox: vec![publication("site:x", "new")], ..at(3) };
        assert_eq!(store.commit(scope(1), change).await.unwrap().audit_size, 5);
        let relay = System::because("the test is the relay");
        assert_eq!(store.outbox(relay, 10).await.unwrap().last().unwrap().body, "new");
        let found = store.lookup(relay, LookupSpace::Key, &format!("{}-2", key().id)).await.unwrap();
        assert_eq!(found.unwrap().tenant, tenant(2));
        store.close().await;
        let error = format!("{:#}", restore(&other, &first).await.unwrap_err());
        assert!(error.contains("not empty"), "{error}");
    }
}

async fn a_bent_backup_is_refused_and_writes_nothing(database: Database) {
    let dir = tempfile::tempdir().unwrap();
    fill(&database.open().await).await;
    let good = dir.path().join("good.ndjson");
    backup(&database, &good).await.unwrap();
    let text = std::fs::read_to_string(&good).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |place: usize| {
        let mut lines = lines.clone();
        lines.remove(place);
        lines.join("\n") + "\n"
    };
    let cases = [
        ("cut off in the middle of a line", text[..text.len() / 2].to_owned(), "cut off"),
        ("without its end", without(lines.len() - 1), "cut off"),
        ("without a row", without(100), "checksum"),
        ("with a changed row", text.replacen("site_a", "site_b", 1), "checksum"),
        ("with a foreign table", text.replacen("\"t\":\"events\"", "\"t\":\"eventz\"", 1), "table"),
        ("of a later schema", text.replacen("\"schema\":", "\"schema\":9", 1), "schema 9"),
        ("that is something else", "{}\n".to_owned(), "line 1"),
        ("that is empty", String::new(), "line 1"),
    ];
    let empty = database.another().await;
    for (name, text, wanted) in cases {
        let bad = dir.path().join("bad.ndjson");
        std::fs::write(&bad, text).unwrap();
        let error = format!("{:#}", restore(&empty, &bad).await.unwrap_err());
        assert!(error.contains(wanted), "{name}: {error}");
    }
    // Nothing of all that has stayed: the good one still finds it empty.
    restore(&empty, &good).await.unwrap();
}

async fn a_backup_under_load_is_of_one_moment(database: Database) {
    let dir = tempfile::tempdir().unwrap();
    let store = database.open().await;
    fill(&store).await;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut written = 0u64;
            while !*stopped.borrow_and_update() {
                written += 1;
                let seq = 300 + written;
                let change = Change {
                    events: vec![event(device(1), seq)],
                    audit: vec![audit(seq), audit(seq)],
                    ..at(3)
                };
                store.commit(scope(1), change).await.unwrap();
            }
            written
        }
    });
    // The writer has begun before the first backup and goes on through all of them.
    let mut entries = 4;
    for number in 0..3 {
        while store.audit_head(scope(1)).await.unwrap().size <= entries {
            tokio::task::yield_now().await;
        }
        let file = dir.path().join(format!("{number}.ndjson"));
        backup(&database, &file).await.unwrap();
        let other = database.another().await;
        restore(&other, &file).await.unwrap();
        let restored = other.open().await;
        let size = restored.audit_head(scope(1)).await.unwrap().size;
        let filter = app_core::store::row::EventFilter { after: 300, ..Default::default() };
        let mut events = restored.events(scope(1), &filter, 1_000).await.unwrap().len() as u64;
        if events == 1_000 {
            // Only a page: count by the last place instead.
            events = restored.commit(scope(1), at(4)).await.unwrap().last_event - 300;
        }
        assert_eq!(size, 4 + 2 * events);
        entries = size;
    }
    stop.send(true).unwrap();
    assert!(writer.await.unwrap() > 0);
}

async fn an_export_verifies_offline_and_names_what_was_changed(database: Database) {
    let dir = tempfile::tempdir().unwrap();
    fill(&database.open().await).await;
    let file = dir.path().join("audit.txt");
    let export = AuditVerb::Export { tenant: tenant(1), file: file.clone() };
    let told = run(StoreVerb::Audit(export), database.options()).await.unwrap();
    assert!(told.contains("4 entries and 1 checkpoints"), "{told}");
    let keys = dir.path().join("keys.json");
    let jwk = |key: &SigningKey| {
        use base64::Engine as _;
        let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.public().to_bytes());
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": key.id, "x": x })
    };
    let jwks = |key: &SigningKey| serde_json::json!({ "keys": [jwk(key)] }).to_string();
    std::fs::write(&keys, jwks(&key())).unwrap();
    // Offline: the address of a database that is not there.
    let verify = async |text: Option<String>, keys: Option<&Path>| -> Result<String, String> {
        let place = dir.path().join("given.txt");
        std::fs::write(&place, text.unwrap_or_else(|| std::fs::read_to_string(&file).unwrap())).unwrap();
        let verb = AuditVerb::Verify { file: place, keys: keys.map(Into::into) };
        let nowhere = app_core::store::StoreOptions::at("sqlite:/nonexistent/x.db");
        run(StoreVerb::Audit(verb), nowhere).await.map_err(|error| format!("{error:#}"))
    };
    let told = verify(None, Some(&keys)).await.unwrap();
    assert!(told.contains("4 entries, signed up to entry 3") && !told.contains("--keys"), "{told}");
    assert!(verify(None, None).await.unwrap().contains("--keys"));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        verify(Some(text.replace("\"subject\":\"b\"", "\"subject\":\"x\"")), None)
            .await
            .unwrap_err()
            .contains("entry 2")
    );
    for place in 1..=4 {
        let mut fewer = lines.clone();
        fewer.remove(place);
        let error = verify(Some(fewer.join("\n")), None).await.unwrap_err();
        assert!(error.contains("entry 4: missing"), "{place}: {error}");
        let error = verify(Some(fewer.join("\n").replacen("\"entries\":4", "\"entries\":3", 1)), None).await;
        match place {
            4 => assert!(error.is_ok(), "the unsigned last entry is bound by the header only"),
            _ => assert!(error.unwrap_err().contains(&format!("entry {place}")), "{place}"),
        }
    }
    // A forger's own key, in the file and not among the trusted.
    let forger = SigningKey::ed25519(KeyId::mint(NOW, [8; 10]), &[8; 32]);
    std::fs::write(&keys, jwks(&forger)).unwrap();
    let error = verify(None, Some(&keys)).await.unwrap_err();
    assert!(error.contains("signed by no key that is trusted"), "{error}");
    let named = serde_json::to_value(NamedKey { kid: key().id, key: key().public() }).unwrap();
    assert_eq!(named["alg"], "EdDSA");
}
