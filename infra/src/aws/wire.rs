//! Kinds against prepared answers on a loopback port, for what an emulator does not do: rare refusals, batch calls that
//! fail inside a success, features it lacks. The SDKs are the real ones; a request that nobody prepared is refused.

mod differs;
mod states;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use infra_model::graph::Scope;
use infra_model::kinds::KindId;
use infra_model::snapshot::{Observed, State};
use infra_model::value::Fields;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Aws, Connection};
use crate::account::{Account, CallError, Class, Made, Operation, Verb};

/// One prepared answer: the action it is for, the HTTP status, the body.
type Answer = (&'static str, u16, String);

struct Wire {
    aws: Aws,
    /// `(action, body)` of every request, in order.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Wire {
    async fn answering(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer_one(stream, &answers, &log).await;
            }
        });
        let connection =
            Connection { region: "eu-central-1".to_owned(), endpoint_url: Some(url), profile: None };
        let keys = Credentials::new("id", "key", None, None, "tests");
        Self { aws: Aws::connect_as(&connection, Some(keys)).await.unwrap(), requests }
    }

    async fn perform(&self, operation: &Operation) -> Result<Made, CallError> {
        self.aws.perform(operation).await
    }

    fn actions(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(action, _)| action.clone()).collect()
    }

    /// The body of the last request for an action, percent-decoded as far as these tests look.
    fn body(&self, action: &str) -> String {
        let requests = self.requests.lock().unwrap();
        let (_, body) = requests.iter().rev().find(|(name, _)| name == action).expect(action);
        body.replace("%2F", "/").replace("%3A", ":")
    }
}

async fn answer_one(
    mut stream: TcpStream,
    answers: &Mutex<VecDeque<Answer>>,
    log: &Mutex<Vec<(String, String)>>,
) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut chunk = [0_u8; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
            if body.len() >= length || read == 0 {
                break (head.to_owned(), body.to_owned());
            }
        }
    };
    // Query protocols name the action in the body, JSON protocols in a header, REST by method and path.
    let named = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let target = header(&head, "x-amz-target").and_then(|target| target.rsplit('.').next());
    let line: Vec<&str> = head.split_whitespace().take(2).collect();
    let rest = line.join(" ").split('?').next().unwrap_or_default().to_owned();
    let action = named.or(target).map_or(rest, str::to_owned);
    let prepared = {
        let mut answers = answers.lock().unwrap();
        let at = answers.iter().position(|(name, ..)| *name == action);
        at.and_then(|at| answers.remove(at))
    };
    let (_, status, text) = prepared.unwrap_or_else(|| refusal("", "Unprepared", &action));
    log.lock().unwrap().push((action, body));
    let answer =
        format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A refusal in the form of RDS and ElastiCache; EC2's differs by its outer element, which its SDK needs.
fn refusal(action: &'static str, code: &str, message: &str) -> Answer {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let text = if EC2.contains(&action) {
        format!("<Response><Errors>{error}</Errors></Response>")
    } else {
        format!("<ErrorResponse>{error}</ErrorResponse>")
    };
    (action, 400, text)
}

/// The actions of EC2 that these tests refuse.
const EC2: &[&str] = &["AuthorizeSecurityGroupIngress", "DescribeNatGateways"];

fn ok(action: &'static str, inner: &str) -> Answer {
    (action, 200, format!("<{action}Response>{inner}</{action}Response>"))
}

fn ok_result(action: &'static str, inner: &str) -> Answer {
    ok(action, &format!("<{action}Result>{inner}</{action}Result>"))
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        other => panic!("fields are an object, not {other}"),
    }
}

fn scope() -> Scope {
    Scope {
        project: "keyway".to_owned(),
        environment: "test".to_owned(),
        account: "111122223333".to_owned(),
        region: "eu-central-1".to_owned(),
        shared_zones: std::collections::BTreeSet::new(),
    }
}

/// An operation on `object` (id and fields as seen), or a creation.
fn operation(kind: KindId, verb: Verb, wanted: Value, object: Option<(&str, Value)>) -> Operation {
    let scope = scope();
    let address = "test/object".parse().unwrap();
    let observed = object.map(|(id, seen)| Observed {
        kind,
        id: id.to_owned(),
        address: None,
        fields: fields(seen),
        attributes: std::collections::BTreeMap::new(),
        tags: std::collections::BTreeMap::new(),
        state: State::Ready,
    });
    let tags = scope.ownership(&address);
    let token = "0123456789abcdef".to_owned();
    Operation { address, kind, verb, fields: fields(wanted), observed, tags, token }
}

#[tokio::test]
async fn a_regional_nat_gateway_names_its_vpc_and_no_subnet() {
    let made = "<natGateway><natGatewayId>nat-1</natGatewayId></natGateway>";
    let wire = Wire::answering(vec![ok("CreateNatGateway", made)]).await;
    let wanted = json!({"availability": "regional", "vpc": "vpc-1"});
    let made = wire.perform(&operation(KindId::NatGateway, Verb::Create, wanted, None)).await.unwrap();
    assert_eq!(made.id, "nat-1");
    let body = wire.body("CreateNatGateway");
    for part in ["AvailabilityMode=regional", "VpcId=vpc-1", "ClientToken=0123456789abcdef", "keyway:address"]
    {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    assert!(!body.contains("SubnetId") && !body.contains("AllocationId"), "{body}");
}

#[tokio::test]
async fn a_batch_that_failed_inside_a_success_is_a_failure_unless_it_is_gone() {
    let delete = |code: &str| {
        let item = format!(
            "<item><error><code>{code}</code><message>told</message></error><resourceId>vpce-1</resourceId></item>"
        );
        ok("DeleteVpcEndpoints", &format!("<unsuccessful>{item}</unsuccessful>"))
    };
    let answers = vec![delete("InvalidVpcEndpoint.NotFound"), delete("DependencyViolation")];
    let wire = Wire::answering(answers).await;
    let seen = json!({"vpc": "vpc-1", "service": "s3", "endpoint_type": "Gateway"});
    let operation =
        operation(KindId::VpcEndpoint, Verb::Delete, seen.clone(), Some(("vpce-1", seen.clone())));
    wire.perform(&operation).await.unwrap();
    let error = wire.perform(&operation).await.unwrap_err();
    assert_eq!((error.class, error.message.as_str()), (Class::InUse, "told"));
}

#[tokio::test]
async fn rules_are_compared_again_when_some_are_there_already() {
    let there = "<securityGroupInfo><item><groupId>sg-1</groupId><ipPermissions><item><ipProtocol>tcp</ipProtocol>\
        <fromPort>443</fromPort><toPort>443</toPort><ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges>\
        </item></ipPermissions></item></securityGroupInfo>";
    let wire = Wire::answering(vec![
        refusal("AuthorizeSecurityGroupIngress", "InvalidPermission.Duplicate", "exists"),
        ok("DescribeSecurityGroups", there),
        ok("AuthorizeSecurityGroupIngress", "<return>true</return>"),
    ])
    .await;
    let group = |ingress: Value| json!({"vpc": "vpc-1", "name": "n", "description": "d", "ingress": ingress});
    let rule =
        |port: u16| json!({"protocol": "tcp", "from_port": port, "to_port": port, "cidr": "10.0.0.0/8"});
    let wanted = group(json!([rule(443), rule(80)]));
    let operation =
        operation(KindId::SecurityGroup, Verb::Set("ingress"), wanted, Some(("sg-1", group(json!([])))));
    wire.perform(&operation).await.unwrap();
    let body = wire.body("AuthorizeSecurityGroupIngress");
    assert!(body.contains("FromPort=80") && !body.contains("FromPort=443"), "{body}");
}

#[tokio::test]
async fn static_parameters_are_left_for_the_next_restart_once_rds_refuses_them_at_once() {
    let types = "<Parameters><Parameter><ParameterName>max_connections</ParameterName>\
        <ApplyType>static</ApplyType></Parameter><Parameter><ParameterName>work_mem</ParameterName>\
        <ApplyType>dynamic</ApplyType></Parameter></Parameters>";
    let wire = Wire::answering(vec![
        refusal("ModifyDBParameterGroup", "InvalidParameterCombination", "static parameter"),
        ok_result("DescribeDBParameters", types),
        ok_result("ModifyDBParameterGroup", "<DBParameterGroupName>n</DBParameterGroupName>"),
    ])
    .await;
    let group =
        |set: Value| json!({"name": "n", "family": "postgres17", "description": "d", "parameters": set});
    let wanted = group(json!({"max_connections": "200", "work_mem": "4096"}));
    let operation =
        operation(KindId::DbParameterGroup, Verb::Set("parameters"), wanted, Some(("n", group(json!({})))));
    wire.perform(&operation).await.unwrap();
    let body = wire.body("ModifyDBParameterGroup");
    let first = body.split("Parameters.Parameter.2").next().unwrap_or_default();
    assert!(first.contains("max_connections") && first.contains("pending-reboot"), "{body}");
    assert!(body.contains("immediate"), "{body}");
}

#[tokio::test]
async fn a_strangers_load_balancer_with_the_same_settings_is_not_taken_for_ours() {
    let made = "<LoadBalancers><member><LoadBalancerArn>arn:lb</LoadBalancerArn></member></LoadBalancers>";
    let tagged = |tags: &str| {
        let one = format!("<member><ResourceArn>arn:lb</ResourceArn><Tags>{tags}</Tags></member>");
        ok_result("DescribeTags", &format!("<TagDescriptions>{one}</TagDescriptions>"))
    };
    let wanted =
        json!({"name": "n", "scheme": "internal", "subnets": [], "security_groups": [], "attributes": {}});
    let operation = operation(KindId::LoadBalancer, Verb::Create, wanted, None);
    let ours = operation
        .tags
        .iter()
        .map(|(key, value)| format!("<member><Key>{key}</Key><Value>{value}</Value></member>"));
    let answers = vec![
        ok_result("CreateLoadBalancer", made),
        tagged("<member><Key>Name</Key><Value>n</Value></member>"),
        ok_result("CreateLoadBalancer", made),
        tagged(&ours.collect::<String>()),
    ];
    let wire = Wire::answering(answers).await;
    let error = wire.perform(&operation).await.unwrap_err();
    assert_eq!(error.class, Class::Exists, "{error}");
    assert_eq!(wire.perform(&operation).await.unwrap().id, "arn:lb");
}

fn cache() -> Value {
    json!({
        "name": "n", "description": "d", "engine": "valkey", "engine_version": "8.0", "node_type": "cache.t4g.micro",
        "nodes": 1, "subnet_group": "n", "security_groups": ["sg-1"], "tls": true, "encrypted": true, "auth": true,
        "auth_secret": "redis-auth",
    })
}

#[tokio::test]
async fn a_cache_that_exists_gets_no_second_token() {
    let group = "<ReplicationGroups><ReplicationGroup><ReplicationGroupId>n</ReplicationGroupId>\
        </ReplicationGroup></ReplicationGroups>";
    let wire = Wire::answering(vec![ok_result("DescribeReplicationGroups", group)]).await;
    let error = wire.perform(&operation(KindId::Cache, Verb::Create, cache(), None)).await.unwrap_err();
    assert_eq!(error.class, Class::Exists);
    assert_eq!(wire.actions(), ["DescribeReplicationGroups"]);
}

#[tokio::test]
async fn a_cache_that_was_not_visible_yet_gets_its_token_back() {
    let stages = json!({"VersionIdsToStages": {"v1": ["AWSPREVIOUS"], "v2": ["AWSCURRENT"]}});
    let wire = Wire::answering(vec![
        refusal("DescribeReplicationGroups", "ReplicationGroupNotFoundFault", "not found"),
        ("PutSecretValue", 200, json!({"VersionId": "v2"}).to_string()),
        refusal("CreateReplicationGroup", "ReplicationGroupAlreadyExists", "exists"),
        ("DescribeSecret", 200, stages.to_string()),
        ("UpdateSecretVersionStage", 200, "{}".to_owned()),
    ])
    .await;
    let error = wire.perform(&operation(KindId::Cache, Verb::Create, cache(), None)).await.unwrap_err();
    assert_eq!(error.class, Class::Exists);
    let moved: Value = serde_json::from_str(&wire.body("UpdateSecretVersionStage")).unwrap();
    assert_eq!((&moved["MoveToVersionId"], &moved["RemoveFromVersionId"]), (&json!("v1"), &json!("v2")));

    // What was written is what the group would have had, and no error shows it.
    let written: Value = serde_json::from_str(&wire.body("PutSecretValue")).unwrap();
    let token = written["SecretString"].as_str().unwrap();
    assert!(wire.body("CreateReplicationGroup").contains(&format!("AuthToken={token}")));
    assert!(!format!("{error} {error:?}").contains(token), "the error shows the token");
}
