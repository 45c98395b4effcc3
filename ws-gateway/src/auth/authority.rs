//! Who vouches for tokens on this node: the keys known now, what they must say, and what was revoked. The shell
//! replaces the keys when it has read core's set again; sessions ask it and never wait.

use std::sync::{Arc, PoisonError, RwLock};

use super::{
    Expectations, Identity, KeySet, Revocation, Revocations, SubscriptionGrant, TokenFault,
    verify_connection, verify_revocation, verify_subscription,
};

pub struct Authority {
    expected: Expectations,
    keys: RwLock<Arc<KeySet>>,
    revocations: RwLock<Revocations>,
}

impl Authority {
    pub fn new(expected: Expectations, keys: KeySet) -> Authority {
        Authority { expected, keys: RwLock::new(Arc::new(keys)), revocations: RwLock::default() }
    }

    /// A set that could not be read never gets here: the last good one stays.
    pub fn replace_keys(&self, keys: KeySet) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    pub fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn connection(&self, token: &str, unix_s: u64) -> Result<Identity, TokenFault> {
        let revocations = self.revocations.read().unwrap_or_else(PoisonError::into_inner);
        verify_connection(token, &self.keys(), &self.expected, &revocations, unix_s)
    }

    pub fn subscription(&self, token: &str, unix_s: u64) -> Result<SubscriptionGrant, TokenFault> {
        verify_subscription(token, &self.keys(), &self.expected, unix_s)
    }

    /// Whether a revocation in force voids the token that this came from.
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.revocations.read().unwrap_or_else(PoisonError::into_inner).covers(identity)
    }

    /// Verifies a statement with `keys`, which need not be in force yet, and puts it in force.
    pub fn revoke(&self, keys: &KeySet, statement: &str, unix_s: u64) -> Result<Revocation, TokenFault> {
        let revocation = verify_revocation(statement, keys, &self.expected, unix_s)?;
        self.revocations.write().unwrap_or_else(PoisonError::into_inner).add(revocation.clone(), unix_s);
        Ok(revocation)
    }
}
