//! How problems are found and shown: each folder of tests/golden/problems is a case with `case.toml` and what is said of it.

use std::fs;
use std::path::Path;

use infra_model::blueprint::blueprint;
use infra_model::environment::{Color, Environment, Loader, Problems, together};

use crate::golden;

/// Read below a folder, as the shell crate does below the working directory.
fn with_loader<T>(root: &Path, environments: &str, f: impl FnOnce(&Loader<'_>) -> T) -> T {
    let read = |path: &str| match fs::read_to_string(root.join(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let list = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut paths: Vec<String> =
            names.filter(|name| name.ends_with(".toml")).map(|name| format!("{folder}/{name}")).collect();
        paths.sort();
        paths
    };
    f(&Loader {
        environments: environments.to_owned(),
        rule_sets: format!("{environments}/waf"),
        shipped: environments != "extends_loop",
        read: &read,
        list: &list,
    })
}

fn said_of(case: &str) -> Problems {
    with_loader(&golden::folder().join("problems"), case, |loader| match Environment::load("case", loader) {
        Ok(loaded) => match blueprint(&loaded) {
            Ok(_) => loaded.warnings,
            Err(problems) => problems,
        },
        Err(problems) => problems,
    })
}

#[test]
fn every_case_says_what_its_golden_says() {
    let mut cases: Vec<String> = fs::read_dir(golden::folder().join("problems"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(cases.len() >= 20, "the cases are where they are looked for");
    for case in cases {
        let problems = said_of(&case);
        assert!(!problems.is_empty(), "{case}: nothing was found");
        golden::check(
            &golden::folder().join("problems").join(&case).join("problems.txt"),
            &problems.to_string(),
        );
    }
}

#[test]
fn problems_are_also_data() {
    let json = serde_json::to_string_pretty(&said_of("routes").json()).unwrap();
    golden::check(&golden::folder().join("problems/routes/problems.json"), &format!("{json}\n"));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let problems = said_of("unknown_keys");
    let mut coloured = problems.text(Color::Always);
    assert!(coloured.contains("\u{1b}[1;31m"));
    while let Some(start) = coloured.find('\u{1b}') {
        let end = coloured[start..].find('m').unwrap() + start;
        coloured.replace_range(start..=end, "");
    }
    assert_eq!(coloured, problems.text(Color::Never));
}

#[test]
fn a_name_that_no_file_has_is_said_with_the_near_miss() {
    let problems = Environment::load("stagin", &Loader::shipped()).unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("there is no environment \"stagin\""), "{text}");
    assert!(text.contains("did you mean \"staging\"?"), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    let read = |_: &str| Err("permission denied".to_owned());
    let loader = Loader { read: &read, ..Loader::shipped() };
    let text = Environment::load("staging", &loader).unwrap_err().to_string();
    assert!(text.contains("environments/staging.toml cannot be read: permission denied"), "{text}");
}

#[test]
fn environments_of_one_folder_are_held_against_each_other() {
    let environment = |name: &str, cidr: &str| {
        let text = format!("extends = \"base\"\nname = \"{name}\"\n\n[network]\ncidr = \"{cidr}\"\n");
        let read = move |path: &str| Ok(path.ends_with("/x.toml").then(|| text.clone()));
        let base = fs::read_to_string(golden::folder().join("problems/base.toml")).unwrap();
        let read =
            |path: &str| if path.ends_with("/base.toml") { Ok(Some(base.clone())) } else { read(path) };
        let loader = Loader { environments: name.to_owned(), read: &read, ..Loader::shipped() };
        Environment::load("x", &loader).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let [a, b, c] = [("one", "10.1.0.0/16"), ("two", "10.1.64.0/18"), ("three", "10.2.0.0/16")]
        .map(|(name, cidr)| environment(name, cidr));
    assert!(together(&[a.clone(), c.clone()]).is_empty());
    golden::check(&golden::folder().join("together.txt"), &together(&[a.clone(), b, c, a]).to_string());
}
