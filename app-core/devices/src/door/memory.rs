//! A door's start from durable memory. Signed statements are verified again: flash is not trusted more than the link.

use super::{DoorCore, Identity, Output};
use crate::flash::{Kept, Record};
use keyway_domain::bundle::{Bundle, BundleBody};
use keyway_domain::clock::MonoMs;
use keyway_domain::command::ledger::Ledger;
use keyway_domain::event::outbox::EventOutbox;
use keyway_domain::event::{Epoch, EventKind};
use keyway_domain::lockdown::LockdownSet;
use keyway_domain::sign::Kind;
use keyway_domain::time::LAST_INSTANT;
use std::sync::Arc;

pub(super) fn boot(identity: Arc<Identity>, kept: Kept, entropy: u64) -> (DoorCore, Vec<Output>) {
    let mut out = Vec::new();
    let epoch = kept.epoch.unwrap_or_else(|| {
        let epoch = Epoch(entropy);
        out.push(Output::Write(Record::Epoch { epoch }));
        epoch
    });
    // Without a ledger nothing is known about the past: until core's time says when it begins, it takes no command.
    let ledger = kept.ledger.map_or_else(|| Ledger::begun(LAST_INSTANT), Ledger::reopened);
    let restarted = kept.epoch.is_some();
    let events = EventOutbox::restored(epoch, identity.events_bytes_max, kept.events, kept.committed);
    let mut door = DoorCore {
        trusted: identity.core.clone(),
        keys_version: identity.keys_version,
        identity,
        connected: false,
        next_call: 1,
        entropy,
        clock: None,
        asked: None,
        time_due: MonoMs(0),
        sync_call: None,
        report_call: None,
        ledger_call: None,
        untold: Vec::new(),
        telling: Vec::new(),
        ack_due: None,
        answered_last: None,
        ledger,
        events,
        desired: None,
        lockdowns: LockdownSet::default(),
        bundle: None,
        revocation: None,
        waiting: Vec::new(),
        first: None,
        wrong_codes: 0,
        locked_out_until: None,
    };
    for jws in &kept.keys {
        door.take_keys(jws);
    }
    let core = door.trusted.clone();
    if let Some(jws) = kept.desired
        && let Ok(desired) = core.read(Kind::DesiredState, &jws)
    {
        door.take_desired(desired);
    }
    for jws in kept.lockdowns {
        if let Ok(statement) = core.read(Kind::Lockdown, &jws) {
            door.lockdowns.take(door.identity.tenant, statement);
        }
    }
    let body = kept.bundle.and_then(|jws| core.read::<BundleBody>(Kind::Bundle, &jws).ok());
    let body = kept.deltas.iter().fold(body, |body, jws| {
        let delta = core.read::<keyway_domain::bundle::delta::BundleDelta>(Kind::BundleDelta, jws).ok()?;
        delta.apply(&body?).ok()
    });
    door.bundle = body.and_then(|body| Bundle::load(body).ok());
    if let Some(Ok(revocation)) = kept.revocation.map(|jws| core.read(Kind::Revocation, &jws)) {
        door.take_revocation(revocation);
    }
    if restarted {
        let draft = door.draft(EventKind::DeviceRebooted, MonoMs(0));
        door.record(draft, &mut out);
    }
    (door, out)
}
