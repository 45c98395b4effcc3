//! `infra forget`: takes our tags off an object. It stays as it is, and is nobody's.

use std::collections::BTreeMap;

use infra_engine::account::Account as _;
use infra_model::graph::TAG_PREFIX;
use infra_model::kinds::KindId;

use super::{Exit, Session, reconcile};
use crate::cli::Forget;

pub(super) async fn run(session: &Session<'_>, arguments: &Forget) -> anyhow::Result<Exit> {
    let wanted = &arguments.address_or_id;
    let graph = session.graph()?;
    let (aws, _) = session.account(&graph).await?;
    let snapshot = aws.discover(&graph.scope, KindId::ALL).await?;
    let named = |object: &&infra_model::snapshot::Observed| {
        &object.id == wanted || object.address.as_ref().is_some_and(|address| address.as_str() == wanted)
    };
    let found: Vec<_> = snapshot.resources.iter().filter(named).cloned().collect();
    let [object] = found.as_slice() else {
        if found.is_empty() {
            anyhow::bail!("{}-{} has nothing called {wanted}", graph.scope.project, graph.scope.environment);
        }
        let ids: Vec<_> = found.iter().map(|object| object.id.as_str()).collect();
        session.output.refused(&format!("{wanted} means {}; name one by its id", ids.join(" and ")));
        return Ok(Exit::Refused);
    };
    let Some(address) = object.address.clone() else { anyhow::bail!("{wanted} has no address") };
    if object.kind == KindId::TaskDefinition {
        // Its family is the environment's by name; a revision without tags would be read as the same one.
        session.output.refused(&format!(
            "a task definition belongs to the service of its name; `infra forget` takes the service, \
             and a revision that nobody runs is deregistered by the next apply ({address})"
        ));
        return Ok(Exit::Refused);
    }
    let (ours, others): (Vec<_>, Vec<_>) =
        object.tags.iter().partition(|(key, _)| key.starts_with(TAG_PREFIX));
    let remove = ours.into_iter().map(|(key, _)| key.clone()).collect();
    let mut keep: BTreeMap<String, String> =
        others.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if keep.is_empty() && object.kind == KindId::DnsZone {
        // A zone without any tag counts as one whose creation was cut off before it was tagged.
        keep.insert("Name".to_owned(), address.to_string());
    }
    reconcile::retag(&aws, address.clone(), object.clone(), keep, remove).await?;
    session.output.note(&format!("{} stays, but is no longer {address}", object.id));
    super::adopt::answer(session, &address, object, true);
    Ok(Exit::Done)
}
