//! ECS services. Listed by cluster, so that a stranger's service in our cluster is seen too; the description carries tags
//! and roll-outs. How a roll-out goes is read in `service/rollout.rs`.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, DeploymentCircuitBreaker,
    DeploymentConfiguration, LoadBalancer, NetworkConfiguration, Service as Described, ServiceField,
};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::kinds::service::{Capacity, Target};
use infra_model::snapshot::{State, Unmanaged};

use super::*;
use crate::aws::ecs::{self, built, signed, unsigned};

mod rollout;

pub(crate) struct Service;

/// Services that DescribeServices takes at once.
const SERVICES_MAX: usize = 10;

/// ECS takes client tokens up to this length.
const TOKEN_MAX: usize = 36;

#[async_trait]
impl AwsKind for Service {
    fn id(&self) -> KindId {
        KindId::Service
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let clusters = discovery.clusters().await?;
        let arns = clusters.iter().filter_map(|cluster| cluster.cluster_arn());
        let reads = arns.map(|cluster| list(discovery.aws, cluster));
        let mut found = Vec::new();
        for service in futures::future::try_join_all(reads).await?.into_iter().flatten() {
            let object = observe(&service);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else if object.state != State::Deleting {
                discovery.note_unmanaged(Unmanaged {
                    what: "ECS service".to_owned(),
                    id: object.id,
                    name: service.service_name,
                    within: service.cluster_arn.unwrap_or_default(),
                });
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Service = operation.wanted()?;
        let token: String = operation.token.chars().take(TOKEN_MAX).collect();
        let capacity = strategy(&wanted.capacity)?;
        let network = network(&wanted)?;
        let deployment = deployment(&wanted, None);
        let answer = aws
            .change("ecs", "CreateService", || {
                aws.ecs
                    .create_service()
                    .service_name(&wanted.name)
                    .cluster(wanted.cluster.as_str())
                    .task_definition(wanted.task_definition.as_str())
                    .set_desired_count(Some(wanted.desired_count.map_or(0, signed)))
                    .set_capacity_provider_strategy(Some(capacity.clone()))
                    .network_configuration(network.clone())
                    .set_load_balancers(Some(targets(&wanted.targets)).filter(|targets| !targets.is_empty()))
                    .set_health_check_grace_period_seconds(wanted.health_grace_s.map(signed))
                    .deployment_configuration(deployment.clone())
                    .set_enable_execute_command(wanted.execute_command)
                    .set_client_token(Some(token.clone()).filter(|token| !token.is_empty()))
                    .set_tags(Some(ecs::tags(&operation.tags)))
                    .send()
            })
            .await?;
        let id = answer
            .service
            .and_then(|made| made.service_arn)
            .ok_or_else(|| missing("ecs", "CreateService", "service ARN"))?;
        Ok(Made { id, attributes: BTreeMap::from([("name".to_owned(), wanted.name)]) })
    }

    /// One call with what differs; what is the same stays out of it, so that nothing but a real difference starts a
    /// roll-out.
    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let (wanted, seen): (kinds::Service, kinds::Service) = (operation.wanted()?, operation.seen()?);
        let arn = operation.id();
        let capacity = if same_set(&wanted.capacity, &seen.capacity, |share| share.provider.clone()) {
            None
        } else {
            Some(strategy(&wanted.capacity)?)
        };
        let network = if same_network(&wanted, &seen) { None } else { Some(network(&wanted)?) };
        let same_targets =
            same_set(&wanted.targets, &seen.targets, |target| (target.target_group.to_string(), target.port));
        let targets = (!same_targets).then(|| targets(&wanted.targets));
        let deployment =
            (rules(&wanted, Some(&seen)) != rules(&seen, None)).then(|| deployment(&wanted, Some(&seen)));
        let differs =
            |wanted: Option<u32>, seen: Option<u32>| wanted.filter(|count| Some(*count) != seen).map(signed);
        let revision = wanted.task_definition.to_string();
        aws.change("ecs", "UpdateService", || {
            aws.ecs
                .update_service()
                .cluster(ecs::cluster_of(arn))
                .service(arn)
                .set_task_definition(
                    Some(revision.clone()).filter(|_| wanted.task_definition != seen.task_definition),
                )
                .set_desired_count(differs(wanted.desired_count, seen.desired_count))
                // AWS refuses another strategy without a new deployment.
                .set_force_new_deployment(capacity.as_ref().map(|_| true))
                .set_capacity_provider_strategy(capacity.clone())
                .set_network_configuration(network.clone())
                .set_load_balancers(targets.clone())
                .set_health_check_grace_period_seconds(differs(wanted.health_grace_s, seen.health_grace_s))
                .set_deployment_configuration(deployment.clone())
                .set_enable_execute_command(
                    wanted.execute_command.filter(|on| Some(*on) != seen.execute_command),
                )
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ecs(operation, remove).await
    }

    /// By force: the tasks are stopped and drained without setting the count to zero first.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        let answer = aws
            .change("ecs", "DeleteService", || {
                aws.ecs.delete_service().cluster(ecs::cluster_of(arn)).service(arn).force(true).send()
            })
            .await;
        match answer {
            Err(error) if error.code.as_deref() == Some("ServiceNotActiveException") => Ok(()),
            answer => gone_is_done(answer),
        }
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let Some(service) = find(aws, id).await? else { return Ok(None) };
        let state = rollout::state(aws, &service).await?;
        Ok(Some(Look { state, attributes: attributes(&service) }))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        Ok(find(aws, id).await?.as_ref().map(observe))
    }
}

/// All services of a cluster, described ten at a time.
async fn list(aws: &Aws, cluster: &str) -> Result<Vec<Described>, CallError> {
    let (mut arns, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("ecs", "ListServices", || {
                let call = aws.ecs.list_services().cluster(cluster).max_results(100);
                call.set_next_token(next.clone()).send()
            })
            .await?;
        arns.extend(page.service_arns.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    let reads = arns.chunks(SERVICES_MAX).map(|services| describe(aws, cluster, services));
    Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
}

/// Services by ARN; those that are gone are left out.
async fn describe(aws: &Aws, cluster: &str, services: &[String]) -> Result<Vec<Described>, CallError> {
    let answer = aws
        .read("ecs", "DescribeServices", || {
            let call = aws.ecs.describe_services().cluster(cluster).set_services(Some(services.to_vec()));
            call.include(ServiceField::Tags).send()
        })
        .await;
    let found = match answer {
        Ok(answer) => answer.services.unwrap_or_default(),
        // The whole cluster is gone.
        Err(error) if error.class == Class::Gone => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(found.into_iter().filter(|service| service.status() != Some("INACTIVE")).collect())
}

async fn find(aws: &Aws, arn: &str) -> Result<Option<Described>, CallError> {
    Ok(describe(aws, ecs::cluster_of(arn), &[arn.to_owned()]).await?.into_iter().next())
}

fn strategy(capacity: &[Capacity]) -> Result<Vec<CapacityProviderStrategyItem>, CallError> {
    let item = |share: &Capacity| {
        let item = CapacityProviderStrategyItem::builder().capacity_provider(&share.provider);
        built(item.base(signed(share.base)).weight(signed(share.weight)).build())
    };
    capacity.iter().map(item).collect()
}

fn network(service: &kinds::Service) -> Result<NetworkConfiguration, CallError> {
    let public = if service.public_address { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
    let places = AwsVpcConfiguration::builder()
        .set_subnets(Some(service.subnets.iter().map(Ref::to_string).collect()))
        .set_security_groups(Some(service.security_groups.iter().map(Ref::to_string).collect()))
        .assign_public_ip(public)
        .build();
    Ok(NetworkConfiguration::builder().awsvpc_configuration(built(places)?).build())
}

fn targets(targets: &[Target]) -> Vec<LoadBalancer> {
    let target = |target: &Target| {
        LoadBalancer::builder()
            .target_group_arn(target.target_group.as_str())
            .container_name(&target.container)
            .container_port(i32::from(target.port))
            .build()
    };
    targets.iter().map(target).collect()
}

/// Least and most percent, and the circuit breaker: one document for AWS, so what is not managed is kept as seen.
fn rules(wanted: &kinds::Service, seen: Option<&kinds::Service>) -> (Option<u32>, Option<u32>, Option<bool>) {
    (
        wanted.minimum_percent.or(seen.and_then(|seen| seen.minimum_percent)),
        wanted.maximum_percent.or(seen.and_then(|seen| seen.maximum_percent)),
        wanted.circuit_breaker.or(seen.and_then(|seen| seen.circuit_breaker)),
    )
}

fn deployment(wanted: &kinds::Service, seen: Option<&kinds::Service>) -> DeploymentConfiguration {
    let (minimum, maximum, breaker) = rules(wanted, seen);
    let breaker = breaker.map(|on| DeploymentCircuitBreaker::builder().enable(on).rollback(on).build());
    DeploymentConfiguration::builder()
        .set_minimum_healthy_percent(minimum.map(signed))
        .set_maximum_percent(maximum.map(signed))
        .set_deployment_circuit_breaker(breaker)
        .build()
}

fn same_set<T: PartialEq + Clone, K: Ord>(one: &[T], other: &[T], key: impl Fn(&T) -> K) -> bool {
    let sorted = |list: &[T]| {
        let mut list = list.to_vec();
        list.sort_by_key(|item| key(item));
        list
    };
    sorted(one) == sorted(other)
}

fn same_network(one: &kinds::Service, other: &kinds::Service) -> bool {
    one.public_address == other.public_address
        && same_set(&one.subnets, &other.subnets, Ref::to_string)
        && same_set(&one.security_groups, &other.security_groups, Ref::to_string)
}

fn attributes(service: &Described) -> BTreeMap<String, String> {
    BTreeMap::from([("name".to_owned(), service.service_name().unwrap_or_default().to_owned())])
}

fn observe(service: &Described) -> Observed {
    let places = service.network_configuration().and_then(NetworkConfiguration::awsvpc_configuration);
    let rules = service.deployment_configuration();
    let target = |target: &LoadBalancer| Target {
        target_group: Ref::physical(target.target_group_arn().unwrap_or_default()),
        container: target.container_name().unwrap_or_default().to_owned(),
        port: target.container_port().and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
    };
    let share = |item: &CapacityProviderStrategyItem| Capacity {
        provider: item.capacity_provider.clone(),
        base: unsigned(item.base),
        weight: unsigned(item.weight),
    };
    let breaker = rules.and_then(DeploymentConfiguration::deployment_circuit_breaker);
    let fields = kinds::Service {
        name: service.service_name().unwrap_or_default().to_owned(),
        cluster: Ref::physical(service.cluster_arn().unwrap_or_default()),
        task_definition: Ref::physical(service.task_definition().unwrap_or_default()),
        desired_count: Some(unsigned(service.desired_count)),
        capacity: service.capacity_provider_strategy().iter().map(share).collect(),
        subnets: places.map_or(&[][..], |places| places.subnets()).iter().map(Ref::physical).collect(),
        security_groups: places
            .map_or(&[][..], |places| places.security_groups())
            .iter()
            .map(Ref::physical)
            .collect(),
        public_address: places.and_then(AwsVpcConfiguration::assign_public_ip)
            == Some(&AssignPublicIp::Enabled),
        targets: service.load_balancers().iter().map(target).collect(),
        health_grace_s: service.health_check_grace_period_seconds.map(unsigned),
        minimum_percent: rules.and_then(|rules| rules.minimum_healthy_percent).map(unsigned),
        maximum_percent: rules.and_then(|rules| rules.maximum_percent).map(unsigned),
        // Half of it (stop without going back) is not what the model means by it.
        circuit_breaker: Some(breaker.is_some_and(|breaker| breaker.enable && breaker.rollback)),
        execute_command: Some(service.enable_execute_command),
    };
    let mut object = Observed::new(service.service_arn().unwrap_or_default(), &fields)
        .tags(ecs::from_tags(service.tags.clone()))
        .state(rollout::outline(service));
    object.attributes = attributes(service);
    object
}

#[cfg(test)]
mod tests;
