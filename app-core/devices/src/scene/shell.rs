//! The shell of a virtual door: does the core's outputs one after the other on a flash and a bolt, with a monotonic
//! clock that may drift, and breaks down where it is told to.

use crate::bolt::Bolt;
use crate::door::{Call, DoorCore, Identity, Input, Output};
use crate::flash::{Flash, Record};
use keyway_domain::clock::MonoMs;
use keyway_domain::command::ledger::EntryState;
use keyway_domain::time::UnixMs;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where power fails, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    BeforeWrite,
    /// The id is durable, the bolt has not moved.
    AfterWrite,
    /// The bolt has moved, the outcome is not durable.
    AfterMove,
    /// The outcome is durable and was not told.
    AfterOutcome,
}

pub struct DoorShell<F> {
    pub identity: Arc<Identity>,
    pub core: DoorCore,
    pub flash: F,
    pub bolt: Bolt,
    pub crash_at: Option<CrashPoint>,
    /// Parts in a million that the monotonic clock is too fast.
    pub drift_ppm: i64,
    /// Time between judging and moving: flash, relay, a slow processor.
    pub pause_before_move_ms: u64,
    started: UnixMs,
    connected: bool,
    down: bool,
    timer: Option<UnixMs>,
}

impl<F: Flash> DoorShell<F> {
    /// Starts a door from what its flash holds.
    pub fn start(identity: Arc<Identity>, mut flash: F, entropy: u64, now: UnixMs) -> std::io::Result<Self> {
        let (core, outputs) = DoorCore::boot(identity.clone(), flash.kept()?, entropy);
        let mut shell = Self {
            identity,
            core,
            flash,
            bolt: Bolt::default(),
            crash_at: None,
            drift_ppm: 0,
            pause_before_move_ms: 0,
            started: now,
            connected: false,
            down: false,
            timer: None,
        };
        shell.act(outputs.into(), now);
        Ok(shell)
    }

    /// Power comes back after a failure.
    pub fn restart(&mut self, entropy: u64, now: UnixMs) {
        self.connected = false;
        self.timer = None;
        self.started = now;
        self.down = false;
        match self.flash.kept() {
            Ok(kept) => {
                let (core, outputs) = DoorCore::boot(self.identity.clone(), kept, entropy);
                self.core = core;
                self.act(outputs.into(), now);
            }
            // A door that cannot read its memory stays down: it must not take a command it may have done already.
            Err(_) => self.down = true,
        }
    }

    pub fn is_down(&self) -> bool {
        self.down
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// This door's own count of milliseconds.
    pub fn mono(&self, now: UnixMs) -> MonoMs {
        let passed = now.since(self.started);
        let drift = (passed as i64).saturating_mul(self.drift_ppm) / 1_000_000;
        MonoMs(passed.saturating_add_signed(drift))
    }

    /// Gives an input at a true time; gives back what is to be sent.
    pub fn give(&mut self, input: Input, now: UnixMs) -> Vec<Call> {
        match input {
            Input::Connected => self.connected = true,
            Input::Disconnected => self.connected = false,
            _ => {}
        }
        let outputs = self.core.handle(input, self.mono(now));
        self.act(outputs.into(), now)
    }

    /// How long until the core wants its timer, unless one that is early enough is set already.
    pub fn timer_to_set(&mut self, now: UnixMs) -> Option<u64> {
        let wait_ms = self.core.next_deadline()?.0.saturating_sub(self.mono(now).0).max(1) + 1;
        let at = now.plus(wait_ms);
        if self.timer.is_some_and(|set| set <= at) {
            return None;
        }
        self.timer = Some(at);
        Some(wait_ms)
    }

    pub fn timer_went(&mut self) {
        self.timer = None;
    }

    fn act(&mut self, mut outputs: VecDeque<Output>, mut now: UnixMs) -> Vec<Call> {
        let mut calls = Vec::new();
        while let Some(output) = outputs.pop_front() {
            let then = match output {
                Output::Write(record) => {
                    if !self.write(record) {
                        return calls;
                    }
                    continue;
                }
                Output::Call(call) => {
                    calls.push(call);
                    continue;
                }
                Output::ThenConfirm(command) => {
                    now = now.plus(self.pause_before_move_ms);
                    Input::Confirm(command)
                }
                Output::Move { cause, open_ms, command } => {
                    let well = self.bolt.open(cause, open_ms, now);
                    if self.crash(CrashPoint::AfterMove) {
                        return calls;
                    }
                    Input::Moved { cause, command, well }
                }
            };
            // What follows from it comes before what was to come later: the bolt does not wait for a report.
            for output in self.core.handle(then, self.mono(now)).into_iter().rev() {
                outputs.push_front(output);
            }
        }
        calls
    }

    /// Whether the door goes on.
    fn write(&mut self, record: Record) -> bool {
        let (before, after) = match &record {
            Record::Ledger { entry, .. } if entry.state == EntryState::Written => {
                (Some(CrashPoint::BeforeWrite), Some(CrashPoint::AfterWrite))
            }
            Record::Ledger { .. } => (None, Some(CrashPoint::AfterOutcome)),
            _ => (None, None),
        };
        if before.is_some_and(|point| self.crash(point)) {
            return false;
        }
        if self.flash.append(record).is_err() {
            // Nothing may follow from what is not durable.
            self.down = true;
            return false;
        }
        !after.is_some_and(|point| self.crash(point))
    }

    fn crash(&mut self, point: CrashPoint) -> bool {
        let hit = self.crash_at == Some(point);
        if hit {
            self.crash_at = None;
            self.down = true;
        }
        hit
    }
}
