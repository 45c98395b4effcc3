//! Words in core's name that core never said: well made, for the right door, request and nonce, under the id of core's own
//! key, and signed by another one. A door that looks at anything but the signature takes them.

use super::Target;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use keyway_devices::dice::Dice;
use keyway_domain::clock::TimeStatement;
use keyway_domain::command::UnlockCommand;
use keyway_domain::command::ledger::LedgerReport;
use keyway_domain::credential::Digest;
use keyway_domain::door::DoorMode;
use keyway_domain::event::{ChainHash, Epoch, EventBatch};
use keyway_domain::id::{
    ActivationId, CommandId, EventId, GrantId, KeyId, PlanId, RequestId, SiteId, TenantId,
};
use keyway_domain::lockdown::{Effect, LockdownSet, LockdownStatement};
use keyway_domain::message::device::{
    AccessCall, AccessReply, AccessRequest, EventReply, EventReport, SyncReply, SyncRequest, TimeReply,
    TimeRequest,
};
use keyway_domain::message::publication::{Lockdown, ToDevice};
use keyway_domain::message::statement::{
    CoreKey, CoreKeys, DecisionStatement, DesiredState, EventsCommitted, Revocation, UnlockRequest, Verdict,
};
use keyway_domain::message::{CloudEvent, channel_name};
use keyway_domain::place::Scope;
use keyway_domain::sign::{Kind, SigningKey};
use keyway_domain::time::UnixMs;
use serde::Serialize;
use serde_json::json;

/// Beyond every version that core has, so that a door would keep it for good.
pub const FAR: u64 = 1 << 40;
/// A door whose clock followed this would take a late command for a fresh one.
const BACK_MS: u64 = 3_600_000;

pub struct Forger {
    pub tenant: TenantId,
    pub site: SiteId,
    /// Of core's real key.
    pub kid: KeyId,
    pub card: Digest,
}

impl Forger {
    fn sign<T: Serialize>(&self, kind: Kind, statement: &T, dice: &mut Dice) -> String {
        SigningKey::ed25519(self.kid, &dice.seed()).sign_json(kind, statement)
    }

    fn said<T: Serialize>(&self, data: T, now: UnixMs, dice: &mut Dice) -> Bytes {
        let event =
            CloudEvent::of_core(EventId::mint(now, dice.bytes()), self.tenant, "keyway.forged", now, data);
        Bytes::from(serde_json::to_vec(&event).unwrap())
    }

    /// What a phone and a door could have said, signed by others under the ids of their keys: who says it, the method and the
    /// data.
    pub fn requests(
        &self,
        of: &Target,
        person: &str,
        phone: KeyId,
        now: UnixMs,
        dice: &mut Dice,
    ) -> Vec<(String, &'static str, Vec<u8>)> {
        let (tenant, door, device) = (self.tenant, of.door, of.device);
        let key = |kid: KeyId, dice: &mut Dice| SigningKey::p256(kid, &dice.seed()).unwrap();
        let (phone, own) = (key(phone, dice), key(of.kid, dice));
        let request = RequestId::mint(now, dice.bytes());
        let unlock = UnlockRequest { tenant, request, door, deadline: now.plus(5_000) };
        let tap = AccessRequest {
            tenant,
            device,
            request,
            door,
            credential: self.card,
            pin: None,
            first_person: None,
        };
        let event = json!({ "seq": 1, "type": "door.unlocked", "occurred": { "clock": "unset" } });
        let batch = EventBatch {
            tenant,
            device,
            epoch: Epoch(dice.roll()),
            first_seq: 1,
            before: ChainHash::default(),
            lost: Vec::new(),
            items: vec![serde_json::value::to_raw_value(&event).unwrap()],
        };
        let ledger = LedgerReport {
            tenant,
            door,
            device,
            as_of: now.plus(600_000),
            complete_since: UnixMs(0),
            entries: Vec::new(),
        };
        let of_door = device.to_string();
        [
            (person, "door.unlock", json!({ "request": phone.sign_json(Kind::UnlockRequest, &unlock) })),
            (&of_door, "access.request", json!({ "request": own.sign_json(Kind::AccessRequest, &tap) })),
            (&of_door, "event.report", json!({ "batch": own.sign_json(Kind::EventBatch, &batch) })),
            (&of_door, "command.report", json!({ "ledger": own.sign_json(Kind::LedgerReport, &ledger) })),
        ]
        .map(|(user, method, data)| (user.to_owned(), method, data.to_string().into_bytes()))
        .into()
    }

    /// To a door that asked for nothing: open, hold everything open, forget a card.
    pub fn pushes(&self, of: &Target, now: UnixMs, dice: &mut Dice) -> Vec<(String, Bytes)> {
        let command = UnlockCommand {
            tenant: self.tenant,
            door: of.door,
            device: of.device,
            command: CommandId::mint(now, dice.bytes()),
            created_at: now,
            deadline: now.plus(10_000),
            open_ms: 5_000,
            mode_version: 0,
            lockdown_version: FAR,
            overrides_lockdown: true,
        };
        let command = ToDevice::Command { command: self.sign(Kind::Command, &command, dice) };
        let revocation = Revocation { tenant: self.tenant, version: FAR, digests: vec![self.card] };
        let revocation = ToDevice::Revocation { revocation: self.sign(Kind::Revocation, &revocation, dice) };
        let open = self.sign(Kind::Lockdown, &self.all_open(now, dice), dice);
        let device = channel_name("device", self.tenant, of.device);
        let lockdown = channel_name("lockdown", self.tenant, self.site);
        vec![
            (device.clone(), self.said(command, now, dice)),
            (device, self.said(revocation, now, dice)),
            (lockdown, self.said(Lockdown { statement: open }, now, dice)),
        ]
    }

    fn own_keys(&self, dice: &mut Dice) -> CoreKeys {
        let key = SigningKey::ed25519(self.kid, &dice.seed());
        CoreKeys { tenant: self.tenant, version: FAR, keys: vec![CoreKey { kid: key.id, key: key.public() }] }
    }

    fn all_open(&self, now: UnixMs, dice: &mut Dice) -> LockdownStatement {
        LockdownStatement {
            tenant: self.tenant,
            activation: ActivationId::mint(now, dice.bytes()),
            plan: PlanId::mint(now, dice.bytes()),
            scope: Scope::Tenant,
            rank: u32::MAX,
            version: FAR,
            effect: Effect::LockedOpen,
            live: true,
            until: None,
        }
    }

    /// An answer to what a door has just asked. `None` where it asked for nothing that is signed.
    pub fn reply(
        &self,
        of: &Target,
        method: &str,
        data: &[u8],
        now: UnixMs,
        dice: &mut Dice,
    ) -> Option<Vec<u8>> {
        let late = now.minus(BACK_MS);
        let time = |nonce: String| TimeStatement { nonce, time: late };
        let committed =
            |epoch: Epoch| EventsCommitted { tenant: self.tenant, device: of.device, epoch, watermark: FAR };
        match method {
            "time.sync" => {
                let asked: TimeRequest = serde_json::from_slice(data).ok()?;
                told(&TimeReply { time: self.sign(Kind::Time, &time(asked.nonce), dice) })
            }
            "event.report" => {
                let asked: EventReport = serde_json::from_slice(data).ok()?;
                let batch: serde_json::Value = payload(&asked.batch)?;
                let epoch: Epoch = serde_json::from_value(batch["epoch"].clone()).ok()?;
                let committed = Some(self.sign(Kind::EventsCommitted, &committed(epoch), dice));
                told(&EventReply { epoch, watermark: FAR, wanted: Vec::new(), committed })
            }
            "access.request" => {
                let asked: AccessCall = serde_json::from_slice(data).ok()?;
                let asked: AccessRequest = payload(&asked.request)?;
                let grant = GrantId::mint(now, dice.bytes());
                let decision = DecisionStatement {
                    tenant: self.tenant,
                    door: of.door,
                    device: of.device,
                    request: asked.request,
                    deadline: now.plus(1_500),
                    mode_version: FAR,
                    verdict: Verdict::Granted { grant, open_ms: 5_000, duress: false },
                    credential: None,
                    person: None,
                };
                told(&AccessReply { decision: self.sign(Kind::Decision, &decision, dice) })
            }
            "device.sync" => {
                let asked: SyncRequest = serde_json::from_slice(data).ok()?;
                let desired = DesiredState {
                    tenant: self.tenant,
                    device: of.device,
                    door: of.door,
                    version: FAR,
                    mode: DoorMode::Unlocked,
                    mode_version: FAR,
                    lockdowns: LockdownSet { floor: FAR, statements: vec![self.all_open(now, dice)] },
                    bundle_version: asked.bundle_version,
                };
                let epoch = asked.events.map(|held| held.epoch);
                told(&SyncReply {
                    // The worst of them: whoever chooses the keys says everything.
                    keys: Some(self.sign(Kind::CoreKeys, &self.own_keys(dice), dice)),
                    desired: Some(self.sign(Kind::DesiredState, &desired, dice)),
                    bundle: None,
                    revocation: None,
                    time: self.sign(Kind::Time, &time(asked.time_nonce), dice),
                    watermark: epoch.map(|_| FAR),
                    committed: epoch.map(|epoch| self.sign(Kind::EventsCommitted, &committed(epoch), dice)),
                    wanted: Vec::new(),
                })
            }
            _ => None,
        }
    }
}

fn told<T: Serialize>(reply: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(reply).ok()
}

/// What a JWS carries, for whoever does not care who signed it.
fn payload<T: serde::de::DeserializeOwned>(jws: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(jws.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}
