//! A node's questions that wait for an answer: number -> waiter. It owns the bound and forgets a question whose
//! asker has gone; it does not know how questions and answers travel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::error::BusError;
use crate::limits::PENDING_REPLIES_MAX;
use crate::request::Reply;

/// Without a deadline a question waits as long as the gateway lets clients wait.
const WAIT_DEFAULT: Duration = Duration::from_secs(4);

/// Nobody waits longer, whatever the deadline says: the answer would come to a client long gone.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Pending {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next: AtomicU64,
    unclaimed: AtomicU64,
}

/// A question asked. Dropping it forgets the question.
#[derive(Debug)]
pub(crate) struct Question {
    pub number: u64,
    answer: oneshot::Receiver<Reply>,
    pending: Arc<Pending>,
}

impl Pending {
    pub(crate) fn ask(self: &Arc<Pending>) -> Result<Question, BusError> {
        let (sender, answer) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= PENDING_REPLIES_MAX {
            return Err(BusError::full("waiting for a reply", PENDING_REPLIES_MAX));
        }
        waiting.insert(number, sender);
        Ok(Question { number, answer, pending: Arc::clone(self) })
    }

    /// Gives the answer to its asker; one that nobody waits for is counted and dropped.
    pub(crate) fn answer(&self, number: u64, reply: Reply) {
        let waiter = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if waiter.is_none_or(|waiter| waiter.send(reply).is_err()) {
            self.unclaimed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn unclaimed(&self) -> u64 {
        self.unclaimed.load(Ordering::Relaxed)
    }
}

impl Question {
    pub(crate) async fn wait(mut self, method: &str, deadline_ms: u64) -> Result<Reply, BusError> {
        let no_reply = || BusError::NoReply { method: method.to_owned() };
        let wait = time_left(deadline_ms, now_ms());
        tokio::time::timeout(wait, &mut self.answer).await.map_err(|_| no_reply())?.map_err(|_| no_reply())
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.pending.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

fn time_left(deadline_ms: u64, now_ms: u64) -> Duration {
    if deadline_ms == 0 {
        return WAIT_DEFAULT;
    }
    Duration::from_millis(deadline_ms.saturating_sub(now_ms)).min(WAIT_MAX)
}

/// Wall clock, milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_bounded() {
        let check = |deadline, now, wanted| assert_eq!(time_left(deadline, now), wanted);
        check(0, 1_000, WAIT_DEFAULT);
        check(1_500, 1_000, Duration::from_millis(500));
        check(500, 1_000, Duration::ZERO);
        check(u64::MAX, 1_000, WAIT_MAX);
    }

    #[tokio::test]
    async fn an_answer_without_a_waiter_is_counted() {
        let pending = Arc::new(Pending::default());
        let question = pending.ask().unwrap();
        let number = question.number;
        drop(question);
        pending.answer(number, Ok("late".into()));
        assert_eq!(pending.unclaimed(), 1);

        let question = pending.ask().unwrap();
        pending.answer(question.number, Ok("in time".into()));
        assert_eq!(question.wait("m", 0).await.unwrap(), Ok("in time".into()));
        assert_eq!(pending.unclaimed(), 1);
    }
}
