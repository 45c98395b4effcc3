//! A small core in memory: facts, keys, commands, events of a few or many doors, without database and network. It is
//! what virtual devices are rehearsed against; app-core does the same over a store. All rules are the domain's.

mod access;
mod devices;

use crate::dice::Dice;
use keyway_domain::bundle::BundleBody;
use keyway_domain::command::{CommandRecord, UnlockCommand};
use keyway_domain::credential::Digest;
use keyway_domain::event::intake::Intake;
use keyway_domain::event::{DeviceEvent, Epoch};
use keyway_domain::facts::Facts;
use keyway_domain::id::{CommandId, CredentialId, DeviceId, DoorId, KeyId, RequestId, TenantId};
use keyway_domain::lockdown::{Effect, LockdownSet, LockdownStatement};
use keyway_domain::message::publication::{CommandChange, ToDevice};
use keyway_domain::place::Scope;
use keyway_domain::sign::{Kind, PublicKey, SigningKey, TrustedKeys};
use keyway_domain::time::UnixMs;
use std::collections::BTreeMap;

pub struct DeviceRow {
    pub door: DoorId,
    pub keys: TrustedKeys,
    pub intakes: BTreeMap<Epoch, Intake>,
    pub events: BTreeMap<(Epoch, u64), DeviceEvent>,
    bundle: Option<BundleBody>,
    /// The one before, to make a delta from.
    previous: Option<BundleBody>,
    /// Which facts the bundle was made from.
    made_from: u64,
}

pub struct CommandRow {
    pub command: UnlockCommand,
    pub record: CommandRecord,
    pub request: RequestId,
    resend_at: UnixMs,
}

/// What core wants to publish.
#[derive(Debug, Clone, PartialEq)]
pub enum Publication {
    Device(DeviceId, ToDevice),
    Lockdown(String),
    Person(KeyId, CommandChange),
}

pub struct SmallCore {
    pub tenant: TenantId,
    pub key: SigningKey,
    pub facts: Facts,
    /// Rises with every change of the facts.
    pub facts_version: u64,
    pub devices: BTreeMap<DeviceId, DeviceRow>,
    phones: BTreeMap<KeyId, (PublicKey, CredentialId)>,
    pub commands: BTreeMap<CommandId, CommandRow>,
    by_request: BTreeMap<RequestId, (CommandId, KeyId)>,
    lockdowns: LockdownSet,
    revoked: Vec<Digest>,
    publications: Vec<Publication>,
    dice: Dice,
}

/// A command whose answer has not come is sent again this often.
const RESEND_MS: u64 = 2_000;

impl SmallCore {
    pub fn new(tenant: TenantId, facts: Facts, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let key = SigningKey::ed25519(KeyId::mint(crate::dice::MORNING, dice.bytes()), &dice.seed());
        Self {
            tenant,
            key,
            facts,
            facts_version: 1,
            devices: BTreeMap::new(),
            phones: BTreeMap::new(),
            commands: BTreeMap::new(),
            by_request: BTreeMap::new(),
            lockdowns: LockdownSet::default(),
            revoked: Vec::new(),
            publications: Vec::new(),
            dice,
        }
    }

    pub fn trusted(&self) -> TrustedKeys {
        TrustedKeys::of(self.key.id, self.key.public())
    }

    pub fn enrol_device(&mut self, device: DeviceId, door: DoorId, key: &SigningKey) {
        let row = DeviceRow {
            door,
            keys: TrustedKeys::of(key.id, key.public()),
            intakes: BTreeMap::new(),
            events: BTreeMap::new(),
            bundle: None,
            previous: None,
            made_from: 0,
        };
        self.devices.insert(device, row);
    }

    pub fn enrol_phone(&mut self, key: &SigningKey, credential: CredentialId) {
        self.phones.insert(key.id, (key.public(), credential));
    }

    pub fn take_publications(&mut self) -> Vec<Publication> {
        std::mem::take(&mut self.publications)
    }

    /// A request that came over the link. What it says is believed by its signature, whoever the link says is asking;
    /// `from` is used only where the worst that a wrong one does is to waste an answer. `None`: no answer.
    pub fn call(
        &mut self,
        from: Option<DeviceId>,
        method: &str,
        payload: &[u8],
        now: UnixMs,
    ) -> Option<Vec<u8>> {
        match method {
            "device.sync" => self.sync(from?, payload, now),
            "event.report" => self.report(from?, payload),
            "command.report" => self.command_report(from?, payload, now),
            "access.request" => self.access(from?, payload, now),
            "time.sync" => self.time(payload, now),
            "door.unlock" => self.unlock(payload, now),
            _ => None,
        }
    }

    /// Changes the facts; every bundle is made anew when its door asks.
    pub fn change_facts(&mut self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts);
        self.facts_version += 1;
        self.nudge_all();
    }

    fn nudge_all(&mut self) {
        let nudges = self.devices.keys().map(|device| Publication::Device(*device, ToDevice::Nudge));
        self.publications.extend(nudges);
    }

    /// Revokes a credential: in the facts, and to every door at once.
    pub fn revoke(&mut self, credential: CredentialId) {
        let Some(row) = self.facts.credentials.get_mut(&credential) else { return };
        row.state = keyway_domain::credential::CredentialState::Revoked;
        self.revoked.push(row.digest);
        self.facts_version += 1;
        let revocation = self.signed_revocation();
        let all = self.devices.keys();
        let pushes = all.map(|device| {
            Publication::Device(*device, ToDevice::Revocation { revocation: revocation.clone() })
        });
        self.publications.extend(pushes);
    }

    fn signed_revocation(&self) -> String {
        let revocation = keyway_domain::message::statement::Revocation {
            tenant: self.tenant,
            version: self.revoked.len() as u64,
            digests: self.revoked.clone(),
        };
        self.key.sign_json(Kind::Revocation, &revocation)
    }

    /// Activates a lockdown, or reverts it with `live: false`.
    pub fn lockdown(&mut self, scope: Scope, rank: u32, effect: Effect, live: bool) {
        self.lockdowns.floor += 1;
        let held = self.lockdowns.statements.iter().find(|one| one.scope == scope && one.rank == rank);
        let activation = held.map(|one| (one.activation, one.plan)).unwrap_or_else(|| {
            use keyway_domain::id::{ActivationId, PlanId};
            let at = crate::dice::MORNING;
            (ActivationId::mint(at, self.dice.bytes()), PlanId::mint(at, self.dice.bytes()))
        });
        let statement = LockdownStatement {
            tenant: self.tenant,
            activation: activation.0,
            plan: activation.1,
            scope,
            rank,
            version: self.lockdowns.floor,
            effect,
            live,
            until: None,
        };
        self.lockdowns.statements.retain(|one| one.activation != statement.activation);
        if live {
            self.lockdowns.statements.push(statement.clone());
        }
        self.publications.push(Publication::Lockdown(self.key.sign_json(Kind::Lockdown, &statement)));
    }
}
