//! One running core: the store, the keys in memory, the facts of tenants as they were last read, and who waits for a
//! command. Owns what several parts share; every decision is made elsewhere.

pub mod keys;
pub mod recall;
pub mod signing;
pub mod tenant;
pub mod tokens;
pub mod waiting;

use crate::config::{Config, StoreConfig};
use crate::facts::FactChange;
use crate::identity::keyring::{Keyring, Rotation};
use crate::identity::seal::Root;
use crate::identity::token::Minting;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::source::{Clock, random};
use crate::store::change::RecordChange;
use crate::store::row::Record;
use crate::store::{Change, Committed, Store, StoreError, StoreOptions, TenantScope};
use anyhow::Context as _;
use keyway_domain::id::TenantId;
use keyway_domain::time::UnixMs;
use recall::{Lesson, Recall};
use signing::SigningKeys;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;
use tenant::Tenant;
use tokio::sync::mpsc;
use waiting::Waiting;
use ws_gateway::limits::{Bucket, Now};
use zeroize::Zeroizing;

/// Codes tried over all: with 51 bits and a quarter of an hour each, a guess at this rate takes ages.
const GUESSES_PER_S: u32 = 10;
const GUESSES_BURST: u32 = 100;
/// Tenants whose facts are kept; beyond it the table is begun anew. A tenant costs what its facts cost.
const TENANTS_KEPT_MAX: usize = 1_000;

/// Where a request has got to is traced under this name: for whoever measures the way.
pub const HOPS: &str = "keyway_hops";

pub struct Core {
    pub store: Store,
    pub root: Root,
    pub clock: Clock,
    pub minting: Minting,
    pub rotation: Rotation,
    pub waiting: Waiting,
    pub recall: Recall,
    pub metrics: Metrics,
    pub public_host: String,
    pub socket_url: String,
    /// SHA-256 of the configured key, in hex; empty without one.
    pub admin_key_sha256: String,
    revocations: (mpsc::Sender<String>, Mutex<Option<mpsc::Receiver<String>>>),
    /// Attempts at enrolment codes: what a person types, not what a program tries.
    guesses: Mutex<Bucket>,
    begun: Instant,
    stopping: AtomicBool,
    /// Tenants whose doors are to be nudged.
    changed: Mutex<HashSet<TenantId>>,
    keyring: RwLock<Arc<Keyring>>,
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
}

impl Core {
    /// Opens the store, reads the keys, and makes the first one.
    pub async fn open(config: &Config, clock: Clock) -> anyhow::Result<Arc<Self>> {
        let secret = root_secret(config)?;
        let (sender, receiver) = mpsc::channel(tokens::REVOCATIONS_MAX);
        let options = store_options(&config.store);
        let place = options.place();
        let store =
            Store::open(options).await.with_context(|| format!("opening the store (store.url): {place}"))?;
        let core = Arc::new(Self {
            store,
            root: Root::new(&secret),
            clock,
            minting: Minting {
                issuer: config.tokens.issuer.clone(),
                audience: config.tokens.audience.clone(),
                life_s: config.tokens.life_s,
            },
            rotation: Rotation { every_days: config.tokens.rotate_days, token_life_s: config.tokens.life_s },
            waiting: Waiting::default(),
            recall: Recall::default(),
            metrics: Metrics::default(),
            public_host: config.public_host.clone(),
            socket_url: config.gateway.address(),
            admin_key_sha256: match config.admin.key.as_str() {
                "" => String::new(),
                key => sha256_hex(key.as_bytes()),
            },
            revocations: (sender, Mutex::new(Some(receiver))),
            guesses: Mutex::new(Bucket::new(GUESSES_PER_S, GUESSES_BURST, Now::default())),
            begun: Instant::now(),
            stopping: AtomicBool::new(false),
            changed: Mutex::default(),
            keyring: RwLock::default(),
            tenants: Mutex::default(),
        });
        core.tend_keys().await.context("the gateway's token keys")?;
        Ok(core)
    }

    pub fn ids(&self) -> Ids {
        Ids::new(self.clock.now(), random())
    }

    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a decision; afterwards those who wait for a command that it ended are woken, and the facts in memory
    /// follow what has changed of them.
    pub async fn commit(&self, scope: TenantScope, change: Change) -> Result<Committed, StoreError> {
        let ended: Vec<_> = change
            .commands
            .iter()
            .map(|write| &write.row)
            .filter(|row| row.record.state.is_final())
            .cloned()
            .collect();
        let changed: Vec<(usize, RecordChange)> =
            change.records.iter().cloned().enumerate().filter(|(_, one)| is_fact(one)).collect();
        let at = change.at;
        let lesson = Lesson::of(&change);
        let commands = change.commands.len() as u64;
        let committed = self.store.commit(scope, change).await?;
        tracing::trace!(target: HOPS, commands, "committed");
        self.recall.learn(scope, lesson, &committed);
        for row in ended {
            let version = committed.command_versions.iter().find(|(id, _)| *id == row.id());
            self.waiting.changed(&row, version.map_or(row.version, |(_, version)| *version));
        }
        let tenant =
            self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&scope.tenant()).cloned();
        if let Some(tenant) = tenant.filter(|_| !changed.is_empty()) {
            let version = |place: usize| committed.record_versions.get(place).copied().unwrap_or(0);
            let facts = changed.into_iter().map(|(place, one)| fact(scope.tenant(), at, version(place), one));
            tenant.learn(committed.facts_version, facts.collect()).await;
        }
        Ok(committed)
    }

    /// Takes a try at a code; false when there were too many.
    pub fn spend_guess(&self) -> bool {
        let now = Now { mono_ms: self.begun.elapsed().as_millis() as u64, unix_ms: 0 };
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.take(now)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Not ready from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The facts of a tenant have changed: its doors shall hear of it soon.
    pub fn facts_changed(&self, tenant: TenantId) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
    }

    pub fn take_changed(&self) -> HashSet<TenantId> {
        std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A tenant with its keys. `NotFound` when there is none of this name.
    pub async fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, StoreError> {
        if let Some(known) = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(known));
        }
        let tenant = Arc::new(Tenant::read(id, &self.store, &self.root, self.clock.now()).await?);
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= TENANTS_KEPT_MAX {
            tenants.clear();
        }
        Ok(Arc::clone(tenants.entry(id).or_insert(tenant)))
    }
}

impl Core {
    /// Takes the signing keys of a tenant in memory anew where they have changed: another one was made, here or elsewhere, or
    /// the newest has been known for long enough to sign.
    pub async fn tend_signing_keys(&self, id: TenantId) -> Result<(), StoreError> {
        let known = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let Some(known) = known else { return Ok(()) };
        let now = self.clock.now();
        let keys = SigningKeys::read(known.scope, &self.store, &self.root).await?;
        let same = keys.is_some_and(|keys| {
            (keys.version(), keys.signer(now).id) == (known.signing.version(), known.key.id)
        });
        if !same {
            self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            // Doors that are there hear of it now, and the others when they come.
            self.facts_changed(id);
        }
        Ok(())
    }
}

fn is_fact(change: &RecordChange) -> bool {
    match change {
        RecordChange::Put(draft) => draft.kind.is_fact(),
        RecordChange::Delete { kind, .. } => kind.is_fact(),
    }
}

/// A committed record as it would be read back. When it was made is no fact.
fn fact(tenant: TenantId, at: UnixMs, version: u64, change: RecordChange) -> FactChange {
    match change {
        RecordChange::Put(draft) => FactChange::Put(Record {
            tenant,
            kind: draft.kind,
            id: draft.id,
            version,
            parent: draft.parent,
            doc: draft.doc,
            created_at: at,
            changed_at: at,
        }),
        RecordChange::Delete { kind, id, .. } => FactChange::Gone(kind, id),
    }
}

pub fn store_options(config: &StoreConfig) -> StoreOptions {
    let password = (!config.password.is_empty()).then(|| config.password.clone());
    StoreOptions { password, migrate: config.migrate, ..StoreOptions::at(config.url.clone()) }
}

fn root_secret(config: &Config) -> anyhow::Result<Zeroizing<String>> {
    let file = &config.keys.root_secret_file;
    if file.is_empty() {
        return Ok(Zeroizing::new(config.keys.root_secret.clone()));
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading keys.root_secret_file {file}"))?;
    let text = Zeroizing::new(text);
    anyhow::ensure!(
        text.trim().len() >= 32,
        "keys.root_secret_file {file}: shorter than 32 characters, which can be guessed; use random ones"
    );
    Ok(text)
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
