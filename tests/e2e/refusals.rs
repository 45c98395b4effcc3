//! What cannot work ends with one clear message, the documented status, and nothing half done.

use std::process::Command;

use e2e::infra::{FAILED, REFUSED};
use e2e::{Faults, Run, Stack, account, scene};

const PLAN: [&str; 3] = ["plan", "--environment", scene::STAGING];
const APPLY: [&str; 4] = ["apply", "--environment", scene::STAGING, "--yes"];

/// One message, in words: what a panic, a backtrace or a printed error structure looks like must not be in it.
#[track_caller]
fn check(run: &Run, statuses: &[i32], words: &[&str]) {
    assert!(run.status.is_some_and(|status| statuses.contains(&status)), "wanted {statuses:?}: {run}");
    let said = run.stderr.to_lowercase();
    for word in words {
        assert!(said.contains(&word.to_lowercase()), "`{word}` is not in the message: {run}");
    }
    for dump in
        ["panicked", "backtrace", "sdkerror", "serviceerror", "unhandled(", "dispatchfailure", "some(\""]
    {
        assert!(!said.contains(dump), "`{dump}` is in the message: {run}");
    }
}

fn changed(run: impl FnOnce(&mut Command), arguments: &[&str]) -> (Stack, Run) {
    let stack = Stack::start().unwrap();
    let told = stack.infra.run_changed(arguments, run).unwrap();
    (stack, told)
}

#[test]
fn missing_credentials() {
    let without = |command: &mut Command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    };
    let (_stack, run) = changed(without, &PLAN);
    check(&run, &[FAILED], &["credentials"]);
}

#[test]
fn expired_credentials() {
    let stack = Stack::start().unwrap();
    let run = stack.run_with(Faults { expired: true, ..Faults::default() }, &PLAN).unwrap();
    check(&run, &[FAILED], &["expired"]);
}

#[test]
fn an_endpoint_that_nobody_serves() {
    // Port 9 is the discard service; nothing listens there.
    let away = |command: &mut Command| {
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    };
    let (_stack, run) = changed(away, &PLAN);
    check(&run, &[FAILED], &["127.0.0.1:9"]);
}

#[test]
fn another_account_than_the_environment_names() {
    let stack = Stack::start().unwrap();
    let text = "extends = \"staging\"\nname = \"staging\"\naccount = \"210987654321\"\n";
    let file = stack.infra.file("elsewhere.toml", text).unwrap();
    let environment = file.to_str().unwrap();
    let run = stack.infra.run(&["apply", "--environment", environment, "--yes"]).unwrap();
    check(&run, &[FAILED, REFUSED], &["210987654321", "123456789012"]);
    assert_eq!(stack.standing().unwrap(), [], "something was made in the wrong account");
}

#[test]
fn a_denied_read_is_named_and_never_counts_as_absent() {
    let stack = Stack::start().unwrap();
    stack.converge(scene::STAGING);
    let before = stack.standing().unwrap();
    for action in ["DescribeVpcs", "DescribeSecurityGroups", "ListRoles", "DescribeReplicationGroups"] {
        let denied = || Faults { deny_action: Some(action.to_owned()), ..Faults::default() };
        let run = stack.run_with(denied(), &APPLY).unwrap();
        let asked = stack.proxy.log().iter().any(|logged| logged.call.action == action);
        if asked && run.status != Some(0) {
            check(&run, &[FAILED, REFUSED], &[action]);
        }
        // Another way to read the same may exist; a second one of what is there may not be made.
        assert_eq!(stack.standing().unwrap(), before, "with {action} denied the account changed: {run}");
    }
}

#[test]
fn a_denied_change_is_named() {
    let stack = Stack::start().unwrap();
    let denied = Faults { deny_action: Some("CreateVpc".into()), ..Faults::default() };
    let run = stack.run_with(denied, &APPLY).unwrap();
    check(&run, &[FAILED], &["CreateVpc"]);
    assert!(!stack.standing().unwrap().iter().any(|thing| thing.kind == "vpc"));
    stack.converge(scene::STAGING);
}

#[test]
fn two_applies_at_once_make_everything_once() {
    let stack = Stack::start().unwrap();
    stack.proxy.begin(Faults { latency_ms: 20, ..Faults::default() });
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| stack.infra.run(&APPLY).unwrap());
        (stack.infra.run(&APPLY).unwrap(), other.join().unwrap())
    });
    for run in [&first, &second] {
        check(run, &[0, REFUSED], &[]);
    }
    assert!([&first, &second].iter().any(|run| run.status == Some(0)), "{first}{second}");
    stack.converge(scene::STAGING);
    assert_eq!(account::doubled(&stack.standing().unwrap()), Vec::<String>::new());
}
