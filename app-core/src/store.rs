//! The store: one database, SQLite or Postgres, behind one handle. It owns durability, tenancy and the audit chain's
//! growth; it refuses to decide anything: a decision comes as a plain `Change` and is written whole or not at all.
//!
//! Every call has a scope and a deadline. Writes go through one queue into one writer, which puts what is waiting into
//! one transaction; an answer means that it is on the disk. docs/store.md tells the whole.

pub mod backup;
mod bounds;
pub mod change;
pub mod error;
mod group;
mod handed;
pub mod kind;
mod lead;
mod migrate;
mod plan;
mod raise;
mod readers;
mod reads;
pub mod row;
pub mod scope;
mod sent;
mod shape;
mod single;
mod sql;
mod table;
mod wanted;
mod writer;

pub use change::{Change, Committed};
pub use error::StoreError;
pub use handed::Queue;
pub use scope::{System, TenantScope};

use handed::Handed;
use keyway_domain::time::UnixMs;
use lead::Lead;
use readers::Readers;
use row::OutboxKey;
use sent::Sent;
use single::Ways;
use sql::Target;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use writer::{Job, Stage, Writer};

/// Rows in one page at most, whatever is asked for.
pub const PAGE_MAX: usize = 1_000;

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:path` or `postgres://user@host:port/database?sslmode=require`.
    pub url: String,
    /// For Postgres; never a part of the URL in a log.
    pub password: Option<String>,
    /// Of every call. Under the 4 s at which the gateway tells a caller `temporary`.
    pub deadline_ms: u64,
    /// Changes that wait for the writer at most; one more is `Busy`.
    pub queue_max: usize,
    /// Connections that read, beside the one that writes.
    pub readers_max: usize,
    /// Run missing migrations when opening. Otherwise an older schema is `NotMigrated`.
    pub migrate: bool,
    /// SQLite only: the file grows to so many pages of 4 KiB at most, and is `Full` then.
    pub sqlite_pages_max: Option<u32>,
}

impl StoreOptions {
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            deadline_ms: 3_000,
            queue_max: 1_024,
            readers_max: 4,
            migrate: true,
            sqlite_pages_max: None,
        }
    }

    /// The database as a person knows it, without user and password.
    pub fn place(&self) -> String {
        let url = self.url.split('?').next().unwrap_or_default();
        match (url.strip_prefix("sqlite:"), url.rsplit_once('@')) {
            (Some(path), _) => format!("the file {path}"),
            (None, Some((_, place))) => format!("postgres://{place}"),
            (None, None) => url.to_owned(),
        }
    }

    /// Whether the address is one at all. Nothing is asked.
    pub fn check(&self) -> Result<(), StoreError> {
        self.target().map(|_| ())
    }

    fn target(&self) -> Result<Target, StoreError> {
        let target = Target::parse(&self.url, self.password.as_deref(), self.deadline_ms)?;
        Ok(self.sqlite_pages_max.map_or_else(|| target.clone(), |pages| target.clone().bounded(pages)))
    }
}

/// A handle; clones share the connections. The writer ends when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    readers: Arc<Readers>,
    jobs: mpsc::Sender<Job>,
    sent: Arc<Sent>,
    handed: Arc<Handed>,
    lead: Arc<Lead>,
    ways: Arc<Ways>,
    deadline_ms: u64,
}

/// Applies the migrations that are missing; answers their numbers. What `app-core migrate` does.
pub async fn migrate(options: &StoreOptions) -> Result<Vec<u32>, StoreError> {
    migrate::migrate(&options.target()?).await
}

impl Store {
    /// Opens the database and checks its schema, so that a wrong address or password is told at start.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let target = options.target()?;
        if options.migrate {
            migrate::migrate(&target).await?;
        } else {
            migrate::demand_current(&target, options.deadline_ms).await?;
        }
        let (jobs, waiting) = mpsc::channel(options.queue_max.max(1));
        let handed = Arc::new(Handed::default());
        let lead = Arc::new(Lead::new(target.clone()));
        let sent = Arc::new(Sent::default());
        let readers = Arc::new(Readers::new(target.clone(), options.readers_max, options.deadline_ms));
        let ways = Arc::new(Ways::default());
        let shared = (Arc::clone(&sent), Arc::clone(&handed), Arc::clone(&lead), Arc::clone(&ways));
        let writer = Writer::new(target, waiting, shared, options.deadline_ms);
        tokio::spawn(writer.run());
        Ok(Self { readers, jobs, sent, handed, lead, ways, deadline_ms: options.deadline_ms })
    }

    /// Writes what is queued and closes the connections. Calls afterwards are `Unavailable`.
    pub async fn close(&self) {
        self.lead.resign().await;
        let (answer, closed) = oneshot::channel();
        if self.jobs.send(Job::Close { answer }).await.is_ok() {
            // An error means that the writer has ended already.
            let _ = closed.await;
        }
        self.readers.close().await;
    }

    /// Answers when the database does and the queue has room, for readiness.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.readers.fetch("SELECT 1", Vec::new()).await?;
        match self.jobs.capacity() {
            _ if self.jobs.is_closed() => Err(readers::closed()),
            0 => Err(StoreError::Busy { waiting: self.jobs.max_capacity() }),
            _ => Ok(()),
        }
    }

    /// Changes that wait for the writer, for metrics.
    pub fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Groups of changes written as one statement, and as transactions of several, for metrics.
    pub fn ways(&self) -> (u64, u64) {
        (self.ways.single.load(Ordering::Relaxed), self.ways.long.load(Ordering::Relaxed))
    }

    /// Writes a decision, all of it or nothing, and answers when it is durable. Dropping the future does not take the
    /// change back.
    pub async fn commit(&self, scope: TenantScope, change: Change) -> Result<Committed, StoreError> {
        bounds::check(scope, &change)?;
        let deadline = Instant::now() + Duration::from_millis(self.deadline_ms);
        let stage = Arc::new(Stage::default());
        let (answer, answered) = oneshot::channel();
        let job = Job::Commit { scope, change: Box::new(change), stage: Arc::clone(&stage), answer };
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy { waiting: self.waiting() },
            mpsc::error::TrySendError::Closed(_) => readers::closed(),
        })?;
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) if stage.abandon() => Err(readers::closed()),
            Ok(Err(_)) => Err(StoreError::Unavailable { why: "the writer has ended".into(), maybe: true }),
            Err(_) if stage.abandon() => Err(StoreError::Busy { waiting: self.waiting() }),
            Err(_) => Err(StoreError::Slow { deadline_ms: self.deadline_ms }),
        }
    }

    /// These have been sent, or have expired. Remembered at once, written with the next group or shortly after.
    pub async fn outbox_done(&self, _system: System, keys: &[OutboxKey]) -> Result<(), StoreError> {
        if !self.sent.note(keys) {
            return Err(StoreError::Busy { waiting: sent::SENT_MAX });
        }
        // When the queue is full the writer is awake anyway.
        let _ = self.jobs.try_send(Job::Sent);
        Ok(())
    }

    /// Changes whenever a commit has put something into the outbox: what the relay waits for. Those of other processes
    /// are heard of while `lead` runs.
    pub fn outbox_signal(&self) -> watch::Receiver<u64> {
        self.handed.signal()
    }

    /// What commits of this process have put into the outbox since the last time it was asked, and whether to look there
    /// for more. For a process that leads.
    pub fn outbox_handed(&self, _system: System) -> Queue {
        self.handed.take()
    }

    /// Takes part in who sends what is in the outbox, and hears of commits by the others. Runs until it is dropped.
    pub async fn lead(&self) {
        tokio::join!(self.lead.keep(), self.lead.listen(|| self.handed.hear()));
    }

    /// Whether this process sends what is in the outbox: of several on one database one does.
    pub fn leads(&self) -> bool {
        self.lead.leads()
    }

    /// Returns when it does.
    pub async fn until_it_leads(&self) {
        self.lead.until_it_leads().await;
    }

    /// Forgets once-only keys that have expired; answers how many. At most some thousand at a time.
    pub async fn sweep(&self, _system: System, now: UnixMs) -> Result<usize, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .try_send(Job::Sweep { now, answer })
            .map_err(|_| StoreError::Busy { waiting: self.waiting() })?;
        answered.await.map_err(|_| readers::closed())?
    }
}
