//! Failing at the n-th changing call, before or after it took effect, or dying there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::account::{CallError, Class};

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The first changing call is 1.
    pub at: u64,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Refused with this class; nothing happens.
    Refused(Class),
    /// It happens, but the answer is lost.
    LostAfter,
    /// Half of a set arrives, then the answer is lost.
    LostHalf,
    /// Nothing happens, and the answer is lost too.
    LostBefore,
    /// The process is killed before the call.
    KilledBefore,
    /// The process is killed after the call took effect.
    KilledAfter,
    /// The process is killed while half of a set has arrived.
    KilledHalf,
}

pub(super) enum Verdict {
    Proceed,
    Refuse(CallError),
    After(CallError),
    Half(CallError),
    KillAfter { half: bool },
}

#[derive(Default)]
pub(super) struct Faults {
    armed: Mutex<Option<Fault>>,
    calls: AtomicU64,
    dead: AtomicBool,
    struck: AtomicBool,
    notify: Notify,
}

impl Faults {
    pub(super) fn arm(&self, fault: Fault) {
        *self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(fault);
        self.calls.store(0, Ordering::SeqCst);
        self.struck.store(false, Ordering::SeqCst);
    }

    pub(super) fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    pub(super) fn revive(&self) {
        *self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        self.dead.store(false, Ordering::SeqCst);
    }

    pub(super) async fn killed(&self) {
        loop {
            let notified = self.notify.notified();
            if self.dead.load(Ordering::SeqCst) {
                return;
            }
            notified.await;
        }
    }

    /// A dead process hears no answer.
    pub(super) async fn alive(&self) {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn kill<T>(&self) -> T {
        self.dead.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
        std::future::pending().await
    }

    pub(super) async fn verdict(&self) -> Verdict {
        self.alive().await;
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let armed = *self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(fault) = armed.filter(|fault| fault.at == call) else { return Verdict::Proceed };
        self.struck.store(true, Ordering::SeqCst);
        let lost = || CallError::new("memory", "Fault", Class::Lost, "the connection was cut");
        match fault.effect {
            Effect::Refused(class) => {
                Verdict::Refuse(CallError::new("memory", "Fault", class, "refused by a fault"))
            }
            Effect::LostBefore => Verdict::Refuse(lost()),
            Effect::LostAfter => Verdict::After(lost()),
            Effect::LostHalf => Verdict::Half(lost()),
            Effect::KilledAfter => Verdict::KillAfter { half: false },
            Effect::KilledHalf => Verdict::KillAfter { half: true },
            Effect::KilledBefore => self.kill().await,
        }
    }
}
