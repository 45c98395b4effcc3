//! Carries out a plan: everything that is ready runs, slow things first; waits have deadlines and say what they wait
//! for. A failure stops what depends on it and lets the rest finish. It makes no choices: the plan has made them.

mod change;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use infra_model::address::Address;
use infra_model::graph::Graph;
use infra_model::kinds::KindId;
use infra_model::operations::{Node, Work};
use infra_model::plan::Plan;
use infra_model::snapshot::{Observed, Snapshot, State};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::account::{Account, CallError, Class};

/// Changes in flight at once. AWS's slowest buckets refill at a few calls a second; the account paces itself below this.
const IN_FLIGHT_MAX: usize = 48;

/// What an execution is told besides the plan.
pub struct Settings {
    /// The longest that AWS may take to show a change to a reader.
    pub lag: Duration,
    /// From the lease; the same for every attempt at the same creation.
    pub run: String,
    /// `true`: begin nothing more, finish the calls in flight, wait for nothing.
    pub stop: watch::Receiver<bool>,
}

/// Something worth telling while it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Started {
        address: Address,
        kind: KindId,
        what: &'static str,
        expected_s: u32,
    },
    /// What a step waits for, in words.
    Waiting {
        address: Address,
        kind: KindId,
        what: String,
    },
    Done {
        address: Address,
        kind: KindId,
        what: &'static str,
        id: String,
        elapsed: Duration,
    },
    Failed {
        address: Address,
        kind: KindId,
        what: &'static str,
        why: String,
    },
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes that were made.
    pub done: usize,
    pub failed: Vec<Failure>,
    /// Steps that were not begun or not finished, and why.
    pub skipped: Vec<(Address, String)>,
    /// Why nothing more was begun, if so.
    pub stopped: Option<String>,
    /// Changes of the longest chain that actually waited for each other.
    pub chain: usize,
}

#[derive(Debug)]
pub struct Failure {
    pub address: Address,
    pub kind: KindId,
    pub what: &'static str,
    pub error: CallError,
}

impl Outcome {
    pub fn complete(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty() && self.stopped.is_none()
    }
}

/// One execution of one plan.
pub struct Execution<'a> {
    pub(crate) account: &'a dyn Account,
    pub(crate) graph: &'a Graph,
    pub(crate) plan: &'a Plan,
    pub(crate) settings: &'a Settings,
    tell: &'a (dyn Fn(Event) + Send + Sync),
    /// The objects as they are by now, under their wanted address.
    objects: Mutex<BTreeMap<Address, Observed>>,
    /// The objects that go.
    old: BTreeMap<Address, Observed>,
    /// What each step waited for last.
    waited: Mutex<BTreeMap<Address, String>>,
}

impl<'a> Execution<'a> {
    pub fn new(
        account: &'a dyn Account,
        graph: &'a Graph,
        snapshot: &'a Snapshot,
        plan: &'a Plan,
        settings: &'a Settings,
        tell: &'a (dyn Fn(Event) + Send + Sync),
    ) -> Self {
        let mut objects: BTreeMap<Address, Observed> = BTreeMap::new();
        let mut old = BTreeMap::new();
        for object in snapshot.resources.iter().filter(|object| object.state != State::Deleting) {
            // Of two at one address, the one that no step deletes is the current one.
            let leaves = |step: &infra_model::plan::Step| {
                step.action == infra_model::plan::Action::Delete
                    && step.id.as_ref() == Some(&object.id)
                    && step.kind == object.kind
            };
            if let Some(address) = &object.address
                && !plan.steps.iter().any(leaves)
            {
                objects.insert(address.clone(), object.clone());
            }
        }
        for step in &plan.steps {
            use infra_model::plan::Action::{Create, Delete, Replace, Update};
            match step.action {
                Delete | Replace => {
                    // Ids that are names may be equal across kinds: the address belongs to the match.
                    let is_old = |object: &&Observed| {
                        let at = object.address.as_ref();
                        let aside = at.is_some_and(|at| step.address.as_str().starts_with(&format!("{at}@")));
                        let here = at == Some(step.moved_from.as_ref().unwrap_or(&step.address));
                        Some(&object.id) == step.id.as_ref() && (here || aside)
                    };
                    if let Some(object) = snapshot.resources.iter().find(is_old) {
                        old.insert(step.address.clone(), object.clone());
                    }
                    let at = step.moved_from.as_ref().unwrap_or(&step.address);
                    objects.remove(at);
                }
                Update => {
                    if let Some(former) = &step.moved_from
                        && let Some(object) = objects.remove(former)
                    {
                        objects.insert(step.address.clone(), object);
                    }
                }
                Create => {}
            }
        }
        Self {
            account,
            graph,
            plan,
            settings,
            tell,
            objects: Mutex::new(objects),
            old,
            waited: Mutex::default(),
        }
    }

    /// Runs the nodes in their order.
    pub async fn run(&self, nodes: &[Node]) -> Outcome {
        let weights = weights(nodes);
        let mut open: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            node.needs.iter().for_each(|&need| dependents[need].push(index));
        }
        let mut ready: BTreeSet<(std::cmp::Reverse<u32>, usize)> = BTreeSet::new();
        let rank = |index: usize| (std::cmp::Reverse(weights[index]), index);
        ready.extend((0..nodes.len()).filter(|&index| open[index] == 0).map(rank));

        let mut outcome = Outcome::default();
        let mut depth: Vec<usize> = vec![0; nodes.len()];
        let mut finished = vec![false; nodes.len()];
        let mut running = FuturesUnordered::new();
        loop {
            while outcome.stopped.is_none() && running.len() < IN_FLIGHT_MAX {
                if *self.settings.stop.borrow() {
                    outcome.stopped = Some("interrupted".to_owned());
                    break;
                }
                let Some((_, index)) = ready.pop_first() else { break };
                running.push(async move { (index, self.node(&nodes[index]).await) });
            }
            let Some((index, answer)) = running.next().await else { break };
            let node = &nodes[index];
            match answer {
                Ok(calls) => {
                    finished[index] = true;
                    outcome.done += calls;
                    depth[index] += calls;
                    outcome.chain = outcome.chain.max(depth[index]);
                    for &dependent in &dependents[index] {
                        depth[dependent] = depth[dependent].max(depth[index]);
                        open[dependent] -= 1;
                        if open[dependent] == 0 {
                            ready.insert(rank(dependent));
                        }
                    }
                }
                // Neither done nor failed: it is told with what was not begun.
                Err(error) if error.class == Class::Interrupted => {
                    outcome.stopped = Some("interrupted".to_owned());
                }
                Err(error) => {
                    if error.class == Class::Credentials {
                        outcome.stopped = Some("the credentials ran out".to_owned());
                    }
                    let (address, kind, what) = (node.address.clone(), node.kind, word(&node.work));
                    let why = error.to_string();
                    self.tell(Event::Failed { address: address.clone(), kind, what, why });
                    outcome.failed.push(Failure { address, kind, what, error });
                }
            }
        }
        self.account_for_the_rest(nodes, &finished, &mut outcome);
        outcome
    }

    fn account_for_the_rest(&self, nodes: &[Node], finished: &[bool], outcome: &mut Outcome) {
        let failed: BTreeSet<&Address> = outcome.failed.iter().map(|failure| &failure.address).collect();
        let mut skipped: BTreeMap<Address, String> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            if finished[index] || failed.contains(&node.address) || skipped.contains_key(&node.address) {
                continue;
            }
            let because =
                node.needs.iter().find(|&&need| !finished[need]).map(|&need| nodes[need].address.to_string());
            let waited = self.waited.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let why = match (because, waited.get(&node.address)) {
                (Some(address), _) => format!("it needs {address}"),
                (None, Some(what)) => format!("this run ended while it waited: {what}"),
                (None, None) => "this run ended before".to_owned(),
            };
            skipped.insert(node.address.clone(), why);
        }
        outcome.skipped = skipped.into_iter().collect();
    }

    /// Runs one node; answers how many changing calls it stands for.
    async fn node(&self, node: &Node) -> Result<usize, CallError> {
        let started = Instant::now();
        let what = word(&node.work);
        let (address, kind, expected_s) = (node.address.clone(), node.kind, node.expected_s);
        self.tell(Event::Started { address: address.clone(), kind, what, expected_s });
        let calls = match &node.work {
            Work::Create => self.create(node).await.map(|()| 1)?,
            Work::Set(group) => self.set(node, group).await.map(|()| 1)?,
            Work::Tag { remove } => self.retag(node, remove).await.map(|()| 1)?,
            Work::Release(group) => self.release(node, group).await.map(|()| 1)?,
            Work::Detach { group, ids } => self.detach(node, group, ids).await.map(|()| 1)?,
            Work::Delete => self.delete(node).await.map(|()| 1)?,
            Work::Settle => self.settle(node).await.map(|()| 0)?,
            Work::Gone => self.gone(node).await.map(|()| 0)?,
        };
        let id = match &node.work {
            Work::Release(_) | Work::Delete | Work::Gone => {
                self.old.get(&address).map(|object| object.id.clone())
            }
            _ => self.object(&address).map(|object| object.id),
        };
        let id = id.unwrap_or_default();
        self.tell(Event::Done { address, kind, what, id, elapsed: started.elapsed() });
        Ok(calls)
    }

    /// The objects as they are by now, for outputs.
    pub fn objects(&self) -> BTreeMap<Address, Observed> {
        self.lock().clone()
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.tell)(event);
    }

    pub(crate) fn waiting(&self, node: &Node, what: impl Into<String>) {
        let (address, kind, what) = (node.address.clone(), node.kind, what.into());
        let mut waited = self.waited.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        waited.insert(address.clone(), what.clone());
        drop(waited);
        self.tell(Event::Waiting { address, kind, what });
    }

    pub(crate) fn object(&self, address: &Address) -> Option<Observed> {
        self.lock().get(address).cloned()
    }

    pub(crate) fn put(&self, address: &Address, object: Observed) {
        self.lock().insert(address.clone(), object);
    }

    pub(crate) fn old(&self, address: &Address) -> Option<&Observed> {
        self.old.get(address)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Observed>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The expected seconds from the start of each node to the end of all that waits for it.
fn weights(nodes: &[Node]) -> Vec<u32> {
    let mut weights: Vec<u32> = nodes.iter().map(|node| node.expected_s).collect();
    for index in infra_model::operations::order(nodes).unwrap_or_default().into_iter().rev() {
        for &need in &nodes[index].needs {
            weights[need] = weights[need].max(weights[index] + nodes[need].expected_s);
        }
    }
    weights
}

/// What a node does, for people.
pub fn word(work: &Work) -> &'static str {
    match work {
        Work::Create => "create",
        Work::Set(group) => group,
        Work::Tag { .. } => "tags",
        Work::Settle => "wait until ready",
        Work::Release(_) | Work::Detach { .. } => "let go",
        Work::Delete => "delete",
        Work::Gone => "wait until gone",
    }
}
