//! Connections that read: a few of them, lent for one statement each. Owns their bound and what becomes of one that
//! failed; refuses to write.

use super::StoreError;
use super::error::Fault;
use super::sql::{Conn, Row, Target, Value};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub struct Readers {
    target: Target,
    permits: Semaphore,
    idle: Mutex<Vec<Conn>>,
    deadline: Duration,
}

impl Readers {
    pub fn new(target: Target, count: usize, deadline_ms: u64) -> Self {
        Self {
            target: target.reading(),
            permits: Semaphore::new(count.max(1)),
            idle: Mutex::new(Vec::new()),
            deadline: Duration::from_millis(deadline_ms),
        }
    }

    fn deadline_ms(&self) -> u64 {
        self.deadline.as_millis() as u64
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One statement, as of one moment.
    pub async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let deadline = Instant::now() + self.deadline;
        let Ok(permit) = tokio::time::timeout_at(deadline, self.permits.acquire()).await else {
            return Err(StoreError::Busy { waiting: 0 });
        };
        let _permit = permit.map_err(|_| closed())?;
        match tokio::time::timeout_at(deadline, self.attempt(sql, values)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(fault)) => Err(fault.told(self.deadline_ms(), false)),
            // The connection was dropped with the future, and its statement with it.
            Err(_) => Err(StoreError::Slow { deadline_ms: self.deadline_ms() }),
        }
    }

    async fn attempt(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        let idle = self.idle().pop();
        if let Some(mut conn) = idle {
            match conn.fetch(sql, values.clone()).await {
                Err(Fault::Gone(_)) => {
                    // Idle ones have met the same end as this one.
                    self.idle().clear();
                }
                other => return self.give_back(conn, other),
            }
        }
        let mut conn = self.target.connect().await?;
        let got = conn.fetch(sql, values).await;
        self.give_back(conn, got)
    }

    fn give_back(&self, conn: Conn, got: Result<Vec<Row>, Fault>) -> Result<Vec<Row>, Fault> {
        if got.as_ref().map_or_else(Fault::leaves_connection, |_| true) && !self.permits.is_closed() {
            self.idle().push(conn);
        }
        got
    }

    pub async fn close(&self) {
        self.permits.close();
        let idle: Vec<Conn> = self.idle().drain(..).collect();
        for conn in idle {
            conn.close().await;
        }
    }
}

pub fn closed() -> StoreError {
    StoreError::Unavailable { why: "the store has been closed".into(), maybe: false }
}
