//! Who is connected to this node: by connection and by user, with the bounds per node and per user. Instructions
//! of backends and operators find their connections here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyway_bus::Target;
use keyway_protocol::{Close, ConnectionId};

use crate::auth::{Identity, Revocation};
use crate::limits::{Bucket, Limits, Now};
use crate::link::Link;
use crate::session::{Input, Instruction};

#[derive(Default)]
pub struct Registry {
    links: Mutex<HashMap<ConnectionId, Arc<Link>>>,
    users: Mutex<HashMap<String, User>>,
    count: AtomicUsize,
}

struct User {
    bucket: Arc<Mutex<Bucket>>,
    links: Vec<Arc<Link>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Takes a place on the node, before the upgrade is answered. False: full.
    pub fn reserve(&self, connections_max: usize) -> bool {
        self.count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < connections_max).then_some(n + 1))
            .is_ok()
    }

    /// Gives the place back.
    pub fn release(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn add(&self, link: &Arc<Link>) {
        lock(&self.links).insert(link.id, Arc::clone(link));
    }

    /// Enters the connection under its user. Users without a name have no bound in common.
    pub fn admit(
        &self,
        link: &Arc<Link>,
        identity: &Arc<Identity>,
        limits: &Limits,
        now: Now,
    ) -> Result<Arc<Mutex<Bucket>>, Close> {
        let bucket =
            || Arc::new(Mutex::new(Bucket::new(limits.user_commands_per_s, limits.user_commands_burst, now)));
        // A connect that failed half-way may be repeated, but not as somebody else.
        if link.identity().is_some_and(|before| before.user != identity.user) {
            return Err(Close::BAD_REQUEST);
        }
        if identity.user.is_empty() {
            link.set_identity(identity);
            return Ok(bucket());
        }
        let mut users = lock(&self.users);
        let user = users
            .entry(identity.user.clone())
            .or_insert_with(|| User { bucket: bucket(), links: Vec::new() });
        let already = user.links.iter().any(|other| other.id == link.id);
        if !already {
            if limits.user_connections_max > 0 && user.links.len() >= limits.user_connections_max {
                return Err(Close::CONNECTION_LIMIT);
            }
            user.links.push(Arc::clone(link));
        }
        link.set_identity(identity);
        Ok(Arc::clone(&user.bucket))
    }

    pub fn remove(&self, link: &Link) {
        lock(&self.links).remove(&link.id);
        let Some(identity) = link.identity() else { return };
        let mut users = lock(&self.users);
        if let Some(user) = users.get_mut(&identity.user) {
            user.links.retain(|other| other.id != link.id);
            if user.links.is_empty() {
                users.remove(&identity.user);
            }
        }
    }

    pub fn user_count(&self) -> usize {
        lock(&self.users).len()
    }

    fn matching(&self, target: &Target, keep: &[String]) -> Vec<Arc<Link>> {
        let mut found = match (ConnectionId::parse(&target.client), target.user.is_empty()) {
            (Some(id), _) => lock(&self.links).get(&id).cloned().into_iter().collect(),
            // A client id that is none matches nothing.
            (None, _) if !target.client.is_empty() => Vec::new(),
            (None, false) => {
                lock(&self.users).get(&target.user).map(|user| user.links.clone()).unwrap_or_default()
            }
            // Neither user nor client: never everybody.
            (None, true) => Vec::new(),
        };
        found.retain(|link| {
            let is_user = target.user.is_empty() || link.identity().is_some_and(|it| it.user == target.user);
            is_user && !keep.contains(&link.id.to_string())
        });
        found
    }

    /// Gives how many connections were told.
    pub fn instruct(&self, target: &Target, keep: &[String], instruction: &Instruction) -> usize {
        let links = self.matching(target, keep);
        for link in &links {
            link.push(Input::Instruction(instruction.clone()), 0);
        }
        links.len()
    }

    /// Closes what a verified revocation names.
    pub fn revoke(&self, revocation: &Revocation) -> usize {
        let candidates: Vec<Arc<Link>> = if revocation.user.is_empty() {
            lock(&self.links).values().cloned().collect()
        } else {
            lock(&self.users).get(&revocation.user).map(|user| user.links.clone()).unwrap_or_default()
        };
        let mut told = 0;
        for link in candidates {
            let voided = link.identity().is_some_and(|identity| {
                identity.tenant == revocation.tenant && identity.issued_at_s < revocation.before_s
            });
            if voided {
                link.push(Input::Instruction(Instruction::Disconnect(Close::FORCE_DISCONNECT)), 0);
                told += 1;
            }
        }
        told
    }

    /// Some connections, for a drain in slices.
    pub fn some(&self, count: usize) -> Vec<Arc<Link>> {
        lock(&self.links).values().take(count).cloned().collect()
    }
}
