//! What the shipped environments want: addresses and fields, as goldens; and what must hold for every blueprint.

use std::collections::{BTreeMap, BTreeSet};

use infra_model::blueprint::blueprint;
use infra_model::graph::Graph;
use infra_model::kinds::KindId;

use crate::environment::{SHIPPED, shipped};
use crate::golden;

fn graph(name: &str) -> Graph {
    blueprint(&shipped(name)).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_shipped_environments_want_what_their_goldens_say() {
    for name in SHIPPED {
        let graph = graph(name);
        let folder = golden::folder().join("blueprint").join(name.replace('/', "_"));
        let addresses: String = graph
            .resources
            .iter()
            .map(|(address, wanted)| format!("{:<24} {address}\n", wanted.kind.name()))
            .collect();
        golden::check(
            &folder.join("addresses.txt"),
            &format!("{addresses}{} resources\n", graph.resources.len()),
        );
        let json = serde_json::to_string_pretty(&graph).unwrap();
        golden::check(&folder.join("graph.json"), &format!("{json}\n"));
    }
}

#[test]
fn references_lead_somewhere_and_every_field_has_a_place() {
    for name in SHIPPED {
        let graph = graph(name);
        assert_eq!(graph.check(), [], "{name}");
        for (address, wanted) in &graph.resources {
            for field in wanted.fields.keys() {
                let place = wanted
                    .origin_of(field)
                    .unwrap_or_else(|| panic!("{name}: {address}.{field} has no place"));
                if place == "default" {
                    continue;
                }
                let (file, line) = place.rsplit_once(':').expect("file:line");
                assert!(
                    file.ends_with(".toml") && line.parse::<u32>().is_ok(),
                    "{name}: {address}.{field}: {place}"
                );
            }
            for owned in wanted.owners.keys() {
                let value = owned.split('/').try_fold(serde_json::json!(wanted.fields), |value, key| {
                    value.get(key).or_else(|| value.get(key.parse::<usize>().ok()?)).cloned()
                });
                assert!(value.is_some(), "{name}: {address} has no {owned} to be owned");
            }
        }
    }
}

/// The complete reference environment is staging or production: every kind is wanted by one of them.
#[test]
fn staging_and_production_want_every_kind() {
    let wanted: BTreeSet<KindId> = ["staging", "production"]
        .into_iter()
        .flat_map(|name| graph(name).resources.into_values().map(|one| one.kind))
        .collect();
    let lacking: Vec<&str> =
        KindId::ALL.iter().filter(|kind| !wanted.contains(kind)).map(|kind| kind.name()).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn no_role_allows_every_action_on_every_resource() {
    for name in SHIPPED {
        for (address, wanted) in
            graph(name).resources.iter().filter(|(_, wanted)| wanted.kind == KindId::Role)
        {
            let policies: BTreeMap<String, serde_json::Value> =
                serde_json::from_value(wanted.fields["inline"].clone()).unwrap();
            for statement in policies.values().flat_map(|policy| policy["Statement"].as_array().unwrap()) {
                let holds = |key: &str, test: &dyn Fn(&str) -> bool| {
                    statement[key].as_array().unwrap().iter().any(|text| test(text.as_str().unwrap()))
                };
                let star = holds("Action", &|action| action == "*" || action.ends_with(":*"));
                assert!(
                    !(star && holds("Resource", &|resource| resource == "*")),
                    "{name}: {address}: {statement}"
                );
            }
        }
    }
}

#[test]
fn renames_are_entered_where_the_new_address_is() {
    let mut loaded = shipped("staging");
    loaded.environment.moved = vec![infra_model::environment::Moved {
        from: "compute/service/web".into(),
        to: "compute/service/app".into(),
    }];
    let graph = blueprint(&loaded).unwrap();
    let app = &graph.resources[&"compute/service/app".parse().unwrap()];
    assert_eq!(app.moved_from.iter().map(ToString::to_string).collect::<Vec<_>>(), ["compute/service/web"]);
}
