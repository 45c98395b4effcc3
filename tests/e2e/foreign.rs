//! What is in the account and is not ours stays as it is, however much it looks like ours.

use e2e::{Stack, scene};
use serde_json::{Value, json};

/// Things of someone else: the same kinds, some with the very names that our environment would choose, and tags of their own.
fn someone_elses() -> Vec<(&'static str, &'static str, Value)> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "Service": "ecs-tasks.amazonaws.com" }, "Action": "sts:AssumeRole" }]
    });
    let tags = json!([{ "Key": "team", "Value": "other" }]);
    vec![
        ("ec2", "create_vpc", json!({ "CidrBlock": "10.20.0.0/16" })),
        ("ec2", "allocate_address", json!({ "Domain": "vpc" })),
        ("ec2", "create_internet_gateway", json!({})),
        ("logs", "create_log_group", json!({ "logGroupName": "/other/app", "tags": { "team": "other" } })),
        (
            "iam",
            "create_role",
            json!({ "RoleName": "other-app", "AssumeRolePolicyDocument": trust.to_string(), "Tags": tags }),
        ),
        ("ecr", "create_repository", json!({ "repositoryName": "other/app-core", "tags": tags })),
        (
            "secretsmanager",
            "create_secret",
            json!({ "Name": "other/token", "SecretString": "theirs", "Tags": tags }),
        ),
        ("ecs", "create_cluster", json!({ "clusterName": "other" })),
        ("route53", "create_hosted_zone", json!({ "Name": "other.example", "CallerReference": "theirs" })),
        (
            "wafv2",
            "create_ip_set",
            json!({ "Name": "other", "Scope": "REGIONAL", "IPAddressVersion": "IPV4", "Addresses": ["192.0.2.1/32"] }),
        ),
        ("acm", "request_certificate", json!({ "DomainName": "other.example", "Tags": tags })),
        ("ssm", "put_parameter", json!({ "Name": "/other/setting", "Value": "theirs", "Type": "String" })),
    ]
}

#[test]
fn foreign_resources_are_as_they_were_after_apply_and_after_destroy() {
    let stack = Stack::start().unwrap();
    stack.behind().calls(&someone_elses()).unwrap();
    let theirs = stack.standing().unwrap();
    assert_eq!(theirs.len(), someone_elses().len(), "{theirs:#?}");

    stack.converge(scene::STAGING);
    let standing = stack.standing().unwrap();
    let changed: Vec<_> = theirs.iter().filter(|thing| !standing.contains(thing)).collect();
    assert!(changed.is_empty(), "apply touched what is not ours: {changed:#?}");

    stack.destroy_to(scene::STAGING, &theirs);
}
