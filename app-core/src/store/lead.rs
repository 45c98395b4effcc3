//! Which of several cores on one database sends publications. Owns the lead: taken, held by beats, passed on when they
//! stop; refuses to know what is sent.
//!
//! Nobody compares clocks. The leader beats, and sends only for `HELD` after the beginning of a beat that the database took.
//! The others take the lead over when they have seen the same beat for `TAKEOVER` of their own time, which is longer. One
//! that slept through all that may still have a publication in its hands: its successor has sent it before anything that
//! comes later, and the bus knows copies by their ids. So what a channel gets stays in order.

use super::error::Fault;
use super::sql::{Conn, Target};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const NAME: &str = "outbox";
/// A few beats may be lost in a busy second without the lead changing hands.
const BEAT_EVERY: Duration = Duration::from_millis(400);
const HELD: Duration = Duration::from_millis(1_500);
/// How long the death of a leader is felt. Half a second more than `HELD`: far beyond what two crystals differ by.
const TAKEOVER: Duration = Duration::from_millis(2_000);
/// Between attempts to reach a database that is away.
const PAUSE: Duration = Duration::from_millis(500);
/// Giving the lead back is a courtesy; nobody waits long for it.
const RESIGN_MAX: Duration = Duration::from_secs(1);

/// What a commit of somebody who does not lead is told on.
const CHANNEL: &str = "keyway_outbox";
pub const TELL: &str = "SELECT pg_notify('keyway_outbox', '')";

const RENEW: &str = "UPDATE leads SET beat = beat + 1 WHERE name = $1 AND holder = $2";
const LOOK: &str = "SELECT holder, beat FROM leads WHERE name = $1";
const TAKE: &str = "INSERT INTO leads (name, holder, beat) VALUES ($1, $2, 1) ON CONFLICT (name) DO NOTHING";
const TAKE_OVER: &str =
    "UPDATE leads SET holder = $2, beat = beat + 1 WHERE name = $1 AND holder = $3 AND beat = $4";
const RESIGN: &str = "DELETE FROM leads WHERE name = $1 AND holder = $2";

pub struct Lead {
    target: Target,
    /// Made anew with every start: a process that comes back is another one.
    holder: String,
    until: watch::Sender<Option<Instant>>,
    /// A file has one process, which needs no lead.
    alone: bool,
}

/// Somebody else's beat, and since when nothing newer has been seen.
struct Seen {
    holder: String,
    beat: u64,
    since: Instant,
}

impl Lead {
    pub fn new(target: Target) -> Self {
        let alone = matches!(target, Target::Sqlite(_));
        let holder = crate::source::random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { target, holder, until: watch::channel(None).0, alone }
    }

    /// Whether this process may send now.
    pub fn leads(&self) -> bool {
        self.alone || self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns when it may.
    pub async fn until_it_leads(&self) {
        let mut told = self.until.subscribe();
        while !self.leads() && told.changed().await.is_ok() {}
    }

    /// Beats, or watches the beats of another. Runs until the future is dropped.
    pub async fn keep(&self) {
        if self.alone {
            return std::future::pending().await;
        }
        let mut seen = None;
        let mut conn = None;
        loop {
            match tokio::time::timeout(HELD, self.beat(&mut conn, &mut seen)).await {
                Ok(Ok(())) => tokio::time::sleep(BEAT_EVERY).await,
                failed => {
                    if let Ok(Err(fault)) = failed {
                        tracing::debug!(?fault, "no beat");
                    }
                    // Whatever it was: the next attempt is with another connection, and this one's time runs out.
                    conn = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn beat(&self, conn: &mut Option<Conn>, seen: &mut Option<Seen>) -> Result<(), Fault> {
        let conn = match conn {
            Some(conn) => conn,
            none => none.insert(self.target.connect().await?),
        };
        let began = Instant::now();
        let own = vec![NAME.into(), self.holder.as_str().into()];
        let leads = conn.execute(RENEW, own.clone()).await? == 1 || self.take(conn, own, seen).await?;
        let before = self.until.send_replace(leads.then(|| began + HELD)).is_some();
        if leads != before {
            tracing::info!(leads, "sending publications: whether this process does it");
        }
        Ok(())
    }

    async fn take(
        &self,
        conn: &mut Conn,
        mut own: Vec<super::sql::Value>,
        seen: &mut Option<Seen>,
    ) -> Result<bool, Fault> {
        let rows = conn.fetch(LOOK, vec![NAME.into()]).await?;
        let Some(row) = rows.first() else { return Ok(conn.execute(TAKE, own).await? == 1) };
        let (holder, beat) = (row.text(0)?, row.count(1)?);
        match seen {
            Some(known) if (&known.holder, known.beat) == (&holder, beat) => {
                if known.since.elapsed() < TAKEOVER {
                    return Ok(false);
                }
                own.extend([holder.into(), super::shape::int(beat)]);
                Ok(conn.execute(TAKE_OVER, own).await? == 1)
            }
            _ => {
                *seen = Some(Seen { holder, beat, since: Instant::now() });
                Ok(false)
            }
        }
    }

    /// Hears of what others have put into the outbox, so that it is sent at once. What is missed is found by looking.
    pub async fn listen(&self, heard: impl Fn()) {
        loop {
            if let Err(fault) = self.target.listen(CHANNEL, &heard).await {
                tracing::debug!(?fault, "not listening to other processes");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets another one lead at once instead of after `TAKEOVER`.
    pub async fn resign(&self) {
        if self.alone || self.until.send_replace(None).is_none() {
            return;
        }
        let resign = async {
            let mut conn = self.target.connect().await?;
            conn.execute(RESIGN, vec![NAME.into(), self.holder.as_str().into()]).await?;
            conn.close().await;
            Ok::<(), Fault>(())
        };
        // Whoever comes next sees that the beats have stopped, too.
        let _ = tokio::time::timeout(RESIGN_MAX, resign).await;
    }
}
