//! `device.sync`: right after connect, on a nudge, and every few minutes. The signed ledger in it proves who asks.

use super::calls::{ATTEMPTS_MAX, Call, Refused, is_conflict};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::sync::{Held, read_ledger, sync, unseen};
use crate::doc::{BundleDoc, DeviceDoc, DeviceState};
use crate::metrics::add;
use crate::store::change::Expect;
use crate::store::kind::RecordKind;
use crate::store::{StoreError, TenantScope};
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::device::SyncRequest;
use std::sync::Arc;

pub const METHOD: Method = Method { name: "device.sync", serve: |core, call| serve(core, call).boxed() };

/// What is known of a device, and what its record has to be for a change of it.
pub async fn device_state(
    core: &Core,
    scope: TenantScope,
    device: &DeviceDoc,
) -> Result<(DeviceState, Expect), StoreError> {
    let row = core.store.record(scope, RecordKind::DeviceState, &device.id.to_string()).await?;
    match row {
        Some(row) => Ok((row.read()?, Expect::Version(row.version))),
        None => Ok((unseen(device, core.clock.now()), Expect::Absent)),
    }
}

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let request: SyncRequest = call.json()?;
    for _ in 0..ATTEMPTS_MAX {
        let (tenant, facts) = call.facts(&core).await?;
        let device = call.device(&facts)?;
        let report = read_ledger(&facts, device, &request.ledger).ok_or(Refused::NotProven)?;
        let row = core.store.record(tenant.scope, RecordKind::Bundle, &device.id.to_string()).await?;
        let bundle = match row {
            Some(row) => Some((row.read::<BundleDoc>()?, row.version)),
            None => None,
        };
        let held = Held {
            bundle,
            state: device_state(&core, tenant.scope, device).await?,
            commands: core.store.open_commands(tenant.scope, device.id).await?,
            intake: match request.events {
                Some(events) => core.store.intake(tenant.scope, device.id, events.epoch).await?,
                None => None,
            },
        };
        let made = sync(&facts, &tenant.key, device, &request, &report, held, &mut core.ids());
        let (change, answer) = made.ok_or(Refused::NotFound("door"))?;
        if change.records.is_empty() && change.commands.is_empty() && change.audit.is_empty() {
            return reply(&answer);
        }
        match core.commit(tenant.scope, change).await {
            Ok(_) => return reply(&answer),
            Err(error) if is_conflict(&error) => add(&core.metrics.conflicts, 1),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refused::Contended)
}
