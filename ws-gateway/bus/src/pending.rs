//! A node's questions that wait for an answer: number -> waiter. It owns the bound, the end of waiting and that a
//! waiter hears exactly once; it does not know how questions and answers travel. Deadlines come by the wall clock and are
//! kept by the other one: a clock that is set back must not keep questions until they fill the table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::Answered;
use crate::error::BusError;
use crate::limits::PENDING_REPLIES_MAX;
use crate::request::Reply;

/// Without a deadline a question waits as long as the gateway lets clients wait.
const WAIT_DEFAULT: Duration = Duration::from_secs(4);

/// Nobody waits longer, whatever the deadline says: the answer would come to a client long gone.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How often overdue questions are looked for. Askers have told their clients at the deadline itself.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Pending {
    waiting: Mutex<HashMap<u64, Waiter>>,
    next: AtomicU64,
    started: Instant,
    /// Since `started`.
    swept_ms: AtomicU64,
    unclaimed: AtomicU64,
}

struct Waiter {
    done: Answered,
    until: Instant,
    method: String,
}

/// A question asked. Dropping it forgets the question.
pub(crate) struct Question {
    pub number: u64,
    answer: oneshot::Receiver<Result<Reply, BusError>>,
    pending: Arc<Pending>,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending {
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            started: Instant::now(),
            swept_ms: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
        }
    }
}

impl Pending {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the question's number, or `done` back with the reason.
    pub(crate) fn expect(
        &self,
        method: &str,
        deadline_ms: u64,
        done: Answered,
    ) -> Result<u64, (Answered, BusError)> {
        let now = Instant::now();
        let elapsed_ms = now.duration_since(self.started).as_millis() as u64;
        if elapsed_ms.saturating_sub(self.swept_ms.load(Ordering::Relaxed)) > SWEEP_EVERY.as_millis() as u64 {
            self.sweep();
        }
        let until = now + time_left(deadline_ms, now_ms());
        let mut waiting = self.waiting();
        if waiting.len() >= PENDING_REPLIES_MAX {
            return Err((done, BusError::full("waiting for a reply", PENDING_REPLIES_MAX)));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        waiting.insert(number, Waiter { done, until, method: method.to_owned() });
        Ok(number)
    }

    pub(crate) fn ask(self: &Arc<Pending>, method: &str, deadline_ms: u64) -> Result<Question, BusError> {
        let (sender, answer) = oneshot::channel();
        let done: Answered = Box::new(move |outcome| {
            // Who no longer waits has dropped the question, and with it this.
            let _gone = sender.send(outcome);
        });
        let number = self.expect(method, deadline_ms, done).map_err(|(_, error)| error)?;
        Ok(Question { number, answer, pending: Arc::clone(self) })
    }

    /// Gives the answer to its asker; one that nobody waits for is counted and dropped.
    pub(crate) fn answer(&self, number: u64, reply: Reply) {
        // Not called under the lock.
        let waiter = self.waiting().remove(&number);
        match waiter {
            Some(waiter) => (waiter.done)(Ok(reply)),
            None => {
                self.unclaimed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The question never got on its way, or nobody can say.
    pub(crate) fn fail(&self, number: u64, error: BusError) {
        let waiter = self.waiting().remove(&number);
        if let Some(waiter) = waiter {
            (waiter.done)(Err(error));
        }
    }

    /// Ends the waiting that is overdue.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.swept_ms.store(now.duration_since(self.started).as_millis() as u64, Ordering::Relaxed);
        let overdue: Vec<Waiter> =
            self.waiting().extract_if(|_, waiter| waiter.until <= now).map(|(_, waiter)| waiter).collect();
        for waiter in overdue {
            (waiter.done)(Err(BusError::NoReply { method: waiter.method }));
        }
    }

    pub(crate) async fn keep_sweeping(self: Arc<Pending>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.sweep();
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
        tokio::time::timeout(wait, &mut self.answer).await.map_err(|_| no_reply())?.map_err(|_| no_reply())?
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.pending.waiting().remove(&self.number);
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
        let question = pending.ask("m", 0).unwrap();
        let number = question.number;
        drop(question);
        pending.answer(number, Ok("late".into()));
        assert_eq!(pending.unclaimed(), 1);

        let question = pending.ask("m", 0).unwrap();
        pending.answer(question.number, Ok("in time".into()));
        assert_eq!(question.wait("m", 0).await.unwrap(), Ok("in time".into()));
        assert_eq!(pending.unclaimed(), 1);
    }

    #[test]
    fn a_waiter_hears_exactly_once() {
        let pending = Pending::default();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let expect = |deadline_ms: u64| {
            let heard = Arc::clone(&heard);
            let done: Answered = Box::new(move |outcome| {
                heard
                    .lock()
                    .unwrap()
                    .push(outcome.map_or_else(|error| error.to_string(), |_| "answer".into()));
            });
            pending.expect("m", deadline_ms, done).map_err(|(_, error)| error).unwrap()
        };
        let (answered, failed, overdue) = (expect(0), expect(0), expect(1));
        pending.answer(answered, Ok("x".into()));
        pending.fail(failed, BusError::full("asking", 1));
        for _ in 0..2 {
            pending.sweep();
            pending.fail(answered, BusError::full("asking", 1));
            pending.answer(overdue, Ok("late".into()));
        }
        let heard = heard.lock().unwrap().join(", ");
        assert_eq!(heard, "answer, bus unavailable while asking: full at 1, no reply to `m` by its deadline");
        assert_eq!(pending.unclaimed(), 2, "late answers are counted");
    }

    #[test]
    fn a_full_table_refuses_and_has_room_again() {
        let pending = Pending::default();
        let ask =
            |deadline_ms: u64| pending.expect("m", deadline_ms, Box::new(drop)).map_err(|(_, error)| error);
        // All of them are overdue at once.
        for _ in 0..PENDING_REPLIES_MAX {
            ask(1).unwrap();
        }
        let refused = ask(1).unwrap_err();
        assert!(refused.to_string().contains("full at 65536"), "{refused}");
        pending.sweep();
        ask(1).unwrap();
    }
}
