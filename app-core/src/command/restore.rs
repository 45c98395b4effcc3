//! `app-core restore FILE`: into an empty database, and then every tenant's audit chain is read back and verified.

use super::audit;
use crate::store::{Store, StoreOptions, System, TenantScope, backup};
use anyhow::Context as _;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct RestoreArguments {
    /// A file that `backup` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl RestoreArguments {
    pub fn from(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }
}

pub async fn run(arguments: RestoreArguments, options: StoreOptions) -> anyhow::Result<String> {
    let path = arguments.file.display();
    let mut file = BufReader::new(File::open(&arguments.file).with_context(|| format!("opening {path}"))?);
    let end = backup::restore(&options, &mut file).await.with_context(|| format!("restoring {path}"))?;
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
    }
    store.close().await;
    let rows: u64 = end.rows.values().sum();
    Ok(format!(
        "restored {rows} rows; verified the audit chains of {} tenants, {entries} entries",
        tenants.len()
    ))
}
