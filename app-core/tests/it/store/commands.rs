//! Commands: one per request, versions, what is due, what is open.

use super::database::Database;
use super::samples::{NOW, at, command, command_id, device, new_command, request, scope};
use app_core::store::change::{Change, CommandWrite, Expect};
use app_core::store::row::CommandRow;
use app_core::store::{StoreError, System};
use keyway_domain::command::room::{COMMANDS_MAX, LAG_MS_MAX};
use keyway_domain::command::{DeniedBy, State};
use keyway_domain::decision::Reason;

on_both!(
    a_request_makes_one_command,
    a_command_goes_on_from_the_version_that_was_read,
    what_is_due_comes_in_order_over_all_tenants,
    newest_first_in_pages,
    no_more_commands_than_a_ledger_remembers,
);

const TEST: System = System::because("the test looks at everything");

async fn a_request_makes_one_command(database: Database) {
    let store = database.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    // The same request, delivered over and over, each time judged anew: one command.
    for number in 0..40 {
        let store = store.clone();
        tasks.spawn(async move {
            let commands = vec![new_command(command(scope(1), number, 7, None))];
            match store.commit(scope(1), Change { commands, ..at(1) }).await {
                Ok(committed) => (true, committed.command_versions[0].0),
                Err(StoreError::Repeated(row)) => (false, row.id()),
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    let mut made = 0;
    let mut ids = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        let (first, id) = answer.unwrap();
        made += usize::from(first);
        ids.push(id);
    }
    ids.dedup();
    assert_eq!((made, ids.len()), (1, 1));
    let row = store.command_of_request(scope(1), request(7)).await.unwrap().unwrap();
    assert_eq!(row.id(), ids[0]);
    // The very same row again, as after an answer that got lost.
    let again = Change { commands: vec![new_command(row)], ..at(2) };
    assert!(matches!(store.commit(scope(1), again).await, Err(StoreError::Repeated(_))));
    // Another tenant's request of the same id is another request.
    let theirs = Change { commands: vec![new_command(command(scope(2), 50, 7, None))], ..at(1) };
    store.commit(scope(2), theirs).await.unwrap();
}

async fn a_command_goes_on_from_the_version_that_was_read(database: Database) {
    let store = database.open().await;
    let first = Change { commands: vec![new_command(command(scope(1), 1, 1, Some(NOW)))], ..at(1) };
    store.commit(scope(1), first).await.unwrap();
    let mut row = store.command(scope(1), command_id(1)).await.unwrap().unwrap();
    assert_eq!(row, {
        let mut wanted = command(scope(1), 1, 1, Some(NOW));
        wanted.version = 1;
        wanted
    });
    assert_eq!(store.open_commands(scope(1), device(1)).await.unwrap(), [row.clone()]);
    row.record.state = State::Executed;
    row.due_at = None;
    let step = CommandWrite { expect: Expect::Version(1), row };
    store.commit(scope(1), Change { commands: vec![step.clone()], ..at(2) }).await.unwrap();
    let late = store.commit(scope(1), Change { commands: vec![step], ..at(3) }).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    assert_eq!(store.open_commands(scope(1), device(1)).await.unwrap(), []);
    assert_eq!(store.commands_due(TEST, at(99_999).at, 10).await.unwrap(), []);
    let row = store.command(scope(1), command_id(1)).await.unwrap().unwrap();
    assert_eq!((row.version, row.record.state), (2, State::Executed));
}

async fn what_is_due_comes_in_order_over_all_tenants(database: Database) {
    let store = database.open().await;
    for (number, due) in [(1, Some(50)), (2, Some(10)), (3, None), (4, Some(60)), (5, Some(30))] {
        let scope = scope(number % 2);
        let row = command(scope, number, number, due.map(|ms| NOW.plus(ms)));
        store.commit(scope, Change { commands: vec![new_command(row)], ..at(1) }).await.unwrap();
    }
    let due = store.commands_due(TEST, NOW.plus(50), 10).await.unwrap();
    let ids: Vec<_> = due.iter().map(|row| row.id()).collect();
    assert_eq!(ids, [command_id(2), command_id(5), command_id(1)]);
    assert_eq!(store.commands_due(TEST, NOW.plus(50), 1).await.unwrap().len(), 1);
}

async fn newest_first_in_pages(database: Database) {
    let store = database.open().await;
    for number in 1..=7 {
        let commands = vec![new_command(command(scope(1), number, number, None))];
        store.commit(scope(1), Change { commands, ..at(1) }).await.unwrap();
    }
    let first = store.commands(scope(1), None, 4).await.unwrap();
    let rest = store.commands(scope(1), first.next.as_deref(), 4).await.unwrap();
    let ids: Vec<_> = first.items.iter().chain(&rest.items).map(|row| row.id()).collect();
    assert_eq!(ids, (1..=7).rev().map(command_id).collect::<Vec<_>>());
    assert_eq!(rest.next, None);
}

/// All at once, each from the same facts: the bound is kept inside the transaction.
async fn no_more_commands_than_a_ledger_remembers(database: Database) {
    let store = database.open().await;
    let asked = COMMANDS_MAX as u64 + 20;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..asked {
        let store = store.clone();
        let commands = vec![new_command(command(scope(1), number, number, None))];
        tasks.spawn(async move { store.commit(scope(1), Change { commands, ..at(1) }).await });
    }
    let mut made = 0;
    for answer in tasks.join_all().await {
        match answer {
            Ok(_) => made += 1,
            Err(StoreError::DoorBusy(busy)) => {
                assert_eq!((busy.taken, busy.again_ms), (COMMANDS_MAX, 9_999 + LAG_MS_MAX));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made, COMMANDS_MAX);
    let ask = async |number, at: Change, change: &dyn Fn(&mut CommandRow)| {
        let mut row = command(scope(1), number, number, None);
        change(&mut row);
        store.commit(scope(1), Change { commands: vec![new_command(row)], ..at }).await
    };
    let same = |_: &mut CommandRow| {};
    // One that is known gets its answer, a denial needs no place, another door has its own.
    let page = store.commands(scope(1), None, 1).await.unwrap();
    let known =
        store.commit(scope(1), Change { commands: vec![new_command(page.items[0].clone())], ..at(1) });
    assert!(matches!(known.await, Err(StoreError::Repeated(_))));
    let denied = State::Denied(DeniedBy(Reason::DoorBlocked));
    ask(900, at(1), &|row| row.record.state = denied).await.unwrap();
    ask(901, at(1), &|row| row.command.device = device(2)).await.unwrap();
    assert!(matches!(ask(902, at(1), &same).await, Err(StoreError::DoorBusy(_))));
    // Executed or not, a place is taken until no clock can still honour a copy; one that was taken back was never there.
    let step = async |state| {
        let rows = store.open_commands(scope(1), device(1)).await.unwrap();
        let mut row = rows.into_iter().next().unwrap();
        (row.record.state, row.due_at) = (state, None);
        let step = CommandWrite { expect: Expect::Version(row.version), row };
        store.commit(scope(1), Change { commands: vec![step], ..at(2) }).await.unwrap();
    };
    step(State::Executed).await;
    assert!(matches!(ask(903, at(2), &same).await, Err(StoreError::DoorBusy(_))));
    step(State::Cancelled).await;
    ask(904, at(2), &same).await.unwrap();
    assert!(matches!(ask(905, at(2), &same).await, Err(StoreError::DoorBusy(_))));
    let late = 10_000 + LAG_MS_MAX;
    assert!(matches!(ask(906, at(late - 1), &same).await, Err(StoreError::DoorBusy(_))));
    ask(907, at(late), &same).await.unwrap();
}
