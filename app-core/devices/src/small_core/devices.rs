//! The small core's side of devices: sync, events, reports of ledgers, time.

use super::{CommandRow, DeviceRow, Publication, SmallCore};
use keyway_domain::bundle::compile;
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::clock::TimeStatement;
use keyway_domain::command::ledger::LedgerReport;
use keyway_domain::command::{Input, Step};
use keyway_domain::decision::Situation;
use keyway_domain::event::intake::Intake;
use keyway_domain::event::{Epoch, EventBatch};
use keyway_domain::id::{CommandId, DeviceId};
use keyway_domain::message::device::{
    CommandReport, EventReply, EventReport, SignedBundle, SyncReply, SyncRequest, TimeReply, TimeRequest,
};
use keyway_domain::message::publication::CommandChange;
use keyway_domain::message::statement::{DesiredState, EventsCommitted};
use keyway_domain::sign::Kind;
use keyway_domain::time::UnixMs;

/// A bundle is made anew when half of its life is over, so that a door that is often online never runs out.
const HALF: u64 = 2;

impl SmallCore {
    /// Compiles the bundle of a door, unless the one there still stands.
    pub fn prepare(&mut self, device: DeviceId, now: UnixMs) {
        let Some(row) = self.devices.get_mut(&device) else { return };
        let fresh = row.bundle.as_ref().is_some_and(|body| {
            row.made_from == self.facts_version
                && now.since(body.issued_at) < body.expires_at.since(body.issued_at) / HALF
        });
        let Ok(at) = self.facts.at_door(row.door, Situation::plain()) else { return };
        if !fresh {
            let zone = self.facts.zones[&at.door.rules.place.site].clone();
            let version = row.bundle.as_ref().map_or(1, |body| body.version + 1);
            row.previous = row.bundle.take();
            row.bundle = Some(compile(&at, zone, version, now));
            row.made_from = self.facts_version;
        }
    }

    pub(super) fn sync(&mut self, device: DeviceId, payload: &[u8], now: UnixMs) -> Option<Vec<u8>> {
        let request: SyncRequest = serde_json::from_slice(payload).ok()?;
        self.settle(device, &request.ledger, now);
        self.prepare(device, now);
        let row = self.devices.get(&device)?;
        let door = self.facts.doors.get(&row.door)?;
        let body = row.bundle.as_ref()?;
        let desired = DesiredState {
            tenant: self.tenant,
            device,
            door: row.door,
            // One counter over everything that is wanted of a door; facts, lockdowns and mode only ever rise.
            version: self.facts_version + self.lockdowns.floor + door.mode_version,
            mode: door.mode,
            mode_version: door.mode_version,
            lockdowns: self.lockdowns.clone(),
            bundle_version: body.version,
        };
        let bundle = match &row.previous {
            _ if request.bundle_version == body.version => None,
            Some(held) if held.version == request.bundle_version => Some(SignedBundle::Delta(
                self.key.sign_json(Kind::BundleDelta, &BundleDelta::between(held, body)),
            )),
            _ => Some(SignedBundle::Whole(self.key.sign_json(Kind::Bundle, body))),
        };
        let wants_desired = desired.version > request.desired_version;
        let held = request.events.and_then(|held| Some((held.epoch, row.intakes.get(&held.epoch)?)));
        let intake = held.map(|(_, intake)| intake);
        let reply = SyncReply {
            keys: None,
            desired: wants_desired.then(|| self.key.sign_json(Kind::DesiredState, &desired)),
            bundle,
            revocation: (self.revoked.len() as u64 > request.revocation_version)
                .then(|| self.signed_revocation()),
            time: self.signed_time(request.time_nonce, now),
            watermark: intake.map(|intake| intake.watermark),
            committed: held.and_then(|(epoch, intake)| self.committed(device, epoch, intake.watermark)),
            wanted: intake.map(Intake::wanted).unwrap_or_default(),
        };
        serde_json::to_vec(&reply).ok()
    }

    fn committed(&self, device: DeviceId, epoch: Epoch, watermark: u64) -> Option<String> {
        let statement = EventsCommitted { tenant: self.tenant, device, epoch, watermark };
        (watermark > 0).then(|| self.key.sign_json(Kind::EventsCommitted, &statement))
    }

    fn signed_time(&self, nonce: String, now: UnixMs) -> String {
        self.key.sign_json(Kind::Time, &TimeStatement { nonce, time: now })
    }

    pub(super) fn time(&self, payload: &[u8], now: UnixMs) -> Option<Vec<u8>> {
        let request: TimeRequest = serde_json::from_slice(payload).ok()?;
        serde_json::to_vec(&TimeReply { time: self.signed_time(request.nonce, now) }).ok()
    }

    pub(super) fn report(&mut self, device: DeviceId, payload: &[u8]) -> Option<Vec<u8>> {
        let request: EventReport = serde_json::from_slice(payload).ok()?;
        let row = self.devices.get_mut(&device)?;
        let batch: EventBatch = row.keys.read(Kind::EventBatch, &request.batch).ok()?;
        if batch.tenant != self.tenant || batch.device != device {
            return None;
        }
        let intake = row.intakes.entry(batch.epoch).or_insert_with(Intake::begun);
        let taken = intake.take(&batch).ok()?;
        let (watermark, wanted) = (intake.watermark, intake.wanted());
        row.events.extend(taken.new.into_iter().map(|(event, _)| ((batch.epoch, event.seq), event)));
        let committed = self.committed(device, batch.epoch, watermark);
        let reply = EventReply { epoch: batch.epoch, watermark, wanted, committed };
        serde_json::to_vec(&reply).ok()
    }

    pub(super) fn command_report(
        &mut self,
        device: DeviceId,
        payload: &[u8],
        now: UnixMs,
    ) -> Option<Vec<u8>> {
        let request: CommandReport = serde_json::from_slice(payload).ok()?;
        self.settle(device, &request.ledger, now).then(|| b"{}".to_vec())
    }

    /// Takes a ledger's word for every command of its door that is not settled.
    fn settle(&mut self, device: DeviceId, jws: &str, now: UnixMs) -> bool {
        let Some(row) = self.devices.get(&device) else { return false };
        let Ok(report) = row.keys.read::<LedgerReport>(Kind::LedgerReport, jws) else { return false };
        if (report.tenant, report.device, report.door) != (self.tenant, device, row.door) {
            return false;
        }
        let ours = |row: &CommandRow| row.command.device == device && !row.record.state.is_final();
        let open: Vec<CommandId> =
            self.commands.values().filter(|row| ours(row)).map(|row| row.command.command).collect();
        for id in open {
            self.step(id, Input::Ledger(report.answer(id)), now);
        }
        true
    }

    /// Steps a command and publishes the change.
    pub(super) fn step(&mut self, id: CommandId, input: Input, now: UnixMs) -> Option<Step> {
        let row = self.commands.get_mut(&id)?;
        let step = row.record.step(input, now);
        if let Step::Become(state) = step {
            row.record.state = state;
            if let Some((_, phone)) = self.by_request.get(&row.request) {
                let change = CommandChange { command: id, door: row.command.door, state };
                self.publications.push(Publication::Person(*phone, change));
            }
        }
        Some(step)
    }
}

impl DeviceRow {
    pub fn bundle_version(&self) -> u64 {
        self.bundle.as_ref().map_or(0, |body| body.version)
    }
}
