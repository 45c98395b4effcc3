//! The ground that the other tests stand on: the emulator answers, and the proxy counts and spoils as it says.

use std::process::Command;

use e2e::behind::Behind;
use e2e::emulator::Emulator;
use e2e::proxy::Counts;
use e2e::{FaultProxy, Faults, account};
use serde_json::{Value, json};

struct Ground {
    caller: Behind,
    proxy: FaultProxy,
    emulator: Emulator,
}

fn ground(faults: Faults) -> Ground {
    let emulator = Emulator::start(&mut |_| ()).unwrap();
    let proxy = FaultProxy::start(emulator.address()).unwrap();
    proxy.begin(faults);
    Ground { caller: Behind::new(proxy.url()), proxy, emulator }
}

impl Ground {
    fn create_vpc(&self) -> anyhow::Result<Value> {
        self.caller.call("ec2", "create_vpc", json!({ "CidrBlock": "10.0.0.0/16" }))
    }

    fn vpcs(&self) -> usize {
        account::standing(self.emulator.address()).unwrap().iter().filter(|thing| thing.kind == "vpc").count()
    }
}

#[test]
fn calls_are_counted_and_told_apart() {
    let ground = ground(Faults::default());
    let calls = [
        ("ec2", "create_vpc", json!({ "CidrBlock": "10.0.0.0/16" })),
        ("ec2", "describe_vpcs", json!({})),
        ("ecs", "create_cluster", json!({ "clusterName": "one" })),
        ("route53", "list_hosted_zones", json!({})),
        ("iam", "list_roles", json!({})),
    ];
    ground.caller.calls(&calls).unwrap();
    assert_eq!(ground.proxy.counts(), Counts { changing: 2, reading: 3 }, "{}", ground.proxy.summary());
    let names: Vec<String> = ground.proxy.log().iter().map(|logged| logged.call.to_string()).collect();
    let wanted = [
        "ec2:CreateVpc",
        "ec2:DescribeVpcs",
        "ecs:CreateCluster",
        "route53:ListHostedZones",
        "iam:ListRoles",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn throttling_is_told_in_each_protocols_words() {
    let ground = ground(Faults { throttle_percent: 100, ..Faults::default() });
    for (service, call, code) in [
        ("ec2", "describe_vpcs", "RequestLimitExceeded"),
        ("elbv2", "describe_load_balancers", "Throttling"),
        ("ecs", "list_clusters", "ThrottlingException"),
        ("route53", "list_hosted_zones", "Throttling"),
    ] {
        let error = ground.caller.call(service, call, json!({})).unwrap_err().to_string();
        assert!(error.contains(&format!("({code})")), "{service}: {error}");
    }
}

#[test]
fn a_lost_answer_leaves_the_effect() {
    let ground = ground(Faults { cut_after_changing: Some(2), ..Faults::default() });
    ground.create_vpc().unwrap();
    let error = ground.create_vpc().unwrap_err().to_string();
    assert!(error.contains("onnection"), "{error}");
    ground.create_vpc().unwrap();
    assert_eq!(ground.vpcs(), 3);
}

#[test]
fn a_lost_request_has_no_effect() {
    let ground = ground(Faults { cut_before_changing: Some(1), ..Faults::default() });
    ground.create_vpc().unwrap_err();
    assert_eq!(ground.vpcs(), 0);
    ground.create_vpc().unwrap();
    assert_eq!(ground.vpcs(), 1);
}

#[test]
fn each_kind_of_call_loses_its_answer_once() {
    let ground = ground(Faults { cut_after_each_action: true, ..Faults::default() });
    ground.create_vpc().unwrap_err();
    ground.create_vpc().unwrap();
    ground.caller.call("ecs", "create_cluster", json!({ "clusterName": "one" })).unwrap_err();
    ground.caller.call("ecs", "create_cluster", json!({ "clusterName": "one" })).unwrap();
    assert_eq!(ground.vpcs(), 2);
}

#[test]
fn a_denied_action_says_so() {
    let ground = ground(Faults { deny_action: Some("DescribeVpcs".into()), ..Faults::default() });
    let error = ground.caller.call("ec2", "describe_vpcs", json!({})).unwrap_err().to_string();
    assert!(error.contains("(UnauthorizedOperation)"), "{error}");
    assert_eq!(ground.proxy.log()[0].error.as_deref(), Some("UnauthorizedOperation"));
}

#[test]
fn the_process_that_made_the_call_is_killed_once_it_took_effect() {
    let ground = ground(Faults { kill_after_changing: Some(1), ..Faults::default() });
    // `cat` waits for an input that never comes: it ends by the signal or not at all.
    let mut victim = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    ground.proxy.aim_at(victim.id());
    ground.create_vpc().unwrap_err();
    let ended = victim.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
    assert_eq!(ground.vpcs(), 1);
}
