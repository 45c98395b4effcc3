//! `command.report`: the ledger's word on commands, signed by the device.

use super::calls::{ATTEMPTS_MAX, Call, Refused, is_conflict};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::command::Stepping;
use crate::decide::sync::read_ledger;
use crate::metrics::add;
use crate::store::Change;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::Empty;
use keyway_domain::message::device::CommandReport;
use std::sync::Arc;

pub const METHOD: Method = Method { name: "command.report", serve: |core, call| serve(core, call).boxed() };

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let request: CommandReport = call.json()?;
    // Nearly always the facts at hand hold; a device that is not known by them may have been enrolled elsewhere.
    let mut fresh = false;
    for _ in 0..ATTEMPTS_MAX {
        let (tenant, facts) =
            if fresh { call.facts(&core).await? } else { call.facts_at_hand(&core).await? };
        let read = call.device(&facts).and_then(|device| {
            Ok((device, read_ledger(&facts, device, &request.ledger).ok_or(Refused::NotProven)?))
        });
        let (device, report) = match read {
            Ok(read) => read,
            Err(refused) if fresh => return Err(refused),
            Err(_) => {
                fresh = true;
                continue;
            }
        };
        // Asked for a moment ago they need no guard, and a tenant that is being changed does not hold reports up.
        let if_facts = (!fresh).then_some(facts.version);
        fresh = true;
        let rows = core.store.open_commands(tenant.scope, device.id).await?;
        let mut ids = core.ids();
        let mut change = Change { if_facts, ..Change::at(ids.now) };
        let stepping = Stepping { facts: &facts, key: &tenant.key, now: ids.now };
        stepping.settle(rows, &report, &mut change, &mut ids);
        if change.commands.is_empty() && change.audit.is_empty() {
            return reply(&Empty {});
        }
        match core.commit(tenant.scope, change).await {
            Ok(_) => return reply(&Empty {}),
            Err(error) if is_conflict(&error) => add(&core.metrics.conflicts, 1),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refused::Contended)
}
