//! Changes made behind the program's back: edited, deleted and *added* things are found by a plan, named by their
//! address, and mended by an apply. The table is that of docs/testing.md, "Drift".

use std::collections::BTreeSet;

use e2e::account::{self, Thing};
use e2e::behind::Behind;
use e2e::infra::CHANGES;
use e2e::{Faults, Stack, scene};
use serde_json::{Value, json};

/// The account as someone at a console sees it.
pub(crate) struct World<'a> {
    behind: &'a Behind,
    pub(crate) standing: Vec<Thing>,
}

impl World<'_> {
    #[track_caller]
    pub(crate) fn id(&self, kind: &str, address: &str) -> String {
        let found = self.standing.iter().find(|thing| thing.kind == kind && thing.address() == Some(address));
        found.map(|thing| thing.id.clone()).unwrap_or_else(|| {
            let known: Vec<_> = self.standing.iter().filter(|t| t.kind == kind).map(Thing::address).collect();
            panic!("no {kind} at {address}; there are {known:?}")
        })
    }

    fn group(&self) -> String {
        self.id("security-group", "network/group/app")
    }

    pub(crate) fn call(&self, service: &str, call: &str, arguments: Value) -> Value {
        self.behind.call(service, call, arguments).unwrap()
    }

    fn ingress_rule(&self) -> Value {
        let filter = json!([{ "Name": "group-id", "Values": [self.group()] }]);
        let answer = self.call("ec2", "describe_security_group_rules", json!({ "Filters": filter }));
        let rules = answer["SecurityGroupRules"].as_array().unwrap();
        rules.iter().find(|rule| rule["IsEgress"] == json!(false)).unwrap().clone()
    }

    pub(crate) fn listener(&self) -> String {
        self.id("listener", "edge/listener/https")
    }

    fn listener_rule(&self) -> String {
        let answer = self.call("elbv2", "describe_rules", json!({ "ListenerArn": self.listener() }));
        let rules = answer["Rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["IsDefault"] == json!(false)).unwrap();
        rule["RuleArn"].as_str().unwrap().to_owned()
    }

    fn task_role(&self) -> String {
        self.id("role", "identity/role/app-task")
    }
}

/// One thing that somebody does, and the address under which a plan must speak of it.
pub(crate) struct Drift {
    pub(crate) what: &'static str,
    pub(crate) address: &'static str,
    pub(crate) act: fn(&World<'_>),
}

const FIXED: &str = r#"{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "503" } }"#;

fn fixed() -> Value {
    serde_json::from_str(FIXED).unwrap()
}

const EDITED_OR_DELETED: [Drift; 8] = [
    Drift {
        what: "a tag of ours with another value",
        address: "network/vpc",
        act: |world| {
            let tags = json!([{ "Key": "team", "Value": "somebody" }]);
            world.call(
                "ec2",
                "create_tags",
                json!({ "Resources": [world.id("vpc", "network/vpc")], "Tags": tags }),
            );
        },
    },
    Drift {
        what: "a group rule deleted",
        address: "network/group/app",
        act: |world| {
            let rule = world.ingress_rule()["SecurityGroupRuleId"].clone();
            world.call(
                "ec2",
                "revoke_security_group_ingress",
                json!({ "GroupId": world.group(), "SecurityGroupRuleIds": [rule] }),
            );
        },
    },
    Drift {
        what: "a listener rule that answers something else",
        address: "edge/listener/https",
        act: |world| {
            world.call(
                "elbv2",
                "modify_rule",
                json!({ "RuleArn": world.listener_rule(), "Actions": [fixed()] }),
            );
        },
    },
    Drift {
        what: "a firewall rule deleted",
        address: "firewall/web_acl",
        act: |world| {
            let found = world.standing.iter().find(|thing| thing.kind == "web-acl").unwrap();
            let key = json!({ "Name": found.field("name"), "Scope": "REGIONAL", "Id": found.id.rsplit('/').next().unwrap() });
            let got = world.call("wafv2", "get_web_acl", key.clone());
            let acl = &got["WebACL"];
            let mut update = json!({
                "Name": key["Name"], "Scope": "REGIONAL", "Id": key["Id"], "LockToken": got["LockToken"],
                "DefaultAction": acl["DefaultAction"], "VisibilityConfig": acl["VisibilityConfig"],
                "Rules": acl["Rules"].as_array().unwrap()[1..],
            });
            for optional in ["Description", "CustomResponseBodies"] {
                if acl[optional].as_str().is_some_and(|text| !text.is_empty()) || acl[optional].is_object() {
                    update[optional] = acl[optional].clone();
                }
            }
            world.call("wafv2", "update_web_acl", update);
        },
    },
    Drift {
        what: "an attribute of the load balancer",
        address: "edge/load_balancer",
        act: |world| {
            let arn = world.id("load-balancer", "edge/load_balancer");
            let attributes = json!([{ "Key": "idle_timeout.timeout_seconds", "Value": "61" }]);
            world.call(
                "elbv2",
                "modify_load_balancer_attributes",
                json!({ "LoadBalancerArn": arn, "Attributes": attributes }),
            );
        },
    },
    Drift {
        what: "another task definition in a service",
        address: "compute/service/gateway",
        act: |world| {
            let service = world.id("service", "compute/service/gateway");
            let other = world.call(
                "ecs",
                "register_task_definition",
                json!({
                    "family": "by-hand", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256",
                    "memory": "512", "containerDefinitions": [{ "name": "gateway", "image": "by-hand:1", "essential": true }]
                }),
            );
            let definition = &other["taskDefinition"]["taskDefinitionArn"];
            let cluster = world.id("cluster", "compute/cluster");
            world.call(
                "ecs",
                "update_service",
                json!({ "cluster": cluster, "service": service, "taskDefinition": definition }),
            );
        },
    },
    Drift {
        what: "a route deleted",
        address: "network/route_table/private/a",
        act: |world| {
            let table = world.id("route-table", "network/route_table/private/a");
            world.call(
                "ec2",
                "delete_route",
                json!({ "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0" }),
            );
        },
    },
    Drift {
        what: "a log group that keeps for ever",
        address: "compute/log_group/app",
        act: |world| {
            let name = world.id("log-group", "compute/log_group/app");
            world.call("logs", "delete_retention_policy", json!({ "logGroupName": name }));
        },
    },
];

const ADDED: [Drift; 6] = [
    Drift {
        what: "SSH from the world",
        address: "network/group/app",
        act: |world| {
            let permission = json!([{ "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
            world.call(
                "ec2",
                "authorize_security_group_ingress",
                json!({ "GroupId": world.group(), "IpPermissions": permission }),
            );
        },
    },
    Drift {
        what: "a way out of the data tier",
        address: "network/route_table/data",
        act: |world| {
            let table = world.id("route-table", "network/route_table/data");
            let gateway = world.id("internet-gateway", "network/internet_gateway");
            world.call(
                "ec2",
                "create_route",
                json!({ "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway }),
            );
        },
    },
    Drift {
        what: "a listener rule before all others",
        address: "edge/listener/https",
        act: |world| {
            let condition = json!([{ "Field": "path-pattern", "Values": ["/steal/*"] }]);
            world.call(
                "elbv2",
                "create_rule",
                json!({ "ListenerArn": world.listener(), "Priority": 1, "Conditions": condition, "Actions": [fixed()] }),
            );
        },
    },
    Drift {
        what: "a listener on another port",
        address: "edge/load_balancer",
        act: |world| {
            let arn = world.id("load-balancer", "edge/load_balancer");
            world.call(
                "elbv2",
                "create_listener",
                json!({ "LoadBalancerArn": arn, "Port": 8080, "Protocol": "HTTP", "DefaultActions": [fixed()] }),
            );
        },
    },
    Drift {
        what: "an inline policy that allows everything",
        address: "identity/role/app-task",
        act: |world| {
            let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
            let name = "quick-fix";
            world.call(
                "iam",
                "put_role_policy",
                json!({ "RoleName": world.task_role(), "PolicyName": name, "PolicyDocument": policy.to_string() }),
            );
        },
    },
    Drift {
        what: "an attached policy",
        address: "identity/role/gateway-task",
        act: |world| {
            let role = world.id("role", "identity/role/gateway-task");
            let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
            world.call("iam", "attach_role_policy", json!({ "RoleName": role, "PolicyArn": policy }));
        },
    },
];

/// Addresses that a plan in JSON would change, whatever it nests them in.
fn changed(plan: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![plan];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(fields) => {
                let action = fields.get("action").and_then(Value::as_str).unwrap_or_default().to_lowercase();
                let idle = action.is_empty() || ["noop", "no_op", "no-op", "none"].contains(&action.as_str());
                if let (Some(address), false) = (fields.get("address").and_then(Value::as_str), idle) {
                    found.insert(address.to_owned());
                }
                open.extend(fields.values());
            }
            _ => {}
        }
    }
    found
}

/// What can be compared before and after, without the ids of what had to be made again.
fn state(things: &[Thing]) -> Vec<String> {
    let kinds = ["security-group", "route-table", "role", "listener", "listener-rule"];
    let fields = ["rules", "routes", "inline", "attached", "port", "priority"];
    let one = |thing: &Thing| {
        let values: Vec<String> = fields.iter().map(|field| thing.field(field).to_string()).collect();
        format!("{} {}", account::likeness(thing), values.join(" "))
    };
    let mut all: Vec<String> =
        things.iter().filter(|thing| kinds.contains(&thing.kind.as_str())).map(one).collect();
    all.sort();
    all
}

#[track_caller]
pub(crate) fn check(drifts: &[Drift]) {
    let stack = Stack::start().unwrap();
    stack.converge(scene::STAGING);
    let before = state(&stack.standing().unwrap());
    let behind = stack.behind();
    for drift in drifts {
        let world = World { behind: &behind, standing: stack.standing().unwrap() };
        (drift.act)(&world);
        let plan = stack.infra.plan(scene::STAGING).unwrap();
        assert_eq!(plan.status, Some(CHANGES), "{}: {plan}", drift.what);
        let found = changed(&plan.json());
        assert!(
            found.contains(drift.address),
            "{}: the plan speaks of {found:?}, not of {}\n{plan}",
            drift.what,
            drift.address
        );
    }
    stack.converge(scene::STAGING);
    assert_eq!(state(&stack.standing().unwrap()), before, "after the apply");
}

#[test]
fn what_was_edited_or_deleted_is_found_and_mended() {
    check(&EDITED_OR_DELETED);
}

#[test]
fn what_was_added_is_found_and_removed() {
    check(&ADDED);
}

fn our_tags(address: &str) -> Value {
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    json!([
        tag("keyway:project", "keyway"),
        tag("keyway:environment", "staging"),
        tag("keyway:address", address)
    ])
}

#[test]
fn what_carries_our_tags_is_deleted_where_nobody_wants_it_and_named_where_the_place_is_taken() {
    let stack = Stack::start().unwrap();
    stack.converge(scene::STAGING);
    let behind = stack.behind();
    let vpc = World { behind: &behind, standing: stack.standing().unwrap() }.id("vpc", "network/vpc");
    let group = |name: &str, address: &str| {
        let tags = json!([{ "ResourceType": "security-group", "Tags": our_tags(address) }]);
        let request =
            json!({ "GroupName": name, "Description": name, "VpcId": vpc, "TagSpecifications": tags });
        behind.call("ec2", "create_security_group", request).unwrap()["GroupId"].as_str().unwrap().to_owned()
    };
    let unwanted = group("unwanted", "network/group/nobody");
    let plan = stack.infra.plan(scene::STAGING).unwrap().expect(CHANGES);
    assert!(changed(&plan.json()).contains("network/group/nobody"), "{plan}");
    stack.converge(scene::STAGING);
    assert!(!stack.standing().unwrap().iter().any(|thing| thing.id == unwanted), "the unwanted group stands");

    let second = group("second", "network/group/app");
    let first = World { behind: &behind, standing: stack.standing().unwrap() }.group();
    let plan = stack.infra.plan(scene::STAGING).unwrap();
    assert_ne!(plan.status, Some(0), "two objects at one address are not nothing: {plan}");
    let said = format!("{}{}", plan.stdout, plan.stderr);
    for id in [&first, &second] {
        assert!(said.contains(id.as_str()), "the plan names both; {id} is missing: {plan}");
    }
}

#[test]
fn a_rogue_service_is_reported_and_left_alone() {
    let stack = Stack::start().unwrap();
    stack.converge(scene::STAGING);
    let behind = stack.behind();
    let world = World { behind: &behind, standing: stack.standing().unwrap() };
    let cluster = world.id("cluster", "compute/cluster");
    let subnet = world.id("subnet", "network/subnet/private/a");
    let definition = json!({
        "family": "rogue", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{ "name": "rogue", "image": "rogue:1", "essential": true }]
    });
    world.call("ecs", "register_task_definition", definition);
    let network = json!({ "awsvpcConfiguration": { "subnets": [subnet] } });
    let rogue = json!({
        "cluster": cluster, "serviceName": "rogue", "taskDefinition": "rogue", "desiredCount": 1, "launchType": "FARGATE",
        "networkConfiguration": network
    });
    world.call("ecs", "create_service", rogue);
    stack.proxy.begin(Faults::default());
    let plan = stack.infra.plan(scene::STAGING).unwrap();
    assert!(plan.stdout.contains("rogue"), "the plan does not report it: {plan}");
    assert_eq!(changed(&plan.json()), BTreeSet::new(), "{plan}");
    stack.converge(scene::STAGING);
    let standing = stack.standing().unwrap();
    assert!(
        standing.iter().any(|thing| thing.kind == "service" && thing.id.ends_with("/rogue")),
        "it was deleted"
    );
}
