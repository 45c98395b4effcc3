//! What `infra policy` prints allows every call that infra makes, by the names that IAM gives them.

use std::collections::BTreeSet;

use e2e::{Stack, scene};

/// `service:Action` of every call that the log of `-v` names.
fn called(log: &str) -> BTreeSet<String> {
    let word = |line: &str, key: &str| {
        let (_, rest) = line.split_once(&format!("{key}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    log.lines()
        .filter_map(|line| Some(format!("{}:{}", word(line, "service")?, word(line, "action")?)))
        .collect()
}

fn allows(pattern: &str, call: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => call.starts_with(start),
        None => call == pattern,
    }
}

#[test]
fn it_names_every_call_of_a_life() {
    let stack = Stack::start().unwrap();
    let policy = stack.infra.run(&["policy", "--environment", scene::STAGING]).unwrap().json();
    let mut patterns: Vec<String> = Vec::new();
    for statement in policy["Statement"].as_array().unwrap() {
        patterns
            .extend(statement["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()));
    }
    let edited = "extends = \"staging\"\nname = \"staging\"\nremove = [\"waf.logging\"]\n\
         [cluster]\ninsights = \"disabled\"\n[network]\nnat = \"single\"\ninterface_endpoints = [\"ecr.api\"]\n\
         [services.app]\nport = 8081\n[redis]\nreplicas = 2\nparameters = { timeout = \"5\" }\n\
         [postgres]\nstorage_gib = 40\n[waf]\nrule_sets = [\"baseline\"]\n[tags]\nteam = \"doors\"\n";
    let edited = stack.infra.file("edited.toml", edited).unwrap();
    let edited = edited.to_str().unwrap();
    let destroy = scene::destroy_arguments(scene::STAGING);
    let destroy: Vec<&str> = destroy.iter().map(String::as_str).chain(["-v"]).collect();
    let applied = ["apply", "--environment", scene::STAGING, "--yes", "-v"];
    let changed = ["apply", "--environment", edited, "--yes", "-v"];
    let forgotten: Vec<Vec<&str>> = [
        "network/group/app",
        "edge/zone",
        "edge/record/api",
        "data/postgres/parameter_group",
        "identity/role/app-task",
    ]
    .map(|address| vec!["forget", address, "--environment", scene::STAGING, "-v"])
    .into();
    let mut calls = BTreeSet::new();
    let lives = [applied.to_vec(), changed.to_vec(), applied.to_vec(), destroy, applied.to_vec()];
    for arguments in lives.iter().chain(&forgotten) {
        let run = stack.infra.run(arguments).unwrap();
        calls.extend(called(&run.stderr));
    }
    assert!(calls.len() > 100, "only {} calls were named: {calls:?}", calls.len());
    let missing: Vec<&String> =
        calls.iter().filter(|call| !patterns.iter().any(|pattern| allows(pattern, call))).collect();
    assert!(missing.is_empty(), "not in the policy: {missing:?}");
}

/// Every ARN is of the partition that the region lies in: in China another would match nothing.
#[test]
fn its_arns_are_of_the_regions_partition() {
    let stack = Stack::start().unwrap();
    for (region, partition) in
        [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-west-1", "aws")]
    {
        let text = format!(
            "extends = \"dev\"\nname = \"far\"\nregion = \"{region}\"\nnetwork.zones = [\"{region}a\", \"{region}b\"]\n\
             network.cidr = \"10.99.0.0/16\"\n"
        );
        let file = stack.infra.file("far.toml", &text).unwrap();
        let run = stack.infra.run(&["policy", "--environment", file.to_str().unwrap()]).unwrap().expect(0);
        let arns: Vec<&str> = run.stdout.split('"').filter(|text| text.starts_with("arn:")).collect();
        assert!(arns.len() > 4, "{run}");
        let strange: Vec<_> = arns.iter().filter(|arn| arn.split(':').nth(1) != Some(partition)).collect();
        assert!(strange.is_empty(), "{region}: {strange:?}");
    }
}
