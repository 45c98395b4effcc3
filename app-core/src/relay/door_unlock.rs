//! `door.unlock`: a request signed by a phone. Decided and committed at once; then the answer waits for the door, as
//! long as the caller does, and says no more than is known.

use super::attempts::{Attempts, Basis};
use super::calls::{Call, Refused};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::unlock::{Asker, By, Unfit, Wish, read, unlock};
use crate::metrics::add;
use crate::store::change::{Expect, OnceDraft};
use crate::store::kind::RecordKind;
use crate::store::row::CommandRow;
use crate::store::{StoreError, TenantScope};
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::id::CommandId;
use keyway_domain::message::phone::{CommandReply, UnlockCall};
use keyway_domain::time::UnixMs;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const METHOD: Method = Method { name: "door.unlock", serve: |core, call| serve(core, call).boxed() };

/// Time for the answer to reach the phone before the gateway gives up.
const WAY_BACK_MS: u64 = 300;
/// What another core has committed is found by looking this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub fn told(row: &CommandRow) -> CommandReply {
    CommandReply {
        command: row.id(),
        request: row.request,
        door: row.command.door,
        state: row.record.state,
        is_final: row.record.state.is_final(),
    }
}

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let begun = Instant::now();
    let request: UnlockCall = call.json()?;
    let row = decide(&core, &call, &request.request).await?;
    let scope = TenantScope::of(call.tenant);
    let row = wait(&core, scope, row, call.deadline.minus(WAY_BACK_MS)).await?;
    core.metrics.unlock_time.observe(begun.elapsed());
    reply(&told(&row))
}

async fn decide(core: &Core, call: &Call, jws: &str) -> Result<CommandRow, Refused> {
    let (_, facts) = Basis::Hand.facts(core, call.tenant).await?;
    let (wish, phone) = match read(&facts, jws) {
        Ok(read) => read,
        // A key that was enrolled elsewhere a moment ago.
        Err(_) => read(&Basis::Committed.facts(core, call.tenant).await?.1, jws).map_err(refusal)?,
    };
    let asker = Asker { name: phone.person.to_string(), person: Some(phone.person), phone: Some(phone.id) };
    let row = command(core, call.tenant, &wish, &asker, By::Credential(phone.credential), None).await?;
    // The id of somebody else's request: it is theirs.
    if row.phone != Some(phone.id) {
        return Err(Refused::NotProven);
    }
    if row.command.door != wish.door {
        return Err(Refused::Unfit("this request id was used for another door; make a new one".into()));
    }
    Ok(row)
}

fn refusal(unfit: Unfit) -> Refused {
    match unfit {
        Unfit::Signature => Refused::NotProven,
        Unfit::NoDoor => Refused::NotFound("door"),
        Unfit::Late | Unfit::TooLong | Unfit::NoDevice => Refused::Unfit(unfit.to_string()),
    }
}

/// Makes the command of a wish, or finds the one that was made of it before. `once` is kept with it.
pub async fn command(
    core: &Core,
    tenant: keyway_domain::id::TenantId,
    wish: &Wish,
    asker: &Asker,
    by: By,
    once: Option<OnceDraft>,
) -> Result<CommandRow, Refused> {
    // What is at hand is nearly always what is committed, and a decision from older facts is refused inside the
    // transaction: so nobody is asked first. What is not committed at all is told from the newest only.
    let mut attempts = Attempts::at_hand_first();
    loop {
        let basis = attempts.next()?;
        let (tenant, facts) = basis.facts(core, tenant).await?;
        let mut if_records = Vec::new();
        let online = match facts.device_of(wish.door) {
            Some(device) => {
                let (state, expect) = basis.state(core, tenant.scope, device).await?;
                if let (Basis::Hand, Expect::Version(version)) = (basis, expect) {
                    if_records.push((RecordKind::DeviceState, device.id.to_string(), version));
                }
                state.online
            }
            None => false,
        };
        let decided = unlock(&facts, &tenant.key, wish, asker, by, online, &mut core.ids());
        let (row, mut change) = match decided {
            Ok(decided) => decided,
            // A repeated request may come after its deadline: its answer stands.
            Err(_) if basis.is_hand() => continue,
            Err(unfit) => {
                let known = core.store.command_of_request(tenant.scope, wish.request).await?;
                return known.ok_or_else(|| refusal(unfit));
            }
        };
        change.if_records = if_records;
        change.once.extend(once.clone());
        match core.commit(tenant.scope, change).await {
            Ok(committed) => {
                add(&core.metrics.unlocks, 1);
                let version = committed.command_versions.first().map_or(1, |(_, version)| *version);
                return Ok(CommandRow { version, ..row });
            }
            Err(StoreError::Repeated(known)) => return Ok(*known),
            Err(error @ StoreError::DoorBusy(_)) => {
                add(&core.metrics.doors_busy, 1);
                return Err(error.into());
            }
            Err(error) => basis.again(core, error)?,
        }
    }
}

/// Waits for a final state until then; whatever the state is by that time is the answer.
pub async fn wait(
    core: &Core,
    scope: TenantScope,
    mut row: CommandRow,
    until: UnixMs,
) -> Result<CommandRow, StoreError> {
    let id: CommandId = row.id();
    let mut waiting = core.waiting.on(id);
    let end = tokio::time::Instant::now() + Duration::from_millis(until.since(core.clock.now()));
    // Each turn looks once; the end bounds their number.
    while !row.record.state.is_final() && tokio::time::Instant::now() < end {
        let look = tokio::time::Instant::now() + LOOK_EVERY;
        match tokio::time::timeout_at(look.min(end), waiting.ended()).await {
            Ok(ended) => row = ended,
            Err(_) => {
                if let Some(found) = core.store.command(scope, id).await? {
                    row = found;
                }
            }
        }
    }
    Ok(row)
}
