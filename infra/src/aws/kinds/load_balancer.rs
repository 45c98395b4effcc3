//! Application load balancers through ELBv2. Listeners on ours that do not carry our tags are a set of this kind:
//! whoever added one by hand is found by its port.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{
    Listener, LoadBalancer as Described, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerStateEnum,
};
use infra_model::address::Ref;
use infra_model::graph::{TAG_ENVIRONMENT, TAG_PROJECT};
use infra_model::kinds;
use infra_model::snapshot::State;

use super::*;
use crate::aws::discovery::balancers;
use crate::aws::tag::{self, Tags};

pub(crate) struct LoadBalancer;

const ELB: &str = "elasticloadbalancing";
const PROTECTION: &str = "deletion_protection.enabled";

#[async_trait]
impl AwsKind for LoadBalancer {
    fn id(&self) -> KindId {
        KindId::LoadBalancer
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let ours = discovery.load_balancers().await?;
        let attributes = futures::future::try_join_all(
            ours.iter()
                .map(|(balancer, _)| attributes(aws, balancer.load_balancer_arn().unwrap_or_default())),
        );
        let (attributes, listeners) = futures::try_join!(attributes, discovery.listeners())?;
        let observed = ours.iter().zip(attributes).filter_map(|((balancer, tags), attributes)| {
            let foreign = listeners
                .iter()
                .filter(|(listener, tags)| on(listener, balancer) && !discovery.owns(tags))
                .filter_map(|(listener, _)| port(listener))
                .collect();
            Some(observe(balancer, attributes?, foreign).tags(tags.clone()))
        });
        Ok(observed.collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::LoadBalancer = operation.wanted()?;
        let answer = aws
            .change(ELB, "CreateLoadBalancer", || {
                aws.elb
                    .create_load_balancer()
                    .name(&wanted.name)
                    .scheme(LoadBalancerSchemeEnum::from(wanted.scheme.as_str()))
                    .set_subnets(Some(texts(&wanted.subnets)))
                    .set_security_groups(Some(texts(&wanted.security_groups)))
                    .set_tags(Some(tag::elb(&operation.tags)))
                    .send()
            })
            .await?;
        let made = answer
            .load_balancers
            .unwrap_or_default()
            .into_iter()
            .next()
            .ok_or_else(|| missing(ELB, "CreateLoadBalancer", "load balancer"))?;
        let id = made
            .load_balancer_arn
            .clone()
            .ok_or_else(|| missing(ELB, "CreateLoadBalancer", "load balancer ARN"))?;
        balancers::must_be_ours(aws, operation, "CreateLoadBalancer", &id).await?;
        Ok(Made { id, attributes: names(&made) })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::LoadBalancer = operation.wanted()?;
        let arn = operation.id();
        match group {
            "subnets" => aws
                .change(ELB, "SetSubnets", || {
                    let subnets = Some(texts(&wanted.subnets));
                    aws.elb.set_subnets().load_balancer_arn(arn).set_subnets(subnets).send()
                })
                .await
                .map(drop),
            "security_groups" => aws
                .change(ELB, "SetSecurityGroups", || {
                    let groups = Some(texts(&wanted.security_groups));
                    aws.elb.set_security_groups().load_balancer_arn(arn).set_security_groups(groups).send()
                })
                .await
                .map(drop),
            "attributes" => set_attributes(aws, arn, &wanted.attributes).await,
            _ => remove_foreign_listeners(aws, operation, &wanted.foreign_listeners).await,
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_elb(operation, remove).await
    }

    /// AWS's own protection comes off first: whether deleting is allowed has been decided before it comes here.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        let seen: kinds::LoadBalancer = operation.seen()?;
        if seen.attributes.get(PROTECTION).is_some_and(|on| on == "true") {
            let off = BTreeMap::from([(PROTECTION.to_owned(), "false".to_owned())]);
            match set_attributes(aws, arn, &off).await {
                Err(error) if error.class == Class::Gone => return Ok(()),
                answer => answer?,
            }
        }
        gone_is_done(
            aws.change(ELB, "DeleteLoadBalancer", || {
                aws.elb.delete_load_balancer().load_balancer_arn(arn).send()
            })
            .await,
        )
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let found = describe(aws, id).await?;
        Ok(found.map(|balancer| Look { state: state(&balancer), attributes: names(&balancer) }))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some(balancer) = describe(aws, id).await? else { return Ok(None) };
        let (attributes, listeners) =
            futures::try_join!(attributes(aws, id), balancers::listeners_of(aws, id))?;
        let arns = listeners.iter().filter_map(|listener| listener.listener_arn.clone());
        let tags = tags_of(aws, &std::iter::once(id.to_owned()).chain(arns).collect::<Vec<_>>()).await?;
        let own = tags.get(id).cloned().unwrap_or_default();
        let foreign = |listener: &&Listener| {
            let tags = tags.get(listener.listener_arn().unwrap_or_default());
            !tags.is_some_and(|tags| same_owner(tags, &own))
        };
        let foreign = listeners.iter().filter(foreign).filter_map(port).collect();
        Ok(attributes.map(|attributes| observe(&balancer, attributes, foreign).tags(own)))
    }
}

fn texts<K>(references: &[Ref<K>]) -> Vec<String> {
    references.iter().map(|reference| reference.as_str().to_owned()).collect()
}

fn port(listener: &Listener) -> Option<u16> {
    listener.port.and_then(|port| u16::try_from(port).ok())
}

fn on(listener: &Listener, balancer: &Described) -> bool {
    listener.load_balancer_arn == balancer.load_balancer_arn
}

async fn describe(aws: &Aws, arn: &str) -> Result<Option<Described>, CallError> {
    let answer = aws
        .read(ELB, "DescribeLoadBalancers", || {
            aws.elb.describe_load_balancers().load_balancer_arns(arn).send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.load_balancers.unwrap_or_default().into_iter().next()),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` when the load balancer has gone since it was listed.
async fn attributes(aws: &Aws, arn: &str) -> Result<Option<BTreeMap<String, String>>, CallError> {
    let answer = aws
        .read(ELB, "DescribeLoadBalancerAttributes", || {
            aws.elb.describe_load_balancer_attributes().load_balancer_arn(arn).send()
        })
        .await;
    match answer {
        Ok(answer) => {
            let pairs = answer.attributes.unwrap_or_default().into_iter();
            Ok(Some(pairs.filter_map(|one| Some((one.key?, one.value.unwrap_or_default()))).collect()))
        }
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn set_attributes(aws: &Aws, arn: &str, wanted: &BTreeMap<String, String>) -> Result<(), CallError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let attributes: Vec<_> =
        wanted.iter().map(|(k, v)| LoadBalancerAttribute::builder().key(k).value(v).build()).collect();
    aws.change(ELB, "ModifyLoadBalancerAttributes", || {
        aws.elb
            .modify_load_balancer_attributes()
            .load_balancer_arn(arn)
            .set_attributes(Some(attributes.clone()))
            .send()
    })
    .await
    .map(drop)
}

/// Tags of a load balancer and its listeners, of which it has at most 50.
async fn tags_of(aws: &Aws, arns: &[String]) -> Result<BTreeMap<String, Tags>, CallError> {
    let mut tags = BTreeMap::new();
    for arns in arns.chunks(balancers::ARNS_MAX) {
        tags.extend(balancers::describe_tags(aws, arns).await?);
    }
    Ok(tags)
}

/// Whether two objects carry the ownership tags of one environment.
fn same_owner(one: &Tags, other: &Tags) -> bool {
    [TAG_PROJECT, TAG_ENVIRONMENT]
        .iter()
        .all(|key| one.contains_key(*key) && one.get(*key) == other.get(*key))
}

/// Reads listeners and tags again before deleting: what carries our tags by now stays.
async fn remove_foreign_listeners(
    aws: &Aws,
    operation: &Operation,
    wanted: &BTreeSet<u16>,
) -> Result<(), CallError> {
    let listeners = balancers::listeners_of(aws, operation.id()).await?;
    let candidates: Vec<String> = listeners
        .into_iter()
        .filter(|listener| port(listener).is_some_and(|port| !wanted.contains(&port)))
        .filter_map(|listener| listener.listener_arn)
        .collect();
    if candidates.is_empty() {
        return Ok(());
    }
    let tags = tags_of(aws, &candidates).await?;
    for arn in
        candidates.iter().filter(|arn| tags.get(*arn).is_some_and(|tags| !same_owner(tags, &operation.tags)))
    {
        gone_is_done(
            aws.change(ELB, "DeleteListener", || aws.elb.delete_listener().listener_arn(arn).send()).await,
        )?;
    }
    Ok(())
}

/// Route 53 writes names in lower case; so that an alias compares equal, its source does too.
fn names(balancer: &Described) -> BTreeMap<String, String> {
    let dns_name = balancer.dns_name().map(str::to_ascii_lowercase);
    let zone_id = balancer.canonical_hosted_zone_id().map(str::to_owned);
    [("dns_name", dns_name), ("zone_id", zone_id)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn state(balancer: &Described) -> State {
    let Some(state) = balancer.state() else { return State::Ready };
    match state.code() {
        Some(LoadBalancerStateEnum::Provisioning) => State::Pending("provisioning".to_owned()),
        Some(LoadBalancerStateEnum::Failed) => {
            State::Failed(state.reason().unwrap_or("AWS gives no reason").to_owned())
        }
        _ => State::Ready,
    }
}

fn observe(balancer: &Described, attributes: BTreeMap<String, String>, foreign: BTreeSet<u16>) -> Observed {
    let mut subnets: Vec<_> =
        balancer.availability_zones().iter().filter_map(|zone| zone.subnet_id()).map(Ref::physical).collect();
    subnets.sort();
    let mut groups: Vec<_> = balancer.security_groups().iter().map(Ref::physical).collect();
    groups.sort();
    let fields = kinds::LoadBalancer {
        name: balancer.load_balancer_name().unwrap_or_default().to_owned(),
        scheme: balancer.scheme().map(|scheme| scheme.as_str().to_owned()).unwrap_or_default(),
        subnets,
        security_groups: groups,
        attributes,
        foreign_listeners: foreign,
    };
    let mut observed =
        Observed::new(balancer.load_balancer_arn().unwrap_or_default(), &fields).state(state(balancer));
    observed.attributes = names(balancer);
    observed
}
