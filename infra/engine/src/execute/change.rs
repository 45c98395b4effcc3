//! The changing calls of an execution, and what is done about each class of error. A creation whose answer was lost is
//! looked for before it is tried again: an object made twice would be ours for ever.

use std::time::Duration;

use infra_model::address::Address;
use infra_model::graph::{TAG_PROJECT, TAG_REPLACES};
use infra_model::kinds::{Change, KindId, Wait};
use infra_model::operations::{Node, without};
use infra_model::snapshot::{Observed, State};
use infra_model::value::{self, Fields, Reference};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Execution;
use crate::account::{CallError, Class, Made, Operation, Verb};

/// How long a change is tried while AWS says "not yet" or "in use". Interfaces of a load balancer take up to ten
/// minutes to go; nothing that ends well takes longer than this.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often an unclear end (lost answer, failure of the service) of one change is looked into.
const UNCLEAR_MAX: u32 = 8;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Growing pauses until a deadline, or until the execution is to stop.
pub(super) struct Pauses {
    next: Duration,
    deadline: Instant,
    stop: watch::Receiver<bool>,
}

impl Pauses {
    /// Waits; `false` when the deadline has passed, [`Class::Interrupted`] when nothing more is to be waited for.
    pub(super) async fn pause(&mut self) -> Result<bool, CallError> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            Ok(_) = stop.wait_for(|stop| *stop) => {
                Err(CallError::new("infra", "wait", Class::Interrupted, "interrupted while it waited".to_owned()))
            }
            again = self.pause_in_any_case() => Ok(again),
        }
    }

    /// Waits also when the execution is to stop: for what must be known before it ends.
    async fn pause_in_any_case(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        let pause = self.next.min(self.deadline - now);
        self.next = (self.next * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
        true
    }
}

impl Execution<'_> {
    pub(super) fn pauses(&self, patience: Duration) -> Pauses {
        Pauses { next: PAUSE_FIRST, deadline: Instant::now() + patience, stop: self.settings.stop.clone() }
    }

    pub(super) async fn create(&self, node: &Node) -> Result<(), CallError> {
        let operation = self.wanted_operation(node, Verb::Create).await?;
        let mut unclear = 0;
        let mut patience = self.pauses(PATIENCE);
        let mut visibility = self.pauses(self.settings.lag + Duration::from_secs(60));
        loop {
            let error = match self.account.perform(&operation).await {
                Ok(made) => {
                    self.put(&node.address, created(&operation, made));
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.class {
                Class::Exists => {
                    // Ours from a lost answer or an earlier run, or somebody else's: the tags tell.
                    if let Some(object) = self.find(node, self.settings.lag).await? {
                        return self.take(node, object).await;
                    }
                    return Err(CallError {
                        class: Class::Fatal,
                        message: format!(
                            "the name is taken by an object without our tags ({}); `infra adopt {} {}` takes it over",
                            error.message,
                            node.address,
                            id_of(node.kind, &operation.fields)
                        ),
                        ..error
                    });
                }
                Class::Lost | Class::Service => {
                    unclear += 1;
                    let spec = node.kind.spec();
                    // Where AWS recognises a repetition one look is enough; elsewhere absence must outlast the lag.
                    let repeatable = spec.token || !spec.unique.is_empty();
                    let lag = if repeatable { Duration::ZERO } else { self.settings.lag };
                    self.waiting(node, "looking whether it was made, as the answer was lost");
                    if let Some(object) = self.find(node, lag).await? {
                        return self.take(node, object).await;
                    }
                    if unclear > UNCLEAR_MAX {
                        return Err(error);
                    }
                }
                Class::Throttled | Class::InUse => {
                    self.waiting(node, error.to_string());
                    if !patience.pause().await? {
                        return Err(error);
                    }
                }
                // What it names was made a moment ago.
                Class::NotYet | Class::Gone => {
                    if !visibility.pause().await? {
                        return Err(error);
                    }
                }
                Class::Denied
                | Class::Credentials
                | Class::Unreachable
                | Class::Fatal
                | Class::Interrupted => return Err(error),
            }
        }
    }

    /// An object whose creation answered nothing. Where tags come in a second call, that one was not made.
    async fn take(&self, node: &Node, object: Observed) -> Result<(), CallError> {
        let tagged = object.tags.contains_key(TAG_PROJECT);
        self.put(&node.address, object);
        if tagged { Ok(()) } else { self.retag(node, &[]).await }
    }

    pub(super) async fn set(&self, node: &Node, group: &'static str) -> Result<(), CallError> {
        let operation = self.wanted_operation(node, Verb::Set(group)).await?;
        let fields = operation.fields.clone();
        self.change(node, operation).await?;
        if let Some(mut object) = self.object(&node.address) {
            for field in infra_model::plan::group_fields(node.kind.spec(), group) {
                if let Some(value) = fields.get(field.name) {
                    object.fields.insert(field.name.to_owned(), value.clone());
                }
            }
            self.put(&node.address, object);
        }
        Ok(())
    }

    pub(super) async fn retag(&self, node: &Node, remove: &[String]) -> Result<(), CallError> {
        let operation = self.wanted_operation(node, Verb::Tag { remove: remove.to_vec() }).await?;
        self.change(node, operation).await
    }

    /// Empties the released fields of one group of an object that goes.
    pub(super) async fn release(&self, node: &Node, group: &'static str) -> Result<(), CallError> {
        let Some(object) = self.old(&node.address) else { return Ok(()) };
        let mut fields = object.fields.clone();
        for field in infra_model::plan::group_fields(node.kind.spec(), group) {
            fields.insert(field.name.to_owned(), Value::Array(Vec::new()));
        }
        let operation = self.old_operation(node, object, Verb::Set(group), fields);
        match self.change(node, operation).await {
            Err(error) if error.class == Class::Gone => Ok(()),
            answer => answer,
        }
    }

    /// Leaves out of one group of an object that stays what goes before its successor comes.
    pub(super) async fn detach(
        &self,
        node: &Node,
        group: &'static str,
        ids: &[String],
    ) -> Result<(), CallError> {
        let Some(mut object) = self.object(&node.address) else { return Ok(()) };
        let mut fields = object.fields.clone();
        for field in infra_model::plan::group_fields(node.kind.spec(), group) {
            if let Some(value) = fields.get_mut(field.name) {
                *value = without(value, ids);
            }
        }
        if fields == object.fields {
            return Ok(());
        }
        let operation = self.old_operation(node, &object, Verb::Set(group), fields.clone());
        self.change(node, operation).await?;
        object.fields = fields;
        self.put(&node.address, object);
        Ok(())
    }

    pub(super) async fn delete(&self, node: &Node) -> Result<(), CallError> {
        let Some(object) = self.old(&node.address) else { return Ok(()) };
        let operation = self.old_operation(node, object, Verb::Delete, object.fields.clone());
        let mut patience = self.pauses(PATIENCE);
        let mut unclear = 0;
        loop {
            let error = match self.account.perform(&operation).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.class {
                Class::Gone => return Ok(()),
                Class::Lost | Class::Service if unclear < UNCLEAR_MAX => {
                    unclear += 1;
                    patience.pause().await?;
                }
                Class::InUse | Class::Throttled | Class::NotYet => {
                    let blockers = self.account.blockers(node.kind, &object.id).await.ok().flatten();
                    let what = blockers.clone().unwrap_or_else(|| error.message.clone());
                    self.waiting(node, format!("still in use: {what}"));
                    if !patience.pause().await? {
                        return Err(CallError {
                            message: format!("still in use after 15 minutes: {what}"),
                            ..error
                        });
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// A change to an object that is there. Doing it twice is harmless, so an unclear end is a fresh look and another try.
    async fn change(&self, node: &Node, mut operation: Operation) -> Result<(), CallError> {
        let mut patience = self.pauses(PATIENCE);
        let mut visibility = self.pauses(self.settings.lag + Duration::from_secs(60));
        let mut unclear = 0;
        loop {
            let error = match self.account.perform(&operation).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.class {
                Class::Lost | Class::Service | Class::Exists if unclear < UNCLEAR_MAX => {
                    unclear += 1;
                    if let Some(fresh) = self.refreshed(node.kind, operation.id()).await? {
                        operation.observed = Some(fresh);
                    }
                    patience.pause().await?;
                }
                Class::Throttled | Class::InUse => {
                    self.waiting(node, error.to_string());
                    if !patience.pause().await? {
                        return Err(error);
                    }
                }
                Class::NotYet | Class::Gone => {
                    if !visibility.pause().await? {
                        return Err(error);
                    }
                }
                _ => return Err(error),
            }
        }
    }

    async fn refreshed(&self, kind: KindId, id: &str) -> Result<Option<Observed>, CallError> {
        let snapshot = self.account.discover(&self.graph.scope, &[kind]).await?;
        Ok(snapshot.resources.into_iter().find(|object| object.id == id))
    }

    /// Looks for our object at the node's address: at least twice, and for as long as AWS may hide what is there. An
    /// interruption does not shorten it: the next run relies on the answer.
    async fn find(&self, node: &Node, lag: Duration) -> Result<Option<Observed>, CallError> {
        let mut pauses = self.pauses(lag);
        let replaced = self.old(&node.address).map(|object| object.id.as_str());
        loop {
            let snapshot = self.account.discover(&self.graph.scope, &[node.kind]).await?;
            if let Some(reason) = snapshot.incomplete.get(&node.kind) {
                let class = Class::Denied;
                return Err(CallError::new(
                    "infra",
                    "discover",
                    class,
                    format!("cannot look for it: {reason}"),
                ));
            }
            let found = snapshot.resources.into_iter().find(|object| {
                object.address.as_ref() == Some(&node.address)
                    && object.kind == node.kind
                    && object.state != State::Deleting
                    && Some(object.id.as_str()) != replaced
            });
            if found.is_some() || !pauses.pause_in_any_case().await {
                return Ok(found);
            }
        }
    }

    async fn wanted_operation(&self, node: &Node, verb: Verb) -> Result<Operation, CallError> {
        let Some(wanted) = self.graph.resources.get(&node.address) else {
            return Err(internal(format!("{} is not in the graph", node.address)));
        };
        let observed = if verb == Verb::Create { None } else { self.object(&node.address) };
        let needed = match &verb {
            Verb::Create => needed_fields(node.kind, |field| field.at_create),
            Verb::Set(group) => {
                needed_fields(node.kind, |field| matches!(field.change, Change::Live(name) if name == *group))
            }
            _ => Vec::new(),
        };
        let mut fields = self.resolved(node, wanted.fields.clone(), &needed).await?;
        keep_owned(&mut fields, wanted, self.before(&node.address).as_ref());
        let token = self.token(&node.address, &fields, node.kind);
        let mut tags = self.graph.tags_of(&node.address, wanted);
        if verb == Verb::Create
            && self.plan.steps[node.step].create_first
            && let Some(old) = self.old(&node.address)
        {
            tags.insert(TAG_REPLACES.to_owned(), old.id.clone());
        }
        Ok(Operation { address: node.address.clone(), kind: node.kind, verb, fields, observed, tags, token })
    }

    /// The object before this execution: what others own of it is kept when it is replaced.
    fn before(&self, address: &Address) -> Option<Observed> {
        self.old(address).cloned().or_else(|| self.object(address))
    }

    fn old_operation(&self, node: &Node, object: &Observed, verb: Verb, fields: Fields) -> Operation {
        Operation {
            address: node.address.clone(),
            kind: object.kind,
            verb,
            fields,
            tags: object.tags.clone(),
            token: self.token(&node.address, &object.fields, object.kind),
            observed: Some(object.clone()),
        }
    }

    /// Fills in references. Those of the needed fields must be known and usable by now; what an earlier run has left
    /// unsettled is waited for.
    async fn resolved(
        &self,
        node: &Node,
        fields: Fields,
        needed: &[&'static str],
    ) -> Result<Fields, CallError> {
        let whole = Value::Object(fields);
        let references: Vec<Reference> =
            needed.iter().filter_map(|name| whole.get(*name)).flat_map(value::references).collect();
        let slowest_s =
            references.iter().filter_map(|r| self.object(&r.address)).map(|o| o.kind.spec().create_s).max();
        // As long as an object of the slowest kind may take; see `settle`.
        let patience =
            Duration::from_secs(u64::from(slowest_s.unwrap_or(1)) * 4).max(Duration::from_secs(600));
        let mut asked = self.pauses(patience);
        loop {
            let open: Vec<&Reference> =
                references.iter().filter(|reference| !self.usable(reference)).collect();
            let Some(first) = open.first() else {
                let (resolved, _) = value::resolve(&whole, &|reference| self.value_of(reference));
                let Value::Object(resolved) = resolved else {
                    return Err(internal("fields are an object".to_owned()));
                };
                return Ok(resolved);
            };
            let what = format!("{} `{}`", first.address, first.attribute.as_deref().unwrap_or("id"));
            for reference in &open {
                self.ask(&reference.address).await?;
            }
            if open.iter().all(|reference| self.usable(reference)) {
                continue;
            }
            self.waiting(node, format!("needs {what}"));
            if !asked.pause().await? {
                return Err(internal(format!("{what} is still not known after {} s", patience.as_secs())));
            }
        }
    }

    /// Known, and not of an object that must settle before anything may name it.
    fn usable(&self, reference: &Reference) -> bool {
        let Some(object) = self.object(&reference.address) else { return false };
        let spec = object.kind.spec();
        let early = reference.attribute.as_deref().is_some_and(|name| !spec.late_attributes.contains(&name));
        let pending = matches!(object.state, State::Pending(_)) && spec.wait == Wait::BeforeUse && !early;
        !pending && self.value_of(reference).is_some()
    }

    fn value_of(&self, reference: &Reference) -> Option<String> {
        let object = self.object(&reference.address)?;
        match &reference.attribute {
            None => Some(object.id),
            Some(attribute) => object.attributes.get(attribute).cloned(),
        }
    }

    async fn ask(&self, address: &Address) -> Result<(), CallError> {
        let Some(mut object) = self.object(address) else { return Ok(()) };
        if let Some(look) = self.account.look(object.kind, &object.id).await? {
            object.attributes.extend(look.attributes);
            object.state = look.state;
            self.put(address, object);
        }
        Ok(())
    }

    /// The same for every attempt at the same creation, also after `kill -9`; another for another object.
    fn token(&self, address: &Address, fields: &Fields, kind: KindId) -> String {
        let spec = kind.spec();
        let fixed: Fields = spec
            .fields
            .iter()
            .filter(|field| field.change == Change::Fixed)
            .filter_map(|field| Some((field.name.to_owned(), fields.get(field.name)?.clone())))
            .collect();
        let told = format!(
            "{}|{address}|{}",
            self.settings.run,
            infra_model::diff::canonical(&Value::Object(fixed))
        );
        // 32 characters: the shortest limit among the services (ACM).
        Sha256::digest(told).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn needed_fields(kind: KindId, fits: impl Fn(&infra_model::kinds::Field) -> bool) -> Vec<&'static str> {
    kind.spec().fields.iter().filter(|field| fits(field)).map(|field| field.name).collect()
}

/// What somebody else owns keeps the value it has.
fn keep_owned(fields: &mut Fields, wanted: &infra_model::graph::Wanted, before: Option<&Observed>) {
    let Some(before) = before else { return };
    let there = Value::Object(before.fields.clone());
    let mut whole = Value::Object(std::mem::take(fields));
    for path in wanted.owners.keys() {
        let pointer = format!("/{path}");
        if let (Some(value), Some(slot)) = (there.pointer(&pointer), whole.pointer_mut(&pointer)) {
            *slot = value.clone();
        }
    }
    if let Value::Object(kept) = whole {
        *fields = kept;
    }
}

/// The object as its creation leaves it.
fn created(operation: &Operation, made: Made) -> Observed {
    let mut fields = Fields::new();
    for field in operation.kind.spec().fields {
        let value = if field.at_create {
            operation.fields.get(field.name).cloned()
        } else {
            field.default.and_then(|text| serde_json::from_str(text).ok())
        };
        if let Some(value) = value {
            fields.insert(field.name.to_owned(), value);
        }
    }
    Observed {
        kind: operation.kind,
        id: made.id,
        address: Some(operation.address.clone()),
        fields,
        attributes: made.attributes,
        tags: operation.tags.clone(),
        state: State::Ready,
    }
}

fn internal(message: String) -> CallError {
    CallError::new("infra", "execute", Class::Fatal, message)
}

/// The id that an object with these fields has where AWS gives none of its own; `ID` where it does.
fn id_of(kind: KindId, fields: &Fields) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("ID");
    match kind {
        KindId::DnsRecord => format!("{}/{}/{}", text("zone"), text("name"), text("record_type")),
        named if named.spec().named => text("name").to_owned(),
        _ => "ID".to_owned(),
    }
}
