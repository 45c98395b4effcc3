//! `access.request`: an online door asks about a tap, signed, and waits 800 ms. Most answers change nothing and are committed
//! nowhere: what came of it is told by the door's own events.

use super::attempts::Attempts;
use super::calls::{Call, Refused};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::access::{access, read};
use crate::store::StoreError;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::device::{AccessCall, AccessReply};
use std::sync::Arc;

pub const METHOD: Method = Method { name: "access.request", serve: |core, call| serve(core, call).boxed() };

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let asked: AccessCall = call.json()?;
    let mut attempts = Attempts::committed_only();
    loop {
        let basis = attempts.next()?;
        let (tenant, facts) = basis.facts(&core, call.tenant).await?;
        let device = call.device(&facts)?;
        let request = read(&facts, device, &asked.request).ok_or(Refused::NotProven)?;
        let decided = access(&facts, &tenant.key, device, &request, &mut core.ids());
        let (answer, change) = decided.ok_or(Refused::NotFound("door"))?;
        let Some(change) = change else { return reply(&answer) };
        match core.commit(tenant.scope, change).await {
            Ok(_) => return reply(&answer),
            // Asked before: the same answer, and no second use.
            Err(StoreError::Already(row)) => return reply(&AccessReply { decision: row.answer }),
            Err(error) => basis.again(&core, error)?,
        }
    }
}
