//! Publications that have been sent and still stand in the database. Owns the list of them and its bound; refuses to
//! delete: the writer does, with what it writes next.

use super::row::OutboxKey;
use keyway_domain::id::TenantId;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Publications that have been sent and are not yet taken out of the database. The relay waits beyond it.
pub const SENT_MAX: usize = 16_384;
/// Of these, in one transaction.
const SENT_IN_GROUP_MAX: usize = 1_024;

/// Publications that need not be sent again, until the database knows it too.
#[derive(Debug, Default)]
pub struct Sent(Mutex<BTreeSet<OutboxKey>>);

impl Sent {
    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeSet<OutboxKey>> {
        // A set is whole after any panic: nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: there is no room, and nothing was noted.
    pub fn note(&self, keys: &[OutboxKey]) -> bool {
        let mut held = self.keys();
        let room = held.len() + keys.len() <= SENT_MAX;
        if room {
            held.extend(keys);
        }
        room
    }

    pub fn all(&self) -> BTreeSet<OutboxKey> {
        self.keys().clone()
    }

    pub fn first(&self) -> Vec<OutboxKey> {
        self.keys().iter().take(SENT_IN_GROUP_MAX).copied().collect()
    }

    /// Those of one tenant.
    pub fn of(&self, tenant: TenantId) -> Vec<OutboxKey> {
        let range = OutboxKey { tenant, seq: 0 }..=OutboxKey { tenant, seq: u64::MAX };
        self.keys().range(range).take(SENT_IN_GROUP_MAX).copied().collect()
    }

    /// So many that they have to be taken out whoever writes next.
    pub fn is_crowded(&self) -> bool {
        self.keys().len() > SENT_IN_GROUP_MAX
    }

    pub fn forget(&self, keys: &[OutboxKey]) {
        let mut held = self.keys();
        keys.iter().for_each(|key| {
            held.remove(key);
        });
    }
}
