//! Roles with the least rights that work, and secrets. Owns who may do what in AWS; refuses to know the order of creation.
//! No statement says `*` actions on `*` resources: where an action knows no resource, it is named alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::address::{Address, Ref};
use crate::environment::{Effect, Secret as SecretTable, Service, Statement};
use crate::kinds::secret::Generate;
use crate::kinds::{Role, Secret};

use super::{Draft, POSTGRES, REDIS, compute, services};

pub(super) fn start_role(service: &str) -> Address {
    Address::new(format!("identity/role/{service}-start"))
}

pub(super) fn task_role(service: &str) -> Address {
    Address::new(format!("identity/role/{service}-task"))
}

fn secret(name: &str) -> Address {
    Address::new(format!("identity/secret/{name}"))
}

/// The secret that receives the password which is generated when the Redis store is made.
pub(super) fn redis_auth() -> Address {
    Address::new("data/redis/auth")
}

pub(super) fn draw(draft: &mut Draft<'_>) {
    for (name, table) in &draft.environment.secrets {
        let path = format!("secrets.{name}");
        let resource = wanted_secret(draft.names.path(name), table);
        let (generate, days) = (format!("{path}.length"), format!("{path}.recovery_days"));
        draft.add(
            secret(name).as_str(),
            &resource,
            &path,
            &[("generate", &generate), ("recovery_days", &days)],
        );
    }
    for (name, path, service) in services(draft.environment) {
        let start = role(
            draft,
            draft.names.start_role(name),
            format!("Starts the tasks of {name}"),
            "ecs-tasks.amazonaws.com",
            start_rights(draft, name, service),
        );
        draft.add(start_role(name).as_str(), &start, &path, &[("inline", &format!("{path}.uses"))]);
        let task = role(
            draft,
            draft.names.task_role(name),
            format!("What {name} may do"),
            "ecs-tasks.amazonaws.com",
            task_rights(service),
        );
        draft.add(task_role(name).as_str(), &task, &path, &[("inline", &format!("{path}.iam"))]);
    }
}

fn wanted_secret(name: String, table: &SecretTable) -> Secret {
    Secret {
        name,
        description: Some(table.description.clone()),
        generate: Some(Generate { characters: table.length }),
        recovery_days: Some(table.recovery_days),
    }
}

/// The variables of a service that hold secrets: variable to where ECS reads the value. What the file names otherwise has only
/// the other name.
pub(super) fn secret_variables(draft: &Draft<'_>, service: &Service) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for used in &service.uses {
        let Some((variable, place)) = held(draft, used) else { continue };
        let others: Vec<&String> =
            service.secrets.iter().filter(|(_, held)| *held == used).map(|(variable, _)| variable).collect();
        if others.is_empty() {
            variables.insert(variable, place);
        } else {
            variables.extend(others.into_iter().map(|other| (other.clone(), place.clone())));
        }
    }
    variables
}

/// The secret that comes with what a service uses: its usual variable, and where ECS reads the value.
fn held(draft: &Draft<'_>, used: &str) -> Option<(String, String)> {
    let environment = draft.environment;
    match used {
        REDIS => {
            environment.redis.as_ref().filter(|redis| redis.auth)?;
            Some(("REDIS_PASSWORD".to_owned(), Ref::<Secret>::attribute(&redis_auth(), "arn").to_string()))
        }
        POSTGRES => {
            environment.postgres.as_ref()?;
            let arn = Ref::<crate::kinds::Database>::attribute(&super::data::postgres(), "secret_arn");
            // RDS keeps user and password in one JSON document: ECS takes one key of it.
            Some(("POSTGRES_PASSWORD".to_owned(), format!("{arn}:password::")))
        }
        name => {
            environment.secrets.get(name)?;
            let variable = name.to_uppercase().replace('-', "_");
            Some((variable, Ref::<Secret>::attribute(&secret(name), "arn").to_string()))
        }
    }
}

/// What ECS needs to start a task: pull the image, open the log stream, read the secrets.
fn start_rights(draft: &Draft<'_>, name: &str, service: &Service) -> Vec<Value> {
    let mut rights = vec![json!({
        "Sid": "WriteLog",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": [format!("{}:*", Ref::<crate::kinds::LogGroup>::attribute(&compute::log_group(name), "arn"))],
    })];
    if let Some((repository, _)) = compute::own_repository(draft.environment, service) {
        let arn = Ref::<crate::kinds::Repository>::attribute(&compute::repository(repository), "arn");
        rights.push(json!({
            "Sid": "PullImage",
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Resource": [arn.to_string()],
        }));
        // The action knows no resource.
        rights.push(json!({
            "Sid": "SignInToRegistry",
            "Effect": "Allow",
            "Action": ["ecr:GetAuthorizationToken"],
            "Resource": ["*"],
        }));
    }
    let secrets: BTreeSet<String> = secret_variables(draft, service)
        .into_values()
        .map(|value| value.trim_end_matches(":password::").to_owned())
        .collect();
    if !secrets.is_empty() {
        rights.push(json!({
            "Sid": "ReadSecrets",
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue"],
            "Resource": secrets,
        }));
    }
    rights
}

/// What the code in the container may do: what the file says, and what its other keys imply.
fn task_rights(service: &Service) -> Vec<Value> {
    let mut rights: Vec<Value> = service.iam.iter().map(statement).collect();
    if service.execute_command {
        // The actions know no resource.
        rights.push(json!({
            "Sid": "ExecuteCommand",
            "Effect": "Allow",
            "Action": [
                "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
            ],
            "Resource": ["*"],
        }));
    }
    rights
}

fn statement(statement: &Statement) -> Value {
    let effect = match statement.effect {
        Effect::Allow => "Allow",
        Effect::Deny => "Deny",
    };
    let mut value = json!({
        "Sid": statement.sid,
        "Effect": effect,
        "Action": statement.actions,
        "Resource": statement.resources,
    });
    if !statement.conditions.is_empty() {
        value["Condition"] = json!(statement.conditions);
    }
    value
}

fn role(draft: &Draft<'_>, name: String, description: String, service: &str, rights: Vec<Value>) -> Role {
    let environment = draft.environment;
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": service },
            "Action": "sts:AssumeRole",
            // Only on behalf of our own account: another customer of AWS cannot borrow the role through the service.
            "Condition": { "StringEquals": { "aws:SourceAccount": environment.account } },
        }],
    });
    let policy = |rights: Vec<Value>| json!({ "Version": "2012-10-17", "Statement": rights });
    let inline = if rights.is_empty() {
        BTreeMap::new()
    } else {
        BTreeMap::from([("rights".to_owned(), policy(rights))])
    };
    Role {
        name,
        path: format!("/{}/{}/", environment.project, environment.name),
        description: Some(description),
        trust,
        inline,
        attached: BTreeSet::new(),
    }
}

/// The role with which the VPC writes its flow logs.
pub(super) fn flow_log_role(draft: &mut Draft<'_>, group: &Address) -> Address {
    let arn = Ref::<crate::kinds::LogGroup>::attribute(group, "arn");
    let rights = vec![
        json!({
            "Sid": "WriteLog",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            "Resource": [arn.to_string(), format!("{arn}:*")],
        }),
        json!({
            // The service looks for the group in the list of all.
            "Sid": "FindLog",
            "Effect": "Allow",
            "Action": ["logs:DescribeLogGroups"],
            "Resource": ["*"],
        }),
    ];
    let name = draft.names.part("flow-logs");
    let resource = role(draft, name, "Writes the flow logs".into(), "vpc-flow-logs.amazonaws.com", rights);
    draft.add("identity/role/flow-logs", &resource, "network.flow_logs", &[])
}
