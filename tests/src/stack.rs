//! One test's world: an emulator of its own, the fault proxy in front of it, the program pointed at the proxy.

use anyhow::Result;

use crate::account::{self, Thing};
use crate::behind::Behind;
use crate::emulator::Emulator;
use crate::{FaultProxy, Faults, Infra, Run};

pub struct Stack {
    // Dropped in this order: the program's folder, the proxy, what the proxy points at.
    pub infra: Infra,
    pub proxy: FaultProxy,
    pub emulator: Emulator,
}

impl Stack {
    pub fn start() -> Result<Self> {
        let emulator = Emulator::start(&mut |_| ())?;
        let proxy = FaultProxy::start(emulator.address())?;
        let infra = Infra::new(proxy.url())?;
        Ok(Self { infra, proxy, emulator })
    }

    pub fn standing(&self) -> Result<Vec<Thing>> {
        account::standing(self.emulator.address())
    }

    pub fn behind(&self) -> Behind {
        Behind::new(self.emulator.url())
    }

    /// Runs with these faults; the log then holds this run's calls only.
    pub fn run_with(&self, faults: Faults, arguments: &[&str]) -> Result<Run> {
        self.proxy.begin(faults);
        self.infra.run_telling(arguments, |pid| self.proxy.aim_at(pid))
    }

    /// Applies without faults, and holds that to be complete: status 0, and a plan that finds nothing to do.
    #[track_caller]
    pub fn converge(&self, environment: &str) -> Run {
        self.proxy.begin(Faults::default());
        let applied = self.infra.apply(environment).expect("infra starts");
        assert_eq!(applied.status, Some(0), "{applied}{}", self.emulator.complaints());
        self.assert_nothing_to_do(environment);
        applied
    }

    #[track_caller]
    pub fn assert_nothing_to_do(&self, environment: &str) {
        self.proxy.begin(Faults::default());
        let plan = self.infra.plan(environment).expect("infra starts");
        assert_eq!(plan.status, Some(0), "the plan is not empty: {plan}{}", self.emulator.complaints());
    }

    /// Destroys without faults, and holds the account to be empty but for `before`.
    #[track_caller]
    pub fn destroy_to(&self, environment: &str, before: &[Thing]) {
        self.proxy.begin(Faults::default());
        let destroyed = self.infra.destroy(environment).expect("infra starts");
        assert_eq!(destroyed.status, Some(0), "{destroyed}{}", self.emulator.complaints());
        let after = self.standing().expect("the emulator answers");
        let ours = |thing: &&Thing| !before.contains(thing) && !account::is_final_snapshot(thing);
        let left: Vec<_> = after.iter().filter(ours).collect();
        assert!(left.is_empty(), "destroy left {}: {left:#?}", account::by_kind(&after));
        let lost: Vec<_> = before.iter().filter(|thing| !after.contains(thing)).collect();
        assert!(lost.is_empty(), "destroy took what was not ours: {lost:#?}");
    }
}
