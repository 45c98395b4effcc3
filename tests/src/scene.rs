//! What tests, demo and bench do with the shipped environment, and the small overlays they apply beside it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::Infra;

/// The shipped environment with everything in it.
pub const STAGING: &str = "staging";
/// How much more a large environment has: the number that the bound of its plan was set for.
pub const MORE_SERVICES: usize = 50;
/// What holds data: a destroy takes it only when it is named, and leaves a snapshot.
pub const STORES: [&str; 2] = ["data/postgres", "data/redis"];

/// `staging` with so many further services; none has a route.
pub fn with_more_services(infra: &Infra, number: usize) -> Result<PathBuf> {
    let mut text = String::from("extends = \"staging\"\nname = \"staging\"\n");
    for n in 0..number {
        let _ = write!(
            text,
            r#"
[services.extra-{n:02}]
image = {{ owner = "ci", initial = "app-core:initial" }}
command = ["work"]
arch = "arm64"
cpu = 256
memory_mib = 512
count = 1
port = 9000
"#
        );
    }
    infra.file("staging-large.toml", &text)
}

pub fn destroy_arguments(environment: &str) -> Vec<String> {
    ["destroy", "--environment", environment, "--yes", "--allow-delete-all"].map(str::to_owned).to_vec()
}
