//! What somebody changes, removes or adds behind our back is found and mended; what is not ours stays.

use infra_engine::memory::Memory;
use infra_model::kinds::KindId;
use infra_model::plan::{Action, Problem};
use serde_json::json;

use crate::world::{self, Ended, apply, at, behaviour, plan_now, run, stand};

fn id_of(account: &Memory, address: &str) -> String {
    let scope = world::scope();
    let objects = account.everything();
    let found = objects.iter().find(|object| scope.address_of(&object.tags) == Some(at(address)));
    found.unwrap_or_else(|| panic!("nothing at {address}")).id.clone()
}

/// Tampers, expects exactly these steps, applies, expects an empty plan.
fn check(tamper: impl FnOnce(&Memory), expected: &[(&str, Action)]) {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        tamper(&account);
        let plan = plan_now(&account, &world::graph()).await;
        let mut found: Vec<_> = plan.steps.iter().map(|step| (step.address.as_str(), step.action)).collect();
        found.sort();
        assert_eq!(found, expected, "{:#?}", plan.steps);
        let ended = apply(&account, &world::graph()).await;
        assert!(ended.complete(), "{}", ended.describe());
        assert!(plan_now(&account, &world::graph()).await.is_empty());
    });
}

fn edit(account: &Memory, address: &str, field: &str, value: serde_json::Value) {
    account.tamper(&id_of(account, address), |fields, _| {
        fields.insert(field.to_owned(), value);
    });
}

#[test]
fn edits_are_found_and_mended() {
    check(
        |account| {
            edit(account, "net/vpc", "dns_support", json!(false));
            edit(account, "app/logs", "retention_days", json!(1));
            edit(
                account,
                "edge/balancer",
                "attributes",
                json!({"idle_timeout.timeout_seconds": "60", "other": "1"}),
            );
        },
        &[("app/logs", Action::Update), ("edge/balancer", Action::Update), ("net/vpc", Action::Update)],
    );
}

#[test]
fn additions_inside_an_owned_set_are_found_and_removed() {
    check(
        |account| {
            let ssh = json!({"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr": "0.0.0.0/0"});
            account.tamper(&id_of(account, "net/group/app"), |fields, _| {
                fields["ingress"].as_array_mut().unwrap().push(ssh);
            });
            account.tamper(&id_of(account, "app/role"), |fields, _| {
                fields["inline"]["all"] = json!({"Action": "*"});
            });
            account.tamper(&id_of(account, "edge/balancer"), |fields, _| {
                fields.insert("foreign_listeners".to_owned(), json!([8080]));
            });
        },
        &[("app/role", Action::Update), ("edge/balancer", Action::Update), ("net/group/app", Action::Update)],
    );
}

#[test]
fn what_vanished_is_made_again_and_what_named_it_follows() {
    check(
        |account| account.vanish(&id_of(account, "net/nat")),
        &[("net/nat", Action::Create), ("net/routes/private", Action::Update)],
    );
}

#[test]
fn tags_of_ours_are_restored_and_tags_of_others_stay() {
    check(
        |account| {
            account.tamper(&id_of(account, "net/vpc"), |_, tags| {
                tags.insert("cost-center".to_owned(), "7".to_owned());
                tags.insert("keyway:stray".to_owned(), "x".to_owned());
            });
        },
        &[("net/vpc", Action::Update)],
    );
}

#[test]
fn what_others_own_is_left_alone() {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        edit(&account, "app/service", "desired_count", json!(5));
        let plan = plan_now(&account, &world::graph()).await;
        assert!(plan.is_empty(), "{:#?}", plan.steps);
        let shown: Vec<_> = plan
            .left_alone
            .iter()
            .map(|(address, change)| (address.as_str(), change.path.as_str()))
            .collect();
        assert_eq!(shown, [("app/service", "desired_count")]);
    });
}

#[test]
fn two_objects_at_one_address_are_named_and_nothing_is_guessed() {
    // The second of a kind that is replaced create-first: a copy that somebody made is no replacement that died half way.
    for (kind, address) in [(KindId::Vpc, "net/vpc"), (KindId::SecurityGroup, "net/group/app")] {
        run(async {
            let account = Memory::new(behaviour(false));
            stand(&account).await;
            let first = id_of(&account, address);
            let copy = account.everything().into_iter().find(|object| object.id == first).unwrap();
            let second = account.plant(kind, copy.fields, copy.tags);
            let plan = plan_now(&account, &world::graph()).await;
            let [Problem::Duplicate { objects, .. }] = plan.problems.as_slice() else {
                panic!("{:?}", plan.problems)
            };
            let referred: Vec<_> =
                objects.iter().map(|object| (object.id.as_str(), object.referred_by.is_empty())).collect();
            assert_eq!(referred, [(first.as_str(), false), (second.as_str(), true)]);
            assert!(matches!(apply(&account, &world::graph()).await, Ended::Refused(_)));
        });
    }
}

#[test]
fn a_store_that_nobody_wants_needs_leave_to_go() {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        let mut graph = world::graph();
        graph.resources.remove(&at("data/redis"));
        graph.resources.get_mut(&at("app/task")).unwrap().fields["containers"][0]["environment"] = json!({});
        let plan = plan_now(&account, &graph).await;
        let guarded = |problem: &Problem| matches!(problem, Problem::Guarded { store: true, .. });
        assert!(plan.problems.iter().any(guarded), "{:?}", plan.problems);
    });
}

/// Renames `from`, applies, and takes the word about it out of the file again.
fn check_rename(from: &str, to: &str) {
    run(async {
        let account = Memory::new(behaviour(false));
        stand(&account).await;
        let before = id_of(&account, from);
        let mut graph = world::graph();
        let mut wanted = graph.resources.remove(&at(from)).unwrap();
        wanted.moved_from = vec![at(from)];
        graph.add(at(to), wanted);
        let renamed = |text: String| text.replace(&format!("${{{from}"), &format!("${{{to}"));
        let mut text = renamed(serde_json::to_string(&graph).unwrap());
        text =
            text.replace(&format!("\"settle_after\":[\"{from}\"]"), &format!("\"settle_after\":[\"{to}\"]"));
        let mut graph: infra_model::graph::Graph = serde_json::from_str(&text).unwrap();
        let ended = apply(&account, &graph).await;
        assert!(ended.complete(), "{}", ended.describe());
        assert_eq!(id_of(&account, to), before);
        graph.resources.get_mut(&at(to)).unwrap().moved_from.clear();
        let plan = plan_now(&account, &graph).await;
        assert!(plan.is_empty(), "{:#?}", plan.steps);
    });
}

#[test]
fn a_renamed_address_is_retagged_not_remade() {
    check_rename("app/logs", "app/log_group");
}

#[test]
fn a_renamed_record_gets_another_marker() {
    check_rename("edge/certificate/record", "edge/certificate/proof");
}
