//! A tap at the door: decided from the bundle, or by core where the rules want it, and told as events.

use super::{ACCESS_ANSWER_MS, DoorCore, LOCKOUT_MS, Output, WAITING_MAX, WRONG_CODES_MAX, Waiting};
use crate::bolt::Cause;
use keyway_domain::clock::MonoMs;
use keyway_domain::credential::Digest;
use keyway_domain::decision::{
    Attempt, Decision, FirstPerson, Outcome, Pass, Pin, Reason, Reasons, Shown, Situation, decide,
};
use keyway_domain::door::DecidedBy;
use keyway_domain::event::EventKind;
use keyway_domain::id::{PersonId, RequestId};
use keyway_domain::message::device::{AccessCall, AccessReply, AccessRequest, FirstTap};
use keyway_domain::message::statement::{DecisionStatement, Verdict};
use keyway_domain::sign::Kind;
use keyway_domain::time::UnixMs;

impl DoorCore {
    pub(super) fn tapped(&mut self, shown: Digest, pin: Option<Pin>, mono: MonoMs, out: &mut Vec<Output>) {
        let attempt = Attempt { shown: Shown::Digest(shown), pin, first: self.first_person(mono) };
        let own = self.decide(&attempt, mono);
        let online = self.bundle.as_ref().is_none_or(|bundle| bundle.body().decided_by == DecidedBy::Online);
        let ask = online || own.outcome == Outcome::AskCore;
        // In a lockout nobody is asked either: that is what stops guessing.
        let locked_out = own.outcome == Outcome::Denied(Reason::CodeLockout);
        if ask && !locked_out && self.connected && self.waiting.len() < WAITING_MAX {
            self.ask_core(shown, attempt, own.person, mono, out);
        } else {
            self.conclude(own, mono, out);
        }
    }

    /// What the bundle says. Without a bundle or the time it says no.
    fn decide(&self, attempt: &Attempt, mono: MonoMs) -> Decision {
        let no = |reason| Decision {
            outcome: Outcome::Denied(reason),
            reasons: Reasons::default(),
            credential: None,
            person: None,
            mode_version: 0,
        };
        let Some(bundle) = &self.bundle else { return no(Reason::BundleMissing) };
        let Some(now) = self.now(mono) else { return no(Reason::ClockUnsynced) };
        let desired = self.desired.as_ref();
        let situation = Situation {
            mode: desired.map_or_else(Default::default, |desired| desired.mode),
            mode_version: desired.map_or(0, |desired| desired.mode_version),
            lockdowns: &self.lockdowns.statements,
            locked_out_until: self.lockout(mono),
            policy_forbids: false,
        };
        decide(&bundle.in_situation(situation), attempt, now)
    }

    fn ask_core(
        &mut self,
        shown: Digest,
        attempt: Attempt,
        person: Option<PersonId>,
        mono: MonoMs,
        out: &mut Vec<Output>,
    ) {
        let at = self.now(mono).map_or(UnixMs(0), |now| now.at);
        let request = RequestId::mint(at, self.fresh_bytes());
        let asked = AccessRequest {
            tenant: self.identity.tenant,
            device: self.identity.device,
            request,
            door: self.identity.door,
            credential: shown,
            // Without a person in the bundle there is nobody to bind the PIN to, and digits never leave the door.
            pin: attempt.pin.zip(person).map(|(pin, person)| pin.digest(person)),
            first_person: self
                .first_person(mono)
                .map(|first| FirstTap { person: first.person, ago_ms: first.ago_ms }),
        };
        let asked = AccessCall { request: self.identity.key.sign_json(Kind::AccessRequest, &asked) };
        if let Some(call) = self.call("access.request", &asked, out) {
            let until = MonoMs(mono.0 + ACCESS_ANSWER_MS);
            self.waiting.push(Waiting { call, request, until, attempt, begun: mono });
        }
    }

    /// The bundle's word at this moment on an attempt from before.
    fn decide_again(&self, waiting: &Waiting, mono: MonoMs) -> Decision {
        let passed = mono.0.saturating_sub(waiting.begun.0);
        let first = waiting.attempt.first.map(|first| FirstPerson { ago_ms: first.ago_ms + passed, ..first });
        self.decide(&Attempt { first, ..waiting.attempt }, mono)
    }

    pub(super) fn answered(
        &mut self,
        waiting: &Waiting,
        payload: Option<Vec<u8>>,
        mono: MonoMs,
        out: &mut Vec<Output>,
    ) {
        let reply = payload.and_then(|payload| serde_json::from_slice::<AccessReply>(&payload).ok());
        let core = &self.trusted;
        let answer =
            reply.and_then(|reply| core.read::<DecisionStatement>(Kind::Decision, &reply.decision).ok());
        let identity = &self.identity;
        let mode_version = self.desired.as_ref().map_or(0, |desired| desired.mode_version);
        let now = self.now(mono);
        let good = answer.filter(|answer| {
            (answer.tenant, answer.door, answer.device) == (identity.tenant, identity.door, identity.device)
                && answer.request == waiting.request
                && now.is_some_and(|now| now.latest() < answer.deadline)
                && answer.mode_version >= mode_version
        });
        let Some(answer) = good else { return self.fall_back(waiting, mono, out) };
        // A lockdown that came since counts more than core's word from before it.
        let own = self.decide_again(waiting, mono);
        let own_no = match own.outcome {
            Outcome::Denied(reason @ (Reason::DoorInLockdown | Reason::DoorBlocked)) => Some(reason),
            _ => None,
        };
        let outcome = match (answer.verdict, own_no) {
            (Verdict::Granted { .. }, Some(reason)) => Outcome::Denied(reason),
            (Verdict::Granted { grant, open_ms, duress }, None) => {
                Outcome::Granted(Pass { grant, open_ms, duress })
            }
            (Verdict::Denied { reason }, _) => Outcome::Denied(reason),
        };
        let decision = Decision { outcome, credential: answer.credential, person: answer.person, ..own };
        self.conclude(decision, mono, out);
    }

    /// Core did not answer in time: the bundle's word as of now, and a no where it wanted core's.
    pub(super) fn fall_back(&mut self, waiting: &Waiting, mono: MonoMs, out: &mut Vec<Output>) {
        let timeout = self.draft(EventKind::AccessRequestTimeout, mono);
        self.record(timeout, out);
        let own = self.decide_again(waiting, mono);
        self.conclude(own, mono, out);
    }

    fn conclude(&mut self, decision: Decision, mono: MonoMs, out: &mut Vec<Output>) {
        let outcome = match decision.outcome {
            Outcome::AskCore => Outcome::Denied(Reason::CoreUnreachable),
            other => other,
        };
        let kind =
            if decision.granted().is_some() { EventKind::AccessGranted } else { EventKind::AccessDenied };
        let mut draft = self.draft(kind, mono);
        draft.credential = decision.credential;
        draft.person = decision.person;
        draft.offline = !self.connected;
        match outcome {
            Outcome::Granted(pass) => {
                draft.grant = Some(pass.grant);
                self.record(draft.clone(), out);
                if pass.duress {
                    self.record(
                        keyway_domain::event::DeviceEvent { kind: EventKind::AccessDuress, ..draft },
                        out,
                    );
                }
                self.first = None;
                self.wrong_codes = 0;
                out.push(Output::Move {
                    cause: Cause::Tap(pass.grant),
                    open_ms: pass.open_ms,
                    command: None,
                });
            }
            Outcome::Denied(reason) => {
                draft.reason = Some(reason);
                self.record(draft, out);
                self.denied(decision, reason, mono, out);
            }
            Outcome::AskCore => {}
        }
        self.begin_report(mono, out);
    }

    fn denied(&mut self, decision: Decision, reason: Reason, mono: MonoMs, out: &mut Vec<Output>) {
        match reason {
            Reason::TwoPersonPending => self.first = decision.person.map(|person| (person, mono)),
            Reason::PinWrong | Reason::CredentialUnknown => {
                self.wrong_codes += 1;
                if self.wrong_codes >= WRONG_CODES_MAX {
                    self.wrong_codes = 0;
                    self.locked_out_until = Some(MonoMs(mono.0 + LOCKOUT_MS));
                    let lockout = self.draft(EventKind::AccessCodeLockout, mono);
                    self.record(lockout, out);
                }
            }
            _ => {}
        }
    }
}
