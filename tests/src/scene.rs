//! Environments that tests and bench apply, beside the shipped ones: small overlays, written where the program runs.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::Infra;

/// The shipped environment with everything in it.
pub const STAGING: &str = "staging";
/// How much more a large environment has: the number that the bound of its plan was set for.
pub const MORE_SERVICES: usize = 50;

/// `staging` with so many further services, each with a route of its own.
pub fn with_more_services(infra: &Infra, number: usize) -> Result<PathBuf> {
    let mut text = String::from("extends = \"staging\"\nname = \"staging\"\n");
    for n in 0..number {
        let _ = write!(
            text,
            "\n[services.extra-{n:02}]\nimage = {{ repository = \"app\", tag = \"1\" }}\ncpu = 256\nmemory_mb = 512\nport = 8080\ncount = {{ min = 1, max = 2 }}\n"
        );
    }
    infra.file("staging-large.toml", &text)
}

pub fn destroy_arguments(environment: &str) -> Vec<String> {
    ["destroy", "--environment", environment, "--yes"].map(str::to_owned).to_vec()
}
