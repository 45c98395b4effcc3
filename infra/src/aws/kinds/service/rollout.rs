//! How a roll-out goes: from the deployments of a service to a state, and from its stopped tasks to the reasons that
//! a person needs.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, DesiredStatus, Service, Task};
use infra_model::snapshot::State;

use crate::account::CallError;
use crate::aws::{Aws, ecs};

/// Stopped tasks asked about. ECS starts failing tasks in pairs, so ten show every reason there is.
const STOPPED_MAX: i32 = 10;
/// Different reasons told.
const REASONS_MAX: usize = 3;

/// The state as the description alone gives it.
pub(super) fn outline(service: &Service) -> State {
    if service.status() == Some("DRAINING") {
        return State::Deleting;
    }
    let deployments = service.deployments();
    let Some(primary) = deployments.iter().find(|deployment| deployment.status() == Some("PRIMARY")) else {
        return State::Pending("no deployment yet".to_owned());
    };
    if let Some(reason) = failure(primary, deployments) {
        return State::Failed(reason);
    }
    let (running, desired) = (service.running_count, service.desired_count);
    let rolled_out = match primary.rollout_state() {
        Some(DeploymentRolloutState::Completed) => true,
        Some(_) => false,
        // Without a circuit breaker of any kind AWS may leave the state out.
        None => deployments.len() == 1,
    };
    if rolled_out && running == desired {
        return State::Ready;
    }
    let failed = match primary.failed_tasks {
        0 => String::new(),
        tasks => format!(", {tasks} failed"),
    };
    State::Pending(format!("{} of {desired} tasks run{failed}", primary.running_count))
}

/// Why the roll-out has failed, if it has: its own deployment says so, or, once the circuit breaker has made the last
/// good one primary again, the reason of that one or the failed one beside it.
fn failure(primary: &Deployment, deployments: &[Deployment]) -> Option<String> {
    let reason = |deployment: &Deployment| {
        deployment.rollout_state_reason().unwrap_or("the roll-out has failed").to_owned()
    };
    let failed =
        |deployment: &&Deployment| deployment.rollout_state() == Some(&DeploymentRolloutState::Failed);
    if let Some(failed) = deployments.iter().find(failed) {
        return Some(reason(failed));
    }
    let rolling_back = primary.rollout_state() == Some(&DeploymentRolloutState::InProgress)
        && primary.rollout_state_reason().is_some_and(|reason| reason.contains("rolling back"));
    rolling_back.then(|| reason(primary))
}

/// The state, with the stop reasons of tasks where some have failed.
pub(super) async fn state(aws: &Aws, service: &Service) -> Result<State, CallError> {
    let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    let outline = outline(service);
    let ailing = match &outline {
        State::Failed(_) => true,
        State::Pending(_) => primary.is_some_and(|primary| primary.failed_tasks > 0),
        State::Ready | State::Deleting => false,
    };
    if !ailing {
        return Ok(outline);
    }
    let why = reasons(&stopped(aws, service).await?);
    let with = |text: String| if why.is_empty() { text } else { format!("{text}: {why}") };
    Ok(match outline {
        State::Failed(reason) => State::Failed(with(reason)),
        State::Pending(word) => State::Pending(with(word)),
        other => other,
    })
}

/// The tasks that stopped of late; ECS forgets them after an hour.
async fn stopped(aws: &Aws, service: &Service) -> Result<Vec<Task>, CallError> {
    let arn = service.service_arn().unwrap_or_default();
    let cluster = ecs::cluster_of(arn);
    let listed = aws
        .read("ecs", "ListTasks", || {
            let call = aws.ecs.list_tasks().cluster(cluster).service_name(ecs::last_part(arn));
            call.desired_status(DesiredStatus::Stopped).max_results(STOPPED_MAX).send()
        })
        .await?;
    let tasks = listed.task_arns.unwrap_or_default();
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let answer = aws
        .read("ecs", "DescribeTasks", || {
            aws.ecs.describe_tasks().cluster(cluster).set_tasks(Some(tasks.clone())).send()
        })
        .await?;
    Ok(answer.tasks.unwrap_or_default())
}

/// `3 tasks: Essential container in task exited (app: exit code 1); 1 task: CannotPullContainerError: ...`
fn reasons(tasks: &[Task]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks {
        let containers = task.containers().iter().filter_map(|container| {
            let name = container.name().unwrap_or_default();
            match (container.reason(), container.exit_code()) {
                (Some(reason), _) => Some(format!("{name}: {reason}")),
                (None, Some(code)) if code != 0 => Some(format!("{name}: exit code {code}")),
                _ => None,
            }
        });
        let containers: Vec<_> = containers.collect();
        let reason = task.stopped_reason().unwrap_or("stopped for no given reason");
        let text = match containers.as_slice() {
            [] => reason.to_owned(),
            some => format!("{reason} ({})", some.join(", ")),
        };
        *counts.entry(text).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, tasks)| std::cmp::Reverse(*tasks));
    let told = counts.into_iter().take(REASONS_MAX).map(|(reason, tasks)| {
        let noun = if tasks == 1 { "task" } else { "tasks" };
        format!("{tasks} {noun}: {reason}")
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::Container;

    use super::*;

    fn deployment(status: &str, state: DeploymentRolloutState, reason: &str) -> Deployment {
        let deployment = Deployment::builder().status(status).rollout_state(state).running_count(1);
        deployment.rollout_state_reason(reason).failed_tasks(2).build()
    }

    fn check(status: &str, running: i32, deployments: Vec<Deployment>, expected: State) {
        let service = Service::builder()
            .status(status)
            .desired_count(2)
            .running_count(running)
            .set_deployments(Some(deployments))
            .build();
        assert_eq!(outline(&service), expected);
    }

    #[test]
    fn deployments_tell_the_state() {
        use DeploymentRolloutState::{Completed, Failed, InProgress};
        let completed = || deployment("PRIMARY", Completed, "ECS deployment ecs-svc/1 completed.");
        let going = || deployment("PRIMARY", InProgress, "ECS deployment ecs-svc/1 in progress.");
        let back = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/0.";
        let broken = "ECS deployment circuit breaker: tasks failed to start.";
        let pending = |text: &str| State::Pending(text.to_owned());
        check("DRAINING", 1, vec![completed()], State::Deleting);
        check("ACTIVE", 2, vec![completed()], State::Ready);
        check("ACTIVE", 1, vec![completed()], pending("1 of 2 tasks run, 2 failed"));
        check("ACTIVE", 2, vec![going()], pending("1 of 2 tasks run, 2 failed"));
        check("ACTIVE", 0, Vec::new(), pending("no deployment yet"));
        check("ACTIVE", 2, vec![deployment("PRIMARY", InProgress, back)], State::Failed(back.to_owned()));
        let failed = deployment("ACTIVE", Failed, broken);
        check("ACTIVE", 2, vec![completed(), failed], State::Failed(broken.to_owned()));
    }

    #[test]
    fn nothing_wanted_and_nothing_running_is_steady() {
        let primary =
            Deployment::builder().status("PRIMARY").rollout_state(DeploymentRolloutState::Completed);
        let service = Service::builder().status("ACTIVE").deployments(primary.build()).build();
        assert_eq!(outline(&service), State::Ready);
    }

    #[test]
    fn reasons_are_counted_and_the_commonest_comes_first() {
        let exited = || {
            let container = Container::builder().name("app").exit_code(1).build();
            Task::builder().stopped_reason("Essential container in task exited").containers(container).build()
        };
        let pull = Container::builder().name("app").reason("CannotPullContainerError: not found").build();
        let pull = Task::builder().stopped_reason("Task failed to start").containers(pull).build();
        assert_eq!(
            reasons(&[pull, exited(), exited()]),
            "2 tasks: Essential container in task exited (app: exit code 1); \
             1 task: Task failed to start (app: CannotPullContainerError: not found)"
        );
        assert_eq!(reasons(&[]), "");
    }
}
