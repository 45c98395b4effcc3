//! `infra plan`: what an apply would change, from the account or from a snapshot file.

use std::path::Path;

use anyhow::Context as _;
use infra_engine::account::Account as _;
use infra_model::graph::Graph;
use infra_model::kinds::KindId;
use infra_model::operations::{critical_path, operations};
use infra_model::plan::{self as model, Options};
use infra_model::render;
use infra_model::snapshot::{SNAPSHOT_VERSION, Snapshot};
use serde::{Deserialize, Serialize};

use super::{Exit, Session};
use crate::cli::Plan;

/// A stored plan: what was reviewed, and the wanted resources it was made from, so that no file is needed to apply it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub plan: model::Plan,
    pub graph: Graph,
    pub only: Option<infra_model::address::Address>,
    pub allow_delete: std::collections::BTreeSet<infra_model::address::Address>,
}

pub(super) async fn run(session: &Session<'_>, arguments: &Plan) -> anyhow::Result<Exit> {
    let graph = session.graph()?;
    if let Some(address) =
        arguments.only.iter().chain(&arguments.explain).find(|a| !graph.resources.contains_key(a))
    {
        anyhow::bail!("{}", super::reconcile::unknown_address(&graph, address));
    }
    let snapshot = match &arguments.snapshot {
        Some(file) => read_snapshot(file, &graph)?,
        None => {
            let (aws, _) = session.account(&graph).await?;
            let snapshot = aws.discover(&graph.scope, KindId::ALL).await?;
            super::reconcile::tell_calls(session, &aws);
            snapshot
        }
    };
    if let Some(address) = &arguments.explain {
        if session.output.is_json() {
            session.output.json(&render::explain_json(address, &graph, &snapshot));
            return Ok(Exit::Done);
        }
        let text = render::explain(address, &graph, Some(&snapshot), session.output.style());
        session.output.text(&text.unwrap_or_default());
        return Ok(Exit::Done);
    }
    let allow_delete = arguments.allow_delete.iter().cloned().collect();
    let options = Options { only: arguments.only.clone(), allow_delete, allow_all: false };
    let plan = model::plan(&graph, &snapshot, &options);
    show(session, &plan, &graph, &snapshot)?;
    let exit = exit(&plan);
    if let Some(file) = &arguments.out {
        let Options { only, allow_delete, .. } = options;
        let stored = serde_json::to_string_pretty(&Stored { plan, graph, only, allow_delete })?;
        std::fs::write(file, stored).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(exit)
}

/// Prints a plan in the wanted format.
pub(super) fn show(
    session: &Session<'_>,
    plan: &model::Plan,
    graph: &Graph,
    snapshot: &Snapshot,
) -> anyhow::Result<()> {
    // A plan without an order is refused; its steps are shown all the same.
    let nodes = operations(plan, graph, snapshot).unwrap_or_default();
    let (expected_s, path) = critical_path(&nodes);
    if session.output.is_json() {
        session.output.json(&render::plan_json(plan, expected_s, &path));
    } else {
        session.output.text(&render::plan_text(plan, expected_s, &path, session.output.style()));
    }
    Ok(())
}

pub(super) fn exit(plan: &model::Plan) -> Exit {
    use model::Problem::{Duplicate, Graph, Guarded, Incomplete, Missing, NoOrder};
    let at_fault =
        |problem: &model::Problem| matches!(problem, Incomplete { .. } | Graph { .. } | Missing { .. });
    let refused =
        |problem: &model::Problem| matches!(problem, Guarded { .. } | Duplicate { .. } | NoOrder { .. });
    if plan.problems.iter().any(at_fault) {
        Exit::Failed
    } else if plan.problems.iter().any(refused) {
        Exit::Refused
    } else if plan.steps.is_empty() {
        Exit::Done
    } else {
        Exit::Changes
    }
}

fn read_snapshot(file: &Path, graph: &Graph) -> anyhow::Result<Snapshot> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let snapshot: Snapshot = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a snapshot that `infra snapshot` wrote", file.display()))?;
    if snapshot.version != SNAPSHOT_VERSION {
        anyhow::bail!(
            "{} has version {}, this program reads {SNAPSHOT_VERSION}; take it again",
            file.display(),
            snapshot.version
        );
    }
    let (there, wanted) = (&snapshot.scope, &graph.scope);
    if (&there.project, &there.environment, &there.account)
        != (&wanted.project, &wanted.environment, &wanted.account)
    {
        anyhow::bail!(
            "{} is of {}-{} in account {}, not of {}-{} in {}",
            file.display(),
            there.project,
            there.environment,
            there.account,
            wanted.project,
            wanted.environment,
            wanted.account
        );
    }
    Ok(snapshot)
}
