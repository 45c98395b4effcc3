//! What happens to a call: a pure decision from a plan of faults, the call and its number. The proxy carries it out.
//!
//! Everything is seeded or numbered, so that a run that failed can be run again.

use crate::call::{Call, Protocol};

/// The plan. The default spoils nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Each call waits this long before it reaches the emulator: a network of that round trip.
    pub latency_ms: u64,
    /// Of 100 calls so many are throttled, chosen by `seed`.
    pub throttle_percent: u64,
    pub seed: u64,
    /// The changing call of this number (from 1) takes effect and its answer is lost.
    pub cut_after_changing: Option<u64>,
    /// The same for the first call of each action, in one run: every kind of lost answer once.
    pub cut_after_each_action: bool,
    /// The same for every changing request, in one run; what is asked again in the same words is answered.
    pub cut_after_each_request: bool,
    /// The changing call of this number never reaches the emulator, nor is it answered.
    pub cut_before_changing: Option<u64>,
    /// The changing call of this number is refused with this status and code.
    pub refuse_changing: Option<(u64, u16, String)>,
    /// Every call of this action is refused with AccessDenied.
    pub deny_action: Option<String>,
    /// Every call is refused as one whose credentials have run out.
    pub expired: bool,
    /// After the changing call of this number took effect, the process that made it is killed with -9.
    pub kill_after_changing: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Pass,
    Throttle,
    CutBefore,
    CutAfter,
    KillAfter,
    Refuse { status: u16, code: String },
}

/// Where a call stands in its run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// Of all calls, from 1.
    pub call: u64,
    /// Of the changing ones, from 1; the number the next one will have when this call only reads.
    pub changing: u64,
    /// No answer to a call of this action was lost before.
    pub first_of_action: bool,
    /// Nor one to a call of this action in these words.
    pub first_of_request: bool,
}

impl Faults {
    pub fn decide(&self, call: &Call, numbers: Numbers) -> Verdict {
        if self.deny_action.as_deref() == Some(call.action.as_str()) {
            return Verdict::Refuse { status: 403, code: denied_code(call).to_owned() };
        }
        if self.expired {
            let code =
                if call.protocol == Protocol::Ec2Query { "RequestExpired" } else { "ExpiredTokenException" };
            return Verdict::Refuse { status: 400, code: code.to_owned() };
        }
        if self.throttle_percent > 0
            && mixed(mixed(self.seed).wrapping_add(numbers.call)) % 100 < self.throttle_percent
        {
            return Verdict::Throttle;
        }
        if !call.changing {
            return Verdict::Pass;
        }
        let now = Some(numbers.changing);
        match &self.refuse_changing {
            Some((at, status, code)) if Some(*at) == now => {
                Verdict::Refuse { status: *status, code: code.clone() }
            }
            _ if self.cut_before_changing == now => Verdict::CutBefore,
            _ if self.cut_after_changing == now => Verdict::CutAfter,
            _ if self.cut_after_each_action && numbers.first_of_action => Verdict::CutAfter,
            _ if self.cut_after_each_request && numbers.first_of_request => Verdict::CutAfter,
            _ if self.kill_after_changing == now => Verdict::KillAfter,
            _ => Verdict::Pass,
        }
    }
}

fn denied_code(call: &Call) -> &'static str {
    match call.service.as_str() {
        "ec2" => "UnauthorizedOperation",
        "ecs"
        | "ecr"
        | "ssm"
        | "wafv2"
        | "acm"
        | "logs"
        | "secretsmanager"
        | "application-autoscaling"
        | "tagging" => "AccessDeniedException",
        _ => "AccessDenied",
    }
}

/// SplitMix64's mixer: neighbouring numbers come out unrelated.
fn mixed(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: &str, changing: bool) -> Call {
        Call { service: "ec2".into(), action: action.into(), protocol: Protocol::Ec2Query, changing }
    }

    fn at(call: u64, changing: u64) -> Numbers {
        Numbers { call, changing, first_of_action: false, first_of_request: false }
    }

    #[test]
    fn only_the_numbered_changing_call_is_spoiled() {
        let faults =
            Faults { cut_after_changing: Some(2), kill_after_changing: Some(3), ..Faults::default() };
        assert_eq!(faults.decide(&call("CreateVpc", true), at(1, 1)), Verdict::Pass);
        assert_eq!(faults.decide(&call("DescribeVpcs", false), at(2, 2)), Verdict::Pass);
        assert_eq!(faults.decide(&call("CreateVpc", true), at(3, 2)), Verdict::CutAfter);
        assert_eq!(faults.decide(&call("CreateVpc", true), at(4, 3)), Verdict::KillAfter);
    }

    #[test]
    fn a_share_is_throttled_and_the_same_one_again() {
        let faults = Faults { throttle_percent: 30, seed: 7, ..Faults::default() };
        let throttled = |n: u64| faults.decide(&call("DescribeVpcs", false), at(n, 1)) == Verdict::Throttle;
        let share: Vec<u64> = (1..=10_000).filter(|n| throttled(*n)).collect();
        assert!((2_800..3_200).contains(&share.len()), "{} of 10000", share.len());
        assert_eq!(share, (1..=10_000).filter(|n| throttled(*n)).collect::<Vec<_>>());
    }
}
