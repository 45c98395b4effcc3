//! `app-core audit export` and `audit verify`. Owns the export's format: a header, the entries as they were chained, the
//! signed checkpoints. Verifying needs the file and keys, and no database.

use crate::store::kind::RecordKind;
use crate::store::{PAGE_MAX, Store, StoreError, StoreOptions, TenantScope};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_domain::audit::{Flaw, Verified, verify};
use keyway_domain::id::{KeyId, TenantId};
use keyway_domain::sign::{Algorithm, PublicKey};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::PathBuf;

const FORMAT: &str = "keyway-audit-export";

#[derive(Debug, clap::Subcommand)]
pub enum AuditVerb {
    /// Write a tenant's chain and its checkpoints into a file
    Export {
        #[arg(long, value_name = "TENANT")]
        tenant: TenantId,
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Check an export offline; names the first bad entry
    Verify {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What was kept elsewhere: an answer of GET /v1/audit/checkpoints. Its keys are trusted and no others, and what it
        /// says was signed has to be in the chain, so that a tail cannot be cut off. A JWKS will do for the keys alone.
        /// Without it the keys in the export itself are used, which shows mistakes but not a forger who made his own
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamedKey {
    pub kid: KeyId,
    #[serde(flatten)]
    pub key: PublicKey,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    tenant: TenantId,
    entries: u64,
    checkpoints: u64,
    keys: Vec<NamedKey>,
}

/// A tenant's chain with everything that is needed to check it.
#[derive(Debug)]
pub struct Export {
    pub tenant: TenantId,
    pub keys: Vec<NamedKey>,
    pub lines: Vec<String>,
    pub checkpoints: Vec<String>,
}

/// What a signing key's document has for everybody to see.
#[derive(Deserialize)]
struct SigningKeyView {
    public: PublicKey,
}

impl Export {
    pub fn verify(&self, keys: &[NamedKey]) -> Result<Verified, Flaw> {
        let keys: Vec<(KeyId, PublicKey)> = keys.iter().map(|one| (one.kid, one.key.clone())).collect();
        let notes: Vec<&str> = self.checkpoints.iter().map(String::as_str).collect();
        verify(self.tenant, self.lines.iter().map(String::as_str), &notes, &keys)
    }

    pub fn to_text(&self) -> String {
        let header = Header {
            format: FORMAT.into(),
            version: 1,
            tenant: self.tenant,
            entries: self.lines.len() as u64,
            checkpoints: self.checkpoints.len() as u64,
            keys: self.keys.clone(),
        };
        let mut text = serde_json::to_string(&header).expect("a header has string keys only");
        text.push('\n');
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        for note in &self.checkpoints {
            let note = serde_json::to_string(note).expect("a string is JSON");
            let _ = writeln!(text, "{note}");
        }
        text
    }

    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let header = lines.next().context("line 1: the file is empty")?;
        let header: Header =
            serde_json::from_str(header).context("line 1: expected the header of an audit export")?;
        if header.format != FORMAT || header.version != 1 {
            anyhow::bail!("line 1: not an audit export of this program");
        }
        // A checkpoint is a JSON string; an entry begins with its chain value.
        let (notes, entries): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('"'));
        let checkpoints: Vec<String> = notes
            .iter()
            .map(|note| serde_json::from_str(note))
            .collect::<Result<_, _>>()
            .context("a checkpoint at the end of the file is cut off")?;
        let lines: Vec<String> = entries.into_iter().map(str::to_owned).collect();
        let found = (lines.len() as u64, checkpoints.len() as u64);
        if found.0 > header.entries || found.1 != header.checkpoints {
            anyhow::bail!(
                "the header speaks of {} entries and {} checkpoints, the file has {} and {}",
                header.entries,
                header.checkpoints,
                found.0,
                found.1
            );
        }
        if found.0 < header.entries {
            anyhow::bail!("entry {}: missing, the file was cut off before it", found.0 + 1);
        }
        Ok(Self { tenant: header.tenant, keys: header.keys, lines, checkpoints })
    }
}

/// Reads a tenant's chain up to where it ended when the reading began.
pub async fn read(store: &Store, scope: TenantScope) -> Result<Export, StoreError> {
    // Checkpoints first: entries that they cover are there when they are.
    let mut checkpoints: Vec<(u64, String)> = Vec::new();
    loop {
        let before = checkpoints.last().map(|(size, _)| *size);
        let page = store.checkpoints(scope, before, PAGE_MAX).await?;
        if page.is_empty() {
            break;
        }
        checkpoints.extend(page);
    }
    let checkpoints: Vec<String> = checkpoints.into_iter().rev().map(|(_, note)| note).collect();
    let size = store.audit_head(scope).await?.size;
    let mut lines = Vec::new();
    while (lines.len() as u64) < size {
        let page = store.audit(scope, lines.len() as u64, PAGE_MAX).await?;
        if page.is_empty() {
            let what = format!("audit entry {} of {} is missing", lines.len() + 1, scope.tenant());
            return Err(StoreError::Corrupt { what });
        }
        lines.extend(page.into_iter().map(|row| row.line));
    }
    lines.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.records(scope, RecordKind::SigningKey, None, after.as_deref(), PAGE_MAX).await?;
        for record in &page.items {
            let kid = KeyId::parse(&record.id)
                .map_err(|_| StoreError::Corrupt { what: format!("signing key {}", record.id) })?;
            keys.push(NamedKey { kid, key: record.read::<SigningKeyView>()?.public });
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(Export { tenant: scope.tenant(), keys, lines, checkpoints })
}

/// What somebody kept: keys to trust, and signed heads that a later export must contain.
#[derive(Debug)]
struct Kept {
    keys: Vec<NamedKey>,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct KeptFile {
    keys: Vec<KeptKey>,
    #[serde(default)]
    notes: Vec<String>,
}

/// A key of the API's answer, of a JWKS, or of an export's header.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeptKey {
    Answer { kid: KeyId, key: PublicKey },
    Jwk { kid: KeyId, crv: String, x: String },
    Header(NamedKey),
}

impl KeptKey {
    /// Core signs checkpoints with Ed25519 and nothing else: keys of others are left out.
    fn named(self) -> anyhow::Result<Option<NamedKey>> {
        Ok(match self {
            Self::Answer { kid, key } => Some(NamedKey { kid, key }),
            Self::Header(key) => Some(key),
            Self::Jwk { crv, .. } if crv != "Ed25519" => None,
            Self::Jwk { kid, x, .. } => {
                let bytes = URL_SAFE_NO_PAD.decode(&x).with_context(|| format!("the key {kid}"))?;
                let key =
                    PublicKey::parse(Algorithm::EdDSA, &bytes).with_context(|| format!("the key {kid}"))?;
                Some(NamedKey { kid, key })
            }
        })
    }
}

impl Kept {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: KeptFile = serde_json::from_str(text)
            .context("expected an answer of GET /v1/audit/checkpoints, or a JWKS: {\"keys\": […]}")?;
        let keys = file.keys.into_iter().filter_map(|key| key.named().transpose());
        let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!keys.is_empty(), "no Ed25519 key is in it: nothing could be checked against it");
        Ok(Self { keys, notes: file.notes })
    }
}

pub async fn run(verb: AuditVerb, options: StoreOptions) -> anyhow::Result<String> {
    match verb {
        AuditVerb::Export { tenant, file } => {
            let store = Store::open(StoreOptions { migrate: false, ..options }).await?;
            let export = read(&store, TenantScope::of(tenant)).await?;
            store.close().await;
            // Every tenant's chain begins with its making.
            anyhow::ensure!(!export.lines.is_empty(), "there is no tenant {tenant} in this database");
            std::fs::write(&file, export.to_text()).with_context(|| format!("writing {}", file.display()))?;
            Ok(format!(
                "wrote {} entries and {} checkpoints of {tenant} to {}",
                export.lines.len(),
                export.checkpoints.len(),
                file.display()
            ))
        }
        AuditVerb::Verify { file, keys } => {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
            };
            let mut export = Export::parse(&read(&file)?).with_context(|| file.display().to_string())?;
            let own = keys.is_none();
            let kept = match keys {
                Some(path) => Kept::parse(&read(&path)?).with_context(|| path.display().to_string())?,
                None => Kept { keys: export.keys.clone(), notes: Vec::new() },
            };
            export.checkpoints.extend(kept.notes);
            let verified =
                export.verify(&kept.keys).with_context(|| format!("{} does not hold", file.display()))?;
            Ok(told(&export, &verified, own))
        }
    }
}

fn told(export: &Export, verified: &Verified, own_keys: bool) -> String {
    let mut text = format!(
        "the audit chain of {} holds: {} entries, signed up to entry {}",
        export.tenant, verified.entries, verified.signed_up_to
    );
    if verified.signed_up_to < verified.entries {
        text.push_str("; what comes after it is bound by hashes only");
    }
    if verified.signed_up_to < verified.entries && export.checkpoints.is_empty() {
        text.push_str("\nno checkpoint is in it: whether entries are missing at its end cannot be told");
    }
    if own_keys && !export.checkpoints.is_empty() {
        text.push_str(
            "\nthe keys are those in the file itself: use --keys to check against keys that you trust",
        );
    }
    text
}
