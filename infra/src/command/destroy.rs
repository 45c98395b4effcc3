//! `infra destroy`: an apply of nothing, after saying what will be lost.

use std::collections::BTreeSet;

use infra_model::graph::Graph;
use infra_model::plan::Options;

use super::reconcile::{Question, Work};
use super::{Exit, Session, reconcile};
use crate::cli::Destroy;

pub(super) async fn run(session: &Session<'_>, arguments: &Destroy) -> anyhow::Result<Exit> {
    let environment = session.graph()?;
    let nothing = Graph::new(environment.scope.clone());
    let allow_delete: BTreeSet<_> = arguments.allow_delete.iter().cloned().collect();
    let work = Work {
        target: &nothing,
        environment: &environment,
        options: Options { only: None, allow_delete, allow_all: arguments.allow_delete_all },
        reviewed: None,
        question: Question { yes: arguments.yes, typed: Some(environment.scope.environment.clone()) },
        lease: &arguments.lease,
    };
    reconcile::run(session, work).await
}
