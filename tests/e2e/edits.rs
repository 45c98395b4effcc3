//! What an environment file says differently over a standing environment, and what somebody took away beneath it: the plan says
//! what it does and loses, the apply or the destroy does it, and nothing is left that nobody wants.

use e2e::infra::{CHANGES, FAILED};
use e2e::{Stack, scene};
use serde_json::{Value, json};

fn losses(plan: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = plan["steps"].as_array().unwrap().iter();
    steps
        .flat_map(|step| {
            let lost = step["loses"].as_array().cloned().unwrap_or_default();
            lost.into_iter().map(|what| (text(&step["address"]), text(&what))).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn firewall_logging_goes_with_its_key_and_the_plan_says_what_is_lost() {
    let stack = Stack::start().unwrap();
    stack.converge(scene::STAGING);
    let text = "extends = \"staging\"\nname = \"staging\"\nremove = [\"waf.logging\"]\n";
    let edited = stack.infra.file("edited.toml", text).unwrap();
    let edited = edited.to_str().unwrap();
    let plan = stack.infra.plan(edited).unwrap().expect(CHANGES);
    let lost = ("firewall/log_group".to_owned(), "everything that was logged to it".to_owned());
    assert_eq!(losses(&plan.json()), [lost], "{plan}");
    stack.converge(edited);
    let logging: Vec<_> =
        stack.standing().unwrap().into_iter().filter(|thing| thing.kind == "waf-logging").collect();
    assert!(logging.is_empty(), "{logging:?}");
    stack.converge(scene::STAGING);
}

/// A shared zone of the emulator, and `dev` with a record in it.
fn with_shared_zone(stack: &Stack) -> (String, String) {
    let arguments = json!({ "Name": "keyway.example", "CallerReference": "ours" });
    let made = stack.behind().call("route53", "create_hosted_zone", arguments).unwrap();
    let zone = made["HostedZone"]["Id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let text = format!(
        "extends = \"dev\"\nname = \"shared\"\nnetwork.cidr = \"10.99.0.0/16\"\n\
         [dns]\nzone = \"keyway.example\"\nzone_id = \"{zone}\"\n\
         [dns.records.entrance]\nname = \"shared.keyway.example\"\nalias = \"load_balancer\"\n"
    );
    let file = stack.infra.file("shared.toml", &text).unwrap();
    (zone, file.to_str().unwrap().to_owned())
}

fn take_away(stack: &Stack, zone: &str) {
    let behind = stack.behind();
    let listed =
        behind.call("route53", "list_resource_record_sets", json!({ "HostedZoneId": zone })).unwrap();
    let records = listed["ResourceRecordSets"].as_array().unwrap().iter();
    let changes: Vec<Value> = records
        .filter(|record| record["Type"] != "NS" && record["Type"] != "SOA")
        .map(|record| json!({ "Action": "DELETE", "ResourceRecordSet": record }))
        .collect();
    assert_eq!(changes.len(), 2, "a record and its mark");
    let change = json!({ "HostedZoneId": zone, "ChangeBatch": { "Changes": changes } });
    behind.call("route53", "change_resource_record_sets", change).unwrap();
    behind.call("route53", "delete_hosted_zone", json!({ "Id": zone })).unwrap();
}

#[test]
fn a_shared_zone_that_is_gone_stops_the_plan_and_not_the_destroy() {
    let stack = Stack::start().unwrap();
    let (zone, shared) = with_shared_zone(&stack);
    stack.converge(&shared);
    take_away(&stack, &zone);
    let plan = stack.infra.run(&["plan", "--environment", &shared]).unwrap().expect(FAILED);
    for word in [zone.as_str(), "shared.toml:6", "edge/record/entrance", "infra destroy"] {
        assert!(plan.stdout.contains(word), "`{word}` is not said: {plan}");
    }
    let told = stack.infra.plan(&shared).unwrap().expect(FAILED).json();
    assert_eq!(told["problems"][0]["problem"], "missing", "{told}");
    let before = stack.standing().unwrap();
    let applied = stack.infra.apply(&shared).unwrap().expect(FAILED);
    assert_eq!(stack.standing().unwrap(), before, "the apply changed something: {applied}");
    stack.destroy_to(&shared, &[]);
}

/// The file names another zone of the same name: the records go there and leave nothing behind.
#[test]
fn records_follow_the_shared_zone() {
    let stack = Stack::start().unwrap();
    let (first, shared) = with_shared_zone(&stack);
    stack.converge(&shared);
    let arguments = json!({ "Name": "keyway.example", "CallerReference": "another" });
    let made = stack.behind().call("route53", "create_hosted_zone", arguments).unwrap();
    let second = made["HostedZone"]["Id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let text = std::fs::read_to_string(&shared).unwrap().replace(&first, &second);
    std::fs::write(&shared, text).unwrap();
    stack.converge(&shared);
    let records = |zone: &str| {
        let arguments = json!({ "HostedZoneId": zone });
        let listed = stack.behind().call("route53", "list_resource_record_sets", arguments).unwrap();
        let records = listed["ResourceRecordSets"].as_array().unwrap().clone();
        records.iter().filter(|record| record["Type"] != "NS" && record["Type"] != "SOA").count()
    };
    assert_eq!((records(&first), records(&second)), (0, 2));
}

/// With `--format json` the last line says how it ended, whatever the reason.
#[test]
fn a_program_is_told_why_nothing_was_done() {
    let stack = Stack::start().unwrap();
    let json = |arguments: &[&str]| {
        let run = stack.infra.run(&[arguments, &["--format", "json"]].concat()).unwrap();
        let last = run.stdout.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {run}"));
        (
            told["event"].as_str().unwrap_or_default().to_owned(),
            told["why"].as_str().unwrap_or_default().to_owned(),
        )
    };
    for (arguments, event, word) in [
        (&["apply", "--environment", "dev"][..], "refused", "--yes"),
        (&["apply", "--environment", "nowhere"], "error", "cannot be used"),
        (&["forget", "nothing/here", "--environment", "dev"], "error", "nothing/here"),
        (&["adopt", "network/vpc", "vpc-1", "--environment", "dev"], "error", "vpc-1"),
        (
            &["outputs", "--environment", "dev", "--endpoint-url", "http://127.0.0.1:9"],
            "error",
            "127.0.0.1:9",
        ),
    ] {
        let (said, why) = json(arguments);
        assert_eq!(said, event, "{arguments:?}: {why}");
        assert!(why.contains(word), "{arguments:?}: {why}");
    }
}
