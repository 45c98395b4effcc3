//! What the durable ledger of a virtual door costs: `cargo bench -p keyway-devices --bench flash [records]` admits commands,
//! appends each entry to a file and syncs it, as a door does before its bolt moves, then reads the file back as after a
//! loss of power. The time of the sync is the disk's; the other columns are ours.

use std::time::{Duration, Instant};

use keyway_devices::flash::{FileFlash, Flash as _, MemoryFlash, Record};
use keyway_domain::command::UnlockCommand;
use keyway_domain::command::ledger::{Admission, Conditions, Entry, EntryState, Ledger};
use keyway_domain::door::DoorMode;
use keyway_domain::id::{CommandId, DeviceId, DoorId, TenantId};
use keyway_domain::time::{Moment, UnixMs};

const BEGUN: UnixMs = UnixMs(1_790_000_000_000);
const RECORDS: u64 = 2_000;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let records = words.next_back().map_or(Ok(RECORDS), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("door.ndjson");

    let in_memory = fill(&mut MemoryFlash::default(), records)?;
    let durable = fill(&mut FileFlash::open(&path)?, records)?;
    let begun = Instant::now();
    let kept = FileFlash::open(&path)?.kept()?;
    let read = begun.elapsed();
    anyhow::ensure!(kept.ledger.is_some(), "the ledger did not come back");

    let each = |time: Duration, times: u64| time.as_secs_f64() * 1e6 / times as f64;
    println!("{records} commands, each an entry before the bolt moves and one with its outcome");
    println!("admit, note, append in memory    {:>10.2} us a command", each(in_memory, records));
    println!("the same, appended and synced    {:>10.2} us a command", each(durable, records));
    println!(
        "one durable append               {:>10.2} us",
        each(durable.saturating_sub(in_memory), records * 2)
    );
    println!("read back after a loss of power  {:>10.2} us a record", each(read, records * 2));
    println!("file                             {:>10} bytes", std::fs::metadata(&path)?.len());
    Ok(())
}

fn fill(flash: &mut impl keyway_devices::flash::Flash, records: u64) -> anyhow::Result<Duration> {
    let (tenant, door, device) =
        (TenantId::mint(BEGUN, [1; 10]), DoorId::mint(BEGUN, [2; 10]), DeviceId::mint(BEGUN, [3; 10]));
    let mut ledger = Ledger::begun(BEGUN);
    flash.append(Record::LedgerBegun { at: BEGUN })?;
    let begun = Instant::now();
    for number in 1..=records {
        let at = BEGUN.plus(number * 1_000);
        let now = Some(Moment { at, error_ms: 20 });
        let command = UnlockCommand {
            tenant,
            door,
            device,
            command: CommandId::mint(at, [4; 10]),
            created_at: at,
            deadline: at.plus(8_000),
            open_ms: 5_000,
            mode_version: 1,
            lockdown_version: 0,
            overrides_lockdown: false,
        };
        let mode = DoorMode::Normal;
        let conditions = Conditions { tenant, door, device, now, mode, mode_version: 1, lockdown: None };
        let Admission::Write(entry) = ledger.admit(&command, &conditions) else {
            anyhow::bail!("command {number} was not admitted");
        };
        for entry in [entry, Entry { state: EntryState::Executed, ..entry }] {
            ledger.note(entry, now);
            flash.append(Record::Ledger { complete_since: ledger.complete_since(), entry })?;
        }
    }
    Ok(begun.elapsed())
}
