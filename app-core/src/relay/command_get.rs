//! `command.get` and `command.cancel`: one's own command, as it is, or taken back while no door has seen it.

use super::attempts::Attempts;
use super::calls::{Call, Refused};
use super::door_unlock::told;
use super::{Method, reply};
use crate::core::Core;
use crate::decide::command::Stepping;
use crate::store::row::CommandRow;
use crate::store::{Change, TenantScope};
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::command::{Input, Step};
use keyway_domain::message::phone::CommandGet;
use std::sync::Arc;

pub const GET: Method = Method { name: "command.get", serve: |core, call| get(core, call).boxed() };
pub const CANCEL: Method = Method { name: "command.cancel", serve: |core, call| cancel(core, call).boxed() };

async fn own(core: &Core, call: &Call) -> Result<CommandRow, Refused> {
    let request: CommandGet = call.json()?;
    let person = call.person()?;
    let row = core.store.command(TenantScope::of(call.tenant), request.command).await?;
    row.filter(|row| row.person == Some(person)).ok_or(Refused::NotFound("command"))
}

async fn get(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    reply(&told(&own(&core, &call).await?))
}

async fn cancel(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let row = own(&core, &call).await?;
    reply(&told(&cancelled(&core, call.tenant, row).await?))
}

/// The command after the attempt to take it back; what has been sent stays sent.
pub async fn cancelled(
    core: &Core,
    tenant: keyway_domain::id::TenantId,
    mut row: CommandRow,
) -> Result<CommandRow, Refused> {
    let mut attempts = Attempts::committed_only();
    loop {
        let basis = attempts.next()?;
        let (tenant, facts) = basis.facts(core, tenant).await?;
        let mut ids = core.ids();
        let mut change = Change::at(ids.now);
        let stepping = Stepping { facts: &facts, key: &tenant.key, now: ids.now };
        let mut next = row.clone();
        if !matches!(stepping.step(&mut next, Input::Cancel, &mut change, &mut ids), Step::Become(_)) {
            return Ok(row);
        }
        stepping.write(row.clone(), next.clone(), &mut change, &mut ids);
        match core.commit(tenant.scope, change).await {
            Ok(_) => return Ok(next),
            Err(error) => basis.again(core, error)?,
        }
        let again = core.store.command(tenant.scope, row.id()).await?;
        row = again.ok_or(Refused::NotFound("command"))?;
    }
}
