//! 30 of 100 calls throttled: slower, a few more calls, the same account.

use e2e::{Faults, Stack, scene};

use crate::{APPLY, assert_converges, undisturbed, undisturbed_destroy};

/// Seeds below are ones whose draws hold this share also over the few hundred calls of one run.
const PERCENT: u64 = 30;
/// Each throttled call is asked again, once or more: 1 / 0.7 of the calls, and what the halved rate adds.
const CALLS_PERCENT_MAX: usize = 150;

fn throttled(seed: u64) -> Faults {
    Faults { throttle_percent: PERCENT, seed, ..Faults::default() }
}

#[test]
fn apply_plan_and_destroy_get_through() {
    let stack = Stack::start().unwrap();
    let before = stack.standing().unwrap();
    let within = |calls: usize, undisturbed: usize, what: &str| {
        let most = undisturbed * CALLS_PERCENT_MAX / 100;
        assert!(
            calls <= most,
            "{what} took {calls} calls; {undisturbed} undisturbed\n{}",
            stack.proxy.summary()
        );
    };
    let applied = stack.run_with(throttled(1), &APPLY).unwrap();
    assert_eq!(applied.status, Some(0), "{applied}");
    within(stack.proxy.counts().all(), undisturbed().calls.all(), "apply");
    let plan = stack.run_with(throttled(2), &["plan", "--environment", scene::STAGING]).unwrap();
    assert_eq!(plan.status, Some(0), "{plan}");
    assert_converges(&stack, "a throttled apply");

    let arguments = scene::destroy_arguments(scene::STAGING);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let destroyed = stack.run_with(throttled(11), &arguments).unwrap();
    assert_eq!(destroyed.status, Some(0), "{destroyed}");
    within(stack.proxy.counts().all(), undisturbed_destroy().all(), "destroy");
    stack.destroy_to(scene::STAGING, &before);
}
