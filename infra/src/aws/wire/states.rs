//! The states in between, as AWS's documents show them: an emulator answers at once and is never pending, failed or on its way
//! out. One look at an object of every kind that settles, over the wire, from the answer's text to the state a run waits for.

use super::*;

#[track_caller]
fn expect(state: State, found: Option<&State>, what: &str) {
    assert_eq!(found, Some(&state), "{what}");
}

fn pending(word: &str) -> State {
    State::Pending(word.to_owned())
}

fn failed(why: &str) -> State {
    State::Failed(why.to_owned())
}

/// Looks once with this one answer prepared.
async fn look(kind: KindId, id: &str, answer: Answer) -> Option<State> {
    let wire = Wire::answering(vec![answer]).await;
    wire.aws.look(kind, id).await.unwrap().map(|look| look.state)
}

#[tokio::test]
async fn a_nat_gateway_is_pending_then_there_or_failed_with_its_reason() {
    let shown = |state: &str, more: &str| {
        let item =
            format!("<natGatewayId>nat-1</natGatewayId><vpcId>vpc-1</vpcId><state>{state}</state>{more}");
        ok("DescribeNatGateways", &format!("<natGatewaySet><item>{item}</item></natGatewaySet>"))
    };
    let why =
        "<failureCode>Gateway.NotAttached</failureCode><failureMessage>no internet gateway</failureMessage>";
    for (state, more, wanted) in [
        ("pending", "", pending("pending")),
        ("available", "", State::Ready),
        ("failed", why, failed("no internet gateway")),
        ("deleting", "", State::Deleting),
    ] {
        let found = look(KindId::NatGateway, "nat-1", shown(state, more)).await;
        expect(wanted, found.as_ref(), state);
    }
    // AWS shows it for an hour after it is gone, and after that knows the id no more.
    assert_eq!(look(KindId::NatGateway, "nat-1", shown("deleted", "")).await, None);
    let unknown = refusal("DescribeNatGateways", "NatGatewayNotFound", "nat-1 was not found");
    assert_eq!(look(KindId::NatGateway, "nat-1", unknown).await, None);
}

#[tokio::test]
async fn a_regional_nat_gateway_shows_its_vpc_and_neither_subnet_nor_address() {
    let item = "<natGatewayId>nat-1</natGatewayId><vpcId>vpc-1</vpcId><state>available</state>\
        <availabilityMode>regional</availabilityMode><natGatewayAddressSet><item><allocationId>eipalloc-1</allocationId>\
        <publicIp>192.0.2.1</publicIp><availabilityZone>eu-central-1a</availabilityZone></item></natGatewayAddressSet>";
    let shown = ok("DescribeNatGateways", &format!("<natGatewaySet><item>{item}</item></natGatewaySet>"));
    let wire = Wire::answering(vec![shown]).await;
    let seen = wire.aws.inspect(KindId::NatGateway, "nat-1").await.unwrap().unwrap();
    assert_eq!(Value::Object(seen.fields), json!({"availability": "regional", "vpc": "vpc-1"}));
}

#[tokio::test]
async fn an_interface_endpoint_may_fail_after_it_was_accepted() {
    let shown = |state: &str, more: &str| {
        let item = format!(
            "<vpcEndpointId>vpce-1</vpcEndpointId><vpcEndpointType>Interface</vpcEndpointType><vpcId>vpc-1</vpcId>\
             <serviceName>com.amazonaws.eu-central-1.logs</serviceName><state>{state}</state>{more}"
        );
        ok("DescribeVpcEndpoints", &format!("<vpcEndpointSet><item>{item}</item></vpcEndpointSet>"))
    };
    let why =
        "<lastError><message>no addresses left</message><code>InsufficientFreeAddresses</code></lastError>";
    for (state, more, wanted) in [
        ("pending", "", pending("pending")),
        ("available", "", State::Ready),
        ("failed", why, failed("no addresses left")),
        ("deleting", "", State::Deleting),
    ] {
        let found = look(KindId::VpcEndpoint, "vpce-1", shown(state, more)).await;
        expect(wanted, found.as_ref(), state);
    }
}

#[tokio::test]
async fn a_load_balancer_is_provisioned_for_minutes_and_may_be_impaired() {
    let shown = |state: &str| {
        let member =
            format!("<member><LoadBalancerArn>arn:lb</LoadBalancerArn><State>{state}</State></member>");
        ok_result("DescribeLoadBalancers", &format!("<LoadBalancers>{member}</LoadBalancers>"))
    };
    for (state, wanted) in [
        ("<Code>provisioning</Code>", pending("provisioning")),
        ("<Code>active</Code>", State::Ready),
        ("<Code>failed</Code><Reason>the subnet is full</Reason>", failed("the subnet is full")),
    ] {
        let found = look(KindId::LoadBalancer, "arn:lb", shown(state)).await;
        expect(wanted, found.as_ref(), state);
    }
}

#[tokio::test]
async fn a_database_is_settled_only_when_every_accepted_change_has_arrived() {
    let shown = |status: &str, more: &str| {
        let instance = format!(
            "<DBInstanceIdentifier>db</DBInstanceIdentifier><DBInstanceStatus>{status}</DBInstanceStatus>{more}"
        );
        let inner = format!("<DBInstances><DBInstance>{instance}</DBInstance></DBInstances>");
        ok_result("DescribeDBInstances", &inner)
    };
    let class =
        "<PendingModifiedValues><DBInstanceClass>db.m6g.large</DBInstanceClass></PendingModifiedValues>";
    for (status, more, wanted) in [
        ("creating", "", pending("creating")),
        ("backing-up", "", State::Ready),
        ("available", class, pending("changing")),
        ("modifying", "", pending("modifying")),
        ("upgrading", "", pending("upgrading")),
        ("available", "", State::Ready),
        ("storage-full", "", failed("RDS calls it storage-full")),
        ("incompatible-network", "", failed("RDS calls it incompatible-network")),
        ("deleting", "", State::Deleting),
    ] {
        let found = look(KindId::Database, "db", shown(status, more)).await;
        expect(wanted, found.as_ref(), status);
    }
    let unknown = refusal("DescribeDBInstances", "DBInstanceNotFound", "db is not found");
    assert_eq!(look(KindId::Database, "db", unknown).await, None);
}

#[tokio::test]
async fn a_cache_is_created_modified_and_deleted_slowly() {
    let shown = |status: &str| {
        let group = format!("<ReplicationGroupId>n</ReplicationGroupId><Status>{status}</Status>");
        let inner =
            format!("<ReplicationGroups><ReplicationGroup>{group}</ReplicationGroup></ReplicationGroups>");
        ok_result("DescribeReplicationGroups", &inner)
    };
    for (status, wanted) in [
        ("creating", pending("creating")),
        ("modifying", pending("modifying")),
        ("snapshotting", State::Ready),
        ("available", State::Ready),
        ("create-failed", failed("ElastiCache could not create it")),
        ("deleting", State::Deleting),
    ] {
        let found = look(KindId::Cache, "n", shown(status)).await;
        expect(wanted, found.as_ref(), status);
    }
}

#[tokio::test]
async fn a_certificate_waits_for_its_proof_and_may_be_refused() {
    let shown = |status: &str, why: Option<&str>| {
        let mut detail = json!({"CertificateArn": "arn:c", "DomainName": "x.example", "Status": status});
        if let Some(why) = why {
            detail["FailureReason"] = json!(why);
        }
        ("DescribeCertificate", 200, json!({ "Certificate": detail }).to_string())
    };
    for (status, why, wanted) in [
        ("PENDING_VALIDATION", None, pending("pending validation")),
        ("ISSUED", None, State::Ready),
        ("VALIDATION_TIMED_OUT", None, failed("VALIDATION_TIMED_OUT")),
        ("FAILED", Some("CAA_ERROR"), failed("FAILED: CAA_ERROR")),
    ] {
        let found = look(KindId::Certificate, "arn:c", shown(status, why)).await;
        expect(wanted, found.as_ref(), status);
    }
}

/// ACM answers a request before it knows the records that prove the domains; until then there is nothing to go on with.
#[tokio::test]
async fn a_certificate_is_asked_again_until_it_names_its_proof() {
    let detail = |options: Value| {
        let detail = json!({
            "CertificateArn": "arn:c", "DomainName": "x.example", "Status": "PENDING_VALIDATION",
            "DomainValidationOptions": options,
        });
        ("DescribeCertificate", 200, json!({ "Certificate": detail }).to_string())
    };
    let record = json!({"Name": "_A.x.example.", "Type": "CNAME", "Value": "_b.aws."});
    let wire = Wire::answering(vec![
        ("RequestCertificate", 200, json!({"CertificateArn": "arn:c"}).to_string()),
        detail(json!([])),
        detail(json!([{"DomainName": "x.example", "ResourceRecord": record}])),
    ])
    .await;
    let wanted = json!({"domain": "x.example", "alternative_names": []});
    let made = wire.perform(&operation(KindId::Certificate, Verb::Create, wanted, None)).await.unwrap();
    assert_eq!(made.attributes["validation_name:x.example"], "_a.x.example");
    assert_eq!(made.attributes["validation_value:x.example"], "_b.aws");
    assert_eq!(wire.actions(), ["RequestCertificate", "DescribeCertificate", "DescribeCertificate"]);
}

const SERVICE: &str = "arn:aws:ecs:eu-central-1:111122223333:service/keyway-test/app";

/// A service with this primary deployment, and one that failed beside it if so.
fn service(rollout: &str, reason: &str, running: u32, failed_tasks: u32) -> Answer {
    let primary = json!({
        "id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": rollout, "rolloutStateReason": reason,
        "desiredCount": 2, "runningCount": running, "failedTasks": failed_tasks,
    });
    let service = json!({
        "serviceArn": SERVICE, "serviceName": "app", "status": "ACTIVE", "desiredCount": 2, "runningCount": running,
        "deployments": [primary],
    });
    ("DescribeServices", 200, json!({"services": [service]}).to_string())
}

#[tokio::test]
async fn a_roll_out_is_done_when_all_tasks_run() {
    let found = look(KindId::Service, SERVICE, service("IN_PROGRESS", "", 1, 0)).await;
    expect(pending("1 of 2 tasks run"), found.as_ref(), "in progress");
    let found = look(KindId::Service, SERVICE, service("COMPLETED", "", 2, 0)).await;
    expect(State::Ready, found.as_ref(), "completed");
}

#[tokio::test]
async fn a_failed_roll_out_tells_why_its_tasks_stopped() {
    let stopped = |reason: &str, code: i32| json!({"stoppedReason": reason, "containers": [{"name": "app", "exitCode": code}]});
    let tasks = json!([
        stopped("Essential container in task exited", 1),
        stopped("Essential container in task exited", 1)
    ]);
    let wire = Wire::answering(vec![
        service("FAILED", "ECS deployment circuit breaker: tasks failed to start.", 0, 2),
        ("ListTasks", 200, json!({"taskArns": ["arn:task/1", "arn:task/2"]}).to_string()),
        ("DescribeTasks", 200, json!({ "tasks": tasks }).to_string()),
    ])
    .await;
    let look = wire.aws.look(KindId::Service, SERVICE).await.unwrap().unwrap();
    let State::Failed(why) = look.state else { panic!("{:?}", look.state) };
    assert!(why.contains("circuit breaker"), "{why}");
    assert!(why.contains("2 tasks: Essential container in task exited (app: exit code 1)"), "{why}");
    assert!(wire.body("ListTasks").contains("STOPPED"));
}
