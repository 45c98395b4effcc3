//! From a description to fields, and from a difference to what the update carries.

use serde_json::{Value, json};

use super::*;

fn service() -> kinds::Service {
    let share = |provider: &str, base, weight| Capacity { provider: provider.to_owned(), base, weight };
    kinds::Service {
        name: "app".to_owned(),
        cluster: Ref::physical("arn:aws:ecs:eu-central-1:123456789012:cluster/keyway-staging"),
        task_definition: Ref::physical("arn:aws:ecs:eu-central-1:123456789012:task-definition/app:1"),
        desired_count: Some(2),
        capacity: vec![share("FARGATE", 1, 1), share("FARGATE_SPOT", 0, 3)],
        subnets: vec![Ref::physical("subnet-a"), Ref::physical("subnet-b")],
        security_groups: vec![Ref::physical("sg-1")],
        public_address: false,
        targets: vec![Target {
            target_group: Ref::physical("arn:tg"),
            container: "app".to_owned(),
            port: 8080,
        }],
        health_grace_s: Some(30),
        minimum_percent: Some(100),
        maximum_percent: Some(200),
        circuit_breaker: Some(true),
        execute_command: Some(false),
    }
}

#[test]
fn a_service_comes_back_as_it_went() {
    let wanted = service();
    let described = Described::builder()
        .service_arn("arn:aws:ecs:eu-central-1:123456789012:service/keyway-staging/app")
        .service_name("app")
        .cluster_arn(wanted.cluster.as_str())
        .task_definition(wanted.task_definition.as_str())
        .desired_count(2)
        .set_capacity_provider_strategy(Some(strategy(&wanted.capacity).unwrap()))
        .network_configuration(network(&wanted).unwrap())
        .set_load_balancers(Some(targets(&wanted.targets)))
        .health_check_grace_period_seconds(30)
        .deployment_configuration(deployment(&wanted, None))
        .build();
    let observed = observe(&described);
    let fields = infra_model::value::to_fields(&wanted);
    assert_eq!(Value::Object(observed.fields), Value::Object(fields));
    assert_eq!(observed.attributes["name"], "app");
}

#[test]
fn order_is_no_difference() {
    let (one, mut other) = (service(), service());
    other.subnets.reverse();
    other.capacity.reverse();
    assert!(same_network(&one, &other));
    assert!(same_set(&one.capacity, &other.capacity, |share| share.provider.clone()));
    other.subnets.pop();
    other.capacity[0].weight = 9;
    assert!(!same_network(&one, &other));
    assert!(!same_set(&one.capacity, &other.capacity, |share| share.provider.clone()));
}

#[test]
fn what_is_not_managed_is_sent_as_it_is() {
    let seen = service();
    let wanted = kinds::Service { minimum_percent: None, circuit_breaker: Some(false), ..service() };
    assert_eq!(rules(&wanted, Some(&seen)), (Some(100), Some(200), Some(false)));
    let sent = deployment(&wanted, Some(&seen));
    assert_eq!(json!([sent.minimum_healthy_percent, sent.maximum_percent]), json!([100, 200]));
    assert!(sent.deployment_circuit_breaker.is_some_and(|breaker| !breaker.enable && !breaker.rollback));
}
