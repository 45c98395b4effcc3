//! Revocations in force: which tokens are void although their signature and dates are good. Bounded; an entry
//! is forgotten when no token that it voids can still be alive.

use std::collections::BTreeMap;

use super::{Identity, Revocation};

/// At 100,000 revocations within a token's hour something is wrong with core; the soonest to end goes first.
const REVOCATIONS_MAX: usize = 100_000;

#[derive(Debug, Clone, Default)]
pub struct Revocations {
    by_subject: BTreeMap<(String, String), Revocation>,
}

impl Revocations {
    pub fn add(&mut self, revocation: Revocation, unix_s: u64) {
        if self.by_subject.len() >= REVOCATIONS_MAX {
            self.by_subject.retain(|_, kept| kept.until_s > unix_s);
        }
        if self.by_subject.len() >= REVOCATIONS_MAX
            && let Some(soonest) =
                self.by_subject.iter().min_by_key(|(_, kept)| kept.until_s).map(|(key, _)| key.clone())
        {
            self.by_subject.remove(&soonest);
        }
        let key = (revocation.tenant.clone(), revocation.user.clone());
        let kept = self.by_subject.entry(key).or_insert_with(|| revocation.clone());
        kept.before_s = kept.before_s.max(revocation.before_s);
        kept.until_s = kept.until_s.max(revocation.until_s);
    }

    pub fn covers(&self, identity: &Identity) -> bool {
        if self.by_subject.is_empty() {
            return false;
        }
        let voids = |user: &str| {
            self.by_subject
                .get(&(identity.tenant.clone(), user.to_owned()))
                .is_some_and(|revocation| identity.issued_at_s < revocation.before_s)
        };
        voids(&identity.user) || voids("")
    }

    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(tenant: &str, user: &str, issued_at_s: u64) -> Identity {
        Identity { user: user.into(), tenant: tenant.into(), issued_at_s, ..Identity::default() }
    }

    #[test]
    fn older_tokens_are_void_newer_ones_are_not() {
        let mut revocations = Revocations::default();
        let of = |user: &str, before_s| Revocation {
            tenant: "acme".into(),
            user: user.into(),
            before_s,
            until_s: 10_000,
        };
        revocations.add(of("per_1", 100), 0);
        revocations.add(of("per_1", 50), 0);
        assert!(revocations.covers(&identity("acme", "per_1", 99)), "the later instant stays");
        assert!(!revocations.covers(&identity("acme", "per_1", 100)));
        assert!(!revocations.covers(&identity("other", "per_1", 1)));
        assert!(!revocations.covers(&identity("acme", "per_2", 1)));
        revocations.add(of("", 10), 0);
        assert!(revocations.covers(&identity("acme", "per_2", 1)), "the whole tenant");
    }
}
