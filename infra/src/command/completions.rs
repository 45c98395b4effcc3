//! `infra completions`: a script that completes verbs and options in a shell.

use clap::CommandFactory;

use super::{Exit, Session};
use crate::cli::{Cli, Completions};

pub(super) fn run(session: &Session<'_>, arguments: &Completions) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "infra", &mut script);
    session.output.text(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
