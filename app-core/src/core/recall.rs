//! What this process last read or committed of each device: what was seen of it, its commands that are not settled, how
//! far its events have come. Owns the memory and its bound; refuses to say that it is so still: whoever decides from it
//! commits with what it was (`if_records`, `if_open`, versions), and asks the database when that is refused.

use crate::doc::DeviceState;
use crate::store::change::{Change, CommandWrite, IntakeWrite, RecordChange};
use crate::store::kind::RecordKind;
use crate::store::row::{CommandRow, IntakeRow};
use crate::store::{Committed, TenantScope};
use keyway_domain::event::Epoch;
use keyway_domain::id::{CommandId, DeviceId, TenantId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Devices that are remembered, some 2 KiB each; beyond it the table is begun anew, and each costs its reads once more.
const DEVICES_MAX: usize = 20_000;

#[derive(Default)]
pub struct Recall(Mutex<HashMap<(TenantId, DeviceId), Device>>);

#[derive(Default)]
struct Device {
    state: Option<(DeviceState, u64)>,
    /// All that are not settled, once they have been read.
    open: Option<BTreeMap<CommandId, CommandRow>>,
    /// Of the epoch that was written last.
    intake: Option<IntakeRow>,
}

/// What a change will have made of devices when it is committed.
#[derive(Default)]
pub struct Lesson {
    states: Vec<(usize, DeviceState)>,
    commands: Vec<CommandWrite>,
    intakes: Vec<(IntakeWrite, u64)>,
}

impl Lesson {
    pub fn of(change: &Change) -> Self {
        let states = change.records.iter().enumerate().filter_map(|(place, record)| match record {
            RecordChange::Put(draft) if draft.kind == RecordKind::DeviceState => {
                Some((place, serde_json::from_str(&draft.doc).ok()?))
            }
            _ => None,
        });
        let intakes = change.intakes.iter().filter_map(|write| {
            let version = match write.expect {
                crate::store::change::Expect::Any => return None,
                crate::store::change::Expect::Absent => 1,
                crate::store::change::Expect::Version(before) => before + 1,
            };
            Some((write.clone(), version))
        });
        Self { states: states.collect(), commands: change.commands.clone(), intakes: intakes.collect() }
    }
}

impl Recall {
    fn devices(&self) -> MutexGuard<'_, HashMap<(TenantId, DeviceId), Device>> {
        // What is wrong in here is refused by the database: it need not be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, scope: TenantScope, device: DeviceId, work: impl FnOnce(&mut Device) -> T) -> T {
        let mut devices = self.devices();
        let key = (scope.tenant(), device);
        if devices.len() >= DEVICES_MAX && !devices.contains_key(&key) {
            devices.clear();
        }
        work(devices.entry(key).or_default())
    }

    pub fn state(&self, scope: TenantScope, device: DeviceId) -> Option<(DeviceState, u64)> {
        self.devices().get(&(scope.tenant(), device))?.state.clone()
    }

    /// In the order of their ids.
    pub fn open(&self, scope: TenantScope, device: DeviceId) -> Option<Vec<CommandRow>> {
        Some(self.devices().get(&(scope.tenant(), device))?.open.as_ref()?.values().cloned().collect())
    }

    pub fn intake(&self, scope: TenantScope, device: DeviceId, epoch: Epoch) -> Option<IntakeRow> {
        let devices = self.devices();
        devices.get(&(scope.tenant(), device))?.intake.clone().filter(|row| row.epoch == epoch)
    }

    /// As it was read.
    pub fn learn_state(&self, scope: TenantScope, state: &DeviceState, version: u64) {
        self.with(scope, state.device, |device| device.state = Some((state.clone(), version)));
    }

    /// All that there were, as they were read.
    pub fn learn_open(&self, scope: TenantScope, device: DeviceId, rows: &[CommandRow]) {
        let rows = rows.iter().map(|row| (row.id(), row.clone())).collect();
        self.with(scope, device, |device| device.open = Some(rows));
    }

    pub fn learn_intake(&self, scope: TenantScope, device: DeviceId, row: &IntakeRow) {
        self.with(scope, device, |device| device.intake = Some(row.clone()));
    }

    /// The change has been committed.
    pub fn learn(&self, scope: TenantScope, lesson: Lesson, committed: &Committed) {
        for (place, state) in lesson.states {
            if let Some(version) = committed.record_versions.get(place) {
                self.learn_state(scope, &state, *version);
            }
        }
        for CommandWrite { row, .. } in lesson.commands {
            let Some((_, version)) = committed.command_versions.iter().find(|(id, _)| *id == row.id()) else {
                continue;
            };
            self.with(scope, row.command.device, |device| {
                // Before they have been read, one of them says nothing about the others.
                let Some(open) = &mut device.open else { return };
                if row.record.state.is_final() {
                    open.remove(&row.id());
                } else {
                    open.insert(row.id(), CommandRow { version: *version, ..row });
                }
            });
        }
        for (write, version) in lesson.intakes {
            let row = IntakeRow { epoch: write.epoch, intake: write.intake, version };
            self.learn_intake(scope, write.device, &row);
        }
    }
}
