//! A request as core reads it, and the ways in which it is refused. What the gateway says about the caller is a hint
//! where to look; what counts is signed.

use crate::core::Core;
use crate::core::tenant::Tenant;
use crate::doc::DeviceDoc;
use crate::facts::TenantFacts;
use crate::store::StoreError;
use bytes::Bytes;
use futures::future::BoxFuture;
use keyway_bus::{ReplyError, Request};
use keyway_domain::id::{DeviceId, PersonId, TenantId};
use keyway_domain::time::UnixMs;
use std::sync::Arc;

pub type Serve = fn(Arc<Core>, Call) -> BoxFuture<'static, Result<Bytes, Refused>>;

pub struct Call {
    pub tenant: TenantId,
    /// Who the gateway says is asking.
    pub user: String,
    pub data: Bytes,
    pub deadline: UnixMs,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("core knows no such method")]
    NoMethod,
    #[error("the request is not what this method takes: {0}")]
    Malformed(String),
    #[error("{0}")]
    Unfit(String),
    #[error("not allowed: the request is not signed by an enrolled key")]
    NotProven,
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error("it is too late")]
    Late,
    #[error("too many changes at once; repeat with the same id")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Late | Self::Contended => true,
            Self::Store(error) => !matches!(error, StoreError::NotFound { .. } | StoreError::DoorBusy(_)),
            _ => false,
        }
    }
}

/// Core's own numbers, per docs/core.md. The text of a database never leaves.
impl From<Refused> for ReplyError {
    fn from(refused: Refused) -> Self {
        let code = match &refused {
            Refused::NoMethod => 104,
            Refused::Malformed(_) => 400,
            Refused::NotProven => 401,
            Refused::NotFound(_) | Refused::Store(StoreError::NotFound { .. }) => 404,
            Refused::Unfit(_) => 422,
            Refused::Store(StoreError::DoorBusy(_)) => 429,
            Refused::Late | Refused::Contended | Refused::Store(_) => 100,
        };
        match refused {
            Refused::Store(error) if code == 100 => {
                let message = if error.may_have_happened() {
                    "the outcome is unknown; repeat with the same id"
                } else {
                    "nothing was done; repeat with the same id"
                };
                Self::temporary(message)
            }
            Refused::Store(StoreError::DoorBusy(busy)) => Self::new(429, busy.to_string()),
            Refused::Store(_) => Self::new(404, "no such tenant"),
            other if code == 100 => Self::temporary(other.to_string()),
            other => Self::new(code, other.to_string()),
        }
    }
}

impl Call {
    pub fn read(request: Request) -> Result<Self, Refused> {
        let tenant = TenantId::parse(&request.tenant)
            .map_err(|error| Refused::Malformed(format!("the token's tenant: {error}")))?;
        Ok(Self { tenant, user: request.user, data: request.data, deadline: UnixMs(request.deadline_ms) })
    }

    pub fn json<'d, T: serde::Deserialize<'d>>(&'d self) -> Result<T, Refused> {
        serde_json::from_slice(&self.data).map_err(|error| Refused::Malformed(error.to_string()))
    }

    pub fn person(&self) -> Result<PersonId, Refused> {
        PersonId::parse(&self.user).map_err(|_| Refused::NotFound("person"))
    }

    pub async fn facts(&self, core: &Core) -> Result<(Arc<Tenant>, Arc<TenantFacts>), Refused> {
        let tenant = core.tenant(self.tenant).await?;
        let facts = tenant.facts(&core.store, core.clock.now()).await?;
        Ok((tenant, facts))
    }

    /// The device that the gateway says is asking. Its signature has to prove it where that matters.
    pub fn device<'f>(&self, facts: &'f TenantFacts) -> Result<&'f DeviceDoc, Refused> {
        let id = DeviceId::parse(&self.user).map_err(|_| Refused::NotFound("device"))?;
        facts.device(id).ok_or(Refused::NotFound("device"))
    }
}
