//! The core of a phone: signs its own unlock requests and repeats them under the same id until it knows, or until the
//! deadline. Owns the outbox that SDKs do not have; refuses to believe anything but an answer to its own request.

use crate::door::Call;
use keyway_domain::command::State;
use keyway_domain::id::{CommandId, DoorId, PersonId, RequestId, TenantId};
use keyway_domain::message::phone::{CommandReply, UnlockCall};
use keyway_domain::message::publication::ToPerson;
use keyway_domain::message::statement::UnlockRequest;
use keyway_domain::sign::{Kind, SigningKey};
use keyway_domain::time::UnixMs;

/// A gateway answers within 4 s or says `temporary`; then it is time to ask again.
const REPEAT_MS: u64 = 4_500;

pub struct PhoneCore {
    pub tenant: TenantId,
    pub person: PersonId,
    pub key: SigningKey,
    next_call: u64,
    open: Vec<Open>,
    /// What became of each request, in the order in which it was known.
    pub known: Vec<(RequestId, CommandId, State)>,
}

#[derive(Debug, Clone)]
struct Open {
    request: RequestId,
    jws: String,
    deadline: UnixMs,
    call: u64,
    repeat_at: UnixMs,
    command: Option<CommandId>,
}

/// One person opens one door at a time; a few more are mistakes of the thumb.
const OPEN_MAX: usize = 8;

impl PhoneCore {
    pub fn new(tenant: TenantId, person: PersonId, key: SigningKey) -> Self {
        Self { tenant, person, key, next_call: 1, open: Vec::new(), known: Vec::new() }
    }

    /// Begins an unlock. `None` while too many are open.
    pub fn unlock(
        &mut self,
        door: DoorId,
        now: UnixMs,
        within_ms: u64,
        random: [u8; 10],
    ) -> Option<(RequestId, Call)> {
        self.open.retain(|open| open.deadline > now);
        if self.open.len() >= OPEN_MAX {
            return None;
        }
        let request = RequestId::mint(now, random);
        let deadline = now.plus(within_ms);
        let statement = UnlockRequest { tenant: self.tenant, request, door, deadline };
        let jws = self.key.sign_json(Kind::UnlockRequest, &statement);
        let open = Open { request, jws, deadline, call: 0, repeat_at: now, command: None };
        self.open.push(open);
        self.repeat(now).pop().map(|call| (request, call))
    }

    /// Calls that are due again: the same request, so that core answers the same.
    pub fn repeat(&mut self, now: UnixMs) -> Vec<Call> {
        let mut calls = Vec::new();
        for open in self.open.iter_mut().filter(|open| open.repeat_at <= now && now < open.deadline) {
            open.call = self.next_call;
            open.repeat_at = now.plus(REPEAT_MS);
            self.next_call += 1;
            let payload = serde_json::to_vec(&UnlockCall { request: open.jws.clone() });
            let payload = payload.expect("our payloads have string keys only");
            calls.push(Call { id: open.call, method: "door.unlock", payload });
        }
        calls
    }

    pub fn replied(&mut self, id: u64, payload: Option<&[u8]>) {
        let Some(place) = self.open.iter().position(|open| open.call == id) else { return };
        let Some(reply) = payload.and_then(|bytes| serde_json::from_slice::<CommandReply>(bytes).ok()) else {
            return;
        };
        if reply.request.is_some_and(|request| request != self.open[place].request) {
            return;
        }
        self.open[place].command = Some(reply.command);
        self.learn(reply.command, reply.state);
    }

    /// Core will not do it: it is not asked again. Which request that was.
    pub fn refused(&mut self, id: u64) -> Option<RequestId> {
        let place = self.open.iter().position(|open| open.call == id)?;
        Some(self.open.remove(place).request)
    }

    /// What comes on the personal channel.
    pub fn pushed(&mut self, push: &ToPerson) {
        if let ToPerson::Command(change) = push {
            self.learn(change.command, change.state);
        }
    }

    fn learn(&mut self, command: CommandId, state: State) {
        if !state.is_final() {
            return;
        }
        if let Some(place) = self.open.iter().position(|open| open.command == Some(command)) {
            let open = self.open.remove(place);
            self.known.push((open.request, command, state));
        }
    }
}
