//! What a commit has put into the outbox, handed to the relay of the same process, which then need not read it. Owns the
//! queue between them and its bound; refuses to say whether something else has to be sent before it: the relay knows.

use super::row::OutboxRow;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Publications that wait here at most. The relay finds the others where they are: in the database.
const ROWS_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Handed {
    queue: Mutex<Queue>,
    signal: watch::Sender<u64>,
}

/// What there is to send.
#[derive(Debug, Default)]
pub struct Queue {
    /// In the order of their commits.
    pub rows: Vec<OutboxRow>,
    /// There is more in the database than these.
    pub look: bool,
}

impl Default for Handed {
    fn default() -> Self {
        Self { queue: Mutex::default(), signal: watch::Sender::new(0) }
    }
}

impl Handed {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        // Rows and a flag: whole after any panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These have been committed. A process that does not lead keeps nothing: the one that does has to look.
    pub fn hand(&self, rows: Vec<OutboxRow>, leads: bool) {
        if rows.is_empty() {
            return;
        }
        let mut queue = self.queue();
        if !leads || queue.rows.len() + rows.len() > ROWS_MAX {
            *queue = Queue { rows: Vec::new(), look: true };
        } else {
            queue.rows.extend(rows);
        }
        drop(queue);
        self.signal.send_modify(|count| *count += 1);
    }

    /// Another process has committed something.
    pub fn hear(&self) {
        self.queue().look = true;
        self.signal.send_modify(|count| *count += 1);
    }

    pub fn take(&self) -> Queue {
        std::mem::take(&mut *self.queue())
    }

    pub fn signal(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }
}
