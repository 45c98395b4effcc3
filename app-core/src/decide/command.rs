//! A command's life in core's database: every step is the domain's, every change of state is published once and, where
//! it is the last, written into the audit trail. Owns when a command is looked at again.

use crate::facts::TenantFacts;
use crate::ids::Ids;
use crate::publish;
use crate::store::Change;
use crate::store::change::{CommandWrite, Expect};
use crate::store::row::CommandRow;
use crate::trail;
use keyway_domain::command::ledger::LedgerReport;
use keyway_domain::command::{Doubt, Input, Refusal, State, Step};
use keyway_domain::message::publication::ToDevice;
use keyway_domain::sign::{Kind, SigningKey};
use keyway_domain::time::UnixMs;

/// A command whose answer has not come is sent again this often.
pub const RESEND_MS: u64 = 2_000;
/// A command for a door that is not there is looked at again this often, should the door come back unnoticed.
const QUEUED_MS: u64 = 500;

/// A door that has not answered by the deadline is asked for its ledger this often, and for this long. Its own syncs go
/// on for ever; this is for the person who wants to know now.
const ASK_EVERY_MS: u64 = 10_000;
const ASK_FOR_MS: u64 = 10 * 60_000;

/// What a step of a command needs to know.
pub struct Stepping<'a> {
    pub facts: &'a TenantFacts,
    pub key: &'a SigningKey,
    pub now: UnixMs,
}

impl Stepping<'_> {
    /// Takes a command one step on; what follows from it goes into the change. Says what the step was.
    pub fn step(&self, row: &mut CommandRow, input: Input, change: &mut Change, ids: &mut Ids) -> Step {
        let step = row.record.step(input, self.now);
        match step {
            Step::Become(state) => {
                row.record.state = state;
                if state.is_final() {
                    let action = format!("command.{}", word(state));
                    change.audit.push(trail::entry(&row.asked_by, &action, row.id(), ids));
                }
            }
            // One of the two lies: the record stays, and people have to look.
            Step::Refuse(Refusal::Contradiction) => {
                change.audit.push(trail::entry(row.command.device, "command.contradicted", row.id(), ids));
            }
            Step::Stay | Step::Refuse(_) => {}
        }
        step
    }

    /// Sends a command, or sends it again: the state is `sent` in the same transaction that makes the publication.
    pub fn dispatch(&self, row: &mut CommandRow, change: &mut Change, ids: &mut Ids) {
        let goes = match self.step(row, Input::Dispatch, change, ids) {
            Step::Become(state) => state == State::Sent,
            Step::Stay => matches!(row.record.state, State::Sent | State::Acked),
            Step::Refuse(_) => false,
        };
        if goes {
            let command = self.key.sign_json(Kind::Command, &row.command);
            let (device, until) = (row.command.device, row.record.deadline);
            let said = ToDevice::Command { command };
            change.outbox.push(publish::to_device(self.facts.tenant, device, &said, until, ids));
        }
    }

    /// Time has passed, or the door has come back: sends, sends again, or ends.
    pub fn look_again(&self, row: &mut CommandRow, online: bool, change: &mut Change, ids: &mut Ids) {
        self.step(row, Input::Tick, change, ids);
        if !row.record.state.is_final() && (online || row.record.state != State::Queued) {
            self.dispatch(row, change, ids);
        }
        if row.record.state == State::Unresolved(Doubt::NoAnswer) {
            // It syncs, and its ledger says what became of the command.
            let (device, until) = (row.command.device, self.now.plus(ASK_EVERY_MS));
            change.outbox.push(publish::to_device(self.facts.tenant, device, &ToDevice::Nudge, until, ids));
        }
    }

    /// Takes a ledger's word for every command of its door that is not settled.
    pub fn settle(&self, rows: Vec<CommandRow>, report: &LedgerReport, change: &mut Change, ids: &mut Ids) {
        for mut row in rows {
            let before = row.clone();
            let answer = report.answer(row.id());
            self.step(&mut row, Input::Ledger(answer), change, ids);
            if before.record.state == State::Sent
                && row.record.state == State::Sent
                && report.entries.iter().any(|entry| entry.command == row.id())
            {
                self.step(&mut row, Input::Acked, change, ids);
            }
            self.write(before, row, change, ids);
        }
    }

    /// Puts a row into the change if it has changed, with the time at which it is looked at next, and tells of it.
    pub fn write(&self, before: CommandRow, mut row: CommandRow, change: &mut Change, ids: &mut Ids) {
        row.due_at = due(&row, self.now);
        if row.record.state != before.record.state {
            change.outbox.extend(publish::command(self.facts, &row, ids));
        }
        if row != before {
            change.commands.push(CommandWrite { expect: Expect::Version(before.version), row });
        }
    }
}

/// When core has to look at a command again; `None` when time alone changes nothing.
pub fn due(row: &CommandRow, now: UnixMs) -> Option<UnixMs> {
    let deadline = row.record.deadline;
    match row.record.state {
        State::Requested | State::Queued => Some(now.plus(QUEUED_MS).min(deadline)),
        State::Sent | State::Acked => Some(now.plus(RESEND_MS).min(deadline)),
        State::Unresolved(Doubt::NoAnswer) if now.since(deadline) < ASK_FOR_MS => Some(now.plus(ASK_EVERY_MS)),
        _ => None,
    }
}

pub fn word(state: State) -> &'static str {
    match state {
        State::Requested => "requested",
        State::Denied(_) => "denied",
        State::Queued => "queued",
        State::Sent => "sent",
        State::Acked => "acked",
        State::Executed => "executed",
        State::Failed(_) => "failed",
        State::Rejected(_) => "rejected",
        State::Expired => "expired",
        State::Cancelled => "cancelled",
        State::Unresolved(_) => "unresolved",
    }
}
