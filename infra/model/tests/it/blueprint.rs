//! What the shipped environments want: addresses and fields, as goldens; and what must hold for every blueprint.

use std::collections::{BTreeMap, BTreeSet};

use infra_model::blueprint::blueprint;
use infra_model::environment::{Environment, Loader, Mode};
use infra_model::graph::Graph;
use infra_model::kinds::KindId;
use infra_model::waf::promotions;

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
    let moved = |from: &str, to: &str| infra_model::environment::Moved { from: from.into(), to: to.into() };
    let app = "compute/service/app";
    // Whoever still stands at any address of a chain becomes its end, whatever the order of the list.
    for (renames, formers) in [
        (vec![("compute/service/web", app)], vec!["compute/service/web"]),
        (
            vec![
                ("compute/service/b", app),
                ("compute/service/site", "compute/service/web"),
                ("compute/service/web", "compute/service/b"),
            ],
            vec!["compute/service/site", "compute/service/web", "compute/service/b"],
        ),
    ] {
        let mut loaded = shipped("staging");
        loaded.environment.moved = renames.into_iter().map(|(from, to)| moved(from, to)).collect();
        let graph = blueprint(&loaded).unwrap_or_else(|problems| panic!("{problems}"));
        let wanted = &graph.resources[&app.parse().unwrap()];
        assert_eq!(wanted.moved_from.iter().map(ToString::to_string).collect::<Vec<_>>(), formers);
    }
}

/// An environment that builds on a shipped one.
fn over(base: &str, overlay: &str) -> Graph {
    let text = format!("extends = \"{base}\"\n{overlay}");
    let read = |path: &str| Ok((path == "mine/x.toml").then(|| text.clone()));
    let loader = Loader { environments: "mine".into(), read: &read, ..Loader::shipped() };
    let loaded = Environment::load("x", &loader).unwrap_or_else(|problems| panic!("{overlay}\n{problems}"));
    blueprint(&loaded).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn whatever_is_chosen_the_graph_holds_together() {
    let zones = [
        "[\"eu-central-1a\", \"eu-central-1b\"]",
        "[\"eu-central-1c\", \"eu-central-1a\", \"eu-central-1b\"]",
    ];
    let choices = [
        "",
        "remove = [\"redis\", \"services.gateway\", \"load_balancer.routes.trial\"]\nservices.app.uses = [\"postgres\"]",
        "remove = [\"waf\"]",
        "remove = [\"load_balancer.redirect_http\"]",
        "load_balancer.redirect_http = false",
        "load_balancer.scheme = \"internal\"",
        "load_balancer.access = [\"198.51.100.0/24\", \"198.51.100.0/24\"]",
        "remove = [\"network.flow_logs\", \"network.interface_endpoints\"]",
        "redis.auth = false\nredis.tls = false",
        "redis.parameters = {}",
        "services.app.execute_command = true\nservices.app.capacity.spot_percent = 100",
        "security.outbound = \"all\"",
        "repositories.extra = {}",
    ];
    for nat in ["none", "single", "per_zone", "regional"] {
        for zones in zones {
            for choice in
                choices.iter().filter(|choice| !(nat == "none" && choice.contains("interface_endpoints")))
            {
                let overlay = format!("{choice}\nnetwork.nat = \"{nat}\"\nnetwork.zones = {zones}\n");
                assert_eq!(over("staging", &overlay).check(), [], "{overlay}");
            }
        }
    }
}

#[test]
fn a_third_zone_and_more_gateways_add_and_move_nothing() {
    let two =
        over("staging", "network.nat = \"single\"\nnetwork.zones = [\"eu-central-1a\", \"eu-central-1c\"]\n");
    let three = over("staging", "");
    for (address, wanted) in &two.resources {
        let later = three.resources.get(address).unwrap_or_else(|| panic!("{address} is gone"));
        for field in wanted
            .kind
            .spec()
            .fields
            .iter()
            .filter(|field| matches!(field.change, infra_model::kinds::Change::Fixed))
        {
            assert_eq!(
                wanted.fields.get(field.name),
                later.fields.get(field.name),
                "{address}.{}",
                field.name
            );
        }
    }
}

#[test]
fn a_promotion_in_the_environment_is_a_promotion_of_the_rule() {
    let mut loaded = shipped("staging");
    let rules = |graph: &Graph| {
        graph.resources[&"firewall/web_acl".parse().unwrap()].fields["rules"].as_array().unwrap().clone()
    };
    let after = rules(&blueprint(&loaded).unwrap());
    loaded.environment.waf.as_mut().unwrap().modes =
        BTreeMap::from([("sql-injection".to_owned(), Mode::Block)]);
    let before = rules(&blueprint(&loaded).unwrap());
    let found: Vec<String> = promotions(&before, &after)
        .iter()
        .map(|one| format!("{}: {} -> {}", one.rule, one.before, one.after))
        .collect();
    assert_eq!(found, ["common-rules: count -> group", "sql-injection: group -> count"]);
}
