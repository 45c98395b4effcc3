//! How problems are found and shown: each folder of tests/golden/problems is a case with `case.toml` and what is said of it.

use std::fs;
use std::path::Path;

use infra_model::blueprint::blueprint;
use infra_model::environment::{
    Color, Environment, Loader, Problems, load_folder, neighbours, text_of, together,
};

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

/// A folder of files, without those that are shipped.
fn with_files<T>(files: &[(&str, String)], f: impl FnOnce(&Loader<'_>) -> T) -> T {
    let find = |path: &str| files.iter().find(|(name, _)| *name == path.trim_start_matches("/repo/env/"));
    let read = |path: &str| {
        let found = find(path.strip_prefix("env/").or(path.strip_prefix("./env/")).unwrap_or(path));
        Ok(found.map(|(_, text)| text.clone()))
    };
    let list = |folder: &str| {
        let own = files
            .iter()
            .filter(|(name, _)| folder == "env" && !name.starts_with('/'))
            .map(|(name, _)| format!("env/{name}"));
        own.collect()
    };
    f(&Loader {
        environments: "env".to_owned(),
        rule_sets: "waf".to_owned(),
        shipped: false,
        read: &read,
        list: &list,
    })
}

/// What `copy` beside `staging` is told, from each side and by `validate` of all.
#[test]
fn an_environment_is_held_against_its_neighbours() {
    let base = fs::read_to_string(golden::folder().join("problems/base.toml")).unwrap();
    let staging = "extends = \"base\"\nname = \"staging\"\nnetwork.cidr = \"10.1.0.0/16\"\n";
    let cases = [
        ("inherits_name", "extends = \"staging\"\nnetwork.cidr = \"10.2.0.0/16\"\n"),
        ("same_name", "extends = \"base\"\nname = \"staging\"\nnetwork.cidr = \"10.2.0.0/16\"\n"),
        ("same_range", "extends = \"staging\"\nname = \"copy\"\n"),
        ("name_and_range", "extends = \"staging\"\n"),
        // The neighbour's own fault is not told, but what can be read of it counts.
        ("broken", "extends = \"staging\"\nname = \"copy\"\nredis.replicas = 9\nnonsense = 1\n"),
        ("fine", "extends = \"staging\"\nname = \"copy\"\nnetwork.cidr = \"10.2.0.0/16\"\nnonsense = 1\n"),
        (
            "other_account",
            "extends = \"base\"\nname = \"staging\"\naccount = \"210987654321\"\nnetwork.cidr = \"10.2.0.0/16\"\n",
        ),
    ];
    let mut told = String::new();
    for (case, copy) in cases {
        let files = [
            ("base.toml", base.clone()),
            ("copy.toml", copy.to_owned()),
            ("staging.toml", staging.to_owned()),
        ];
        with_files(&files, |loader| {
            for name in ["copy", "staging"] {
                let Ok(loaded) = Environment::load(name, loader) else { continue };
                told += &format!("== {case}: {name}\n{}\n", neighbours(loader, &loaded));
            }
            // A file is not its own neighbour, however its path is written.
            let found = |name| neighbours(loader, &Environment::load(name, loader).unwrap()).iter().count();
            let by_name = found("staging");
            assert_eq!(
                [found("./env/staging.toml"), found("/repo/env/staging.toml")],
                [by_name; 2],
                "{case}"
            );
            told += &format!("== {case}: all\n{}\n", load_folder(loader).1);
        });
    }
    golden::check(&golden::folder().join("neighbours.txt"), &told);
}

#[test]
fn shipped_environments_and_trials_elsewhere_have_no_quarrel() {
    let loader = Loader::shipped();
    for name in crate::environment::SHIPPED {
        let found = neighbours(&loader, &crate::environment::shipped(name));
        assert!(found.is_empty(), "{name}: {found}");
    }
    let base = fs::read_to_string(golden::folder().join("problems/base.toml")).unwrap();
    let staging = format!("name = \"staging\"\n{base}");
    let trial = format!("protect = true\n{staging}");
    with_files(&[("staging.toml", staging), ("/else/staging.toml", trial)], |loader| {
        let trial = Environment::load("/else/staging.toml", loader);
        assert!(neighbours(loader, &trial.unwrap()).is_empty());
    });
}

#[test]
fn bytes_that_are_no_text_are_said_with_their_place() {
    for (bytes, said) in [
        (&b"name = \"staging\"\n"[..], Ok("name = \"staging\"\n")),
        (b"a = 1\nb = \"caf\xe9\"\n", Err("line 2, column 9 is not UTF-8 (byte 0xe9)")),
        ("é = \"".as_bytes(), Ok("é = \"")),
        (b"# \xc3\xa9\xff", Err("line 1, column 4 is not UTF-8 (byte 0xff)")),
    ] {
        match (text_of(bytes.to_vec()), said) {
            (Ok(text), Ok(wanted)) => assert_eq!(text, wanted),
            (Err(reason), Err(wanted)) => assert!(reason.starts_with(wanted), "{reason}"),
            (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn a_base_is_told_as_one() {
    let text = Environment::load("base", &Loader::shipped()).unwrap_err().to_string();
    assert!(text.starts_with("error[base]: environments/base.toml is a base"), "{text}");
    assert!(
        text.contains("(dev, production, staging, tenants/acme)") && text.contains("\n1 error"),
        "{text}"
    );
}
