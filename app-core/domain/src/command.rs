//! The life of a command in core, as a total state machine. Owns what core may say at every moment; refuses to say
//! more than it knows: `expired` only for what was provably never executed, `unresolved` for the rest.
//!
//! Core records `sent` before the first byte leaves, so `queued` means: no door has ever seen it.

pub mod ledger;
pub mod room;

use crate::decision::Reason;
use crate::id::{CommandId, DeviceId, DoorId, TenantId};
use crate::time::UnixMs;
use ledger::{Answer, FailReason, RejectReason};
use serde::{Deserialize, Serialize};

/// Nobody waits longer in front of a door; and a ledger only has to remember ids for this long.
pub const DEADLINE_MS_MAX: u64 = 60_000;

/// What core signs and a door obeys: open once, before the deadline, if nothing has changed since it was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockCommand {
    pub tenant: TenantId,
    pub door: DoorId,
    pub device: DeviceId,
    pub command: CommandId,
    pub created_at: UnixMs,
    /// In core's time. At this instant it is too late.
    pub deadline: UnixMs,
    pub open_ms: u32,
    /// The door's mode and the tenant's lockdown counter as they were judged.
    pub mode_version: u64,
    pub lockdown_version: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overrides_lockdown: bool,
}

/// Why core does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// Sent, and no word by the deadline. The door's ledger will tell.
    NoAnswer,
    /// The door lost power between writing the id and writing the outcome: it may have opened. Nobody will ever know.
    MaybeExecuted,
    /// The door's ledger does not reach back that far.
    Forgotten,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum State {
    Requested,
    Denied(DeniedBy),
    Queued,
    Sent,
    Acked,
    Executed,
    Failed(FailReason),
    Rejected(RejectReason),
    Expired,
    Cancelled,
    Unresolved(Doubt),
}

/// A denial's reason, as a type of its own so that a state stays small and hashable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeniedBy(pub Reason);

impl State {
    /// Nothing can change it any more, save that an `unresolved` without answer is settled by the ledger.
    pub fn is_final(self) -> bool {
        match self {
            Self::Requested | Self::Queued | Self::Sent | Self::Acked => false,
            Self::Unresolved(doubt) => doubt != Doubt::NoAnswer,
            Self::Denied(_)
            | Self::Executed
            | Self::Failed(_)
            | Self::Rejected(_)
            | Self::Expired
            | Self::Cancelled => true,
        }
    }

    /// The command may have, or get, a place in the door's ledger until its deadline: no door has seen the others.
    pub fn may_be_in_ledger(self) -> bool {
        !matches!(self, Self::Denied(_) | Self::Expired | Self::Cancelled)
    }

    /// Core claims that the door did not open by this command.
    pub fn says_not_executed(self) -> bool {
        matches!(
            self,
            Self::Denied(_) | Self::Failed(_) | Self::Rejected(_) | Self::Expired | Self::Cancelled
        )
    }
}

/// The part of a command's row that its life depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommandRecord {
    pub created_at: UnixMs,
    pub deadline: UnixMs,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    Allowed,
    Denied(Reason),
    /// About to be sent, or sent again with the same id.
    Dispatch,
    /// The door has it and has written the id.
    Acked,
    /// What the door's ledger says, from a verified report.
    Ledger(Answer),
    /// The clock: nothing else happened.
    Tick,
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Commit this state, and only then act on it.
    Become(State),
    /// Known already, or proves nothing.
    Stay,
    Refuse(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The input does not belong to this state.
    NotNow,
    /// It is on its way and cannot be called back.
    AlreadySent,
    AlreadyFinal,
    /// A ledger says executed where core has said it was not: one of them lies. Raise an alarm, change nothing.
    Contradiction,
}

impl CommandRecord {
    /// What becomes of the command. Total: every state has an answer to every input.
    pub fn step(&self, input: Input, now: UnixMs) -> Step {
        let late = now >= self.deadline;
        match (self.state, input) {
            (State::Requested, Input::Denied(reason)) => Step::Become(State::Denied(DeniedBy(reason))),
            (State::Requested | State::Queued, Input::Allowed | Input::Dispatch | Input::Tick) if late => {
                Step::Become(State::Expired)
            }
            (State::Requested, Input::Allowed) => Step::Become(State::Queued),
            (State::Requested | State::Queued, Input::Cancel) => Step::Become(State::Cancelled),
            (State::Queued, Input::Dispatch) => Step::Become(State::Sent),
            (State::Queued, Input::Allowed) => Step::Stay,
            (State::Sent | State::Acked, Input::Tick | Input::Dispatch) if late => {
                Step::Become(State::Unresolved(Doubt::NoAnswer))
            }
            (State::Sent | State::Acked, Input::Dispatch) => Step::Stay,
            (State::Sent, Input::Acked) => Step::Become(State::Acked),
            (State::Acked | State::Unresolved(_), Input::Acked) => Step::Stay,
            (State::Sent | State::Acked | State::Unresolved(_), Input::Cancel) => {
                Step::Refuse(Refusal::AlreadySent)
            }
            (state, Input::Ledger(answer)) => self.settle(state, answer),
            (_, Input::Tick) => Step::Stay,
            (state, _) if state.is_final() => Step::Refuse(Refusal::AlreadyFinal),
            _ => Step::Refuse(Refusal::NotNow),
        }
    }

    fn settle(&self, state: State, answer: Answer) -> Step {
        let open = !state.is_final();
        let told = match answer {
            Answer::Executed => State::Executed,
            Answer::Failed(reason) => State::Failed(reason),
            Answer::Rejected(reason) => State::Rejected(reason),
            Answer::MaybeExecuted => State::Unresolved(Doubt::MaybeExecuted),
            Answer::Written => return if open { Step::Stay } else { Step::Refuse(Refusal::AlreadyFinal) },
            Answer::NeverSeen { as_of, complete_since } => {
                if !open || as_of < self.deadline {
                    // A copy may still be on its way to a door that would take it.
                    return Step::Stay;
                }
                if self.created_at < complete_since {
                    return Step::Become(State::Unresolved(Doubt::Forgotten));
                }
                State::Expired
            }
        };
        match state {
            same if same == told => Step::Stay,
            State::Unresolved(Doubt::Forgotten) if told != State::Expired => Step::Become(told),
            state if state.says_not_executed() && told == State::Executed => {
                Step::Refuse(Refusal::Contradiction)
            }
            _ if !open => Step::Refuse(Refusal::AlreadyFinal),
            _ => Step::Become(told),
        }
    }
}
