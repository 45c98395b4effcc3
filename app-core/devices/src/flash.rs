//! Memory that survives a restart: an append-only list of records. Two kinds: in memory for fleets and simulations, and
//! a file that is synced before the next step. Refuses to know what a record means beyond keeping the newest.

use keyway_domain::command::ledger::{Entry, Ledger};
use keyway_domain::event::{ChainHash, DeviceEvent, Epoch};
use keyway_domain::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

/// One thing that has to be durable before the next step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum Record {
    Epoch {
        epoch: Epoch,
    },
    LedgerBegun {
        at: UnixMs,
    },
    Ledger {
        complete_since: UnixMs,
        entry: Entry,
    },
    Event {
        before: ChainHash,
        event: DeviceEvent,
    },
    Committed {
        watermark: u64,
    },
    /// Signed statements are kept as they came and verified again at start.
    Desired {
        jws: String,
    },
    Bundle {
        jws: String,
    },
    BundleDelta {
        jws: String,
    },
    Lockdown {
        jws: String,
    },
    Revocation {
        jws: String,
    },
    /// Core's keys. Each is signed by one of those before it, so that all of them are kept.
    Keys {
        jws: String,
    },
}

/// Everything that was kept, in the order in which a door takes it in at start.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    pub keys: Vec<String>,
    pub epoch: Option<Epoch>,
    pub ledger: Option<Ledger>,
    pub events: Vec<(ChainHash, DeviceEvent)>,
    pub committed: u64,
    pub desired: Option<String>,
    pub bundle: Option<String>,
    pub deltas: Vec<String>,
    pub lockdowns: Vec<String>,
    pub revocation: Option<String>,
}

impl Kept {
    /// Takes one record in. What a newer one makes worthless is let go.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Epoch { epoch } => self.epoch = Some(epoch),
            Record::LedgerBegun { at } => self.ledger = Some(Ledger::begun(at)),
            Record::Ledger { complete_since, entry } => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.restore(entry, complete_since);
                }
            }
            Record::Event { before, event } => self.events.push((before, event)),
            Record::Committed { watermark } => {
                self.committed = watermark;
                let last = self.events.last().map_or(0, |(_, event)| event.seq);
                self.events.retain(|(_, event)| event.seq > watermark || event.seq == last);
            }
            Record::Desired { jws } => {
                self.desired = Some(jws);
                self.lockdowns.clear();
            }
            Record::Bundle { jws } => {
                self.bundle = Some(jws);
                self.deltas.clear();
            }
            Record::BundleDelta { jws } => self.deltas.push(jws),
            Record::Lockdown { jws } => self.lockdowns.push(jws),
            Record::Revocation { jws } => self.revocation = Some(jws),
            Record::Keys { jws } => self.keys.push(jws),
        }
    }
}

/// Where records go. `append` returns when the record is durable.
pub trait Flash {
    fn append(&mut self, record: Record) -> std::io::Result<()>;
    fn kept(&mut self) -> std::io::Result<Kept>;
}

#[derive(Debug, Default)]
pub struct MemoryFlash {
    kept: Kept,
}

impl Flash for MemoryFlash {
    fn append(&mut self, record: Record) -> std::io::Result<()> {
        self.kept.take(record);
        Ok(())
    }

    fn kept(&mut self) -> std::io::Result<Kept> {
        Ok(self.kept.clone())
    }
}

/// One JSON record a line, synced line by line.
#[derive(Debug)]
pub struct FileFlash {
    path: PathBuf,
    file: File,
}

impl FileFlash {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // The name of a new file is durable only when its folder is.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let mut flash = Self { path: path.to_owned(), file };
        flash.cut_torn_line()?;
        Ok(flash)
    }

    /// A line without its end was being written when power went: it never counted, and must not swallow the next one.
    fn cut_torn_line(&mut self) -> std::io::Result<()> {
        let bytes = std::fs::read(&self.path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            self.file.set_len(whole as u64)?;
            self.file.sync_all()?;
        }
        Ok(())
    }
}

impl Flash for FileFlash {
    fn append(&mut self, record: Record) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }

    fn kept(&mut self) -> std::io::Result<Kept> {
        let mut kept = Kept::default();
        for line in BufReader::new(File::open(&self.path)?).lines() {
            kept.take(serde_json::from_str(&line?)?);
        }
        Ok(kept)
    }
}
