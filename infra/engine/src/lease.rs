//! One apply at a time, without a server of ours: numbered leases in the account's parameter store. A lease is written
//! under a number that must not exist yet; the highest number holds. An expired one is succeeded by the next number and
//! never deleted first, so there is no moment in which two hold it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use infra_model::address::Address;
use infra_model::graph::Scope;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::account::{Account, CallError, Class, Parameter};

/// How long a lease lives unless renewed: a crashed apply of somebody else blocks no longer than this.
pub const LEASE_S: u64 = 60;
/// A renewal may fail twice before the lease runs out.
pub const RENEW_S: u64 = 20;
/// The holder stops this long before its lease runs out, the successor waits as long after: clocks of two hosts that
/// run NTP differ by far less.
const MARGIN_S: u64 = 10;
/// Races for the next number; each loss means that somebody else has won.
const RACES_MAX: u32 = 5;

/// What a lease says of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The caller's ARN.
    pub caller: String,
    pub host: String,
    pub pid: u32,
    /// Unix seconds.
    pub expires_s: u64,
    /// Goes into client tokens. A run that succeeds a crashed one keeps it, so that repeating a creation makes no second object.
    pub run: String,
    /// What the run creates, with the id of the object it replaces (or nothing). A successor waits until it sees them, as
    /// long as AWS may hide what was made a moment ago; otherwise it would make them twice.
    #[serde(default)]
    pub creating: Creating,
    /// The run has ended by itself. The lease stays as a note to the next run.
    #[serde(default)]
    pub released: bool,
}

/// Addresses being created, each with the id of the object that is replaced, or an empty text.
pub type Creating = BTreeMap<Address, String>;

/// Who asks, and what it can find out about its own host.
pub struct Applicant<'a> {
    pub caller: String,
    pub host: String,
    pub pid: u32,
    /// A fresh random name, used unless a crashed run is continued.
    pub run: String,
    /// Unix seconds now.
    pub now_s: &'a (dyn Fn() -> u64 + Send + Sync),
    /// Whether a process of this host still lives.
    pub alive: &'a (dyn Fn(u32) -> bool + Send + Sync),
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("{} on {} (process {}) is applying this environment; its lease ends in {left_s} s unless renewed", .claim.caller, .claim.host, .claim.pid)]
    Held { claim: Box<Claim>, left_s: u64 },
    #[error(
        "the lease could not be read or written; `--no-lease` works without one, and then nothing keeps two applies apart"
    )]
    Call(#[from] CallError),
}

/// A lease that is held, and renewed by [`Lease::keep`].
pub struct Lease {
    path: String,
    number: u64,
    claim: Mutex<Claim>,
    /// By our own monotonic clock: renewed before, or not ours any more.
    until: Mutex<Instant>,
    /// What the run before this one had made or begun to make.
    pub unfinished: Creating,
}

impl Lease {
    /// Takes the lease, or says who holds it. With patience, asks again until then.
    pub async fn take(
        account: &dyn Account,
        scope: &Scope,
        applicant: &Applicant<'_>,
        patience: Duration,
    ) -> Result<Self, LeaseError> {
        let path = format!("/keyway/{}/{}/lease", scope.project, scope.environment);
        let deadline = Instant::now() + patience;
        let mut races = 0;
        loop {
            let highest = highest(account, &path).await?;
            let now_s = (applicant.now_s)();
            if let Some((_, claim)) = &highest
                && let Some(left_s) = held(claim, applicant, now_s)
            {
                if Instant::now() >= deadline {
                    return Err(LeaseError::Held { claim: Box::new(claim.clone()), left_s });
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                continue;
            }
            let number = highest.as_ref().map_or(1, |(number, _)| number + 1);
            let former = highest.map(|(_, claim)| claim);
            let claim = Claim {
                caller: applicant.caller.clone(),
                host: applicant.host.clone(),
                pid: applicant.pid,
                expires_s: now_s + LEASE_S,
                run: match &former {
                    Some(former) if !former.released => former.run.clone(),
                    _ => applicant.run.clone(),
                },
                creating: former.map(|former| former.creating).unwrap_or_default(),
                released: false,
            };
            let until = Instant::now() + Duration::from_secs(LEASE_S - MARGIN_S);
            match account.put_parameter(&parameter(&path, number, &claim), true).await {
                Ok(()) => {
                    let unfinished = claim.creating.clone();
                    return Ok(Self {
                        path,
                        number,
                        claim: Mutex::new(claim),
                        until: Mutex::new(until),
                        unfinished,
                    });
                }
                // Another was faster, or the answer to our own write was lost: the next look tells.
                Err(error) if matches!(error.class, Class::Exists | Class::Lost) && races < RACES_MAX => {
                    races += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The run this lease belongs to, for client tokens.
    pub fn run(&self) -> String {
        lock(&self.claim).run.clone()
    }

    /// Whether it is certainly still ours.
    pub fn holds(&self) -> bool {
        Instant::now() < *lock(&self.until)
    }

    /// Writes down what is about to be created, so that a successor knows where to look.
    pub async fn note(&self, account: &dyn Account, creating: Creating, now_s: u64) -> Result<(), CallError> {
        lock(&self.claim).creating = creating;
        self.renew(account, now_s).await
    }

    pub async fn renew(&self, account: &dyn Account, now_s: u64) -> Result<(), CallError> {
        let until = Instant::now() + Duration::from_secs(LEASE_S - MARGIN_S);
        let claim = {
            let mut claim = lock(&self.claim);
            claim.expires_s = now_s + LEASE_S;
            claim.clone()
        };
        account.put_parameter(&parameter(&self.path, self.number, &claim), false).await?;
        *lock(&self.until) = until;
        Ok(())
    }

    /// Renews for as long as it is polled. Ends only when the lease is lost: when renewing failed until too late, or
    /// when somebody holds a higher number.
    pub async fn keep(&self, account: &dyn Account, now_s: &(dyn Fn() -> u64 + Send + Sync)) -> String {
        loop {
            tokio::time::sleep(Duration::from_secs(RENEW_S)).await;
            match highest(account, &self.path).await {
                Ok(Some((number, claim))) if number > self.number => {
                    return format!("{} on {} has taken the lease over", claim.caller, claim.host);
                }
                Ok(_) => {
                    if let Err(error) = self.renew(account, now_s()).await {
                        tracing::warn!(%error, "the lease was not renewed");
                    }
                }
                Err(error) => tracing::warn!(%error, "the lease could not be read"),
            }
            if !self.holds() {
                return "the lease ran out before it could be renewed".to_owned();
            }
        }
    }

    /// Gives the lease back. What was created stays noted for the next run, unless nothing is left of the environment.
    pub async fn release(self, account: &dyn Account, leave_note: bool) -> Result<(), CallError> {
        if leave_note {
            let mut claim = lock(&self.claim).clone();
            claim.released = true;
            account.put_parameter(&parameter(&self.path, self.number, &claim), false).await?;
        }
        let oldest_kept = if leave_note { self.number } else { self.number + 1 };
        for parameter in account.parameters(&self.path).await? {
            if number_of(&parameter.name).is_some_and(|number| number < oldest_kept) {
                match account.delete_parameter(&parameter.name).await {
                    Err(error) if error.class != Class::Gone => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The run has ended by itself and knows what it made.
    pub fn made(&self, creating: Creating) {
        lock(&self.claim).creating = creating;
    }
}

/// Seconds for which a claim still stands against this applicant; `None`: it may be succeeded.
fn held(claim: &Claim, applicant: &Applicant<'_>, now_s: u64) -> Option<u64> {
    if claim.released {
        return None;
    }
    let own = claim.caller == applicant.caller && claim.host == applicant.host;
    if own && (claim.pid == applicant.pid || !(applicant.alive)(claim.pid)) {
        return None;
    }
    (claim.expires_s + MARGIN_S).checked_sub(now_s).filter(|left_s| *left_s > 0)
}

async fn highest(account: &dyn Account, path: &str) -> Result<Option<(u64, Claim)>, CallError> {
    let leases = account.parameters(path).await?;
    let mut leases: Vec<(u64, Claim)> = leases
        .iter()
        .filter_map(|parameter| {
            Some((number_of(&parameter.name)?, serde_json::from_str(&parameter.value).ok()?))
        })
        .collect();
    leases.sort_by_key(|(number, _)| *number);
    Ok(leases.pop())
}

fn number_of(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.parse().ok()
}

fn parameter(path: &str, number: u64, claim: &Claim) -> Parameter {
    let value = serde_json::to_string(claim).expect("a claim is plain data");
    Parameter { name: format!("{path}/{number}"), value }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
