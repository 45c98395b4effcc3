//! Which crate may depend on which, read from the manifests; and that the pure ones stay pure.

use crate::Problem;
use crate::files::File;

/// A crate: its folder, name, and the names of what it depends on.
pub struct Manifest {
    pub folder: String,
    pub name: String,
    pub dependencies: Vec<String>,
    pub dev_dependencies: Vec<String>,
    lints: bool,
}

/// Folders whose crates hold data and decisions only.
pub const PURE: [&str; 4] = ["infra/model", "infra/guardrail", "ws-gateway/protocol", "app-core/domain"];

/// Crates of this workspace that each may use, by folder (docs/architecture.md). What is not listed may use none.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("infra", &["infra/engine", "infra/model", "infra/guardrail"]),
    ("infra/engine", &["infra/model"]),
    ("infra/guardrail", &["infra/model"]),
    ("infra/model", &[]),
    ("ws-gateway", &["ws-gateway/bus", "ws-gateway/protocol"]),
    ("ws-gateway/bus", &["ws-gateway/protocol"]),
    ("ws-gateway/protocol", &[]),
    // The devices for its tests only.
    (
        "app-core",
        &["app-core/domain", "app-core/devices", "ws-gateway", "ws-gateway/bus", "ws-gateway/protocol"],
    ),
    ("app-core/domain", &[]),
    ("app-core/devices", &["app-core/domain", "ws-gateway/protocol"]),
    ("tests", &["app-core/domain", "app-core/devices", "ws-gateway/protocol", "ws-gateway/bus"]),
];

/// What a crate's own tests and benches may use besides.
const TESTS_MAY_USE: [(&str, &[&str]); 1] = [("app-core", &["app-core/devices"])];

/// What a pure crate may not link, by the start of its name: clocks, sockets, files, stores.
const IMPURE_CRATES: [&str; 10] =
    ["tokio", "aws-", "fred", "redis", "sqlx", "reqwest", "hyper", "axum", "async-std", "cedar-policy"];

/// What a pure source may not say.
const IMPURE_WORDS: [&str; 9] =
    ["tokio", "aws_sdk", "fred::", "redis::", "sqlx", "std::env::", "std::fs", "SystemTime", "Instant::now"];

/// Modules of shell crates that are pure by design (docs/architecture.md, "PURE").
const PURE_MODULES: [&str; 9] = [
    "app-core/src/decide",
    "app-core/src/facts.rs",
    "app-core/src/identity",
    "app-core/src/ids.rs",
    "app-core/src/publish.rs",
    "ws-gateway/src/auth.rs",
    "ws-gateway/src/session.rs",
    "ws-gateway/src/session/",
    "ws-gateway/src/outbox.rs",
];

pub fn manifests(files: &[File]) -> Vec<Manifest> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.name.ends_with("/Cargo.toml")) {
        let table: toml::Table = file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.name));
        let names = |key: &str| {
            let table = table.get(key).and_then(toml::Value::as_table);
            table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
        };
        let text = |outer: &str, inner: &str| table.get(outer).and_then(|value| value.get(inner)).cloned();
        let Some(name) = text("package", "name").and_then(|name| name.as_str().map(str::to_owned)) else {
            continue;
        };
        found.push(Manifest {
            folder: file.name.trim_end_matches("/Cargo.toml").to_owned(),
            name,
            dependencies: names("dependencies"),
            dev_dependencies: names("dev-dependencies"),
            lints: text("lints", "workspace").and_then(|value| value.as_bool()) == Some(true),
        });
    }
    found
}

pub fn directions(manifests: &[Manifest]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in manifests {
        let place = format!("{}/Cargo.toml", manifest.folder);
        // A fuzz target is a workspace of its own and follows its own crate.
        if manifest.folder.ends_with("/fuzz") {
            continue;
        }
        if !manifest.lints {
            problems.push(Problem::new(&place, "lacks `[lints] workspace = true`"));
        }
        let allowed = |table: &[(&str, &'static [&'static str])]| {
            let found = table.iter().find(|(folder, _)| *folder == manifest.folder);
            found.map_or(&[][..], |(_, allowed)| allowed)
        };
        let in_tests = manifest.dev_dependencies.iter().map(|dependency| (dependency, true));
        let everywhere = manifest.dependencies.iter().map(|dependency| (dependency, false));
        for (dependency, in_tests) in everywhere.chain(in_tests) {
            let Some(other) = manifests.iter().find(|other| other.name == *dependency) else { continue };
            let folder = other.folder.as_str();
            if !allowed(&MAY_USE).contains(&folder)
                && !(in_tests && allowed(&TESTS_MAY_USE).contains(&folder))
            {
                let what =
                    format!("{} may not depend on {} (docs/architecture.md)", manifest.name, other.name);
                problems.push(Problem::new(&place, what));
            }
        }
    }
    problems
}

pub fn purity(manifests: &[Manifest], files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in manifests.iter().filter(|manifest| PURE.contains(&manifest.folder.as_str())) {
        for dependency in &manifest.dependencies {
            let guardrail = manifest.folder == "infra/guardrail" && dependency.starts_with("cedar-policy");
            let domain = manifest.folder == "app-core/domain" && dependency.starts_with("cedar-policy");
            if IMPURE_CRATES.iter().any(|impure| dependency.starts_with(impure)) && !guardrail && !domain {
                let what = format!("{} is pure and may not depend on {dependency}", manifest.name);
                problems.push(Problem::new(format!("{}/Cargo.toml", manifest.folder), what));
            }
        }
    }
    for file in files.iter().filter(|file| file.is("rs") && pure_source(&file.name)) {
        for (number, line) in code(&file.text) {
            for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                let what = format!("`{word}` in a pure source: let it come in as a value");
                problems.push(Problem::new(format!("{}:{number}", file.name), what));
            }
        }
    }
    problems
}

fn pure_source(name: &str) -> bool {
    PURE.iter().any(|folder| name.starts_with(&format!("{folder}/src/")))
        || PURE_MODULES.iter().any(|module| name.starts_with(module))
}

/// Lines with their numbers, without comments and up to the tests: a test may read its goldens.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    numbered
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number, line.split("//").next().unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.into(), text: text.into() }
    }

    #[test]
    fn an_upward_dependency_and_a_clock_in_a_pure_crate_are_found() {
        let lints = "[lints]\nworkspace = true\n";
        let files = [
            file(
                "infra/model/Cargo.toml",
                &format!(
                    "[package]\nname = \"infra-model\"\n[dependencies]\ninfra = \"1\"\ntokio = \"1\"\n{lints}"
                ),
            ),
            file("infra/Cargo.toml", &format!("[package]\nname = \"infra\"\n{lints}")),
            file(
                "infra/model/src/lib.rs",
                "//! Instant::now is only named here.\nlet now = Instant::now();\n#[cfg(test)]\nuse std::fs;\n",
            ),
        ];
        let manifests = manifests(&files);
        assert_eq!(directions(&manifests).len(), 1);
        let found: Vec<_> = purity(&manifests, &files).into_iter().map(|problem| problem.place).collect();
        assert_eq!(found, ["infra/model/Cargo.toml", "infra/model/src/lib.rs:2"]);
    }
}
