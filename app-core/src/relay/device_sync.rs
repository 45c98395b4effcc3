//! `device.sync`: right after connect, on a nudge, and every few minutes. The signed ledger in it proves who asks.

use super::attempts::Attempts;
use super::calls::{Call, Refused};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::sync::{Held, read_ledger, sync};
use crate::doc::BundleDoc;
use crate::store::kind::RecordKind;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::device::{SyncReply, SyncRequest};
use std::sync::Arc;

pub const METHOD: Method = Method { name: "device.sync", serve: |core, call| serve(core, call).boxed() };

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let asked: SyncRequest = call.json()?;
    let mut attempts = Attempts::committed_only();
    loop {
        let basis = attempts.next()?;
        let (tenant, facts) = basis.facts(&core, call.tenant).await?;
        let device = call.device(&facts)?;
        let keys = tenant.signing.lead(tenant.id, asked.keys_version);
        let request = match keys {
            None => asked.clone(),
            // Everything anew, under a key that stays: what the door holds may stand under one that it will not know any more.
            Some(_) => {
                SyncRequest { desired_version: 0, bundle_version: 0, revocation_version: 0, ..asked.clone() }
            }
        };
        let report = read_ledger(&facts, device, &request.ledger).ok_or(Refused::NotProven)?;
        let row = core.store.record(tenant.scope, RecordKind::Bundle, &device.id.to_string()).await?;
        let bundle = match row {
            Some(row) => Some((row.read::<BundleDoc>()?, row.version)),
            None => None,
        };
        let held = Held {
            bundle,
            state: basis.state(&core, tenant.scope, device).await?,
            commands: basis.open_commands(&core, tenant.scope, device.id).await?,
            intake: match request.events {
                Some(events) => basis.intake(&core, tenant.scope, device.id, events.epoch).await?,
                None => None,
            },
        };
        let made = sync(&facts, &tenant.key, device, &request, &report, held, &mut core.ids());
        let (change, answer) = made.ok_or(Refused::NotFound("door"))?;
        let answer = SyncReply { keys, ..answer };
        if change.records.is_empty() && change.commands.is_empty() && change.audit.is_empty() {
            return reply(&answer);
        }
        match core.commit(tenant.scope, change).await {
            Ok(_) => return reply(&answer),
            Err(error) => basis.again(&core, error)?,
        }
    }
}
