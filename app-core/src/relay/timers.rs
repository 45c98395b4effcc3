//! What time alone changes: commands that are sent again or run out, keys that are due, checkpoints over the audit
//! chain, once-only keys that are forgotten.

use super::presence::is_present;
use crate::core::Core;
use crate::decide::command::Stepping;
use crate::doc::system_tenant;
use crate::metrics::add;
use crate::store::change::{Change, CheckpointDraft};
use crate::store::row::CommandRow;
use crate::store::{StoreError, System, TenantScope};
use keyway_bus::Channels;
use keyway_domain::audit::Checkpoint;
use keyway_domain::command::State;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const SYSTEM: System = System::because("time passes for the commands of every tenant");
/// A tenth of the time between two sendings of a command.
const COMMANDS_EVERY: Duration = Duration::from_millis(200);
const DUE_MAX: usize = 256;
/// Keys, checkpoints and sweeping are in no hurry.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);
/// Revocations are told again every five minutes: a gateway that has not heard of one is the exception.
const TELL_AGAIN_ROUNDS: u64 = 10;

/// Runs until the future is dropped.
pub async fn commands(core: Arc<Core>, bus: Arc<dyn Channels>) {
    loop {
        tokio::time::sleep(COMMANDS_EVERY).await;
        let due = match core.store.commands_due(SYSTEM, core.clock.now(), DUE_MAX).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "looking for commands that are due failed");
                continue;
            }
        };
        for row in due {
            let id = row.id();
            match look_again(&core, bus.as_ref(), row).await {
                Ok(()) => {}
                // Somebody else has changed it: it is looked at anew if it is still due.
                Err(StoreError::Conflict { .. }) => add(&core.metrics.conflicts, 1),
                Err(error) => tracing::warn!(command = %id, %error, "looking at a command again failed"),
            }
        }
    }
}

async fn look_again(core: &Core, bus: &dyn Channels, row: CommandRow) -> Result<(), StoreError> {
    let tenant = core.tenant(row.command.tenant).await?;
    let facts = tenant.facts(&core.store, core.clock.now()).await?;
    // The gateways know best; what was last written down may be seconds old.
    let online = row.record.state != State::Queued || is_present(bus, tenant.id, row.command.device).await;
    let mut ids = core.ids();
    let mut change = Change::at(ids.now);
    let stepping = Stepping { facts: &facts, key: &tenant.key, now: ids.now };
    let mut next = row.clone();
    stepping.look_again(&mut next, online, &mut change, &mut ids);
    stepping.write(row, next, &mut change, &mut ids);
    if !change.commands.is_empty() {
        core.commit(tenant.scope, change).await?;
    }
    Ok(())
}

/// Runs until the future is dropped.
pub async fn upkeep(core: Arc<Core>) {
    let mut signed = HashMap::new();
    for round in 0_u64.. {
        if round.is_multiple_of(TELL_AGAIN_ROUNDS)
            && let Err(error) = core.tell_gateways_again().await
        {
            tracing::warn!(%error, "telling revocations again failed");
        }
        if let Err(error) = core.tend_keys().await {
            tracing::warn!(%error, "reading the token keys failed");
        }
        if let Err(error) = core.store.sweep(SYSTEM, core.clock.now()).await {
            tracing::warn!(%error, "sweeping failed");
        }
        let tenants = core.store.tenants(SYSTEM).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "listing tenants failed");
            Vec::new()
        });
        for id in tenants.into_iter().filter(|id| *id != system_tenant()) {
            if let Err(error) = core.tend_signing_keys(id).await {
                tracing::warn!(tenant = %id, %error, "reading the signing keys failed");
            }
            let before = signed.get(&id).copied().unwrap_or(0);
            match checkpoint(&core, id, before).await {
                Ok(size) => {
                    signed.insert(id, size);
                }
                Err(error) => tracing::warn!(tenant = %id, %error, "signing a checkpoint failed"),
            }
        }
        tokio::time::sleep(UPKEEP_EVERY).await;
    }
}

/// Signs the head of a tenant's chain, if it has grown beyond `before`; its size.
pub async fn checkpoint(
    core: &Core,
    id: keyway_domain::id::TenantId,
    before: u64,
) -> Result<u64, StoreError> {
    let tenant = core.tenant(id).await?;
    let scope = TenantScope::of(id);
    let head = core.store.audit_head(scope).await?;
    if head.size <= before {
        return Ok(before);
    }
    let now = core.clock.now();
    let checkpoint = Checkpoint { tenant: id, size: head.size, head: head.head, at: now };
    let note = checkpoint.sign(&tenant.key);
    let checkpoints = vec![CheckpointDraft { checkpoint, note }];
    core.store.commit(scope, Change { checkpoints, ..Change::at(now) }).await?;
    Ok(head.size)
}
