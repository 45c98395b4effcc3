//! `infra schema`: the JSON Schema of environment files, for editors.

use super::{Exit, Session};

pub(super) fn run(session: &Session<'_>) -> anyhow::Result<Exit> {
    session.output.json(&infra_model::environment::schema());
    Ok(Exit::Done)
}
