//! Where a library may be named, and what every kind of resource must have beside it.

use std::collections::BTreeSet;

use crate::Problem;
use crate::crates::code;
use crate::files::File;

/// A word of code, the crates it concerns, and the places where it may stand. One place each keeps a library replaceable.
const BELONGS: [(&str, &str, &[&str]); 6] = [
    ("aws_sdk_", "infra/", &["infra/src/aws/", "infra/src/aws.rs"]),
    ("aws_config", "infra/", &["infra/src/aws/", "infra/src/aws.rs"]),
    (
        "axum::",
        "",
        &[
            "transport",
            "api",
            "server",
            "health",
            "main.rs",
            "webhook",
            "console",
            "demo",
            "tests/",
            "examples/",
            "benches/",
        ],
    ),
    ("sqlx::", "app-core/", &["app-core/src/store", "app-core/tests/it/store/"]),
    ("fred::", "", &["ws-gateway/bus/src/redis", "ws-gateway/bus/tests/"]),
    ("redis::", "", &["ws-gateway/bus/src/", "ws-gateway/bus/tests/", "tests/src/"]),
];

pub fn layering(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is("rs") && !file.name.starts_with("tests/tidy/")) {
        for (word, concerns, places) in BELONGS {
            if !file.name.starts_with(concerns) || places.iter().any(|place| file.name.contains(place)) {
                continue;
            }
            for (number, line) in code(&file.text).filter(|(_, line)| names(line, word)) {
                let what = format!("`{word}` belongs in {places:?}: {}", line.trim());
                problems.push(Problem::new(format!("{}:{number}", file.name), what));
            }
        }
    }
    problems
}

/// The word as a path of its own: `crate::redis::` and `self::redis::` are modules of ours.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Every kind of the registry has a model file and an AWS file of the same name.
pub fn kinds(files: &[File]) -> Vec<Problem> {
    let stems = |folder: &str| -> BTreeSet<String> {
        // What lies deeper belongs to the kind of its folder.
        let kinds = files.iter().filter(|file| file.is("rs") && file.folder() == folder);
        // mod.rs is the registry; spec and tests are about all kinds.
        kinds
            .map(|file| file.stem().to_owned())
            .filter(|stem| !["mod", "spec", "tests"].contains(&stem.as_str()))
            .collect()
    };
    let (model, aws) = (stems("infra/model/src/kinds"), stems("infra/src/aws/kinds"));
    let mut problems = Vec::new();
    for kind in model.difference(&aws) {
        let place = format!("infra/model/src/kinds/{kind}.rs");
        problems.push(Problem::new(place, format!("has no infra/src/aws/kinds/{kind}.rs")));
    }
    for kind in aws.difference(&model).filter(|kind| !shared(kind, files)) {
        let place = format!("infra/src/aws/kinds/{kind}.rs");
        problems.push(Problem::new(place, format!("has no infra/model/src/kinds/{kind}.rs")));
    }
    problems
}

/// A file of the AWS side that several kinds use says so in its header.
fn shared(stem: &str, files: &[File]) -> bool {
    let name = format!("infra/src/aws/kinds/{stem}.rs");
    files.iter().any(|file| file.name == name && file.text.lines().take(4).any(|line| line.contains("hare")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.into(), text: text.into() }
    }

    #[test]
    fn a_library_out_of_place_and_a_kind_without_its_file_are_found() {
        let files = [
            file("infra/src/plan.rs", "use aws_sdk_ec2::Client;"),
            file("infra/src/aws/call.rs", "use aws_sdk_ec2::Client;"),
            file("ws-gateway/src/hub.rs", "use crate::redis::Bus; // redis::Client is elsewhere"),
            file("infra/model/src/kinds/vpc.rs", ""),
        ];
        assert_eq!(layering(&files).len(), 1);
        assert_eq!(kinds(&files).len(), 1);
    }
}
