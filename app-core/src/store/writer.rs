//! The one writer of a process: takes what waits, puts it into one transaction, answers when it is durable. Owns the
//! queue's bound, deadlines, and what is said when the database fails; refuses to check changes: the plan does.

use super::change::{Change, Committed};
use super::error::Fault;
use super::handed::Handed;
use super::lead::{self, Lead};
use super::plan::Writes;
use super::sent::Sent;
use super::single::{Granted, Heads, Known, READ_HEAD, Ways};
use super::sql::{Conn, Target};
use super::wanted::Wanted;
use super::{StoreError, TenantScope, group, shape};
use keyway_domain::id::TenantId;
use keyway_domain::time::UnixMs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Changes in one transaction at most. Twice as many bring little more: the disk's sync is shared by 128 already.
pub const GROUP_MAX: usize = 128;
/// How long a sent publication may stay when nothing else is written: a crash in between sends it twice.
const SENT_LINGER: Duration = Duration::from_millis(25);
/// The same while the database is in trouble: not a loop of attempts.
const SENT_LINGER_IN_TROUBLE: Duration = Duration::from_secs(1);
/// Rows forgotten by one sweep, so that it never holds the writer for long.
const SWEEP_MAX: i64 = 2_000;
/// A stale connection costs one attempt, giving way to another process another.
const ATTEMPTS_MAX: usize = 3;

/// Where a change is. Its caller may only walk away from one that still waits.
#[derive(Debug, Default)]
pub struct Stage(AtomicU8);

impl Stage {
    const WAITING: u8 = 0;
    const STARTED: u8 = 1;
    const ABANDONED: u8 = 2;

    fn leave(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// True: it was still waiting, and will not be written any more.
    pub fn abandon(&self) -> bool {
        self.leave(Self::ABANDONED)
    }

    fn start(&self) -> bool {
        self.leave(Self::STARTED)
    }
}

pub type Answer = oneshot::Sender<Result<Committed, StoreError>>;

pub enum Job {
    Commit {
        scope: TenantScope,
        change: Box<Change>,
        stage: Arc<Stage>,
        answer: Answer,
    },
    Sweep {
        now: UnixMs,
        answer: oneshot::Sender<Result<usize, StoreError>>,
    },
    /// Publications have been sent: look at the list.
    Sent,
    Close {
        answer: oneshot::Sender<()>,
    },
}

struct Waiting {
    scope: TenantScope,
    change: Box<Change>,
    answer: Answer,
}

pub struct Writer {
    target: Target,
    conn: Option<Conn>,
    jobs: mpsc::Receiver<Job>,
    sent: Arc<Sent>,
    handed: Arc<Handed>,
    lead: Arc<Lead>,
    deadline: Duration,
    linger: Duration,
    heads: Heads,
    ways: Arc<Ways>,
    /// A statement whose answer did not come: whose it was, and the mark of the head that it was to replace.
    doubt: Option<(TenantId, String)>,
}

/// A transaction that did not happen; `maybe` when it may have all the same.
struct Failed {
    fault: Fault,
    maybe: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, maybe: false }
    }
}

impl Writer {
    pub fn new(
        target: Target,
        jobs: mpsc::Receiver<Job>,
        (sent, handed, lead, ways): (Arc<Sent>, Arc<Handed>, Arc<Lead>, Arc<Ways>),
        deadline_ms: u64,
    ) -> Self {
        Self {
            target: target.writing(),
            conn: None,
            jobs,
            sent,
            handed,
            lead,
            deadline: Duration::from_millis(deadline_ms),
            linger: SENT_LINGER,
            heads: Heads::default(),
            ways,
            doubt: None,
        }
    }

    /// Runs until the last handle of the store is gone, or it is closed.
    pub async fn run(mut self) {
        let mut jobs = Vec::with_capacity(GROUP_MAX);
        loop {
            let lingering = !self.sent.first().is_empty();
            let taken = if lingering {
                // Nothing else to write for a while: what has been sent is taken out on its own.
                match tokio::time::timeout(self.linger, self.jobs.recv_many(&mut jobs, GROUP_MAX)).await {
                    Ok(taken) => taken,
                    Err(_) => {
                        self.group(Vec::new()).await;
                        continue;
                    }
                }
            } else {
                self.jobs.recv_many(&mut jobs, GROUP_MAX).await
            };
            if taken == 0 {
                break;
            }
            if let Some(closed) = self.work(&mut jobs).await {
                self.end().await;
                let _ = closed.send(());
                return;
            }
        }
        self.end().await;
    }

    async fn end(&mut self) {
        if !self.sent.first().is_empty() {
            self.group(Vec::new()).await;
        }
        if let Some(conn) = self.conn.take() {
            conn.close().await;
        }
    }

    async fn work(&mut self, jobs: &mut Vec<Job>) -> Option<oneshot::Sender<()>> {
        let mut waiting = Vec::with_capacity(jobs.len());
        let mut closed = None;
        for job in jobs.drain(..) {
            match job {
                Job::Commit { scope, change, stage, answer } => {
                    if stage.start() {
                        waiting.push(Waiting { scope, change, answer });
                    }
                }
                Job::Sweep { now, answer } => {
                    let swept = self.sweep(now).await;
                    let _ = answer.send(swept);
                }
                Job::Sent => {}
                Job::Close { answer } => closed = Some(answer),
            }
        }
        if !waiting.is_empty() {
            self.group(waiting).await;
        }
        closed
    }

    /// Writes a group and answers every change of it.
    async fn group(&mut self, waiting: Vec<Waiting>) {
        let deadline = Instant::now() + self.deadline;
        let parts: Vec<(TenantScope, &Change)> =
            waiting.iter().map(|one| (one.scope, &*one.change)).collect();
        let written = self.attempts(&parts, deadline).await;
        self.linger = if written.is_ok() { SENT_LINGER } else { SENT_LINGER_IN_TROUBLE };
        let alone = waiting.len() > 1 && matches!(&written, Err(Failed { fault: Fault::Rejected(_), .. }));
        if alone {
            // One of them cannot be written. Each on its own, so that only that one fails.
            for one in waiting {
                let deadline = Instant::now() + self.deadline;
                let written = self.attempts(&[(one.scope, &*one.change)], deadline).await;
                self.answer(vec![one], written);
            }
            return;
        }
        self.answer(waiting, written);
    }

    fn answer(&self, waiting: Vec<Waiting>, written: Result<Vec<Result<Committed, StoreError>>, Failed>) {
        match written {
            Ok(outcomes) => {
                for (one, outcome) in waiting.into_iter().zip(outcomes) {
                    // A caller that has gone away finds out by its ids.
                    let _ = one.answer.send(outcome);
                }
            }
            Err(Failed { fault, maybe }) => {
                tracing::warn!(?fault, changes = waiting.len(), "a group of changes was not written");
                let deadline_ms = self.deadline.as_millis() as u64;
                for one in waiting {
                    let _ = one.answer.send(Err(fault.clone().told(deadline_ms, maybe)));
                }
            }
        }
    }

    async fn attempts(
        &mut self,
        parts: &[(TenantScope, &Change)],
        deadline: Instant,
    ) -> Result<Vec<Result<Committed, StoreError>>, Failed> {
        self.doubt = None;
        let mut attempt = 1;
        loop {
            let mut committing = false;
            let fresh = self.conn.is_none();
            let mut failed =
                match tokio::time::timeout_at(deadline, self.transact(parts, &mut committing)).await {
                    Ok(Ok(outcomes)) => return Ok(outcomes),
                    Ok(Err(fault)) => Failed { fault, maybe: committing },
                    Err(_) => Failed { fault: Fault::Slow, maybe: committing },
                };
            let again = match &failed.fault {
                // A connection that was new has shown that the database is really gone.
                Fault::Gone(_) => !fresh && !failed.maybe,
                Fault::GaveWay => !failed.maybe,
                _ => false,
            };
            self.recover(&failed, deadline).await;
            if !again || attempt == ATTEMPTS_MAX {
                failed.maybe |= self.doubt.is_some();
                return Err(failed);
            }
            attempt += 1;
        }
    }

    /// After a failure: ends the transaction, or lets go of the connection and with it of the transaction.
    async fn recover(&mut self, failed: &Failed, deadline: Instant) {
        if failed.fault.leaves_connection()
            && let Some(conn) = &mut self.conn
            && let Ok(Ok(())) = tokio::time::timeout_at(deadline, conn.rollback()).await
        {
            return;
        }
        self.conn = None;
    }

    async fn transact(
        &mut self,
        parts: &[(TenantScope, &Change)],
        committing: &mut bool,
    ) -> Result<Vec<Result<Committed, StoreError>>, Fault> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.target.connect().await?),
        };
        if conn.is_postgres()
            && self.doubt.is_none()
            && !self.sent.is_crowded()
            && let Some(outcomes) = self.single(parts).await?
        {
            return Ok(outcomes);
        }
        let Some(conn) = &mut self.conn else { return Err(Fault::Gone("the connection was lost".into())) };
        let sent = self.sent.first();
        conn.begin().await?;
        let mut wanted = Wanted::default();
        parts.iter().for_each(|(scope, change)| wanted.note(*scope, change));
        let mut found = group::load(conn, &wanted).await?;
        if let Some((tenant, mark)) = &self.doubt {
            // The head is locked: what was in doubt has happened by now, or never will.
            if known(conn, *tenant).await?.is_none_or(|now| now.mark != *mark) {
                return Err(Fault::Gone("the connection was lost".into()));
            }
            self.doubt = None;
        }
        let mut writes = Writes::default();
        let outcomes: Vec<_> =
            parts.iter().map(|(scope, change)| found.take(*scope, change, &mut writes)).collect();
        if writes.heads.is_empty() && sent.is_empty() {
            conn.rollback().await?;
            return Ok(outcomes);
        }
        let tells = !writes.outbox.is_empty() && !self.lead.leads();
        let to_send = std::mem::take(&mut writes.to_send);
        self.heads.forget(writes.heads.iter().copied());
        group::store(conn, &found, writes, &sent).await?;
        if tells {
            // Another process sends it, and hears of it with the commit. Who sends its own needs no telling.
            conn.execute(lead::TELL, Vec::new()).await?;
        }
        *committing = true;
        conn.commit().await?;
        self.ways.long.fetch_add(1, Ordering::Relaxed);
        self.sent.forget(&sent);
        self.handed.hand(to_send, self.lead.leads());
        Ok(outcomes)
    }

    /// The group as one statement. `None`: nothing was written, it has to go the long way.
    async fn single(
        &mut self,
        parts: &[(TenantScope, &Change)],
    ) -> Result<Option<Vec<Result<Committed, StoreError>>>, Fault> {
        let Some(conn) = &mut self.conn else { return Ok(None) };
        let Some(granted) = Granted::of(parts) else { return Ok(None) };
        let tenant = granted.tenant();
        let before = match self.heads.get(tenant) {
            Some(known) => known,
            None => match known(conn, tenant).await? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        let mut wanted = Wanted::default();
        parts.iter().for_each(|(scope, change)| wanted.note(*scope, change));
        let mut found = granted.found(parts, &before.head);
        let mut writes = Writes::default();
        let outcomes: Vec<_> =
            parts.iter().map(|(scope, change)| found.take(*scope, change, &mut writes)).collect();
        self.heads.forget([tenant]);
        if outcomes.iter().any(Result::is_err) {
            return Ok(None);
        }
        let Some(head) = found.heads.remove(&tenant) else { return Ok(None) };
        let to_send = std::mem::take(&mut writes.to_send);
        let tells = !writes.outbox.is_empty() && !self.lead.leads();
        let sent = self.sent.of(tenant);
        let (sql, values) = granted.statement(&wanted, (&head, &before), writes, &sent, tells);
        // Until there is an answer nobody knows whether it has happened.
        self.doubt = Some((tenant, before.mark));
        let answered = conn.fetch(&sql, values).await;
        if answered.as_ref().map_or_else(|fault| matches!(fault, Fault::GaveWay), |_| true) {
            self.doubt = None;
        }
        let rows = match answered {
            Ok(rows) => rows,
            // A row of this key is there: the long way looks whose it is.
            Err(Fault::GaveWay) => return Ok(None),
            Err(fault) => {
                if fault.leaves_connection() {
                    self.doubt = None;
                }
                return Err(fault);
            }
        };
        let Some(row) = rows.first() else { return Ok(None) };
        self.ways.single.fetch_add(1, Ordering::Relaxed);
        self.heads.put(tenant, Known { head, mark: row.text(0)? });
        self.sent.forget(&sent);
        self.handed.hand(to_send, self.lead.leads());
        Ok(Some(outcomes))
    }

    async fn sweep(&mut self, now: UnixMs) -> Result<usize, StoreError> {
        let deadline_ms = self.deadline.as_millis() as u64;
        let work = async {
            let conn = match &mut self.conn {
                Some(conn) => conn,
                none => none.insert(self.target.connect().await?),
            };
            let values = vec![super::shape::int(now.0), SWEEP_MAX.into()];
            conn.execute(SWEEP, values).await
        };
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(count)) => Ok(count as usize),
            Ok(Err(fault)) => {
                if !fault.leaves_connection() {
                    self.conn = None;
                }
                Err(fault.told(deadline_ms, true))
            }
            Err(_) => {
                self.conn = None;
                Err(StoreError::Slow { deadline_ms })
            }
        }
    }
}

async fn known(conn: &mut Conn, tenant: TenantId) -> Result<Option<Known>, Fault> {
    let rows = conn.fetch(READ_HEAD, vec![shape::text(tenant)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Known { head: shape::head(row)?.1, mark: row.text(7)? }))
}

const SWEEP: &str = "DELETE FROM once_keys WHERE (tenant, space, name) IN (SELECT tenant, space, name FROM once_keys WHERE \
     expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)";
