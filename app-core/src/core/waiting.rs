//! Who waits for a command to end: a phone's call that may still be answered with the final state. Owns the wake-ups
//! inside this process; what another core has committed is found by looking.

use keyway_domain::command::State;
use keyway_domain::id::CommandId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Waiting {
    /// An entry is there exactly as long as somebody waits; bounded by the requests in flight.
    commands: Mutex<HashMap<CommandId, Vec<Arc<Notify>>>>,
}

/// Waits until it is dropped.
pub struct Wait<'w> {
    waiting: &'w Waiting,
    id: CommandId,
    notify: Arc<Notify>,
}

impl Waiting {
    pub fn on(&self, id: CommandId) -> Wait<'_> {
        let notify = Arc::new(Notify::new());
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.entry(id).or_default().push(Arc::clone(&notify));
        Wait { waiting: self, id, notify }
    }

    /// The command has changed, as committed.
    pub fn changed(&self, id: CommandId, state: State) {
        if !state.is_final() {
            return;
        }
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        // `notify_one` keeps a permit for one who has not begun to wait.
        commands.get(&id).into_iter().flatten().for_each(|waiter| waiter.notify_one());
    }

    pub fn count(&self) -> usize {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Wait<'_> {
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut commands = self.waiting.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = commands.get_mut(&self.id) {
            waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.notify));
            if waiters.is_empty() {
                commands.remove(&self.id);
            }
        }
    }
}
