//! Target groups through ELBv2: health check and attributes. Which targets are registered is ECS's business.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    Matcher, ProtocolEnum, TargetGroup as Described, TargetGroupAttribute, TargetTypeEnum,
};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::kinds::target_group::HealthCheck;
use infra_model::snapshot::Unmanaged;

use super::*;
use crate::aws::discovery::balancers;
use crate::aws::tag;

pub(crate) struct TargetGroup;

const ELB: &str = "elasticloadbalancing";

#[async_trait]
impl AwsKind for TargetGroup {
    fn id(&self) -> KindId {
        KindId::TargetGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let (all, vpcs) = futures::try_join!(list(aws), discovery.vpc_ids())?;
        let inside = |group: &Described| vpcs.iter().any(|vpc| Some(vpc.as_str()) == group.vpc_id());
        let objects: Vec<(&str, bool)> = all
            .iter()
            .map(|group| {
                let named = discovery.names_ours(group.target_group_name().unwrap_or_default());
                (group.target_group_arn().unwrap_or_default(), named || inside(group))
            })
            .collect();
        let mut tags = discovery.elb_tags(&objects).await?;
        let mut ours = Vec::new();
        for group in &all {
            let arn = group.target_group_arn().unwrap_or_default();
            let tags = tags.remove(arn).unwrap_or_default();
            if discovery.owns(&tags) {
                ours.push((group, tags));
            } else if inside(group) {
                discovery.note_unmanaged(Unmanaged {
                    what: "target group".to_owned(),
                    id: arn.to_owned(),
                    name: group.target_group_name().map(str::to_owned),
                    within: group.vpc_id().unwrap_or_default().to_owned(),
                });
            }
        }
        let observed = ours.into_iter().map(|(group, tags)| async move {
            let attributes = attributes(aws, group.target_group_arn().unwrap_or_default()).await?;
            Ok::<_, CallError>(attributes.map(|attributes| observe(group, attributes).tags(tags)))
        });
        Ok(futures::future::try_join_all(observed).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::TargetGroup = operation.wanted()?;
        let health = &wanted.health_check;
        let answer = aws
            .change(ELB, "CreateTargetGroup", || {
                aws.elb
                    .create_target_group()
                    .name(&wanted.name)
                    .vpc_id(wanted.vpc.as_str())
                    .protocol(ProtocolEnum::from(wanted.protocol.as_str()))
                    .port(i32::from(wanted.port))
                    .target_type(TargetTypeEnum::from(wanted.target_type.as_str()))
                    .health_check_path(&health.path)
                    .health_check_interval_seconds(number(health.interval_s))
                    .health_check_timeout_seconds(number(health.timeout_s))
                    .healthy_threshold_count(number(health.healthy_count))
                    .unhealthy_threshold_count(number(health.unhealthy_count))
                    .matcher(Matcher::builder().http_code(&health.codes).build())
                    .set_tags(Some(tag::elb(&operation.tags)))
                    .send()
            })
            .await?;
        let made = answer.target_groups.unwrap_or_default().into_iter().next();
        let id = made
            .and_then(|group| group.target_group_arn)
            .ok_or_else(|| missing(ELB, "CreateTargetGroup", "target group ARN"))?;
        balancers::must_be_ours(aws, operation, "CreateTargetGroup", &id).await?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::TargetGroup = operation.wanted()?;
        let arn = operation.id();
        if group == "health_check" {
            let health = &wanted.health_check;
            return aws
                .change(ELB, "ModifyTargetGroup", || {
                    aws.elb
                        .modify_target_group()
                        .target_group_arn(arn)
                        .health_check_path(&health.path)
                        .health_check_interval_seconds(number(health.interval_s))
                        .health_check_timeout_seconds(number(health.timeout_s))
                        .healthy_threshold_count(number(health.healthy_count))
                        .unhealthy_threshold_count(number(health.unhealthy_count))
                        .matcher(Matcher::builder().http_code(&health.codes).build())
                        .send()
                })
                .await
                .map(drop);
        }
        if wanted.attributes.is_empty() {
            return Ok(());
        }
        let attributes: Vec<_> = wanted
            .attributes
            .iter()
            .map(|(k, v)| TargetGroupAttribute::builder().key(k).value(v).build())
            .collect();
        aws.change(ELB, "ModifyTargetGroupAttributes", || {
            aws.elb
                .modify_target_group_attributes()
                .target_group_arn(arn)
                .set_attributes(Some(attributes.clone()))
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_elb(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        gone_is_done(
            aws.change(ELB, "DeleteTargetGroup", || {
                aws.elb.delete_target_group().target_group_arn(arn).send()
            })
            .await,
        )
    }

    /// The load balancers whose listeners still send requests to it.
    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let holders = describe(aws, id).await?.and_then(|group| group.load_balancer_arns).unwrap_or_default();
        Ok((!holders.is_empty()).then(|| format!("listeners of {} forward to it", holders.join(", "))))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some(group) = describe(aws, id).await? else { return Ok(None) };
        let arns = [id.to_owned()];
        let (attributes, tags) =
            futures::try_join!(attributes(aws, id), balancers::describe_tags(aws, &arns))?;
        let tags = tags.get(id).cloned().unwrap_or_default();
        Ok(attributes.map(|attributes| observe(&group, attributes).tags(tags)))
    }
}

async fn list(aws: &Aws) -> Result<Vec<Described>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read(ELB, "DescribeTargetGroups", || {
                aws.elb.describe_target_groups().set_marker(next.clone()).send()
            })
            .await?;
        found.extend(page.target_groups.unwrap_or_default());
        next = page.next_marker.filter(|marker| !marker.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn describe(aws: &Aws, arn: &str) -> Result<Option<Described>, CallError> {
    let answer = aws
        .read(ELB, "DescribeTargetGroups", || aws.elb.describe_target_groups().target_group_arns(arn).send())
        .await;
    match answer {
        Ok(answer) => Ok(answer.target_groups.unwrap_or_default().into_iter().next()),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` when the target group has gone since it was listed.
async fn attributes(aws: &Aws, arn: &str) -> Result<Option<BTreeMap<String, String>>, CallError> {
    let answer = aws
        .read(ELB, "DescribeTargetGroupAttributes", || {
            aws.elb.describe_target_group_attributes().target_group_arn(arn).send()
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

/// AWS's integers are signed; its limits are far below either bound.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn observe(group: &Described, attributes: BTreeMap<String, String>) -> Observed {
    let count = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or_default();
    let codes = group.matcher().and_then(Matcher::http_code).unwrap_or_default();
    let fields = kinds::TargetGroup {
        name: group.target_group_name().unwrap_or_default().to_owned(),
        vpc: Ref::physical(group.vpc_id().unwrap_or_default()),
        protocol: group.protocol().map(|protocol| protocol.as_str().to_owned()).unwrap_or_default(),
        port: group.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        target_type: group.target_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        health_check: HealthCheck {
            path: group.health_check_path().unwrap_or_default().to_owned(),
            interval_s: count(group.health_check_interval_seconds),
            timeout_s: count(group.health_check_timeout_seconds),
            healthy_count: count(group.healthy_threshold_count),
            unhealthy_count: count(group.unhealthy_threshold_count),
            codes: codes.to_owned(),
        },
        attributes,
    };
    Observed::new(group.target_group_arn().unwrap_or_default(), &fields)
}
