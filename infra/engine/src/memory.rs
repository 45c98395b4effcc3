//! An account in memory. It makes objects from the same specs, settles and deletes them slowly, shows changes late,
//! refuses what AWS would refuse, and fails at the call it is told to. It exists because neither AWS nor an emulator can
//! be made to fail at call n.

mod fault;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use infra_model::address::Address;
use infra_model::graph::Scope;
use infra_model::kinds::{Compare, KindId, Wait};
use infra_model::snapshot::{Observed, Snapshot, State};
use infra_model::value::Fields;
use serde_json::Value;
use tokio::time::Instant;

use crate::account::{Account, CallError, Caller, Class, Look, Made, Operation, Parameter, Verb};
use fault::Verdict;
pub use fault::{Effect, Fault};

/// How the account behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// How long a reader may not see a change.
    pub lag: Duration,
    /// Objects settle and go after the expected time of their kind, not at once.
    pub slow: bool,
}

pub struct Memory {
    behaviour: Behaviour,
    inner: Mutex<Inner>,
    faults: fault::Faults,
}

#[derive(Default)]
struct Inner {
    next: u64,
    objects: BTreeMap<String, Object>,
    tokens: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    denied: BTreeMap<KindId, String>,
    /// Changing calls that arrived, in order: `create network/vpc`.
    log: Vec<String>,
    reads: u64,
}

struct Object {
    kind: KindId,
    /// Every state it has had, with the moment; readers see the newest that is older than the lag.
    versions: Vec<(Instant, Option<Version>)>,
    made: Instant,
    /// Set when it is being deleted.
    leaving: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Version {
    fields: Fields,
    tags: BTreeMap<String, String>,
}

impl Object {
    fn now(&self) -> Option<&Version> {
        self.versions.last().and_then(|(_, version)| version.as_ref())
    }

    fn seen(&self, lag: Duration) -> Option<&Version> {
        let now = Instant::now();
        let old_enough = self.versions.iter().rev().find(|(at, _)| *at + lag <= now);
        old_enough.and_then(|(_, version)| version.as_ref())
    }
}

impl Memory {
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, inner: Mutex::default(), faults: fault::Faults::default() }
    }

    /// Arms a fault; calls are counted from now.
    pub fn arm(&self, fault: Fault) {
        self.faults.arm(fault);
    }

    /// Whether the armed fault has struck.
    pub fn struck(&self) -> bool {
        self.faults.struck()
    }

    /// Resolves when a fault of effect `Kill` has struck: the caller is then to be dropped.
    pub async fn killed(&self) {
        self.faults.killed().await;
    }

    pub fn revive(&self) {
        self.faults.revive();
    }

    /// The changing calls so far.
    pub fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Denies reading a kind.
    pub fn deny(&self, kind: KindId) {
        self.lock().denied.insert(kind, format!("no permission to read {kind}"));
    }

    /// Everything that stands, as it is now, whoever owns it.
    pub fn everything(&self) -> Vec<Observed> {
        let inner = self.lock();
        let stands = |(id, object): (&String, &Object)| Some(self.observed(id, object, object.now()?));
        inner.objects.iter().filter(|(_, object)| object.leaving.is_none()).filter_map(stands).collect()
    }

    /// Puts an object there behind the program's back, as old as the hills; answers its id.
    pub fn plant(&self, kind: KindId, fields: Fields, tags: BTreeMap<String, String>) -> String {
        let mut inner = self.lock();
        let id = inner.fresh_id(kind);
        inner.insert(&id, kind, Version { fields, tags });
        id
    }

    /// Changes an object behind the program's back.
    pub fn tamper(&self, id: &str, change: impl FnOnce(&mut Fields, &mut BTreeMap<String, String>)) {
        let mut inner = self.lock();
        let Some(object) = inner.objects.get_mut(id) else { return };
        let Some(mut version) = object.now().cloned() else { return };
        change(&mut version.fields, &mut version.tags);
        object.versions.push((Instant::now(), Some(version)));
    }

    /// Removes an object behind the program's back, whatever refers to it.
    pub fn vanish(&self, id: &str) {
        if let Some(object) = self.lock().objects.get_mut(id) {
            object.versions.push((Instant::now(), None));
            object.leaving = Some(Instant::now() - Duration::from_secs(86_400));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn observed(&self, id: &str, object: &Object, version: &Version) -> Observed {
        let state = self.state(object);
        Observed {
            kind: object.kind,
            id: id.to_owned(),
            address: None,
            fields: version.fields.clone(),
            attributes: attributes(id, object.kind, &version.fields, state == State::Ready),
            tags: version.tags.clone(),
            state,
        }
    }

    fn state(&self, object: &Object) -> State {
        let spec = object.kind.spec();
        let up = object.made + Duration::from_secs(spec.create_s.into());
        if object.leaving.is_some() {
            State::Deleting
        } else if self.behaviour.slow && spec.wait != Wait::No && Instant::now() < up {
            State::Pending("being made".to_owned())
        } else {
            State::Ready
        }
    }

    fn gone(&self, object: &Object) -> bool {
        let slow = self.behaviour.slow && object.kind.spec().wait != Wait::No;
        let takes =
            if slow { Duration::from_secs(object.kind.spec().delete_s.into()) } else { Duration::ZERO };
        object.leaving.is_some_and(|since| since + takes <= Instant::now())
    }

    fn create(&self, operation: &Operation) -> Result<Made, CallError> {
        let mut inner = self.lock();
        let (kind, spec) = (operation.kind, operation.kind.spec());
        if spec.token
            && let Some(id) = inner.tokens.get(&operation.token)
            && inner.objects.get(id).is_some_and(|object| object.leaving.is_none())
        {
            return Ok(Made { id: id.clone(), attributes: attributes(id, kind, &operation.fields, false) });
        }
        for field in spec.fields.iter().filter(|field| field.at_create) {
            if let Some(value) = operation.fields.get(field.name) {
                self.check_references(&inner, value)?;
            }
        }
        let same = |object: &Object| {
            let version = object.versions.iter().rev().find_map(|(_, version)| version.as_ref());
            object.kind == kind
                && !self.gone(object)
                && version.is_some_and(|version| {
                    spec.unique.iter().all(|name| version.fields.get(*name) == operation.fields.get(*name))
                })
        };
        if !spec.unique.is_empty() && inner.objects.values().any(same) {
            return Err(refusal(kind, "Create", Class::Exists, "the name is taken"));
        }
        let mut fields = Fields::new();
        for field in spec.fields {
            let value = if field.at_create {
                operation.fields.get(field.name).cloned()
            } else {
                field.default.and_then(|text| serde_json::from_str(text).ok())
            };
            if let Some(value) = value {
                fields.insert(field.name.to_owned(), value);
            }
        }
        let id = inner.fresh_id(kind);
        inner.insert(&id, kind, Version { fields, tags: operation.tags.clone() });
        inner.tokens.insert(operation.token.clone(), id.clone());
        Ok(Made { attributes: attributes(&id, kind, &operation.fields, false), id })
    }

    fn set(&self, operation: &Operation, group: &str, half: bool) -> Result<(), CallError> {
        let mut inner = self.lock();
        let spec = operation.kind.spec();
        for field in infra_model::plan::group_fields(spec, group) {
            if let Some(value) = operation.fields.get(field.name) {
                self.check_references(&inner, value)?;
            }
        }
        let object = inner.standing(operation)?;
        let Some(mut version) = object.now().cloned() else { return Ok(()) };
        for field in infra_model::plan::group_fields(spec, group) {
            let Some(value) = operation.fields.get(field.name) else { continue };
            let value = match (field.compare, value, half) {
                (Compare::Set, Value::Array(items), true) => Value::Array(items[..items.len() / 2].to_vec()),
                (Compare::Keys, Value::Object(new), _) => {
                    let mut merged = version
                        .fields
                        .get(field.name)
                        .and_then(Value::as_object)
                        .cloned()
                        .unwrap_or_default();
                    merged.extend(new.clone());
                    Value::Object(merged)
                }
                _ => value.clone(),
            };
            version.fields.insert(field.name.to_owned(), value);
        }
        object.versions.push((Instant::now(), Some(version)));
        Ok(())
    }

    fn tag(&self, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let mut inner = self.lock();
        let object = inner.standing(operation)?;
        let Some(mut version) = object.now().cloned() else { return Ok(()) };
        version.tags.extend(operation.tags.clone());
        version.tags.retain(|key, _| !remove.contains(key));
        object.versions.push((Instant::now(), Some(version)));
        Ok(())
    }

    fn delete(&self, operation: &Operation) -> Result<(), CallError> {
        let mut inner = self.lock();
        let id = operation.id().to_owned();
        if inner.objects.get(&id).is_none_or(|object| object.leaving.is_some()) {
            return Ok(());
        }
        if let Some(holder) = self.holder(&inner, operation.kind, &id) {
            return Err(refusal(operation.kind, "Delete", Class::InUse, &format!("{holder} still uses it")));
        }
        if let Some(object) = inner.objects.get_mut(&id) {
            object.leaving = Some(Instant::now());
            object.versions.push((Instant::now(), None));
        }
        Ok(())
    }

    /// What AWS would name when it refuses a deletion.
    fn holder(&self, inner: &Inner, kind: KindId, id: &str) -> Option<String> {
        let arn = format!("{id}:arn");
        inner.objects.iter().find_map(|(other, object)| {
            if other == id || self.gone(object) {
                return None;
            }
            // One that is on its way out still holds what it held.
            let version = object.versions.iter().rev().find_map(|(_, version)| version.as_ref())?;
            let names = version.fields.values().any(|value| holds(value, id) || holds(value, &arn));
            let after = kind.spec().delete_after.contains(&object.kind);
            (names || after && same_tags(inner, id, version)).then(|| other.clone())
        })
    }

    /// AWS does not find what was made a moment ago, or was never made.
    fn check_references(&self, inner: &Inner, value: &Value) -> Result<(), CallError> {
        let mut problem = None;
        infra_model::value::walk(value, &mut |text| {
            let id = text.split(':').next().unwrap_or_default();
            if !id.starts_with("mem-") || problem.is_some() {
                return;
            }
            let visible = self.behaviour.lag / 4;
            match inner.objects.get(id) {
                None => problem = Some(Class::Gone),
                Some(object) if object.leaving.is_some() => problem = Some(Class::Gone),
                Some(object) if object.made + visible > Instant::now() => problem = Some(Class::NotYet),
                Some(_) => {}
            }
        });
        match problem {
            None => Ok(()),
            Some(class) => {
                Err(CallError::new("memory", "Reference", class, "it names an object that is not there"))
            }
        }
    }

    async fn change<T>(
        &self,
        name: String,
        effect: impl Fn(bool) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        // Other changes may run between: without this, virtual time would make every run sequential.
        tokio::time::sleep(Duration::from_millis(60)).await;
        match self.faults.verdict().await {
            Verdict::Proceed => {
                self.lock().log.push(name);
                effect(false)
            }
            Verdict::Refuse(error) => Err(error),
            Verdict::After(error) => {
                self.lock().log.push(name);
                effect(false).and(Err(error))
            }
            Verdict::Half(error) => {
                self.lock().log.push(name);
                effect(true).and(Err(error))
            }
            Verdict::KillAfter { half } => {
                self.lock().log.push(name);
                let _ = effect(half);
                self.faults.kill().await
            }
        }
    }
}

impl Inner {
    fn fresh_id(&mut self, kind: KindId) -> String {
        self.next += 1;
        format!("mem-{}-{}", kind.name(), self.next)
    }

    fn insert(&mut self, id: &str, kind: KindId, version: Version) {
        let made = Instant::now();
        let object = Object { kind, versions: vec![(made, Some(version))], made, leaving: None };
        self.objects.insert(id.to_owned(), object);
    }

    fn standing(&mut self, operation: &Operation) -> Result<&mut Object, CallError> {
        let object = self.objects.get_mut(operation.id()).filter(|object| object.leaving.is_none());
        object.ok_or_else(|| refusal(operation.kind, "Modify", Class::Gone, "there is no such object"))
    }
}

#[async_trait]
impl Account for Memory {
    async fn caller(&self) -> Result<Caller, CallError> {
        self.lock().reads += 1;
        Ok(Caller {
            account: "123456789012".to_owned(),
            arn: "arn:aws:iam::123456789012:user/test".to_owned(),
        })
    }

    async fn discover(&self, scope: &Scope, kinds: &[KindId]) -> Result<Snapshot, CallError> {
        self.faults.alive().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut inner = self.lock();
        inner.reads += kinds.len() as u64;
        let mut snapshot = Snapshot::empty(scope.clone());
        for kind in kinds {
            if let Some(reason) = inner.denied.get(kind) {
                snapshot.incomplete.insert(*kind, reason.clone());
            }
        }
        for (id, object) in &inner.objects {
            let readable = kinds.contains(&object.kind) && !inner.denied.contains_key(&object.kind);
            let Some(version) = object.seen(self.behaviour.lag).filter(|_| readable) else { continue };
            let mut observed = self.observed(id, object, version);
            observed.address = scope.address_of(&observed.tags);
            if observed.address.is_some() {
                snapshot.resources.push(observed);
            }
        }
        snapshot.sort();
        Ok(snapshot)
    }

    async fn perform(&self, operation: &Operation) -> Result<Made, CallError> {
        let name = match &operation.verb {
            Verb::Create => "create",
            Verb::Set(group) => group,
            Verb::Tag { .. } => "tag",
            Verb::Delete => "delete",
        };
        self.change(format!("{name} {}", operation.address), |half| match &operation.verb {
            Verb::Create => self.create(operation),
            Verb::Set(group) => self.set(operation, group, half).map(|()| Made::default()),
            Verb::Tag { remove } => self.tag(operation, remove).map(|()| Made::default()),
            Verb::Delete => self.delete(operation).map(|()| Made::default()),
        })
        .await
    }

    async fn look(&self, kind: KindId, id: &str) -> Result<Option<Look>, CallError> {
        self.faults.alive().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut inner = self.lock();
        inner.reads += 1;
        let Some(object) = inner.objects.get(id).filter(|object| object.kind == kind && !self.gone(object))
        else {
            return Ok(None);
        };
        let state = self.state(object);
        let fields = object.now().map(|version| version.fields.clone()).unwrap_or_default();
        Ok(Some(Look { attributes: attributes(id, kind, &fields, state == State::Ready), state }))
    }

    async fn blockers(&self, kind: KindId, id: &str) -> Result<Option<String>, CallError> {
        Ok(self.holder(&self.lock(), kind, id))
    }

    async fn inspect(&self, kind: KindId, id: &str) -> Result<Option<Observed>, CallError> {
        let inner = self.lock();
        let object = inner.objects.get(id).filter(|object| object.kind == kind && object.leaving.is_none());
        Ok(object.and_then(|object| Some(self.observed(id, object, object.now()?))))
    }

    async fn parameters(&self, path: &str) -> Result<Vec<Parameter>, CallError> {
        self.faults.alive().await;
        let inner = self.lock();
        let within = inner.parameters.iter().filter(|(name, _)| name.starts_with(path));
        Ok(within.map(|(name, value)| Parameter { name: name.clone(), value: value.clone() }).collect())
    }

    async fn put_parameter(&self, parameter: &Parameter, fresh: bool) -> Result<(), CallError> {
        self.change(format!("put {}", parameter.name), |_| {
            let mut inner = self.lock();
            if fresh && inner.parameters.contains_key(&parameter.name) {
                return Err(CallError::new("ssm", "PutParameter", Class::Exists, "it exists"));
            }
            inner.parameters.insert(parameter.name.clone(), parameter.value.clone());
            Ok(())
        })
        .await
    }

    async fn delete_parameter(&self, name: &str) -> Result<(), CallError> {
        self.change(format!("delete {name}"), |_| {
            self.lock().parameters.remove(name);
            Ok(())
        })
        .await
    }
}

/// Every attribute of a kind has the value `<id>:<name>`; those of a family (`validation_name:*`) exist for each domain.
fn attributes(id: &str, kind: KindId, fields: &Fields, ready: bool) -> BTreeMap<String, String> {
    let spec = kind.spec();
    let late = spec.late_attributes.iter().filter(|_| ready);
    let alternatives = fields.get("alternative_names").and_then(Value::as_array);
    let domains = fields.get("domain").into_iter().chain(alternatives.into_iter().flatten());
    let domains: Vec<&str> = domains.filter_map(Value::as_str).collect();
    let mut attributes = BTreeMap::new();
    for name in spec.attributes.iter().chain(late) {
        let names = match name.strip_suffix('*') {
            Some(family) => domains.iter().map(|domain| format!("{family}{domain}")).collect(),
            None => vec![(*name).to_owned()],
        };
        attributes.extend(names.into_iter().map(|name| (name.clone(), format!("{id}:{name}"))));
    }
    attributes
}

fn holds(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text == id,
        Value::Array(items) => items.iter().any(|item| holds(item, id)),
        Value::Object(map) => map.values().any(|item| holds(item, id)),
        _ => false,
    }
}

/// Objects of one environment: the gateway and what is behind it.
fn same_tags(inner: &Inner, id: &str, version: &Version) -> bool {
    let tags = inner.objects.get(id).and_then(Object::now).map(|version| &version.tags);
    let environment = infra_model::graph::TAG_ENVIRONMENT;
    tags.is_some_and(|tags| {
        tags.contains_key(environment) && tags.get(environment) == version.tags.get(environment)
    })
}

fn refusal(kind: KindId, verb: &'static str, class: Class, message: &str) -> CallError {
    CallError {
        code: Some(format!("{}.{verb}", kind.name())),
        ..CallError::new("memory", verb, class, message)
    }
}

/// An address nobody wants any more, for tests that plant leftovers.
pub fn leftover(scope: &Scope, address: &str) -> BTreeMap<String, String> {
    scope.ownership(&Address::new(address))
}
