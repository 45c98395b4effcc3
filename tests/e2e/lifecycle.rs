//! From nothing to everything to nothing, and how many API calls each takes.

use e2e::infra::NOTHING_TO_DO;
use e2e::proxy::Counts;
use e2e::{Faults, Stack, account, scene};

/// The bounds of docs/testing.md. They count calls, not seconds: a slow machine makes no more of them.
const APPLY_CALLS_MAX: usize = 240;
const APPLY_READING_MAX: usize = 90;
const PLAN_CALLS_MAX: usize = 70;
const LARGE_PLAN_CALLS_MAX: usize = 280;
const DESTROY_CALLS_MAX: usize = 240;

#[track_caller]
fn at_most(what: &str, stack: &Stack, calls_max: usize) -> Counts {
    let counts = stack.proxy.counts();
    assert!(
        counts.all() <= calls_max,
        "{what}: {counts:?} are more than {calls_max}\n{}",
        stack.proxy.summary()
    );
    counts
}

#[test]
fn staging_is_applied_found_complete_and_destroyed() {
    let stack = Stack::start().unwrap();
    let before = stack.standing().unwrap();

    let applied =
        stack.run_with(Faults::default(), &["apply", "--environment", scene::STAGING, "--yes"]).unwrap();
    assert_eq!(applied.status, Some(NOTHING_TO_DO), "{applied}{}", stack.emulator.complaints());
    let counts = at_most("apply from nothing", &stack, APPLY_CALLS_MAX);
    assert!(counts.reading <= APPLY_READING_MAX, "{counts:?}\n{}", stack.proxy.summary());
    let standing = stack.standing().unwrap();
    assert_eq!(account::doubled(&standing), Vec::<String>::new());
    assert!(standing.len() > before.len() + 80, "hardly anything stands: {}", account::by_kind(&standing));

    let plan = stack.run_with(Faults::default(), &["plan", "--environment", scene::STAGING]).unwrap();
    assert_eq!(plan.status, Some(NOTHING_TO_DO), "the second plan is not empty: {plan}");
    let counts = at_most("a plan with nothing to do", &stack, PLAN_CALLS_MAX);
    assert_eq!(counts.changing, 0, "a plan changes nothing:\n{}", stack.proxy.summary());

    let again =
        stack.run_with(Faults::default(), &["apply", "--environment", scene::STAGING, "--yes"]).unwrap();
    assert_eq!(again.status, Some(NOTHING_TO_DO), "{again}");
    assert_eq!(stack.standing().unwrap(), standing, "applying again changed the account");

    stack.destroy_to(scene::STAGING, &before);
    at_most("destroy", &stack, DESTROY_CALLS_MAX);
}

#[test]
fn a_plan_of_fifty_more_services_reads_in_bulk() {
    let stack = Stack::start().unwrap();
    let large = scene::with_more_services(&stack.infra, scene::MORE_SERVICES).unwrap();
    let large = large.to_str().unwrap();
    stack.converge(large);
    at_most("a plan with nothing to do of 50 more services", &stack, LARGE_PLAN_CALLS_MAX);
    // The overlay gone, so are its services: what nobody wants any more is deleted.
    stack.converge(scene::STAGING);
    let standing = stack.standing().unwrap();
    let extra: Vec<_> =
        standing.iter().filter(|thing| thing.address().is_some_and(|a| a.contains("extra-"))).collect();
    assert!(extra.is_empty(), "{extra:#?}");
}
