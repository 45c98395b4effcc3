//! An environment file and what stands in, the text of the plan out: as goldens. What stands is an environment as its own
//! blueprint wants it, with ids made from the addresses, so no account is needed.

use std::collections::BTreeMap;

use infra_model::address::Address;
use infra_model::blueprint::blueprint;
use infra_model::environment::{Environment, Loader};
use infra_model::graph::Graph;
use infra_model::operations::{critical_path, operations};
use infra_model::plan::{Action, Options, Plan, Problem, plan};
use infra_model::render::{Style, plan_json, plan_text};
use infra_model::snapshot::{Observed, Snapshot, State};
use infra_model::value::{self, Reference};
use serde_json::Value;

use crate::golden;

const PLAIN: Style = Style { color: false, whole: false };
const WHOLE: Style = Style { color: false, whole: true };

/// `base` as shipped with this text on top.
fn graph(overlay: &str) -> Graph {
    let read = |path: &str| Ok((path == "env/case.toml").then(|| overlay.to_owned()));
    let list = |_: &str| vec!["env/case.toml".to_owned()];
    let loader = Loader {
        environments: "env".into(),
        rule_sets: "waf".into(),
        shipped: true,
        read: &read,
        list: &list,
    };
    let loaded = Environment::load("case", &loader).unwrap_or_else(|problems| panic!("{problems}"));
    blueprint(&loaded).unwrap_or_else(|problems| panic!("{problems}"))
}

fn id(address: &Address) -> String {
    format!("id:{address}")
}

fn known(reference: &Reference) -> Option<String> {
    Some(match &reference.attribute {
        None => id(&reference.address),
        Some(attribute) => format!("{attribute}:{}", reference.address),
    })
}

/// An account in which everything is as wanted.
fn standing(graph: &Graph) -> Snapshot {
    let mut snapshot = Snapshot::empty(graph.scope.clone());
    for (address, wanted) in &graph.resources {
        let (fields, _) = value::resolve(&Value::Object(wanted.fields.clone()), &known);
        let spec = wanted.kind.spec();
        let names = spec.attributes.iter().chain(spec.late_attributes);
        let attribute = |name: &&str| ((*name).to_owned(), format!("{name}:{address}"));
        let mut attributes: BTreeMap<String, String> = names.map(attribute).collect();
        // `validation_name:*` stands for one of each domain.
        for reference in graph.resources.values().flat_map(|other| other.references()) {
            if let (true, Some(name)) = (&reference.address == address, &reference.attribute) {
                attributes.insert(name.clone(), format!("{name}:{address}"));
            }
        }
        snapshot.resources.push(Observed {
            kind: wanted.kind,
            id: id(address),
            address: Some(address.clone()),
            fields: fields.as_object().cloned().unwrap(),
            attributes,
            tags: graph.tags_of(address, wanted),
            state: State::Ready,
        });
    }
    snapshot.sort();
    snapshot
}

fn text(plan: &Plan, graph: &Graph, snapshot: &Snapshot, style: Style) -> String {
    let (expected_s, path) = critical_path(&operations(plan, graph, snapshot).unwrap_or_default());
    plan_text(plan, expected_s, &path, style)
}

fn hold(name: &str, text: &str) {
    golden::check(&golden::folder().join("plans").join(name), text);
}

const DEV: &str = include_str!("../../../environments/dev.toml");
const STAGING: &str = include_str!("../../../environments/staging.toml");

#[test]
fn from_nothing() {
    let graph = graph(DEV);
    let empty = Snapshot::empty(graph.scope.clone());
    let plan = plan(&graph, &empty, &Options::default());
    hold("dev_from_nothing.txt", &text(&plan, &graph, &empty, PLAIN));
    hold("dev_from_nothing_whole.txt", &text(&plan, &graph, &empty, WHOLE));
}

#[test]
fn what_stands_as_wanted_is_left() {
    let graph = graph(STAGING);
    let snapshot = standing(&graph);
    let plan = plan(&graph, &snapshot, &Options::default());
    assert!(plan.is_empty(), "{}", text(&plan, &graph, &snapshot, PLAIN));
}

/// What a plan says of each loss, in text and under one key of JSON.
#[test]
fn edits_that_lose_something() {
    let snapshot = standing(&graph(STAGING));
    let mut edited = STAGING.to_owned() + "\n[repositories.app-core]\nkeep_images = 3\n";
    for (line, more) in [
        ("name = \"staging\"\n", "remove = [\"waf.logging\"]\n"),
        ("[network]\n", "flow_logs.retention_days = 3\n"),
        ("[redis]\n", "engine = \"redis\"\nversion = \"7.1\"\n"),
        ("[postgres]\n", "backup_days = 1\n"),
    ] {
        edited = edited.replacen(line, &format!("{line}{more}"), 1);
    }
    let graph = graph(&edited);
    let plan = plan(&graph, &snapshot, &Options { allow_all: true, ..Options::default() });
    hold("staging_edits_that_lose.txt", &text(&plan, &graph, &snapshot, PLAIN));
    let json = plan_json(&plan, 0, &[]);
    for (step, shown) in plan.steps.iter().zip(json["steps"].as_array().unwrap()) {
        let told: Vec<&str> =
            shown["loses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert_eq!(told, step.loses, "{}", step.address);
    }
}

/// Everything that a destroy loses is told once more at its end, in the words of the steps.
#[test]
fn a_destroy_lists_what_is_lost() {
    let wanted = graph(STAGING);
    let snapshot = standing(&wanted);
    let nothing = Graph::new(wanted.scope.clone());
    let plan = plan(&nothing, &snapshot, &Options { allow_all: true, ..Options::default() });
    assert_eq!(plan.problems, []);
    hold("staging_destroyed.txt", &text(&plan, &nothing, &snapshot, PLAIN));
}

/// Without its own zone the environment cannot be planned, and what is left of it can be destroyed.
#[test]
fn a_foreign_zone_that_is_gone() {
    let overlay = DEV.to_owned()
        + "\n[dns]\nzone = \"keyway.example\"\nzone_id = \"Z0123456789ABCDEFGHIJ\"\n\
           [dns.records.entrance]\nname = \"dev.keyway.example\"\nalias = \"load_balancer\"\n";
    let wanted = graph(&overlay);
    let mut snapshot = standing(&wanted);
    // The records went with the zone.
    snapshot.resources.retain(|object| object.kind.name() != "dns_record");
    snapshot.missing.insert("Z0123456789ABCDEFGHIJ".to_owned(), "hosted zone".to_owned());
    let refused = plan(&wanted, &snapshot, &Options::default());
    let [Problem::Missing { wanted_by, .. }] = refused.problems.as_slice() else {
        panic!("{:?}", refused.problems)
    };
    assert_eq!(wanted_by.as_slice(), [Address::new("edge/record/entrance")]);
    hold("dev_zone_gone.txt", &text(&refused, &wanted, &snapshot, PLAIN));

    let beside = Options { only: Some(Address::new("network/vpc")), ..Options::default() };
    assert_eq!(plan(&wanted, &snapshot, &beside).problems, []);

    let nothing = Graph::new(wanted.scope.clone());
    let destroyed = plan(&nothing, &snapshot, &Options { allow_all: true, ..Options::default() });
    assert_eq!(destroyed.problems, []);
    assert_eq!(destroyed.count(Action::Delete), snapshot.resources.len());
}
