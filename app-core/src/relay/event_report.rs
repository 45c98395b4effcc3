//! `event.report`: a signed batch. The reply is the durable watermark, so it leaves after the commit and never before.

use super::attempts::Attempts;
use super::calls::{Call, Refused};
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
    let mut attempts = Attempts::at_hand_first();
    loop {
        let basis = attempts.next()?;
        let (tenant, facts) = basis.facts(&core, call.tenant).await?;
        let read = call.device(&facts).and_then(|device| {
            Ok((device, read(&facts, device, &request.batch).map_err(|_| Refused::NotProven)?))
        });
        let (device, batch) = match read {
            Ok(read) => read,
            // It may have been enrolled elsewhere.
            Err(_) if basis.is_hand() => continue,
            Err(refused) => return Err(refused),
        };
        let held = basis.intake(&core, tenant.scope, device.id, batch.epoch).await?;
        let known = basis.state(&core, tenant.scope, device).await?;
        let taken = take(&facts, &tenant.key, device, &batch, held, known, &mut core.ids());
        let (mut change, answer) = match taken {
            Ok(taken) => taken,
            Err(_) if basis.is_hand() => continue,
            Err(error) => return Err(Refused::Unfit(error.to_string())),
        };
        if change.intakes.is_empty() {
            if basis.is_hand() {
                // Nothing is written that would say whether it is so still.
                continue;
            }
            return reply(&answer);
        }
        change.if_facts = basis.is_hand().then_some(facts.version);
        let count = change.events.len() as u64;
        match core.commit(tenant.scope, change).await {
            Ok(_) => {
                add(&core.metrics.events, count);
                return reply(&answer);
            }
            Err(error) => basis.again(&core, error)?,
        }
    }
}
