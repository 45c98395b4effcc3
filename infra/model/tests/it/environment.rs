//! Reading environments: the shipped ones, overlays and where values come from, address ranges.

use std::collections::BTreeMap;

use infra_model::environment::{Environment, Loaded, Loader, Nat, Problems, load_folder, schema, subnets};
use proptest::prelude::*;

/// The shipped environments.
pub const SHIPPED: [&str; 4] = ["dev", "staging", "production", "tenants/acme"];

pub fn shipped(name: &str) -> Loaded {
    Environment::load(name, &Loader::shipped()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Load `top` from files by path, without those that are shipped.
fn load(files: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let files: BTreeMap<String, String> =
        files.iter().map(|(path, text)| (format!("env/{path}"), (*text).to_owned())).collect();
    let read = |path: &str| Ok(files.get(path).cloned());
    let list = |_: &str| files.keys().cloned().collect();
    let loader = Loader {
        environments: "env".into(),
        rule_sets: "waf".into(),
        shipped: false,
        read: &read,
        list: &list,
    };
    Environment::load("top", &loader)
}

const WHOLE: &str = r#"
project = "keyway"
account = "123456789012"
region = "eu-central-1"

[network]
cidr = "10.0.0.0/16"
zones = ["eu-central-1a", "eu-central-1b"]
nat = "single"

[services.app]
image = { owner = "ci", initial = "app:1" }
port = 8080
cpu = 256
memory_mib = 512
count = 1

[services.app.variables]
A = "base"
B = "base"

[[services.app.iam]]
sid = "One"
actions = ["s3:GetObject"]
resources = ["arn:aws:s3:::one"]
"#;

#[test]
fn shipped_environments_have_no_problems_alone_or_together() {
    let (all, problems) = load_folder(&Loader::shipped());
    assert!(problems.is_empty(), "{problems}");
    let mut names: Vec<&str> = all.iter().map(|loaded| loaded.environment.name.as_str()).collect();
    names.sort();
    assert_eq!(names, ["acme", "dev", "production", "staging"], "base has no name and is none");
}

#[test]
fn capacity_units_are_what_the_comments_say() {
    for (rule_set, said, units) in [("baseline", "987 of the 1,500", 987), ("api", "1,261", 1261)] {
        let text = infra_model::shipped::file(&format!("policies/waf/{rule_set}.toml")).unwrap().1;
        assert!(text.contains(said), "{rule_set}.toml");
        let mut loaded = shipped("staging");
        let waf = loaded.environment.waf.as_mut().unwrap();
        if rule_set == "baseline" {
            loaded.rule_sets.0.truncate(1);
        }
        let wanted = loaded.rule_sets.wanted(waf, &loaded.origins);
        assert_eq!(infra_model::waf::capacity::sum(&wanted), units, "{rule_set}");
    }
}

#[test]
fn the_overlay_wins_tables_merge_and_every_value_knows_its_place() {
    let middle = r#"extends = "base"
[services.app]
cpu = 512
memory_mib = 1024
[services.app.variables]
B = "middle"
[[services.app.iam]]
sid = "Two"
actions = ["s3:PutObject"]
resources = ["arn:aws:s3:::two"]
"#;
    let top = r#"extends = "middle"
name = "top"
[network]
zones = ["eu-central-1b", "eu-central-1c"]
[services.app]
memory_mib = 2048
image = "app:2"
variables.C = "top"
[[services.app.iam]]
sid = "One"
resources = ["arn:aws:s3:::other"]
"#;
    let loaded = load(&[("base.toml", WHOLE), ("middle.toml", middle), ("top.toml", top)])
        .unwrap_or_else(|problems| panic!("{problems}"));
    let app = &loaded.environment.services["app"];
    assert_eq!((app.cpu, app.memory_mib), (512, 2048));
    assert_eq!(app.image.value(), "app:2");
    assert_eq!(app.image.owner(), None, "a plain value takes the place of an owned one");
    let variables: Vec<_> = app.variables.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(variables, [("A", "base"), ("B", "middle"), ("C", "top")]);
    assert_eq!(loaded.environment.network.zones, ["eu-central-1b", "eu-central-1c"], "an array replaces");
    assert_eq!(loaded.environment.network.nat, Nat::Single, "what the overlay leaves out stays");
    let statements: Vec<_> =
        app.iam.iter().map(|one| (one.sid.as_str(), one.resources[0].as_str())).collect();
    assert_eq!(
        statements,
        [("One", "arn:aws:s3:::other"), ("Two", "arn:aws:s3:::two")],
        "a keyed array merges"
    );
    assert_eq!(loaded.chain, ["env/top.toml", "env/middle.toml", "env/base.toml"]);

    for (path, place) in [
        ("project", "env/base.toml:2:11"),
        ("name", "env/top.toml:2:8"),
        ("services.app.cpu", "env/middle.toml:3:7"),
        ("services.app.memory_mib", "env/top.toml:6:14"),
        ("services.app.port", "env/base.toml:13:8"),
        ("services.app.image", "env/top.toml:7:9"),
        ("services.app.variables.B", "env/middle.toml:6:5"),
        ("services.app.variables.C", "env/top.toml:8:15"),
        ("network.zones.1", "env/top.toml:4:27"),
        // A default has the place of the table around it.
        ("services.app.health.path", "env/base.toml:11:11"),
        ("services.app.stop_timeout_s", "env/base.toml:11:11"),
    ] {
        let origin = loaded.origins.of(path).unwrap_or_else(|| panic!("{path} has no place"));
        assert_eq!(origin.to_string(), place, "{path}");
    }
    assert!(loaded.origins.exact("services.app.stop_timeout_s").is_none());
}

#[test]
fn what_is_removed_is_not_inherited() {
    let top =
        "extends = \"base\"\nname = \"top\"\nremove = [\"services.app.variables\", \"services.app.iam\"]\n";
    let loaded = load(&[("base.toml", WHOLE), ("top.toml", top)]).unwrap();
    let app = &loaded.environment.services["app"];
    assert!(app.variables.is_empty() && app.iam.is_empty());

    let again = "extends = \"base\"\nname = \"top\"\nremove = [\"services.app.variables\"]\nservices.app.variables.D = \"new\"\n";
    let loaded = load(&[("base.toml", WHOLE), ("top.toml", again)]).unwrap();
    assert_eq!(loaded.environment.services["app"].variables.keys().collect::<Vec<_>>(), ["D"]);
}

#[test]
fn files_on_disk_win_over_those_that_are_shipped() {
    let read = |path: &str| {
        Ok((path == "mine/dev.toml").then(|| "extends = \"base\"\nname = \"mine\"\nnetwork = { cidr = \"10.9.0.0/16\", zones = [\"eu-central-1a\", \"eu-central-1c\"], nat = \"single\" }\nload_balancer.redirect_http = false\n".to_owned()))
    };
    let loader = Loader { environments: "mine".into(), read: &read, ..Loader::shipped() };
    let loaded = Environment::load("dev", &loader).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.environment.name, "mine");
    assert_eq!(loaded.chain, ["mine/dev.toml", "environments/base.toml"]);
    assert_eq!(Environment::load("staging", &loader).unwrap().environment.name, "staging");
}

#[test]
fn the_schema_knows_every_key_of_the_shipped_files() {
    let schema = schema();
    for (path, text) in
        infra_model::shipped::FILES.iter().filter(|(path, _)| path.starts_with("environments/"))
    {
        let document: toml::Value = toml::from_str(text).unwrap();
        let document = serde_json::to_value(document).unwrap();
        let mut unknown = Vec::new();
        keys(&schema, &schema, &document, path, &mut unknown);
        assert!(unknown.is_empty(), "{unknown:#?}");
    }
}

/// Only as much of a validator as shows that every key is declared and every value has a declared type.
fn keys(
    root: &serde_json::Value,
    shape: &serde_json::Value,
    value: &serde_json::Value,
    at: &str,
    bad: &mut Vec<String>,
) {
    if let Some(target) = shape.get("$ref").and_then(|to| to.as_str()) {
        return keys(root, root.pointer(&target[1..]).unwrap(), value, at, bad);
    }
    if let Some(branches) = shape.get("anyOf").or(shape.get("oneOf")).and_then(|list| list.as_array()) {
        let fits = |branch: &serde_json::Value| {
            let mut inner = Vec::new();
            keys(root, branch, value, at, &mut inner);
            inner.is_empty()
        };
        if !branches.iter().any(fits) {
            bad.push(format!("{at}: no branch fits {value}"));
        }
        return;
    }
    if let Some(words) =
        shape.get("enum").and_then(|words| words.as_array()).filter(|words| !words.contains(value))
    {
        bad.push(format!("{at}: {value} is not of {words:?}"));
    }
    if shape.get("const").is_some_and(|word| word != value) {
        bad.push(format!("{at}: {value} is not {}", shape["const"]));
    }
    let kind = match value {
        serde_json::Value::String(_) => "string",
        serde_json::Value::Bool(_) => "boolean",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
        _ => "integer",
    };
    if shape.get("type").is_some_and(|wanted| wanted != kind) {
        bad.push(format!("{at}: {kind} instead of {}", shape["type"]));
        return;
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let declared = shape.get("properties").and_then(|keys| keys.get(key));
        match declared.or(shape.get("additionalProperties").filter(|any| any.is_object())) {
            Some(shape) => keys(root, shape, inner, &format!("{at}.{key}"), bad),
            None => bad.push(format!("{at}.{key}: not declared")),
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        keys(root, &shape["items"], inner, &format!("{at}.{index}"), bad);
    }
}

fn network(cidr: &str, zones: &[char]) -> Loaded {
    let zones: Vec<String> = zones.iter().map(|zone| format!("\"eu-central-1{zone}\"")).collect();
    let top = format!(
        "extends = \"base\"\nname = \"top\"\n[network]\ncidr = \"{cidr}\"\nzones = [{}]\n",
        zones.join(", ")
    );
    load(&[("base.toml", WHOLE), ("top.toml", &top)]).unwrap_or_else(|problems| panic!("{problems}"))
}

proptest! {
    #[test]
    fn subnets_lie_in_the_vpc_and_never_overlap(second in 0u8..=255, prefix in 16u8..=22) {
        let loaded = network(&format!("10.{second}.0.0/{prefix}"), &['a', 'b', 'c']);
        let network = &loaded.environment.network;
        let places = subnets(network);
        prop_assert_eq!(places.len(), 9);
        for (index, place) in places.iter().enumerate() {
            prop_assert!(network.cidr.0.contains(&place.cidr));
            prop_assert!(place.cidr.prefix_len() <= 27, "AWS wants /27 for a load balancer");
            for other in &places[..index] {
                prop_assert!(!other.cidr.contains(&place.cidr) && !place.cidr.contains(&other.cidr));
            }
        }
    }

    #[test]
    fn adding_a_zone_moves_no_subnet(second in 0u8..=255, first in 0usize..3, other in 0usize..3) {
        prop_assume!(first != other);
        let letter = |index: usize| char::from(b'a' + u8::try_from(index).unwrap());
        let cidr = format!("10.{second}.0.0/16");
        let two = subnets(&network(&cidr, &[letter(first), letter(other)]).environment.network);
        let three = subnets(&network(&cidr, &['a', 'b', 'c']).environment.network);
        for place in two {
            prop_assert!(three.contains(&place), "{:?}", place);
        }
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,200}") {
        let _ = load(&[("base.toml", WHOLE), ("top.toml", &text)]);
    }

    #[test]
    fn no_change_of_one_place_makes_reading_panic(at in 0usize..600, with in "[\\[\\]{}=\"'.,a-z0-9\n]{0,3}") {
        let mut text = format!("name = \"top\"\n{WHOLE}");
        let at = at.min(text.len());
        text.replace_range(at..(at + 1).min(text.len()), &with);
        let _ = load(&[("top.toml", &text)]);
    }
}

#[test]
fn the_reference_in_docs_is_what_the_types_say() {
    let path = crate::golden::package().join("../../docs/environment.md");
    crate::golden::check(&path, &infra_model::environment::reference());
}

#[test]
fn the_schema_is_what_was_looked_at() {
    let text = serde_json::to_string_pretty(&schema()).unwrap();
    crate::golden::check(&crate::golden::folder().join("schema.json"), &format!("{text}\n"));
}
