//! `infra apply`: shows the plan, asks, carries it out. With `--plan`, exactly what was reviewed or nothing.

use std::path::Path;

use anyhow::Context as _;
use infra_model::plan::{Options, PLAN_VERSION, Plan};

use super::plan::Stored;
use super::reconcile::{Question, Work};
use super::{Exit, Session, reconcile};
use crate::cli::Apply;

pub(super) async fn run(session: &Session<'_>, arguments: &Apply) -> anyhow::Result<Exit> {
    let mut allow_delete: std::collections::BTreeSet<_> = arguments.allow_delete.iter().cloned().collect();
    let (graph, only, reviewed): (_, _, Option<Plan>) = match &arguments.plan {
        None => (session.graph()?, arguments.only.clone(), None),
        Some(file) => {
            let stored = read(file)?;
            if let Some(refusal) = another(session, &stored, file)? {
                session.output.refused(&refusal);
                return Ok(Exit::Refused);
            }
            allow_delete.extend(stored.allow_delete);
            (stored.graph, stored.only, Some(stored.plan))
        }
    };
    if let Some(address) = only.as_ref().filter(|address| !graph.resources.contains_key(address)) {
        anyhow::bail!("{}", reconcile::unknown_address(&graph, address));
    }
    let question = Question { yes: arguments.yes || reviewed.is_some(), typed: None };
    let work = Work {
        target: &graph,
        environment: &graph,
        options: Options { only, allow_delete, allow_all: false },
        reviewed,
        question,
        lease: &arguments.lease,
    };
    reconcile::run(session, work).await
}

/// A plan is of one environment. One that is named beside it, and is another, is a slip that would change the wrong one.
fn another(session: &Session<'_>, stored: &Stored, file: &Path) -> anyhow::Result<Option<String>> {
    if session.cli.global.environment.is_none() {
        return Ok(None);
    }
    let (named, of) = (session.graph()?.scope, &stored.graph.scope);
    let same = (&named.project, &named.environment, &named.account, &named.region)
        == (&of.project, &of.environment, &of.account, &of.region);
    Ok((!same).then(|| {
        format!(
            "{} is a plan of {}-{} in {}, not of {}-{} in {}; nothing was changed",
            file.display(),
            of.project,
            of.environment,
            of.account,
            named.project,
            named.environment,
            named.account
        )
    }))
}

fn read(file: &Path) -> anyhow::Result<Stored> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let stored: Stored = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a plan that `infra plan --out` wrote", file.display()))?;
    if stored.plan.version != PLAN_VERSION {
        anyhow::bail!(
            "{} has version {}, this program reads {PLAN_VERSION}; plan again",
            file.display(),
            stored.plan.version
        );
    }
    Ok(stored)
}
