//! Calls that an emulator answers otherwise than AWS, refuses or lacks, each as AWS's documents have it: batches, swaps, locks,
//! tags that arrive late, protocols of their own. What is sent is looked at, not only what comes back.

use super::*;

const LISTENER: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/app/n/1/2";

/// AWS swaps priorities in one call; one after the other the second would find its place taken.
#[tokio::test]
async fn two_rules_change_places_in_one_call() {
    let there = |arn: &str, priority: u32, path: &str| {
        format!(
            "<member><RuleArn>{arn}</RuleArn><Priority>{priority}</Priority><IsDefault>false</IsDefault><Conditions>\
             <member><Field>path-pattern</Field><PathPatternConfig><Values><member>{path}</member></Values>\
             </PathPatternConfig></member></Conditions><Actions><member><Type>forward</Type><ForwardConfig><TargetGroups>\
             <member><TargetGroupArn>arn:tg</TargetGroupArn><Weight>1</Weight></member></TargetGroups></ForwardConfig>\
             </member></Actions></member>"
        )
    };
    let rules = there("rule-1", 10, "/a") + &there("rule-2", 20, "/b");
    let wire = Wire::answering(vec![
        ok_result("DescribeRules", &format!("<Rules>{rules}</Rules>")),
        ok_result("SetRulePriorities", "<Rules></Rules>"),
    ])
    .await;
    let rule = |priority: u32, path: &str| {
        json!({
            "priority": priority, "conditions": [{"on": "path", "values": [path]}],
            "action": {"do": "forward", "targets": [{"target_group": "arn:tg", "weight": 1}]},
        })
    };
    let wanted = json!({
        "load_balancer": "arn:lb", "port": 443, "protocol": "HTTPS",
        "default_action": {"do": "forward", "targets": [{"target_group": "arn:tg", "weight": 1}]},
        "rules": [rule(20, "/a"), rule(10, "/b")],
    });
    let swap = operation(KindId::Listener, Verb::Set("rules"), wanted.clone(), Some((LISTENER, wanted)));
    wire.perform(&swap).await.unwrap();
    assert_eq!(wire.actions(), ["DescribeRules", "SetRulePriorities"]);
    let body = wire.body("SetRulePriorities");
    for part in ["RuleArn=rule-1", "Priority=20", "RuleArn=rule-2", "Priority=10"] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
}

/// All rules of a direction in one call, with descriptions, also of rules between groups.
#[tokio::test]
async fn rules_of_a_group_are_opened_together_and_keep_their_descriptions() {
    let empty = "<securityGroupInfo><item><groupId>sg-1</groupId></item></securityGroupInfo>";
    let wire = Wire::answering(vec![
        ok("DescribeSecurityGroups", empty),
        ok("AuthorizeSecurityGroupIngress", "<return>true</return>"),
    ])
    .await;
    let rule = |port: u16, other: (&str, &str)| {
        let mut rule = json!({"protocol": "tcp", "from_port": port, "to_port": port, "description": format!("to {port}")});
        rule[other.0] = json!(other.1);
        rule
    };
    let rules = json!([
        rule(443, ("cidr", "10.0.0.0/8")),
        rule(8080, ("group", "sg-2")),
        rule(53, ("prefix_list", "pl-1"))
    ]);
    let group = |ingress: Value| json!({"vpc": "vpc-1", "name": "n", "description": "d", "ingress": ingress});
    let wanted = operation(
        KindId::SecurityGroup,
        Verb::Set("ingress"),
        group(rules),
        Some(("sg-1", group(json!([])))),
    );
    wire.perform(&wanted).await.unwrap();
    let opened = wire.actions().into_iter().filter(|action| action.starts_with("Authorize")).count();
    assert_eq!(opened, 1, "{:?}", wire.actions());
    let body = wire.body("AuthorizeSecurityGroupIngress").replace('+', " ").replace("%20", " ");
    for part in [
        "GroupId=sg-2",
        "PrefixListId=pl-1",
        "CidrIp=10.0.0.0/8",
        "Description=to 443",
        "Description=to 8080",
        "Description=to 53",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
}

const RESOURCE: &str = "service/keyway-test/app";

fn target(arn: &str) -> Answer {
    let target = json!({
        "ServiceNamespace": "ecs", "ResourceId": RESOURCE, "ScalableDimension": "ecs:service:DesiredCount",
        "MinCapacity": 1, "MaxCapacity": 2, "RoleARN": "arn:role", "CreationTime": 1_700_000_000, "ScalableTargetARN": arn,
    });
    ("DescribeScalableTargets", 200, json!({"ScalableTargets": [target]}).to_string())
}

fn scaling() -> Value {
    json!({"resource": RESOURCE, "service": "arn:service", "minimum": 2, "maximum": 6, "policies": {}})
}

/// Registering what is registered ignores the tags that come along: a stranger's target must not be taken over so.
#[tokio::test]
async fn a_scalable_target_of_somebody_else_is_left() {
    let wire = Wire::answering(vec![
        target("arn:target"),
        ("ListTagsForResource", 200, json!({"Tags": {"team": "others"}}).to_string()),
    ])
    .await;
    let create = operation(KindId::Scaling, Verb::Create, scaling(), None);
    let error = wire.perform(&create).await.unwrap_err();
    assert_eq!(error.class, Class::Exists, "{error}");
    assert_eq!(wire.actions(), ["DescribeScalableTargets", "ListTagsForResource"]);
}

#[tokio::test]
async fn a_scalable_target_is_registered_with_tags_and_retagged_by_its_arn() {
    let wire = Wire::answering(vec![
        ("DescribeScalableTargets", 200, json!({"ScalableTargets": []}).to_string()),
        ("RegisterScalableTarget", 200, json!({"ScalableTargetARN": "arn:target"}).to_string()),
        ("TagResource", 200, "{}".to_owned()),
        ("UntagResource", 200, "{}".to_owned()),
    ])
    .await;
    let made = wire.perform(&operation(KindId::Scaling, Verb::Create, scaling(), None)).await.unwrap();
    assert_eq!((made.id.as_str(), made.attributes["arn"].as_str()), (RESOURCE, "arn:target"));
    let sent: Value = serde_json::from_str(&wire.body("RegisterScalableTarget")).unwrap();
    assert_eq!(sent["Tags"]["keyway:address"], "test/object");
    assert_eq!((&sent["MinCapacity"], &sent["MaxCapacity"]), (&json!(2), &json!(6)));

    let remove = vec!["keyway:stray".to_owned()];
    let mut retag = operation(KindId::Scaling, Verb::Tag { remove }, scaling(), Some((RESOURCE, scaling())));
    retag.observed.as_mut().unwrap().attributes.insert("arn".to_owned(), "arn:target".to_owned());
    wire.perform(&retag).await.unwrap();
    let sent: Value = serde_json::from_str(&wire.body("UntagResource")).unwrap();
    assert_eq!(sent, json!({"ResourceARN": "arn:target", "TagKeys": ["keyway:stray"]}));
}

/// What moto drops from a service: strategy, grace period, remote shell.
#[tokio::test]
async fn a_service_is_read_with_all_that_was_sent() {
    let seen = json!({
        "serviceArn": "arn:aws:ecs:eu-central-1:111122223333:service/keyway-test/app", "serviceName": "app",
        "clusterArn": "arn:cluster", "status": "ACTIVE", "desiredCount": 2, "runningCount": 2,
        "taskDefinition": "arn:td:1", "healthCheckGracePeriodSeconds": 60, "enableExecuteCommand": true,
        "capacityProviderStrategy": [
            {"capacityProvider": "FARGATE_SPOT", "weight": 75, "base": 0},
            {"capacityProvider": "FARGATE", "weight": 25, "base": 1},
        ],
        "deploymentConfiguration": {
            "maximumPercent": 200, "minimumHealthyPercent": 100,
            "deploymentCircuitBreaker": {"enable": true, "rollback": true},
        },
        "tags": [{"key": "keyway:address", "value": "test/object"}],
    });
    let wire =
        Wire::answering(vec![("DescribeServices", 200, json!({"services": [seen]}).to_string())]).await;
    let id = "arn:aws:ecs:eu-central-1:111122223333:service/keyway-test/app";
    let seen = wire.aws.inspect(KindId::Service, id).await.unwrap().unwrap();
    assert_eq!(seen.fields["health_grace_s"], 60);
    assert_eq!(seen.fields["execute_command"], true);
    assert_eq!(seen.fields["circuit_breaker"], true);
    let shares = seen.fields["capacity"].as_array().unwrap();
    assert!(shares.contains(&json!({"provider": "FARGATE", "base": 1, "weight": 25})), "{shares:?}");
    assert_eq!(seen.tags["keyway:address"], "test/object");
}

/// A copy is added by a call of its own, which counts copies and not nodes.
#[tokio::test]
async fn nodes_of_a_cache_come_and_go_by_their_own_calls() {
    let group = "<ReplicationGroup><ReplicationGroupId>n</ReplicationGroupId></ReplicationGroup>";
    let wire = Wire::answering(vec![
        ok_result("IncreaseReplicaCount", group),
        ok_result("DecreaseReplicaCount", group),
    ])
    .await;
    let nodes = |count: u32| {
        let mut cache = cache();
        cache["nodes"] = json!(count);
        cache
    };
    for (from, to, action, copies) in [(1, 3, "IncreaseReplicaCount", 2), (3, 2, "DecreaseReplicaCount", 1)] {
        let change = operation(KindId::Cache, Verb::Set("nodes"), nodes(to), Some(("n", nodes(from))));
        wire.perform(&change).await.unwrap();
        let body = wire.body(action);
        assert!(body.contains(&format!("NewReplicaCount={copies}")), "{body}");
    }
}

/// Of the parameters of a group only those that somebody set are ours; RDS tells them apart by their source.
#[tokio::test]
async fn parameters_are_those_that_somebody_set() {
    let parameter = |name: &str, value: &str, source: &str| {
        format!(
            "<Parameter><ParameterName>{name}</ParameterName><ParameterValue>{value}</ParameterValue>\
             <Source>{source}</Source><ApplyType>dynamic</ApplyType></Parameter>"
        )
    };
    let group = "<DBParameterGroups><DBParameterGroup><DBParameterGroupName>n</DBParameterGroupName>\
        <DBParameterGroupFamily>postgres17</DBParameterGroupFamily><Description>d</Description>\
        <DBParameterGroupArn>arn:pg</DBParameterGroupArn></DBParameterGroup></DBParameterGroups>";
    let set = parameter("work_mem", "4096", "user");
    let wire = Wire::answering(vec![
        ok_result("DescribeDBParameterGroups", group),
        ok_result("DescribeDBParameters", &format!("<Parameters>{set}</Parameters>")),
        ok_result("ListTagsForResource", "<TagList></TagList>"),
    ])
    .await;
    let seen = wire.aws.inspect(KindId::DbParameterGroup, "n").await.unwrap().unwrap();
    assert_eq!(seen.fields["parameters"], json!({"work_mem": "4096"}));
    assert!(wire.body("DescribeDBParameters").contains("Source=user"));
}

const ACL: &str = "arn:aws:wafv2:eu-central-1:111122223333:regional/webacl/n/1";

/// Somebody saved the firewall in between: AWS's lock refuses, and the newer document is read and changed.
#[tokio::test]
async fn a_firewall_that_was_saved_meanwhile_is_read_again() {
    let document = |lock: &str| {
        let acl = json!({
            "Name": "n", "Id": "1", "ARN": ACL, "DefaultAction": {"Allow": {}}, "Rules": [],
            "VisibilityConfig": {"MetricName": "n", "SampledRequestsEnabled": true, "CloudWatchMetricsEnabled": true},
        });
        ("GetWebACL", 200, json!({"WebACL": acl, "LockToken": lock}).to_string())
    };
    let taken = json!({"__type": "WAFOptimisticLockException", "message": "saved meanwhile"});
    let wire = Wire::answering(vec![
        document("first"),
        ("UpdateWebACL", 400, taken.to_string()),
        document("second"),
        ("UpdateWebACL", 200, json!({"NextLockToken": "third"}).to_string()),
    ])
    .await;
    let acl = json!({"name": "n", "default_action": "block", "samples": true, "rules": [], "protects": []});
    let update = operation(KindId::WebAcl, Verb::Set("acl"), acl.clone(), Some((ACL, acl)));
    wire.perform(&update).await.unwrap();
    let sent: Value = serde_json::from_str(&wire.body("UpdateWebACL")).unwrap();
    assert_eq!((&sent["LockToken"], &sent["DefaultAction"]), (&json!("second"), &json!({"Block": {}})));
}

/// Without a log group that anybody wants the logging goes; that it is gone already is no fault.
#[tokio::test]
async fn firewall_logging_that_nobody_wants_is_taken_away() {
    let gone = json!({"__type": "WAFNonexistentItemException", "message": "no such configuration"});
    let wire = Wire::answering(vec![
        ("DeleteLoggingConfiguration", 200, "{}".to_owned()),
        ("DeleteLoggingConfiguration", 400, gone.to_string()),
    ])
    .await;
    let acl = |log_groups: Value| json!({"name": "n", "default_action": "allow", "samples": true, "rules": [], "log_groups": log_groups});
    let seen = acl(json!(["arn:aws:logs:eu-central-1:111122223333:log-group:aws-waf-logs-n"]));
    let off = operation(KindId::WebAcl, Verb::Set("logging"), acl(json!([])), Some((ACL, seen)));
    wire.perform(&off).await.unwrap();
    wire.perform(&off).await.unwrap();
    let sent: Value = serde_json::from_str(&wire.body("DeleteLoggingConfiguration")).unwrap();
    assert_eq!(sent, json!({ "ResourceArn": ACL }));
}

/// A zone of somebody else that is gone: nothing of ours is left in it, and the snapshot says what is not there.
#[tokio::test]
async fn a_shared_zone_that_is_gone_holds_nothing() {
    let none = "<ListHostedZonesResponse><HostedZones></HostedZones><IsTruncated>false</IsTruncated>\
        <MaxItems>100</MaxItems></ListHostedZonesResponse>";
    let gone = "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchHostedZone</Code><Message>No hosted zone found with \
        ID: Z0GONE</Message></Error></ErrorResponse>";
    let wire = Wire::answering(vec![
        ("GET /2013-04-01/hostedzone", 200, none.to_owned()),
        ("GET /2013-04-01/hostedzone/Z0GONE/rrset", 404, gone.to_owned()),
    ])
    .await;
    let mut scope = scope();
    scope.shared_zones.insert("Z0GONE".to_owned());
    let snapshot = wire.aws.discover(&scope, &[KindId::DnsRecord]).await.unwrap();
    assert_eq!(snapshot.resources, []);
    assert!(snapshot.incomplete.is_empty(), "{:?}", snapshot.incomplete);
    assert_eq!(snapshot.missing["Z0GONE"], "hosted zone");
}

/// The index of the tagging API may not have a new object yet: its own service is asked before it counts as a stranger.
#[tokio::test]
async fn an_object_that_the_tagging_api_misses_is_asked_for_its_tags() {
    let tags: Vec<Value> = operation(KindId::IpSet, Verb::Create, json!({}), None)
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    let arn = "arn:aws:wafv2:eu-central-1:111122223333:regional/ipset/keyway-test-block/1";
    let set = json!({"Name": "keyway-test-block", "Id": "1", "ARN": arn, "LockToken": "t"});
    let whole = json!({"Name": "keyway-test-block", "Id": "1", "ARN": arn, "IPAddressVersion": "IPV4", "Addresses": []});
    let listed = json!({"TagInfoForResource": {"ResourceARN": arn, "TagList": tags}});
    let wire = Wire::answering(vec![
        ("ListIPSets", 200, json!({"IPSets": [set]}).to_string()),
        ("GetResources", 200, json!({"ResourceTagMappingList": []}).to_string()),
        ("ListTagsForResource", 200, listed.to_string()),
        ("GetIPSet", 200, json!({"IPSet": whole, "LockToken": "t"}).to_string()),
    ])
    .await;
    let snapshot = wire.aws.discover(&scope(), &[KindId::IpSet]).await.unwrap();
    assert_eq!(snapshot.resources.len(), 1, "{:?}", wire.actions());
    assert_eq!(snapshot.resources[0].address.as_ref().map(|at| at.as_str()), Some("test/object"));
}
