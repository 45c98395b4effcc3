//! The door's side of a command: what is written down, in which order, and what it answers. Owns the rules that keep a
//! bolt from moving twice or late; refuses to know flash and bolts: the shell writes and moves when it is told to.
//!
//! The order, each step only after the one before is done:
//! `admit` -> write the entry durably -> `confirm` right before the bolt -> move -> write the outcome -> report it.
//! A refusal is written before it is told, too: else a later copy could still open after core has heard "rejected".

use super::{DEADLINE_MS_MAX, UnlockCommand};
use crate::door::DoorMode;
use crate::id::{CommandId, DeviceId, DoorId, TenantId};
use crate::lockdown::{Effect, LockdownStatement};
use crate::time::{Moment, UnixMs};
use serde::{Deserialize, Serialize};

/// Commands live a minute at most: one a second would fill it. An entry that is still live is never thrown out.
pub const ENTRIES_MAX: usize = 64;

/// The door tried and the bolt did not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    Jammed,
    NoPower,
    HardwareFault,
    #[serde(other)]
    Other,
}

/// The door did not try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    Late,
    DeadlineTooLong,
    ClockUnsynced,
    WrongDoor,
    /// The door's mode or a lockdown is newer than what the command was judged by.
    ModeChanged,
    DoorBlocked,
    DoorInLockdown,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum EntryState {
    /// The bolt may be about to move, or has moved and nobody wrote it down.
    Written,
    /// Found `Written` after a restart. Never repeated.
    MaybeExecuted,
    Executed,
    Failed(FailReason),
    Rejected(RejectReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    pub command: CommandId,
    pub deadline: UnixMs,
    #[serde(flatten)]
    pub state: EntryState,
}

/// What a ledger says about one command, as core reads it from a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum Answer {
    Written,
    MaybeExecuted,
    Executed,
    Failed(FailReason),
    Rejected(RejectReason),
    /// Not in it. `as_of` is the earliest that the door's time may have been when it looked.
    NeverSeen {
        as_of: UnixMs,
        complete_since: UnixMs,
    },
}

/// What the door knows at the moment of judging.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    pub tenant: TenantId,
    pub door: DoorId,
    pub device: DeviceId,
    /// Core's time, if it is known and fresh.
    pub now: Option<Moment>,
    pub mode: DoorMode,
    pub mode_version: u64,
    /// The lockdown that governs now.
    pub lockdown: Option<&'a LockdownStatement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// Write this durably, then `confirm`.
    Write(Entry),
    /// Write this durably, then report it. The bolt stays.
    WriteRefusal(Entry),
    /// Seen before: report what is known, do nothing.
    Known(EntryState),
    /// No room that could be made, or a command from before this ledger began, which the lost one may have executed.
    /// Say nothing, since nothing is known: core settles it from the next report.
    Ignore,
}

/// The ledger as it stands in durable memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ledger {
    /// In the order of writing.
    entries: Vec<Entry>,
    begun_at: UnixMs,
    /// Commands made before this may be missing here: the ledger began then, or has thrown out what was over.
    complete_since: UnixMs,
}

/// A ledger's word on a set of commands, signed by the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerReport {
    pub tenant: TenantId,
    pub door: DoorId,
    pub device: DeviceId,
    /// The earliest that core's time may have been.
    pub as_of: UnixMs,
    pub complete_since: UnixMs,
    pub entries: Vec<Entry>,
}

impl LedgerReport {
    pub fn answer(&self, command: CommandId) -> Answer {
        answer(&self.entries, command, self.as_of, self.complete_since)
    }
}

fn answer(entries: &[Entry], command: CommandId, as_of: UnixMs, complete_since: UnixMs) -> Answer {
    match entries.iter().find(|entry| entry.command == command).map(|entry| entry.state) {
        Some(EntryState::Written) => Answer::Written,
        Some(EntryState::MaybeExecuted) => Answer::MaybeExecuted,
        Some(EntryState::Executed) => Answer::Executed,
        Some(EntryState::Failed(reason)) => Answer::Failed(reason),
        Some(EntryState::Rejected(reason)) => Answer::Rejected(reason),
        None => Answer::NeverSeen { as_of, complete_since },
    }
}

impl Ledger {
    /// A ledger that begins now, at the latest that now may be.
    pub fn begun(since: UnixMs) -> Self {
        Self { entries: Vec::new(), begun_at: since, complete_since: since }
    }

    /// From durable memory, at start. What was about to happen may have happened.
    pub fn reopened(mut self) -> Self {
        for entry in &mut self.entries {
            if entry.state == EntryState::Written {
                entry.state = EntryState::MaybeExecuted;
            }
        }
        self
    }

    pub fn begun_at(&self) -> UnixMs {
        self.begun_at
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn complete_since(&self) -> UnixMs {
        self.complete_since
    }

    pub fn answer(&self, command: CommandId, as_of: UnixMs) -> Answer {
        answer(&self.entries, command, as_of, self.complete_since)
    }

    /// Judges a verified command that has arrived.
    pub fn admit(&self, command: &UnlockCommand, conditions: &Conditions<'_>) -> Admission {
        if let Some(known) = self.entries.iter().find(|entry| entry.command == command.command) {
            return Admission::Known(known.state);
        }
        if command.created_at < self.begun_at || !self.has_room(conditions.now) {
            return Admission::Ignore;
        }
        let entry = |state| Entry { command: command.command, deadline: command.deadline, state };
        match confirm(command, conditions) {
            Ok(()) => Admission::Write(entry(EntryState::Written)),
            Err(reason) => Admission::WriteRefusal(entry(EntryState::Rejected(reason))),
        }
    }

    fn has_room(&self, now: Option<Moment>) -> bool {
        self.entries.len() < ENTRIES_MAX || self.over(now).is_some()
    }

    /// The oldest entry that no copy of its command can open any more.
    fn over(&self, now: Option<Moment>) -> Option<usize> {
        let now = now?.earliest();
        self.entries.iter().position(|entry| entry.deadline <= now && entry.state != EntryState::Written)
    }

    /// Notes an entry, new or with its outcome. The shell has written it durably, or is about to before it goes on.
    pub fn note(&mut self, entry: Entry, now: Option<Moment>) {
        let new = !self.entries.iter().any(|held| held.command == entry.command);
        if new
            && self.entries.len() >= ENTRIES_MAX
            && let Some(over) = self.over(now)
        {
            let gone = self.entries.remove(over);
            self.complete_since = self.complete_since.max(gone.deadline);
        }
        self.put(entry);
    }

    /// Takes an entry back in from durable memory, with the `complete_since` that was written along.
    pub fn restore(&mut self, entry: Entry, complete_since: UnixMs) {
        self.complete_since = self.complete_since.max(complete_since);
        let known = self.entries.iter().any(|held| held.command == entry.command);
        // What was thrown out when this was written is thrown out here as well.
        if !known && self.entries.len() >= ENTRIES_MAX {
            let over = self.entries.iter().position(|held| held.deadline <= complete_since);
            self.entries.remove(over.unwrap_or(0));
        }
        self.put(entry);
    }

    fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|held| held.command == entry.command) {
            Some(held) => held.state = entry.state,
            None => self.entries.push(entry),
        }
    }
}

/// Whether the bolt may move now. Asked on arrival, and again right before it moves, with the conditions of that moment.
pub fn confirm(command: &UnlockCommand, conditions: &Conditions<'_>) -> Result<(), RejectReason> {
    let here = (conditions.tenant, conditions.door, conditions.device);
    if (command.tenant, command.door, command.device) != here {
        return Err(RejectReason::WrongDoor);
    }
    let now = conditions.now.ok_or(RejectReason::ClockUnsynced)?;
    if now.latest() >= command.deadline {
        return Err(RejectReason::Late);
    }
    if command.deadline.since(now.earliest()) > DEADLINE_MS_MAX + u64::from(now.error_ms) * 2 {
        return Err(RejectReason::DeadlineTooLong);
    }
    if conditions.mode_version > command.mode_version {
        return Err(RejectReason::ModeChanged);
    }
    match conditions.lockdown {
        Some(ruling) if ruling.version > command.lockdown_version => return Err(RejectReason::ModeChanged),
        Some(ruling) if ruling.effect == Effect::LockedOpen => {}
        Some(ruling) if ruling.effect == Effect::Nobody || !command.overrides_lockdown => {
            return Err(RejectReason::DoorInLockdown);
        }
        Some(_) => return Ok(()),
        None => {}
    }
    match conditions.mode {
        DoorMode::Normal | DoorMode::Unlocked | DoorMode::LockedOpen => Ok(()),
        DoorMode::Blocked => Err(RejectReason::DoorBlocked),
        DoorMode::Lockdown if command.overrides_lockdown => Ok(()),
        DoorMode::Lockdown => Err(RejectReason::DoorInLockdown),
    }
}
