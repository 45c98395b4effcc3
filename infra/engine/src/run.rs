//! The order of an apply: is this the right account, who else is at it, what is there, do it, give the lease back.

use std::time::Duration;

use infra_model::address::Address;
use infra_model::graph::{Graph, Scope};
use infra_model::kinds::KindId;
use infra_model::operations::{self, Circle, Node, Work};
use infra_model::plan::Plan;
use infra_model::snapshot::Snapshot;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::account::{Account, CallError, Caller};
use crate::execute::{Event, Execution, Outcome, Settings};
use crate::lease::{Creating, Lease};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(
        "the credentials are of account {actual} ({arn}), but the environment `{environment}` belongs to account {wanted}; \
         use other credentials or correct `account` in the environment file"
    )]
    WrongAccount { environment: String, wanted: String, actual: String, arn: String },
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Circle(#[from] Circle),
}

/// Refuses another account than the environment names.
pub async fn check_account(account: &dyn Account, scope: &Scope) -> Result<Caller, RunError> {
    let caller = account.caller().await?;
    if caller.account != scope.account {
        return Err(RunError::WrongAccount {
            environment: scope.environment.clone(),
            wanted: scope.account.clone(),
            actual: caller.account,
            arn: caller.arn,
        });
    }
    Ok(caller)
}

/// Everything there is of an environment. What the run before had made or begun to make is waited for as long as AWS may hide it.
pub async fn observe(
    account: &dyn Account,
    scope: &Scope,
    unfinished: &Creating,
    lag: Duration,
    waiting: &(dyn Fn(usize) + Send + Sync),
) -> Result<Snapshot, CallError> {
    let deadline = Instant::now() + lag;
    let mut told = false;
    loop {
        let snapshot = account.discover(scope, KindId::ALL).await?;
        let is_hidden =
            |(address, old): &(&Address, &String)| !snapshot.at(address).any(|object| &object.id != *old);
        let hidden = unfinished.iter().filter(is_hidden).count();
        // What may not be read is not what cannot be seen yet; the plan says so.
        if hidden == 0 || !snapshot.incomplete.is_empty() || Instant::now() >= deadline {
            return Ok(snapshot);
        }
        if !told {
            waiting(hidden);
            told = true;
        }
        tokio::time::sleep(Duration::from_secs(2).min(lag)).await;
    }
}

/// What an execution needs besides account, graph, snapshot and plan.
pub struct Surroundings<'a> {
    pub lease: Option<&'a Lease>,
    /// Used for client tokens where there is no lease.
    pub run: String,
    pub lag: Duration,
    pub now_s: &'a (dyn Fn() -> u64 + Send + Sync),
    /// Set to begin nothing more.
    pub stop: &'a watch::Sender<bool>,
    pub tell: &'a (dyn Fn(Event) + Send + Sync),
}

/// An outcome with the objects as they are after it.
pub struct Finished {
    pub outcome: Outcome,
    pub objects: std::collections::BTreeMap<Address, infra_model::snapshot::Observed>,
}

/// Carries a plan out under the lease; losing the lease ends it like Ctrl-C.
pub async fn carry_out(
    account: &dyn Account,
    graph: &Graph,
    snapshot: &Snapshot,
    plan: &Plan,
    around: &Surroundings<'_>,
) -> Result<Finished, RunError> {
    let nodes = operations::operations(plan, graph, snapshot)?;
    if let Some(lease) = around.lease {
        let creating: Creating =
            nodes.iter().filter(|node| node.work == Work::Create).map(|node| creation(plan, node)).collect();
        // What the run before had made may be gone after this one, and is then not to be waited for.
        if !creating.is_empty() || !nodes.is_empty() && !lease.unfinished.is_empty() {
            lease.note(account, creating, (around.now_s)()).await?;
        }
    }
    let settings = Settings {
        lag: around.lag,
        run: around.lease.map_or_else(|| around.run.clone(), Lease::run),
        stop: around.stop.subscribe(),
    };
    let execution = Execution::new(account, graph, snapshot, plan, &settings, around.tell);
    let running = execution.run(&nodes);
    let outcome = match around.lease {
        None => running.await,
        Some(lease) => {
            tokio::pin!(running);
            let kept = lease.keep(account, around.now_s);
            tokio::pin!(kept);
            tokio::select! {
                outcome = &mut running => outcome,
                why = &mut kept => {
                    // Finish what is in flight, begin nothing more.
                    around.stop.send_replace(true);
                    let mut outcome = running.await;
                    outcome.stopped = Some(why);
                    outcome
                }
            }
        }
    };
    let objects = execution.objects();
    if let Some(lease) = around.lease {
        // What failed for good does not stand, and is not waited for.
        let creations =
            nodes.iter().filter(|node| node.work == Work::Create && objects.contains_key(&node.address));
        lease.made(creations.map(|node| creation(plan, node)).collect());
    }
    Ok(Finished { outcome, objects })
}

fn creation(plan: &Plan, node: &Node) -> (Address, String) {
    (node.address.clone(), plan.steps[node.step].id.clone().unwrap_or_default())
}
