//! Ctrl-C at any moment: what is in flight ends, no wait goes on, and running again finishes the work.

use std::time::Duration;

use infra_engine::memory::Memory;
use infra_model::graph::Graph;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::world::{self, Ended, LAG, apply, apply_until, behaviour, plan_now, run, stand};

/// After an interruption only a lost answer is still looked into, for as long as AWS may hide what it made.
const ENDS_WITHIN: Duration = Duration::from_secs(LAG.as_secs() + 5);

/// Whether the run was still going on `after` so many seconds (of the test's own clock, which only waits move).
async fn interrupted(before: Option<&Graph>, wanted: &Graph, after: Duration) -> bool {
    let account = Memory::new(behaviour(false));
    if before.is_some() {
        stand(&account).await;
    }
    let (stop, _) = watch::channel(false);
    let running = apply_until(&account, wanted, &stop);
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => {
            assert!(ended.complete(), "{}", ended.describe());
            return false;
        }
        () = tokio::time::sleep(after) => {
            stop.send_replace(true);
            let asked = Instant::now();
            let ended = running.await;
            assert!(asked.elapsed() <= ENDS_WITHIN, "it went on for {:?}", asked.elapsed());
            ended
        }
    };
    let Ended::Finished(first) = ended else { panic!("{}", ended.describe()) };
    let outcome = &first.1.outcome;
    assert!(outcome.failed.is_empty(), "an interruption is no failure: {outcome:?}");
    assert!(outcome.complete() || outcome.stopped.as_deref() == Some("interrupted"), "{outcome:?}");

    let again = apply(&account, wanted).await;
    assert!(again.complete(), "running again after {after:?}: {}", again.describe());
    let plan = plan_now(&account, wanted).await;
    assert!(plan.is_empty(), "after {after:?}: {:#?} {:#?}", plan.steps, plan.problems);
    assert_eq!(account.everything().len(), wanted.resources.len(), "orphans or doubles after {after:?}");
    true
}

fn at_any_moment(before: Option<&Graph>, wanted: &Graph) {
    let mut tried = 0;
    // Denser at the start, where most is made.
    let mut after = Duration::from_millis(1);
    while run(interrupted(before, wanted, after)) {
        tried += 1;
        after += Duration::from_millis(50).max(after / 8);
    }
    assert!(tried > 15, "only {tried} moments were tried");
}

#[test]
fn apply_is_interrupted() {
    at_any_moment(None, &world::graph());
}

#[test]
fn update_and_replace_is_interrupted() {
    at_any_moment(Some(&world::graph()), &world::later());
}

#[test]
fn destroy_is_interrupted() {
    at_any_moment(Some(&world::graph()), &Graph::new(world::scope()));
}
