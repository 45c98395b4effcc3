//! `infra graph`: what depends on what, as a drawing in text or as data.

use infra_model::render;
use serde_json::json;

use super::{Exit, Session};
use crate::cli::{Drawing, Graph};

pub(super) fn run(session: &Session<'_>, arguments: &Graph) -> anyhow::Result<Exit> {
    let graph = session.graph()?;
    if session.output.is_json() {
        session.output.json(&json!(graph));
        return Ok(Exit::Done);
    }
    session.output.text(&match arguments.drawing {
        Drawing::Mermaid => render::mermaid(&graph),
        Drawing::Dot => render::dot(&graph),
    });
    Ok(Exit::Done)
}
