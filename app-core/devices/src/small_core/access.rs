//! The small core's decisions: taps of online doors, and unlock requests of phones with the commands they become.

use super::{CommandRow, Publication, RESEND_MS, SmallCore};
use keyway_domain::command::{CommandRecord, Input, State, Step, UnlockCommand};
use keyway_domain::decision::{
    Attempt, Decision, FirstPerson, Outcome, Pin, Reason, Shown, Situation, decide,
};
use keyway_domain::id::{CommandId, DeviceId, DoorId};
use keyway_domain::message::device::{AccessCall, AccessReply, AccessRequest};
use keyway_domain::message::phone::{CommandReply, UnlockCall};
use keyway_domain::message::publication::ToDevice;
use keyway_domain::message::statement::{DecisionStatement, UnlockRequest, Verdict};
use keyway_domain::sign::{Kind, TrustedKeys, claimed_key};
use keyway_domain::time::{Moment, UnixMs};

/// A live decision is good for this long: the door's own wait and the way back.
const DECISION_MS: u64 = 1_500;

impl SmallCore {
    fn decide(&self, door: DoorId, attempt: &Attempt, now: UnixMs) -> Option<Decision> {
        let row = self.facts.doors.get(&door)?;
        let situation = Situation {
            mode: row.mode,
            mode_version: row.mode_version,
            lockdowns: &self.lockdowns.statements,
            locked_out_until: None,
            policy_forbids: false,
        };
        Some(decide(&self.facts.at_door(door, situation).ok()?, attempt, Moment::exact(now)))
    }

    /// Counts a use of the grant that decided.
    fn count(&mut self, decision: &Decision) {
        if let Some(pass) = decision.granted()
            && let Some(grant) = self.facts.grants.get_mut(&pass.grant)
            && let Some(uses) = &mut grant.rule.uses
        {
            uses.taken += 1;
        }
    }

    pub(super) fn access(&mut self, device: DeviceId, payload: &[u8], now: UnixMs) -> Option<Vec<u8>> {
        let call: AccessCall = serde_json::from_slice(payload).ok()?;
        let row = self.devices.get(&device)?;
        let door = row.door;
        let request: AccessRequest = row.keys.read(Kind::AccessRequest, &call.request).ok()?;
        if (request.tenant, request.device, request.door) != (self.tenant, device, door) {
            return None;
        }
        let first =
            request.first_person.map(|first| FirstPerson { person: first.person, ago_ms: first.ago_ms });
        let pin = request.pin.map(Pin::Digest);
        let decision =
            self.decide(door, &Attempt { shown: Shown::Digest(request.credential), pin, first }, now)?;
        self.count(&decision);
        let statement = DecisionStatement {
            tenant: self.tenant,
            door,
            device,
            request: request.request,
            deadline: now.plus(DECISION_MS),
            mode_version: decision.mode_version,
            verdict: Verdict::from(&decision),
            credential: decision.credential,
            person: decision.person,
        };
        serde_json::to_vec(&AccessReply { decision: self.key.sign_json(Kind::Decision, &statement) }).ok()
    }

    pub(super) fn unlock(&mut self, payload: &[u8], now: UnixMs) -> Option<Vec<u8>> {
        let call: UnlockCall = serde_json::from_slice(payload).ok()?;
        let phone = claimed_key(&call.request)?;
        let (public, credential) = self.phones.get(&phone)?.clone();
        let keys = TrustedKeys::of(phone, public);
        let request: UnlockRequest = keys.read(Kind::UnlockRequest, &call.request).ok()?;
        if request.tenant != self.tenant {
            return None;
        }
        if let Some((known, _)) = self.by_request.get(&request.request) {
            return self.answer(*known);
        }
        // Past its deadline a request is dropped; one that reaches too far is not ours to shorten.
        let within = request.deadline.since(now);
        if within == 0 || within > keyway_domain::command::DEADLINE_MS_MAX {
            return None;
        }
        let attempt = Attempt { shown: Shown::Credential(credential), pin: None, first: None };
        let decision = self.decide(request.door, &attempt, now)?;
        self.count(&decision);
        let device = *self.devices.iter().find(|(_, row)| row.door == request.door)?.0;
        let id = CommandId::mint(now, self.dice.bytes());
        let row = CommandRow {
            command: UnlockCommand {
                tenant: self.tenant,
                door: request.door,
                device,
                command: id,
                created_at: now,
                deadline: request.deadline,
                open_ms: decision.granted().map_or(0, |pass| pass.open_ms),
                mode_version: decision.mode_version,
                lockdown_version: self.lockdowns.floor,
                overrides_lockdown: self.overrides(&decision),
            },
            record: CommandRecord { created_at: now, deadline: request.deadline, state: State::Requested },
            request: request.request,
            resend_at: now,
        };
        self.commands.insert(id, row);
        self.by_request.insert(request.request, (id, phone));
        let input = match decision.outcome {
            Outcome::Granted(_) => Input::Allowed,
            Outcome::Denied(reason) => Input::Denied(reason),
            Outcome::AskCore => Input::Denied(Reason::CoreUnreachable),
        };
        self.step(id, input, now);
        self.dispatch(id, now);
        self.answer(id)
    }

    fn overrides(&self, decision: &Decision) -> bool {
        let grant = decision.granted().and_then(|pass| self.facts.grants.get(&pass.grant));
        grant.is_some_and(|grant| grant.rule.overrides_lockdown)
    }

    fn answer(&self, id: CommandId) -> Option<Vec<u8>> {
        let row = self.commands.get(&id)?;
        let reply = CommandReply {
            command: id,
            request: Some(row.request),
            door: row.command.door,
            state: row.record.state,
            is_final: row.record.state.is_final(),
        };
        serde_json::to_vec(&reply).ok()
    }

    /// Sends a command, or sends it again. The state is `sent` before the first byte leaves.
    fn dispatch(&mut self, id: CommandId, now: UnixMs) {
        let step = self.step(id, Input::Dispatch, now);
        let Some(row) = self.commands.get_mut(&id) else { return };
        let goes = match step {
            Some(Step::Become(state)) => state == State::Sent,
            Some(Step::Stay) => matches!(row.record.state, State::Sent | State::Acked),
            Some(Step::Refuse(_)) | None => false,
        };
        if goes {
            row.resend_at = now.plus(RESEND_MS);
            let command = self.key.sign_json(Kind::Command, &row.command);
            self.publications.push(Publication::Device(row.command.device, ToDevice::Command { command }));
        }
    }

    /// Time goes by: what is open is sent again or runs out.
    pub fn tick(&mut self, now: UnixMs) {
        let open = self.commands.values().filter(|row| !row.record.state.is_final());
        let open: Vec<(CommandId, bool)> =
            open.map(|row| (row.command.command, now >= row.resend_at)).collect();
        for (id, resend) in open {
            self.step(id, Input::Tick, now);
            if resend {
                self.dispatch(id, now);
            }
        }
    }
}
