//! A door's talk with core: sync, time, events, desired state. Every signed part is verified, bound to this door and
//! compared with the version held; what does not fit is dropped and the next sync asks again.

use super::{CALL_TIMEOUT_MS, DoorCore, Output, TIME_SYNC_EVERY_MS};
use crate::flash::Record;
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::bundle::{Bundle, BundleBody};
use keyway_domain::clock::{Asked, MonoMs, SessionClock, TimeStatement};
use keyway_domain::lockdown::{LockdownStatement, Taken};
use keyway_domain::message::device::{
    Capability, EventReply, EventReport, HeldEvents, SignedBundle, SyncReply, SyncRequest,
};
use keyway_domain::message::publication::ToDevice;
use keyway_domain::message::statement::{CoreKeys, DesiredState, EventsCommitted, Revocation};
use keyway_domain::sign::Kind;
use keyway_domain::time::LAST_INSTANT;

/// No call has this number: a pause that ends like a call that nobody answers.
const NO_CALL: u64 = u64::MAX;
/// Far below what an operator notices, far above the time until a phone knows.
const REPORT_AFTER_MS: u64 = 20;

impl DoorCore {
    pub(super) fn begin_sync(&mut self, mono: MonoMs, out: &mut Vec<Output>) {
        let nonce = self.fresh_bytes();
        let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = SyncRequest {
            firmware: concat!("virtual-", env!("CARGO_PKG_VERSION")).into(),
            capabilities: vec![
                Capability::OfflineDecisions,
                Capability::BundleDeltas,
                Capability::DoorSensor,
                Capability::TwoPerson,
            ],
            desired_version: self.desired.as_ref().map_or(0, |desired| desired.version),
            bundle_version: self.bundle.as_ref().map_or(0, |bundle| bundle.body().version),
            revocation_version: self.revocation.as_ref().map_or(0, |held| held.version),
            keys_version: self.keys_version,
            ledger: self.ledger_report(mono),
            events: self.events.held().map(|range| HeldEvents { epoch: self.events.epoch(), range }),
            time_nonce: nonce.clone(),
        };
        if let Some(id) = self.call("device.sync", &request, out) {
            self.asked = Some(Asked { nonce, at: mono });
            self.sync_call = Some((id, MonoMs(mono.0 + CALL_TIMEOUT_MS)));
            self.time_due = MonoMs(mono.0 + TIME_SYNC_EVERY_MS);
        }
    }

    pub(super) fn disconnected(&mut self, mono: MonoMs, out: &mut Vec<Output>) {
        self.connected = false;
        self.sync_call = None;
        self.report_call = None;
        // The sync of the next link says it again.
        self.ledger_call = None;
        self.ack_due = None;
        self.asked = None;
        for waiting in std::mem::take(&mut self.waiting) {
            self.fall_back(&waiting, mono, out);
        }
    }

    pub(super) fn replied(&mut self, id: u64, payload: Option<Vec<u8>>, mono: MonoMs, out: &mut Vec<Output>) {
        if self.sync_call.is_some_and(|(call, _)| call == id) {
            self.sync_call = None;
            match payload.and_then(|payload| serde_json::from_slice::<SyncReply>(&payload).ok()) {
                Some(reply) => self.synced(reply, mono, out),
                None => self.time_due = MonoMs(mono.0 + CALL_TIMEOUT_MS),
            }
        } else if self.report_call.is_some_and(|(call, _)| call == id) {
            let reply = payload.and_then(|payload| serde_json::from_slice::<EventReply>(&payload).ok());
            // Refused or failed: the call stays until its time is over and is then begun anew. Without that the events
            // would lie here until the next one happens.
            if let Some(reply) = reply.filter(|reply| reply.epoch == self.events.epoch()) {
                self.report_call = None;
                self.committed(reply.committed.as_deref(), out);
                reply.wanted.iter().for_each(|range| self.events.asked_for(*range));
                let from = reply.wanted.first().map_or(reply.watermark + 1, |range| range.from);
                // An answer that says the same as the one before has not been moved by the batch in between: the same
                // batch would come back at once, for ever. It goes again when an unanswered call would.
                let moved = self.answered_last.as_ref() != Some(&reply);
                self.answered_last = Some(reply);
                if moved {
                    self.report_from(from, mono, out);
                }
                self.report_later(mono);
            }
        } else if self.ledger_call.is_some_and(|(call, _)| call == id) {
            // Refused or failed: said again when its time is over.
            if payload.is_some() {
                self.ledger_call = None;
                let told = std::mem::take(&mut self.telling);
                self.untold.retain(|command| !told.contains(command));
            }
        } else if let Some(place) = self.waiting.iter().position(|one| one.call == id) {
            let waiting = self.waiting.remove(place);
            self.answered(&waiting, payload, mono, out);
        }
    }

    fn synced(&mut self, reply: SyncReply, mono: MonoMs, out: &mut Vec<Output>) {
        if let Some(jws) = reply.keys
            && self.take_keys(&jws)
        {
            out.push(Output::Write(Record::Keys { jws }));
        }
        self.hear_time(&reply.time, mono, out);
        if let Some(jws) = reply.desired
            && let Ok(desired) = self.trusted.read::<DesiredState>(Kind::DesiredState, &jws)
            && (self.take_desired(desired.clone()) || self.desired.as_ref() == Some(&desired))
        {
            out.push(Output::Write(Record::Desired { jws }));
        }
        match reply.bundle {
            Some(SignedBundle::Whole(jws)) => {
                // What is held already comes again when the keys have changed: it is kept under the new signature.
                if let Ok(body) = self.trusted.read::<BundleBody>(Kind::Bundle, &jws)
                    && (self.holds_bundle(&body) || self.take_bundle(body))
                {
                    out.push(Output::Write(Record::Bundle { jws }));
                }
            }
            Some(SignedBundle::Delta(jws)) => {
                if let Ok(delta) = self.trusted.read::<BundleDelta>(Kind::BundleDelta, &jws)
                    && let Some(Ok(body)) = self.bundle.as_ref().map(|held| delta.apply(held.body()))
                    && self.take_bundle(body)
                {
                    out.push(Output::Write(Record::BundleDelta { jws }));
                }
            }
            None => {}
        }
        if let Some(jws) = reply.revocation {
            self.revoked(jws, out);
        }
        self.committed(reply.committed.as_deref(), out);
        reply.wanted.iter().for_each(|range| self.events.asked_for(*range));
        self.answered_last = None;
        let from = reply.wanted.first().map(|range| range.from);
        match from {
            Some(from) => self.report_from(from, mono, out),
            None => self.begin_report(mono, out),
        }
        self.report_later(mono);
    }

    fn hear_time(&mut self, jws: &str, mono: MonoMs, out: &mut Vec<Output>) {
        let (Some(asked), Ok(time)) =
            (self.asked.take(), self.trusted.read::<TimeStatement>(Kind::Time, jws))
        else {
            return;
        };
        let Ok(heard) = SessionClock::hear(&asked, &time, mono) else { return };
        self.clock = Some(self.clock.map_or(heard, |held| held.better(heard, mono)));
        if self.ledger.begun_at() == LAST_INSTANT {
            let at = heard.now(mono).latest();
            self.ledger = keyway_domain::command::ledger::Ledger::begun(at);
            out.push(Output::Write(Record::LedgerBegun { at }));
        }
    }

    /// Whether they were this tenant's and newer than those trusted, and signed by one of these.
    pub(super) fn take_keys(&mut self, jws: &str) -> bool {
        let Ok(keys) = self.trusted.read::<CoreKeys>(Kind::CoreKeys, jws) else { return false };
        let newer = keys.tenant == self.identity.tenant && keys.version > self.keys_version;
        if newer && !keys.keys.is_empty() {
            self.trusted = keys.trusted();
            self.keys_version = keys.version;
        }
        newer && !keys.keys.is_empty()
    }

    fn holds_bundle(&self, body: &BundleBody) -> bool {
        let ours = body.tenant == self.identity.tenant && body.door.place.door == self.identity.door;
        ours && self.bundle.as_ref().is_some_and(|held| held.body().version == body.version)
    }

    /// Whether it was for this door and newer than what is held.
    pub(super) fn take_desired(&mut self, desired: DesiredState) -> bool {
        let ours = (desired.tenant, desired.device, desired.door)
            == (self.identity.tenant, self.identity.device, self.identity.door);
        let newer = self.desired.as_ref().is_none_or(|held| desired.version > held.version);
        if !ours
            || !newer
            || self.lockdowns.replace(self.identity.tenant, desired.lockdowns.clone()) != Taken::Applied
        {
            return false;
        }
        self.desired = Some(desired);
        true
    }

    fn take_bundle(&mut self, body: BundleBody) -> bool {
        let ours = body.tenant == self.identity.tenant && body.door.place.door == self.identity.door;
        let newer = self.bundle.as_ref().is_none_or(|held| body.version > held.body().version);
        match Bundle::load(body) {
            Ok(mut bundle) if ours && newer => {
                let revoked = self.revocation.iter().flat_map(|held| &held.digests);
                bundle.revoke(revoked.copied());
                self.bundle = Some(bundle);
                true
            }
            _ => false,
        }
    }

    /// Whether it was for this tenant and newer than what is held.
    pub(super) fn take_revocation(&mut self, revocation: Revocation) -> bool {
        let newer = self.revocation.as_ref().is_none_or(|held| revocation.version > held.version);
        if revocation.tenant != self.identity.tenant || !newer {
            return false;
        }
        if let Some(bundle) = &mut self.bundle {
            bundle.revoke(revocation.digests.iter().copied());
        }
        self.revocation = Some(revocation);
        true
    }

    fn revoked(&mut self, jws: String, out: &mut Vec<Output>) {
        if let Ok(revocation) = self.trusted.read::<Revocation>(Kind::Revocation, &jws)
            && (self.take_revocation(revocation.clone()) || self.revocation.as_ref() == Some(&revocation))
        {
            out.push(Output::Write(Record::Revocation { jws }));
        }
    }

    pub(super) fn pushed(&mut self, push: ToDevice, mono: MonoMs, out: &mut Vec<Output>) {
        match push {
            ToDevice::Command { command } => self.commanded(&command, mono, out),
            ToDevice::Revocation { revocation } => self.revoked(revocation, out),
            ToDevice::Nudge => self.begin_sync(mono, out),
        }
    }

    pub(super) fn lockdown(&mut self, jws: String, mono: MonoMs, out: &mut Vec<Output>) {
        let Ok(statement) = self.trusted.read::<LockdownStatement>(Kind::Lockdown, &jws) else {
            return;
        };
        match self.lockdowns.take(self.identity.tenant, statement) {
            Taken::Applied => out.push(Output::Write(Record::Lockdown { jws })),
            Taken::Full => self.begin_sync(mono, out),
            Taken::Old | Taken::Foreign => {}
        }
    }

    /// Forgets what core, and nobody else, says is durable.
    fn committed(&mut self, statement: Option<&str>, out: &mut Vec<Output>) {
        let Some(Ok(said)) =
            statement.map(|jws| self.trusted.read::<EventsCommitted>(Kind::EventsCommitted, jws))
        else {
            return;
        };
        let ours = (self.identity.tenant, self.identity.device, self.events.epoch());
        if (said.tenant, said.device, said.epoch) != ours {
            return;
        }
        let watermark = said.watermark;
        let before = self.events.held();
        self.events.committed(watermark);
        if self.events.held() != before {
            out.push(Output::Write(Record::Committed { watermark }));
        }
    }

    pub(super) fn begin_report(&mut self, mono: MonoMs, out: &mut Vec<Output>) {
        if let Some(held) = self.events.held() {
            self.report_from(held.from, mono, out);
        }
    }

    /// Events are held and nothing is on its way: what core asks for may lie beyond them, or its word was not signed. They
    /// are reported again when an unanswered call would be, not with the next event or sync.
    fn report_later(&mut self, mono: MonoMs) {
        if self.connected && self.report_call.is_none() && self.events.held().is_some() {
            self.report_call = Some((NO_CALL, MonoMs(mono.0 + CALL_TIMEOUT_MS)));
        }
    }

    /// An event that a person does not wait for: the word on their command goes first, and is not held up by another
    /// signature. What else happens until then is in the same batch.
    pub(super) fn report_soon(&mut self, mono: MonoMs) {
        let soon = MonoMs(mono.0 + REPORT_AFTER_MS);
        match &mut self.report_call {
            Some((NO_CALL, until)) => *until = soon.min(*until),
            Some(_) => {}
            none if self.connected => *none = Some((NO_CALL, soon)),
            None => {}
        }
    }

    /// One batch at a time: the next goes when this one is answered.
    fn report_from(&mut self, from: u64, mono: MonoMs, out: &mut Vec<Output>) {
        let on_its_way = self.report_call.is_some_and(|(id, _)| id != NO_CALL);
        if on_its_way || !self.connected {
            return;
        }
        let identity = &self.identity;
        if let Some(batch) = self.events.batch(identity.tenant, identity.device, from) {
            let report = EventReport { batch: identity.key.sign_json(Kind::EventBatch, &batch) };
            let call = self.call("event.report", &report, out);
            self.report_call = call.map(|id| (id, MonoMs(mono.0 + CALL_TIMEOUT_MS)));
        }
    }

    pub(super) fn timer(&mut self, mono: MonoMs, out: &mut Vec<Output>) {
        let over: Vec<_> = self.waiting.iter().filter(|one| one.until <= mono).cloned().collect();
        self.waiting.retain(|one| one.until > mono);
        for waiting in over {
            self.fall_back(&waiting, mono, out);
        }
        if self.report_call.take_if(|(_, until)| *until <= mono).is_some() {
            self.begin_report(mono, out);
        }
        let unconfirmed = self.ledger_call.take_if(|(_, until)| *until <= mono).is_some();
        if unconfirmed || self.ack_due.is_some_and(|due| due <= mono) {
            self.report_ledger(mono, out);
        }
        let unanswered = self.sync_call.take_if(|(_, until)| *until <= mono).is_some();
        if self.connected && self.sync_call.is_none() && (unanswered || self.time_due <= mono) {
            self.begin_sync(mono, out);
        }
    }
}
