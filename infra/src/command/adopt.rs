//! `infra adopt ADDRESS ID`: an object that exists becomes the environment's by its tags; the next plan shows what differs.

use anyhow::Context as _;
use infra_engine::account::Account;
use infra_model::address::Address;
use infra_model::graph::{TAG_ADDRESS, TAG_ENVIRONMENT, TAG_PROJECT};
use infra_model::kinds::KindId;
use infra_model::snapshot::Observed;
use serde_json::json;

use super::{Exit, Session, reconcile};
use crate::cli::Adopt;

pub(super) async fn run(session: &Session<'_>, arguments: &Adopt) -> anyhow::Result<Exit> {
    let (address, id) = (&arguments.address, &arguments.id);
    let graph = session.graph()?;
    let wanted = graph.resources.get(address).with_context(|| reconcile::unknown_address(&graph, address))?;
    let kind = wanted.kind;
    let (aws, _) = session.account(&graph).await?;
    let snapshot = aws.discover(&graph.scope, KindId::ALL).await?;
    if let Some(there) = snapshot.at(address).next() {
        if &there.id == id {
            session.output.note(&format!("{id} is at {address} already"));
            answer(session, address, there, false);
            return Ok(Exit::Done);
        }
        session
            .output
            .refused(&format!("{} is at {address}; `infra forget {}` lets it go first", there.id, there.id));
        return Ok(Exit::Refused);
    }
    let object = aws.inspect(kind, id).await?;
    let object = object
        .with_context(|| format!("there is no {} {id} in {}", kind.spec().title, graph.scope.region))?;
    if let Some(owner) = object.tags.get(TAG_ADDRESS) {
        let tag = |key: &str| object.tags.get(key).map_or("", String::as_str);
        session.output.refused(&format!(
            "{id} is {owner} of {}-{}; `infra forget` there lets it go first",
            tag(TAG_PROJECT),
            tag(TAG_ENVIRONMENT)
        ));
        return Ok(Exit::Refused);
    }
    let tags = graph.tags_of(address, wanted);
    reconcile::retag(&aws, address.clone(), object.clone(), tags, Vec::new()).await?;
    session.output.note(&format!("{id} is now {address}; `infra plan` shows what differs"));
    answer(session, address, &object, true);
    Ok(Exit::Done)
}

/// With `--format json`: whose tags were changed. `infra forget` answers alike.
pub(super) fn answer(session: &Session<'_>, address: &Address, object: &Observed, changed: bool) {
    if session.output.is_json() {
        let (id, kind) = (&object.id, object.kind);
        session.output.json(&json!({ "address": address, "kind": kind, "id": id, "changed": changed }));
    }
}
