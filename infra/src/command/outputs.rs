//! `infra outputs`: the values worth knowing of what stands.

use std::collections::BTreeMap;

use infra_engine::account::Account as _;
use infra_model::address::Address;
use infra_model::graph::Graph;
use infra_model::kinds::KindId;
use infra_model::snapshot::Observed;
use infra_model::value;
use serde_json::{Value, json};

use super::{Exit, Session};

pub(super) type Resolved = BTreeMap<String, Value>;

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<Exit> {
    let graph = session.graph()?;
    let (aws, _) = session.account(&graph).await?;
    let snapshot = aws.discover(&graph.scope, KindId::ALL).await?;
    let outputs = resolve(&graph, &|address| snapshot.at(address).next());
    if session.output.is_json() {
        session.output.json(&json!(outputs));
    } else {
        session.output.text(&text(&outputs));
    }
    Ok(Exit::Done)
}

/// The outputs with their references filled in; `null` where nothing stands yet.
pub(super) fn resolve<'a>(graph: &Graph, at: &dyn Fn(&Address) -> Option<&'a Observed>) -> Resolved {
    let one = |(name, value): (&String, &Value)| {
        let (resolved, unknown) = value::resolve(value, &|reference| {
            let object = at(&reference.address)?;
            match &reference.attribute {
                None => Some(object.id.clone()),
                Some(attribute) => object.attributes.get(attribute).cloned(),
            }
        });
        (name.clone(), if unknown.is_empty() { resolved } else { Value::Null })
    };
    graph.outputs.iter().map(one).collect()
}

pub(super) fn text(outputs: &Resolved) -> String {
    let width = outputs.keys().map(String::len).max().unwrap_or_default();
    let line = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name:width$}  {text}\n"),
        Value::Null => format!("{name:width$}  (does not stand yet)\n"),
        other => format!("{name:width$}  {other}\n"),
    };
    outputs.iter().map(line).collect()
}
