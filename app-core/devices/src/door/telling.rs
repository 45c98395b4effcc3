//! What a door tells core of its ledger: all of it with a sync, and in between what is new. Owns what core has not
//! confirmed; refuses to know what the entries mean.

use super::{CALL_TIMEOUT_MS, DoorCore, Output};
use keyway_domain::clock::MonoMs;
use keyway_domain::command::ledger::{Entry, LedgerReport};
use keyway_domain::id::CommandId;
use keyway_domain::message::device::CommandReport;
use keyway_domain::sign::Kind;
use keyway_domain::time::{Moment, UnixMs};

impl DoorCore {
    pub(super) fn not_told(&mut self, command: CommandId) {
        if !self.untold.contains(&command) {
            self.untold.push(command);
        }
    }

    /// The whole ledger: what is not in it was never seen.
    pub(super) fn ledger_report(&self, mono: MonoMs) -> String {
        let as_of = self.now(mono).map_or_else(Default::default, Moment::earliest);
        self.signed_report(as_of, self.ledger.entries().to_vec())
    }

    fn signed_report(&self, as_of: UnixMs, entries: Vec<Entry>) -> String {
        let report = LedgerReport {
            tenant: self.identity.tenant,
            door: self.identity.door,
            device: self.identity.device,
            as_of,
            complete_since: self.ledger.complete_since(),
            entries,
        };
        self.identity.key.sign_json(Kind::LedgerReport, &report)
    }

    /// Says what is new in the ledger, and says it again while core does not confirm it: until then a phone is told that
    /// nobody knows. A ledger is always full; all of it goes with a sync only.
    pub(super) fn report_ledger(&mut self, mono: MonoMs, out: &mut Vec<Output>) {
        self.ack_due = None;
        let entries = self.ledger.entries();
        let news: Vec<_> =
            entries.iter().filter(|entry| self.untold.contains(&entry.command)).copied().collect();
        self.untold = news.iter().map(|entry| entry.command).collect();
        if news.is_empty() {
            return;
        }
        // As of the beginning of time: nothing follows from what is not in this one.
        let report = CommandReport { ledger: self.signed_report(UnixMs(0), news) };
        let call = self.call("command.report", &report, out);
        self.ledger_call = call.map(|id| (id, MonoMs(mono.0 + CALL_TIMEOUT_MS)));
        self.telling.clone_from(&self.untold);
    }
}
