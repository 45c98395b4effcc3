//! The property, over the emulator through the fault proxy: *whatever call fails, is throttled, is answered but the
//! answer is lost, or is the last before `kill -9`: running again converges, nothing exists twice, nothing is orphaned,
//! and the next plan is empty.* The exhaustive form of it runs over the in-memory account in the crate `infra`.
//!
//! `KEYWAY_THOROUGH=1` takes every changing call instead of a spread of them; that is an hour instead of minutes.
#![allow(clippy::unwrap_used, reason = "a test says with a panic that it failed")]

mod interrupted;
mod throttled;

use std::sync::OnceLock;

use e2e::proxy::Counts;
use e2e::{Faults, Stack, account, scene};

/// What an undisturbed apply makes and takes: the measure of all others.
struct Undisturbed {
    likenesses: Vec<String>,
    calls: Counts,
}

fn undisturbed() -> &'static Undisturbed {
    static ONCE: OnceLock<Undisturbed> = OnceLock::new();
    ONCE.get_or_init(|| {
        let stack = Stack::start().unwrap();
        stack.run_with(Faults::default(), &APPLY).unwrap().expect(0);
        let calls = stack.proxy.counts();
        Undisturbed { likenesses: account::likenesses(&stack.standing().unwrap()), calls }
    })
}

fn undisturbed_destroy() -> Counts {
    static ONCE: OnceLock<Counts> = OnceLock::new();
    *ONCE.get_or_init(|| {
        let stack = Stack::start().unwrap();
        let before = stack.standing().unwrap();
        stack.run_with(Faults::default(), &APPLY).unwrap().expect(0);
        stack.destroy_to(scene::STAGING, &before);
        stack.proxy.counts()
    })
}

const APPLY: [&str; 4] = ["apply", "--environment", scene::STAGING, "--yes"];

/// Runs once more without faults, and holds the account to be what an undisturbed run makes.
#[track_caller]
fn assert_converges(stack: &Stack, after: &str) {
    let disturbed = stack.proxy.summary();
    stack.converge(scene::STAGING);
    let standing = stack.standing().unwrap();
    assert_eq!(account::doubled(&standing), Vec::<String>::new(), "made twice after {after}\n{disturbed}");
    let likenesses = account::likenesses(&standing);
    let wanted = &undisturbed().likenesses;
    let orphans: Vec<_> = surplus(&likenesses, wanted);
    let missing: Vec<_> = surplus(wanted, &likenesses);
    assert!(
        orphans.is_empty() && missing.is_empty(),
        "after {after}: orphans {orphans:?}, missing {missing:?}"
    );
}

/// What `left` has more of than `right`.
fn surplus(left: &[String], right: &[String]) -> Vec<String> {
    let mut right = right.to_vec();
    let mut more = Vec::new();
    for one in left {
        match right.iter().position(|other| other == one) {
            Some(at) => drop(right.swap_remove(at)),
            None => more.push(one.clone()),
        }
    }
    more
}

/// Numbers from 1 to `last`, spread evenly; all of them when asked for.
fn spread(last: u64, points: u64) -> Vec<u64> {
    if std::env::var_os("KEYWAY_THOROUGH").is_some() {
        return (1..=last).collect();
    }
    let mut numbers: Vec<u64> = (0..points).map(|n| 1 + n * (last - 1) / (points - 1)).collect();
    numbers.dedup();
    numbers
}

#[test]
fn a_spread_begins_with_the_first_and_ends_with_the_last() {
    assert_eq!(spread(100, 4), [1, 34, 67, 100]);
    assert_eq!(spread(3, 5), [1, 2, 3]);
}
