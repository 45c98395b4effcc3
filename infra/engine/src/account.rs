//! The seam between deciding and doing: what an account can be asked. Two real accounts stand behind it: AWS through
//! its SDKs (`aws`) and one in memory (`memory`) that refuses, lags and fails like AWS. Nothing here knows either.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use infra_model::address::Address;
use infra_model::graph::Scope;
use infra_model::kinds::KindId;
use infra_model::snapshot::{Observed, Snapshot, State};
use infra_model::value::Fields;

/// Who calls, as the account itself says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub account: String,
    /// The caller's ARN.
    pub arn: String,
}

/// One change to one object: what the executor asks for, with every reference resolved.
#[derive(Debug, Clone)]
pub struct Operation {
    pub address: Address,
    pub kind: KindId,
    pub verb: Verb,
    /// The wanted fields, resolved. Of a deletion: the observed ones.
    pub fields: Fields,
    /// The object as last seen; right after its creation, as creation leaves it. `None` for a creation.
    pub observed: Option<Observed>,
    /// All wanted tags, ownership included.
    pub tags: BTreeMap<String, String>,
    /// The same for every attempt at the same creation, another after a deletion; at most 64 characters.
    pub token: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Create with the fields that the create call carries, tags included.
    Create,
    /// Make the live fields of one group (`Change::Live(group)`) as wanted.
    Set(&'static str),
    /// Make tags as wanted: set those of `Operation::tags`, remove these keys.
    Tag {
        remove: Vec<String>,
    },
    Delete,
}

impl Operation {
    /// The id of the object; a creation has none.
    pub fn id(&self) -> &str {
        self.observed.as_ref().map_or("", |observed| observed.id.as_str())
    }

    /// The wanted fields in the kind's typed form.
    pub fn wanted<K: infra_model::kinds::Kind>(&self) -> Result<K, CallError> {
        typed(&self.fields, &self.address)
    }

    /// The observed fields in the kind's typed form.
    pub fn seen<K: infra_model::kinds::Kind>(&self) -> Result<K, CallError> {
        let empty = Fields::new();
        typed(self.observed.as_ref().map_or(&empty, |observed| &observed.fields), &self.address)
    }
}

fn typed<K: infra_model::kinds::Kind>(fields: &Fields, address: &Address) -> Result<K, CallError> {
    serde_json::from_value(serde_json::Value::Object(fields.clone())).map_err(|error| {
        CallError::new(
            "infra",
            "decode",
            Class::Fatal,
            format!("the fields of {address} are not a {}: {error}", K::ID),
        )
    })
}

/// What a creation gives: the id, and the attributes known at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    pub id: String,
    pub attributes: BTreeMap<String, String>,
}

/// The state of an object that settles, with the attributes known by now. `None` from [`Account::look`]: gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub state: State,
    pub attributes: BTreeMap<String, String>,
}

impl Look {
    pub fn ready() -> Self {
        Self { state: State::Ready, attributes: BTreeMap::new() }
    }
}

/// A value in the account's small parameter store, which leases live in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub value: String,
}

/// An account that can be read and changed.
#[async_trait]
pub trait Account: Send + Sync {
    async fn caller(&self) -> Result<Caller, CallError>;

    /// Everything of these kinds that carries the scope's tags. What is denied is noted in the snapshot, never left out silently.
    async fn discover(&self, scope: &Scope, kinds: &[KindId]) -> Result<Snapshot, CallError>;

    /// Makes one change. Answers `Made::default()` but for creations.
    async fn perform(&self, operation: &Operation) -> Result<Made, CallError>;

    /// One look at an object that is on its way up or down; `None` when it is gone.
    async fn look(&self, kind: KindId, id: &str) -> Result<Option<Look>, CallError>;

    /// Why an object cannot be deleted, for people: `eni-1 (ELB app/x) holds it`. `None` when there is nothing to say.
    async fn blockers(&self, kind: KindId, id: &str) -> Result<Option<String>, CallError>;

    /// One existing object by its id, whoever owns it (`adopt`).
    async fn inspect(&self, kind: KindId, id: &str) -> Result<Option<Observed>, CallError>;

    async fn parameters(&self, path: &str) -> Result<Vec<Parameter>, CallError>;
    /// Writes a parameter; with `fresh`, only if there is none of that name yet (else class `Exists`).
    async fn put_parameter(&self, parameter: &Parameter, fresh: bool) -> Result<(), CallError>;
    async fn delete_parameter(&self, name: &str) -> Result<(), CallError>;
}

/// Why a call did not do what it should, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Refused for its rate; nothing happened. Later again.
    Throttled,
    /// Something it needs is not visible yet (eventual consistency). Later again.
    NotYet,
    /// The object is not there.
    Gone,
    /// The name is taken.
    Exists,
    /// Something else still uses it. Later again, and say what.
    InUse,
    /// The caller may not.
    Denied,
    /// The credentials ran out, or there are none.
    Credentials,
    /// No answer: it may or may not have taken effect.
    Lost,
    /// Nobody answers at the endpoint; nothing happened.
    Unreachable,
    /// The service failed by itself; nothing is known to have happened.
    Service,
    /// The call itself is wrong; repeating it will not help.
    Fatal,
    /// The run was asked to stop while it waited to call again.
    Interrupted,
}

#[derive(Debug, Clone)]
pub struct CallError {
    /// `ec2`, as IAM names it.
    pub service: &'static str,
    /// `CreateVpc`.
    pub action: &'static str,
    pub class: Class,
    /// AWS's own code, `DependencyViolation`.
    pub code: Option<String>,
    pub message: String,
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl CallError {
    pub fn new(
        service: &'static str,
        action: &'static str,
        class: Class,
        message: impl Into<String>,
    ) -> Self {
        Self { service, action, class, code: None, message: message.into(), source: None }
    }

    /// `ec2:CreateVpc`, the form of IAM policies.
    pub fn permission(&self) -> String {
        format!("{}:{}", self.service, self.action)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.permission();
        let (code, message) = (self.code.as_deref().unwrap_or_default(), self.message.as_str());
        match self.class {
            Class::Throttled => write!(f, "{call} is still throttled after all retries ({code})"),
            Class::Denied => write!(f, "no permission for {call}: {message}"),
            Class::Credentials if code.contains("Expired") => {
                write!(f, "the credentials have expired ({code}): {message}")
            }
            Class::Credentials if code.is_empty() => write!(f, "credentials: {message}"),
            Class::Credentials => write!(f, "the credentials were not accepted ({code}): {message}"),
            Class::Unreachable => write!(f, "{call}: no connection to AWS: {message}"),
            Class::Lost => {
                write!(f, "{call}: the answer never came, so it may or may not have happened: {message}")
            }
            _ if code.is_empty() => write!(f, "{call}: {message}"),
            _ => write!(f, "{call}: {message} ({code})"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}
