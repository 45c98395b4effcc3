//! `event.report`: a signed batch. The reply is the durable watermark, so it leaves after the commit and never before.

use super::calls::{ATTEMPTS_MAX, Call, Refused, is_conflict};
use super::device_sync::device_state;
use super::{Method, reply};
use crate::core::Core;
use crate::decide::report::{read, take};
use crate::metrics::add;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::device::EventReport;
use std::sync::Arc;

pub const METHOD: Method = Method { name: "event.report", serve: |core, call| serve(core, call).boxed() };

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let request: EventReport = call.json()?;
    // As with `command.report`: the facts at hand first, guarded; the newest where they do not do.
    let mut fresh = false;
    for _ in 0..ATTEMPTS_MAX {
        let (tenant, facts) =
            if fresh { call.facts(&core).await? } else { call.facts_at_hand(&core).await? };
        let read = call.device(&facts).and_then(|device| {
            Ok((device, read(&facts, device, &request.batch).map_err(|_| Refused::NotProven)?))
        });
        let (device, batch) = match read {
            Ok(read) => read,
            Err(refused) if fresh => return Err(refused),
            Err(_) => {
                fresh = true;
                continue;
            }
        };
        let held = core.store.intake(tenant.scope, device.id, batch.epoch).await?;
        let known = device_state(&core, tenant.scope, device).await?;
        let taken = take(&facts, &tenant.key, device, &batch, held, known, &mut core.ids());
        let (mut change, answer) = taken.map_err(|error| Refused::Unfit(error.to_string()))?;
        change.if_facts = (!fresh).then_some(facts.version);
        fresh = true;
        if change.intakes.is_empty() {
            return reply(&answer);
        }
        let count = change.events.len() as u64;
        match core.commit(tenant.scope, change).await {
            Ok(_) => {
                add(&core.metrics.events, count);
                return reply(&answer);
            }
            Err(error) if is_conflict(&error) => add(&core.metrics.conflicts, 1),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refused::Contended)
}
