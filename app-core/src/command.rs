//! The verbs of the binary that work on the store and end: migrate, audit, backup, restore. Owns their arguments; refuses
//! to print: each answers what it did as text.

pub mod audit;
pub mod backup;
pub mod migrate;
pub mod restore;

use crate::store::StoreOptions;
use anyhow::Context as _;

#[derive(Debug, clap::Subcommand)]
pub enum StoreVerb {
    /// Bring the database's schema up to this program's
    Migrate,
    /// Export a tenant's audit chain, or verify an export
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Write everything the database holds, as of one moment, into a file
    Backup(backup::BackupArguments),
    /// Read a backup into an empty database, and verify it
    Restore(restore::RestoreArguments),
}

impl StoreVerb {
    /// Whether it begins a database where there is none.
    pub fn begins(&self) -> bool {
        matches!(self, Self::Migrate | Self::Restore(_))
    }
}

/// Does it, and answers what to tell the user. An error is for the exit code 1.
pub async fn run(verb: StoreVerb, options: StoreOptions) -> anyhow::Result<String> {
    let place = options.place();
    let done = match verb {
        StoreVerb::Migrate => migrate::run(options).await,
        // Its file is all that it looks at.
        StoreVerb::Audit(verb @ audit::AuditVerb::Verify { .. }) => return audit::run(verb, options).await,
        StoreVerb::Audit(verb) => audit::run(verb, options).await,
        StoreVerb::Backup(arguments) => backup::run(arguments, options).await,
        StoreVerb::Restore(arguments) => restore::run(arguments, options).await,
    };
    done.with_context(|| format!("with {place}"))
}
