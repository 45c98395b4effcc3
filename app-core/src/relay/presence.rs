//! Who is there: the gateways keep the presence of each device's channel, and core reads it. A device that is missed
//! twice is offline; a device that syncs is online at once. Also where doors are nudged after a change of the facts.

use crate::core::Core;
use crate::decide::report::state_record;
use crate::decide::sync::door_state;
use crate::doc::DeviceState;
use crate::metrics::add;
use crate::publish;
use crate::store::change::{Change, Expect, RecordChange};
use crate::store::kind::RecordKind;
use crate::store::row::Record;
use crate::store::{PAGE_MAX, StoreError, System};
use futures::StreamExt as _;
use futures::stream;
use keyway_bus::{Channels, NewPublication, PublishOptions};
use keyway_domain::id::{DeviceId, TenantId};
use keyway_domain::message::channel_name;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const SYSTEM: System = System::because("the presence of every tenant's devices is looked after");
/// Presence is asked for this many devices at a time.
const SIDE_BY_SIDE: usize = 64;
/// Changes that come together are told together.
const NUDGE_EVERY: Duration = Duration::from_millis(250);

fn channel(tenant: TenantId, device: DeviceId) -> String {
    channel_name("device", tenant, device)
}

/// Whether a gateway holds a socket of this device. A bus that does not answer knows of none.
pub async fn is_present(bus: &dyn Channels, tenant: TenantId, device: DeviceId) -> bool {
    bus.presence_stats(&channel(tenant, device)).await.is_ok_and(|stats| stats.clients > 0)
}

/// Runs until the future is dropped.
pub async fn watch(core: Arc<Core>, bus: Arc<dyn Channels>, every_ms: u64) {
    let mut missed = HashSet::new();
    loop {
        tokio::time::sleep(Duration::from_millis(every_ms)).await;
        if let Err(error) = look(&core, bus.as_ref(), &mut missed).await {
            tracing::warn!(%error, "looking after presence failed");
        }
    }
}

async fn look(core: &Core, bus: &dyn Channels, missed: &mut HashSet<DeviceId>) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    let mut still = HashSet::new();
    loop {
        let kind = RecordKind::DeviceState;
        let page = core.store.records_of_all(SYSTEM, kind, after.as_deref(), PAGE_MAX).await?;
        let mut online = Vec::new();
        for row in page.items {
            let state: DeviceState = row.read()?;
            if state.online {
                online.push((row, state));
            }
        }
        let asked = stream::iter(online).map(|(row, state)| async move {
            let stats = bus.presence_stats(&channel(row.tenant, state.device)).await;
            // Not knowing is not knowing that it is gone.
            (row, state, stats.is_ok_and(|stats| stats.clients == 0))
        });
        let gone: Vec<_> = asked
            .buffer_unordered(SIDE_BY_SIDE)
            .filter_map(|(row, state, gone)| async move { gone.then_some((row, state)) })
            .collect()
            .await;
        for (row, state) in gone {
            if !missed.contains(&state.device) {
                still.insert(state.device);
            } else if let Err(error) = offline(core, &row, state).await {
                tracing::warn!(device = row.id, %error, "noting a device as offline failed");
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    *missed = still;
    Ok(())
}

async fn offline(core: &Core, row: &Record, mut state: DeviceState) -> Result<(), StoreError> {
    let tenant = core.tenant(row.tenant).await?;
    let facts = tenant.facts(&core.store, core.clock.now()).await?;
    let mut ids = core.ids();
    let mut change = Change::at(ids.now);
    state.online = false;
    state.since = ids.now;
    change.outbox.extend(publish::door_state(&facts, door_state(&facts, &state), &mut ids));
    change.records.push(RecordChange::Put(state_record(&state, Expect::Version(row.version))));
    match core.commit(tenant.scope, change).await {
        // It has just synced.
        Err(StoreError::Conflict { .. }) => {
            add(&core.metrics.conflicts, 1);
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

/// Nudges the doors of tenants whose facts have changed: they sync, which they would do within minutes anyway, so a
/// nudge that is lost costs minutes and nothing else. Runs until the future is dropped.
pub async fn nudge(core: Arc<Core>, bus: Arc<dyn Channels>) {
    loop {
        tokio::time::sleep(NUDGE_EVERY).await;
        for id in core.take_changed() {
            if let Err(error) = nudge_all(&core, bus.as_ref(), id).await {
                tracing::warn!(tenant = %id, %error, "nudging doors failed");
            }
        }
    }
}

async fn nudge_all(core: &Core, bus: &dyn Channels, id: TenantId) -> Result<(), StoreError> {
    let tenant = core.tenant(id).await?;
    let facts = tenant.facts(&core.store, core.clock.now()).await?;
    let mut ids = core.ids();
    let nudges: Vec<_> = facts
        .devices
        .values()
        .filter(|device| !device.revoked)
        .map(|device| publish::nudge(id, device.id, &mut ids))
        .collect();
    let sending = stream::iter(nudges).map(|draft| async move {
        let publication = NewPublication::of(draft.body);
        bus.publish(&draft.channel, publication, &PublishOptions::default()).await
    });
    let failed = sending
        .buffer_unordered(SIDE_BY_SIDE)
        .fold(0, |sum, sent| async move { sum + usize::from(sent.is_err()) })
        .await;
    if failed > 0 {
        tracing::info!(tenant = %id, failed, "nudges that the bus did not take");
    }
    Ok(())
}
