//! `command.report`: the ledger's word on commands, signed by the device.

use super::attempts::Attempts;
use super::calls::{Call, Refused};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::command::Stepping;
use crate::decide::sync::read_ledger;
use crate::store::Change;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::Empty;
use keyway_domain::message::device::CommandReport;
use std::sync::Arc;

pub const METHOD: Method = Method { name: "command.report", serve: |core, call| serve(core, call).boxed() };

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let request: CommandReport = call.json()?;
    let mut attempts = Attempts::at_hand_first();
    loop {
        let basis = attempts.next()?;
        let (tenant, facts) = basis.facts(&core, call.tenant).await?;
        let read = call.device(&facts).and_then(|device| {
            Ok((device, read_ledger(&facts, device, &request.ledger).ok_or(Refused::NotProven)?))
        });
        let (device, report) = match read {
            Ok(read) => read,
            // It may have been enrolled elsewhere.
            Err(_) if basis.is_hand() => continue,
            Err(refused) => return Err(refused),
        };
        let rows = basis.open_commands(&core, tenant.scope, device.id).await?;
        let mut ids = core.ids();
        let mut change = Change::at(ids.now);
        if basis.is_hand() {
            // Read a moment ago they need no guard, and a tenant that is being changed does not hold reports up.
            change.if_facts = Some(facts.version);
            change.if_open = Some((device.id, rows.iter().map(|row| (row.id(), row.version)).collect()));
        }
        let stepping = Stepping { facts: &facts, key: &tenant.key, now: ids.now };
        stepping.settle(rows, &report, &mut change, &mut ids);
        if change.commands.is_empty() && change.audit.is_empty() {
            if basis.is_hand() {
                // Nothing is written that would say whether these are all.
                continue;
            }
            return reply(&Empty {});
        }
        match core.commit(tenant.scope, change).await {
            Ok(_) => return reply(&Empty {}),
            Err(error) => basis.again(&core, error)?,
        }
    }
}
