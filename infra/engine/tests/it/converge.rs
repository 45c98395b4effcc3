//! The property: whatever call fails, is throttled, is answered but the answer is lost, or is the last before `kill -9`,
//! running again converges, nothing exists twice, nothing is orphaned, nothing that was not ours is touched, and the next
//! plan is empty. Every changing call of every run is tried.

use infra_engine::account::Class;
use infra_engine::memory::{Effect, Fault, Memory};
use infra_model::graph::Graph;

use crate::world::{self, Ended, apply, behaviour, plan_now, run, stand};

const EFFECTS: &[Effect] = &[
    Effect::Refused(Class::Throttled),
    Effect::Refused(Class::Service),
    Effect::Refused(Class::Denied),
    Effect::LostBefore,
    Effect::LostAfter,
    Effect::LostHalf,
    Effect::KilledBefore,
    Effect::KilledAfter,
    Effect::KilledHalf,
];

/// One fault in one run, from an account that stands as `before` (if any) to one that stands as `wanted`.
async fn converges(before: Option<&Graph>, wanted: &Graph, lagging: bool, fault: Fault) -> bool {
    let account = Memory::new(behaviour(lagging));
    let strangers = world::strangers(&account);
    if let Some(before) = before {
        let ended = apply(&account, before).await;
        assert!(ended.complete(), "the first apply: {}", ended.describe());
        tokio::time::sleep(world::LAG * 2).await;
    }
    account.arm(fault);
    let first = apply(&account, wanted).await;
    let struck = account.struck();
    account.revive();

    let context =
        || format!("{fault:?}, lag {lagging}; the run with the fault ended so: {}", first.describe());
    let again = apply(&account, wanted).await;
    assert!(again.complete(), "running again: {}\n{}", again.describe(), context());
    let plan = plan_now(&account, wanted).await;
    assert!(plan.is_empty(), "the next plan: {:#?} {:#?}\n{}", plan.steps, plan.problems, context());

    let everything = account.everything();
    let ours: Vec<_> =
        everything.iter().filter(|object| !strangers.iter().any(|s| s.id == object.id)).collect();
    assert_eq!(ours.len(), wanted.resources.len(), "orphans or doubles: {ours:#?}\n{}", context());
    for stranger in &strangers {
        assert!(everything.contains(stranger), "{} was touched\n{}", stranger.id, context());
    }
    struck
}

/// Every call of a run, every effect.
fn exhaustively(before: Option<&Graph>, wanted: &Graph, lagging: bool) {
    for &effect in EFFECTS {
        let mut at = 1;
        while run(converges(before, wanted, lagging, Fault { at, effect })) {
            at += 1;
            assert!(at < 500, "a run has no end of calls");
        }
        assert!(at > 20, "only {at} calls were tried with {effect:?}");
    }
}

#[test]
fn apply_from_nothing() {
    exhaustively(None, &world::graph(), false);
}

#[test]
fn apply_from_nothing_where_changes_show_late() {
    exhaustively(None, &world::graph(), true);
}

#[test]
fn update_and_replace() {
    exhaustively(Some(&world::graph()), &world::later(), false);
}

#[test]
fn update_and_replace_where_changes_show_late() {
    exhaustively(Some(&world::graph()), &world::later(), true);
}

#[test]
fn destroy() {
    exhaustively(Some(&world::graph()), &Graph::new(world::scope()), false);
}

#[test]
fn destroy_where_changes_show_late() {
    exhaustively(Some(&world::graph()), &Graph::new(world::scope()), true);
}

#[test]
fn the_second_apply_does_nothing() {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        let calls = account.log().len();
        let Ended::Finished(second) = apply(&account, &world::graph()).await else {
            panic!("it did not finish")
        };
        assert!(second.0.is_empty(), "{:#?}", second.0.steps);
        let other = |call: &&String| !call.contains("/lease/");
        assert_eq!(account.log()[calls..].iter().find(other), None, "only the lease is taken and given back");
    });
}

#[test]
fn groups_in_a_circle_are_made_and_unmade() {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        let ended = apply(&account, &Graph::new(world::scope())).await;
        assert!(ended.complete(), "{}", ended.describe());
        assert_eq!(account.everything(), []);
    });
}

#[test]
fn a_denied_read_is_never_an_absence() {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        account.deny(infra_model::kinds::KindId::Subnet);
        let plan = plan_now(&account, &world::graph()).await;
        assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
        // What names a subnet cannot be compared, so it is no change either.
        assert!(plan.steps.is_empty(), "{:#?}", plan.steps);
    });
}
