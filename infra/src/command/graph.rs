//! `infra graph`: what depends on what, as a drawing in text or as data.

use infra_model::render;
use serde_json::json;

use super::{Exit, Session};
use crate::cli::Format;

pub(super) fn run(session: &Session<'_>) -> anyhow::Result<Exit> {
    let graph = session.graph()?;
    match session.output.format {
        Format::Json => session.output.json(&json!(graph)),
        Format::Dot => session.output.text(&render::dot(&graph)),
        Format::Text | Format::Mermaid => session.output.text(&render::mermaid(&graph)),
    }
    Ok(Exit::Done)
}
