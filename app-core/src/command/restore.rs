//! `app-core restore FILE`: into an empty database, and then every tenant's audit chain is read back and verified.

use super::audit;
use crate::doc::system_tenant;
use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::source::{Clock, random};
use crate::store::backup::Purpose;
use crate::store::{Change, Store, StoreOptions, System, TenantScope, backup};
use crate::trail;
use anyhow::Context as _;
use keyway_domain::id::TenantId;
use keyway_domain::message::publication::ToDevice;
use keyway_domain::time::UnixMs;
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// Doors that are asked to sync as soon as core runs: what one change holds. The others do so within minutes by themselves.
const NUDGED_MAX: usize = 4_000;
/// Between the restore and the start of core.
const NUDGE_LIFE_MS: u64 = 3_600_000;

#[derive(Debug, clap::Args)]
pub struct RestoreArguments {
    /// A file that `backup` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// To the byte, for moving a core that was stopped before its backup. Without this, whatever doors have seen since the
    /// backup is overtaken: versions go far beyond it, and the trail says that a restore took place
    #[arg(long)]
    exact: bool,
}

impl RestoreArguments {
    pub fn from(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), exact: false }
    }

    pub fn exactly(file: impl Into<PathBuf>) -> Self {
        Self { exact: true, ..Self::from(file) }
    }
}

pub async fn run(arguments: RestoreArguments, options: StoreOptions) -> anyhow::Result<String> {
    let path = arguments.file.display();
    let mut file = BufReader::new(File::open(&arguments.file).with_context(|| format!("opening {path}"))?);
    let clock = Clock::default();
    let purpose = if arguments.exact { Purpose::Move } else { Purpose::GoOn(clock.now()) };
    let end = backup::restore(&options, &mut file, purpose).await;
    let end = end.with_context(|| format!("restoring {path}"))?;
    let store = Store::open(options).await.context("opening what was restored")?;
    let tenants = store.tenants(System::because("a restored backup is verified")).await?;
    let mut entries = 0;
    for tenant in &tenants {
        let scope = TenantScope::of(*tenant);
        let export = audit::read(&store, scope).await?;
        let verified = export.verify(&export.keys).with_context(|| {
            format!("everything was restored, but the audit chain of {tenant} does not hold")
        })?;
        let head = store.audit_head(scope).await?;
        if (head.size, head.head) != (verified.entries, verified.head) {
            anyhow::bail!(
                "everything was restored, but the audit chain of {tenant} does not end where it should"
            );
        }
        entries += verified.entries;
        if !arguments.exact && *tenant != system_tenant() {
            say_so(&store, *tenant, &end.sha256, clock.now()).await.with_context(|| {
                format!("everything was restored, but the trail of {tenant} does not say so")
            })?;
        }
    }
    store.close().await;
    let rows: u64 = end.rows.values().sum();
    Ok(format!(
        "restored {rows} rows; verified the audit chains of {} tenants, {entries} entries",
        tenants.len()
    ))
}

/// Writes the restore into the tenant's trail, and asks its doors to come and see: core tells them when it runs.
async fn say_so(store: &Store, id: TenantId, backup_sha256: &str, now: UnixMs) -> anyhow::Result<()> {
    let scope = TenantScope::of(id);
    let facts = TenantFacts::read(id, &store.facts(scope).await?, now)?;
    let mut ids = Ids::new(now, random());
    let entry = trail::entry("administrator", "tenant.restored", id, &mut ids);
    let details = json!({ "backup_sha256": backup_sha256 });
    let mut change = Change::at(now);
    change.audit.push(trail::detailed(entry, &details, &mut ids));
    let devices = facts.devices.values().filter(|device| !device.revoked);
    change.outbox.extend(devices.take(NUDGED_MAX).map(|device| {
        publish::to_device(id, device.id, &ToDevice::Nudge, now.plus(NUDGE_LIFE_MS), &mut ids)
    }));
    store.commit(scope, change).await?;
    Ok(())
}
