//! `infra snapshot`: what the account holds of the environment, as a file for plans and reports without an account.

use anyhow::Context as _;
use infra_engine::account::Account as _;
use infra_model::kinds::KindId;

use super::{Exit, Session};
use crate::cli::Snapshot;

pub(super) async fn run(session: &Session<'_>, arguments: &Snapshot) -> anyhow::Result<Exit> {
    let graph = session.graph()?;
    let (aws, _) = session.account(&graph).await?;
    let snapshot = aws.discover(&graph.scope, KindId::ALL).await?;
    let text = serde_json::to_string_pretty(&snapshot)? + "\n";
    match &arguments.out {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?
        }
        None => session.output.text(&text),
    }
    for (kind, reason) in &snapshot.incomplete {
        session.output.note(&format!("incomplete: {kind}: {reason}"));
    }
    Ok(if snapshot.incomplete.is_empty() { Exit::Done } else { Exit::Failed })
}
