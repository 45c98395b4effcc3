//! Lost answers, lost requests, refusals and sudden death at numbered changing calls, of apply and of destroy.

use e2e::account;
use e2e::{Faults, Stack, scene};

use crate::{APPLY, assert_converges, spread, undisturbed, undisturbed_destroy};

/// At least so many processes are killed, spread over the whole run.
const KILLS: u64 = 20;
/// The same for lost answers and requests, each a run of its own.
const CUTS: u64 = 8;

fn last_changing(calls: usize) -> u64 {
    u64::try_from(calls).unwrap()
}

/// One apply of an account of its own with these faults, then one without.
#[track_caller]
fn apply_with(faults: Faults, after: &str) {
    let stack = Stack::start().unwrap();
    let run = stack.run_with(faults, &APPLY).unwrap();
    if run.status == Some(0) {
        // One that says it is done is done.
        stack.assert_nothing_to_do(scene::STAGING);
    }
    assert_converges(&stack, after);
}

#[test]
fn apply_killed_anywhere_is_finished_by_the_next() {
    for number in spread(last_changing(undisturbed().calls.changing), KILLS) {
        let faults = Faults { kill_after_changing: Some(number), ..Faults::default() };
        apply_with(faults, &format!("a kill -9 after changing call {number}"));
    }
}

#[test]
fn answers_lost_by_apply_are_found_out() {
    apply_with(
        Faults { cut_after_each_action: true, ..Faults::default() },
        "the first answer of each kind of changing call was lost",
    );
    apply_with(
        Faults { cut_after_each_request: true, ..Faults::default() },
        "the answer of each changing call was lost",
    );
    for number in spread(last_changing(undisturbed().calls.changing), CUTS) {
        let faults = Faults { cut_after_changing: Some(number), ..Faults::default() };
        apply_with(faults, &format!("the answer of changing call {number} was lost"));
    }
}

#[test]
fn requests_lost_or_refused_are_made_by_the_next_apply() {
    for number in spread(last_changing(undisturbed().calls.changing), CUTS / 2) {
        let lost = Faults { cut_before_changing: Some(number), ..Faults::default() };
        apply_with(lost, &format!("changing call {number} never arrived"));
        let refusal = Some((number, 400, "InvalidParameterValue".to_owned()));
        let refused = Faults { refuse_changing: refusal, ..Faults::default() };
        apply_with(refused, &format!("changing call {number} was refused"));
    }
}

#[test]
fn destroy_interrupted_anywhere_is_finished_by_the_next() {
    let arguments = scene::destroy_arguments(scene::STAGING);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for number in spread(last_changing(undisturbed_destroy().changing), CUTS / 2) {
        for faults in [
            Faults { kill_after_changing: Some(number), ..Faults::default() },
            Faults { cut_after_changing: Some(number), ..Faults::default() },
        ] {
            let stack = Stack::start().unwrap();
            let before = stack.standing().unwrap();
            stack.converge(scene::STAGING);
            let _however_it_ends = stack.run_with(faults.clone(), &arguments).unwrap();
            stack.destroy_to(scene::STAGING, &before);
            let left = stack.standing().unwrap();
            assert!(
                left.iter().all(|thing| before.contains(thing) || account::is_final_snapshot(thing)),
                "{faults:?}: {left:?}"
            );
        }
    }
}
