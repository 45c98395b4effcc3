//! One apply at a time, and no waiting for the dead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use infra_engine::lease::{Applicant, Lease, LeaseError};
use infra_engine::memory::Memory;

use crate::world::{behaviour, run, scope};

struct Person<'a> {
    name: &'a str,
    host: &'a str,
    pid: u32,
    alive: bool,
}

async fn take(account: &Memory, clock: &AtomicU64, person: &Person<'_>) -> Result<Lease, LeaseError> {
    let alive = person.alive;
    let applicant = Applicant {
        caller: person.name.to_owned(),
        host: person.host.to_owned(),
        pid: person.pid,
        run: format!("run of {}", person.name),
        now_s: &|| clock.load(Ordering::SeqCst),
        alive: &move |_| alive,
    };
    Lease::take(account, &scope(), &applicant, Duration::ZERO).await
}

#[test]
fn the_second_is_told_who_holds_it() {
    run(async {
        let (account, clock) = (Memory::new(behaviour(false)), AtomicU64::new(1_000));
        let first = Person { name: "ada", host: "a", pid: 1, alive: true };
        let second = Person { name: "bob", host: "b", pid: 2, alive: true };
        let lease = take(&account, &clock, &first).await.unwrap();
        let Err(LeaseError::Held { claim, left_s }) = take(&account, &clock, &second).await else {
            panic!("two hold it")
        };
        assert_eq!((claim.caller.as_str(), left_s), ("ada", 70));
        lease.release(&account, true).await.unwrap();
        take(&account, &clock, &second).await.unwrap();
    });
}

#[test]
fn an_expired_lease_is_succeeded_and_its_run_is_continued() {
    run(async {
        let (account, clock) = (Memory::new(behaviour(false)), AtomicU64::new(1_000));
        let first = Person { name: "ada", host: "a", pid: 1, alive: true };
        let second = Person { name: "bob", host: "b", pid: 2, alive: true };
        let crashed = take(&account, &clock, &first).await.unwrap();
        clock.store(1_069, Ordering::SeqCst);
        assert!(take(&account, &clock, &second).await.is_err(), "it still stands for a moment");
        tokio::time::sleep(Duration::from_secs(69)).await;
        clock.store(1_070, Ordering::SeqCst);
        assert!(!crashed.holds(), "two hold it");
        assert_eq!(take(&account, &clock, &second).await.unwrap().run(), "run of ada");
    });
}

#[test]
fn ones_own_crash_does_not_make_one_wait() {
    run(async {
        let (account, clock) = (Memory::new(behaviour(false)), AtomicU64::new(1_000));
        let crashed = Person { name: "ada", host: "a", pid: 1, alive: false };
        let _never_released = take(&account, &clock, &crashed).await.unwrap();
        let again = Person { name: "ada", host: "a", pid: 9, alive: false };
        take(&account, &clock, &again).await.unwrap();
        let elsewhere = Person { name: "ada", host: "b", pid: 9, alive: false };
        assert!(take(&account, &clock, &elsewhere).await.is_err(), "nobody knows whether that process lives");
    });
}

#[test]
fn a_holder_that_is_succeeded_is_told() {
    run(async {
        let (account, clock) = (Memory::new(behaviour(false)), AtomicU64::new(1_000));
        let first = Person { name: "ada", host: "a", pid: 1, alive: true };
        let lease = take(&account, &clock, &first).await.unwrap();
        clock.store(9_000, Ordering::SeqCst);
        let second = Person { name: "bob", host: "b", pid: 2, alive: true };
        take(&account, &clock, &second).await.unwrap();
        let why = lease.keep(&account, &|| 9_000).await;
        assert_eq!(why, "bob on b has taken the lease over");
    });
}
