//! Who waits for a command to end: a phone's call that may still be answered with the final state. Owns the wake-ups
//! inside this process; what another core has committed is found by looking.

use crate::store::row::CommandRow;
use keyway_domain::id::CommandId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

#[derive(Default)]
pub struct Waiting {
    /// An entry is there exactly as long as somebody waits; bounded by the requests in flight.
    commands: Mutex<HashMap<CommandId, Vec<watch::Sender<Option<CommandRow>>>>>,
}

/// Waits until it is dropped.
pub struct Wait<'w> {
    waiting: &'w Waiting,
    id: CommandId,
    told: watch::Receiver<Option<CommandRow>>,
}

impl Waiting {
    pub fn on(&self, id: CommandId) -> Wait<'_> {
        let (tell, told) = watch::channel(None);
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.entry(id).or_default().push(tell);
        Wait { waiting: self, id, told }
    }

    /// The command has changed, as committed: whoever waits for its end gets it without asking the database.
    pub fn changed(&self, row: &CommandRow, version: u64) {
        if !row.record.state.is_final() {
            return;
        }
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in commands.get(&row.id()).into_iter().flatten() {
            waiter.send_replace(Some(CommandRow { version, ..row.clone() }));
        }
    }

    pub fn count(&self) -> usize {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Wait<'_> {
    /// The command's end, when this process has committed it.
    pub async fn ended(&mut self) -> CommandRow {
        match self.told.wait_for(Option::is_some).await.map(|row| row.clone()) {
            Ok(Some(row)) => row,
            // The sender is held until this is dropped.
            _ => std::future::pending().await,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut commands = self.waiting.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = commands.get_mut(&self.id) {
            waiters.retain(|waiter| !self.told.same_channel(&waiter.subscribe()));
            if waiters.is_empty() {
                commands.remove(&self.id);
            }
        }
    }
}
