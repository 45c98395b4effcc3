//! `app-core backup FILE`: written beside its place, synced, and only then named as wanted, so that a file of that name is
//! always whole.

use crate::store::{StoreOptions, backup};
use anyhow::Context as _;
use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// Where to; a file that is there is not replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl BackupArguments {
    pub fn to(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }
}

pub async fn run(arguments: BackupArguments, options: StoreOptions) -> anyhow::Result<String> {
    let file = arguments.file;
    if file.exists() {
        anyhow::bail!("{} is there already: choose another name or remove it", file.display());
    }
    let mut unfinished = file.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    // It holds sealed keys, digests and names: for its owner only.
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let mut out = BufWriter::new(out.with_context(|| format!("making {}", unfinished.display()))?);
    let end = backup::backup(&options, &mut out).await;
    let end = end.and_then(|end| {
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        fs::rename(&unfinished, &file)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()?;
        Ok(end)
    });
    if end.is_err() {
        // What is left of a failed backup is of no use; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&unfinished);
    }
    let end = end.context("backing up")?;
    let rows: u64 = end.rows.values().sum();
    Ok(format!("wrote {rows} rows to {}, sha256 {}", file.display(), end.sha256))
}
