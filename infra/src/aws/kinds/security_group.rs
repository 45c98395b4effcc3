//! Security groups through EC2. DescribeSecurityGroups alone holds every rule with its description, so rules cost no
//! read of their own; each direction is made right by at most one call that adds, one that describes and one that removes.

mod rules;

use aws_sdk_ec2::types::{IpPermission, ResourceType};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::kinds::security_group::Rule;

use super::*;
use crate::aws::listing::{filter, pages};
use crate::aws::{interfaces, tag};

pub(crate) struct SecurityGroup;

/// AWS makes one in every VPC and lets nobody delete it.
const DEFAULT_GROUP: &str = "default";

#[async_trait]
impl AwsKind for SecurityGroup {
    fn id(&self) -> KindId {
        KindId::SecurityGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let filters = discovery.ec2_within("vpc-id").await?;
        let mut found = Vec::new();
        for group in list(discovery.aws, filters).await? {
            let object = observe(&group);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else if group.group_name() != Some(DEFAULT_GROUP) {
                let vpc = group.vpc_id().unwrap_or_default();
                discovery.note_stranger("security group", object.id, group.group_name.clone(), vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::SecurityGroup = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::SecurityGroup, &operation.tags);
        let answer = aws
            .change("ec2", "CreateSecurityGroup", || {
                aws.ec2
                    .create_security_group()
                    .vpc_id(wanted.vpc.as_str())
                    .group_name(&wanted.name)
                    .description(&wanted.description)
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        let id = answer.group_id.ok_or_else(|| missing("ec2", "CreateSecurityGroup", "group id"))?;
        let attributes = answer.security_group_arn.map(|arn| ("arn".to_owned(), arn)).into_iter().collect();
        Ok(Made { id, attributes })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let direction = if group == "ingress" { Direction::Ingress } else { Direction::Egress };
        let wanted: kinds::SecurityGroup = operation.wanted()?;
        let seen: kinds::SecurityGroup = operation.seen()?;
        let id = operation.id();
        match apply(aws, id, direction, direction.of(&seen), direction.of(&wanted)).await {
            // The group is no longer as it was seen, most likely because an attempt whose answer was lost has changed
            // it. Once more from what is there now; a second surprise is told.
            Err(error) if matches!(error.class, Class::Exists | Class::Gone) => {
                let now = aws
                    .read("ec2", "DescribeSecurityGroups", || {
                        aws.ec2.describe_security_groups().group_ids(id).send()
                    })
                    .await?;
                let Some(now) = now.security_groups().first().map(typed) else { return Err(error) };
                apply(aws, id, direction, direction.of(&now), direction.of(&wanted)).await
            }
            other => other,
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        gone_is_done(
            aws.change("ec2", "DeleteSecurityGroup", || aws.ec2.delete_security_group().group_id(id).send())
                .await,
        )
    }

    /// Interfaces that wear the group, and groups whose rules name it.
    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let by_rule = |name: &str| list(aws, vec![filter(name, [id.to_owned()])]);
        let (interfaces, ingress, egress) = futures::try_join!(
            interfaces::holding(aws, "group-id", id),
            by_rule("ip-permission.group-id"),
            by_rule("egress.ip-permission.group-id"),
        )?;
        let mut named: Vec<String> = ingress
            .iter()
            .chain(&egress)
            .filter(|group| group.group_id() != Some(id))
            .map(|group| {
                let (id, name) = (group.group_id().unwrap_or_default(), group.group_name());
                format!("a rule of {id} ({})", name.unwrap_or("no name"))
            })
            .collect();
        named.sort();
        named.dedup();
        let all: Vec<String> = interfaces.into_iter().chain(named).collect();
        Ok(Some(all.join(", ")).filter(|text| !text.is_empty()))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("ec2", "DescribeSecurityGroups", || aws.ec2.describe_security_groups().group_ids(id).send())
            .await;
        let answer = gone_is_none(answer)?;
        Ok(answer.and_then(|answer| answer.security_groups.unwrap_or_default().first().map(observe)))
    }
}

async fn list(
    aws: &Aws,
    filters: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Vec<aws_sdk_ec2::types::SecurityGroup>, CallError> {
    let filters = &filters;
    pages("ec2", "DescribeSecurityGroups", |next| async move {
        let page = aws
            .read("ec2", "DescribeSecurityGroups", || {
                let call = aws.ec2.describe_security_groups().set_filters(Some(filters.clone()));
                call.set_next_token(next.clone()).send()
            })
            .await?;
        Ok((page.security_groups, page.next_token))
    })
    .await
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn of(self, group: &kinds::SecurityGroup) -> &[Rule] {
        match self {
            Self::Ingress => &group.ingress,
            Self::Egress => &group.egress,
        }
    }
}

/// Adds before it removes: what stays allowed is never interrupted.
async fn apply(
    aws: &Aws,
    id: &str,
    direction: Direction,
    seen: &[Rule],
    wanted: &[Rule],
) -> Result<(), CallError> {
    let changes = rules::changes(seen, wanted);
    if !changes.add.is_empty() {
        authorize(aws, id, direction, &rules::permissions(&changes.add)).await?;
    }
    if !changes.describe.is_empty() {
        describe(aws, id, direction, &rules::permissions(&changes.describe)).await?;
    }
    if !changes.remove.is_empty() {
        revoke(aws, id, direction, &rules::permissions(&changes.remove)).await?;
    }
    Ok(())
}

async fn authorize(aws: &Aws, id: &str, to: Direction, rules: &[IpPermission]) -> Result<(), CallError> {
    let rules = || Some(rules.to_vec());
    match to {
        Direction::Ingress => aws
            .change("ec2", "AuthorizeSecurityGroupIngress", || {
                let call = aws.ec2.authorize_security_group_ingress();
                call.group_id(id).set_ip_permissions(rules()).send()
            })
            .await
            .map(drop),
        Direction::Egress => aws
            .change("ec2", "AuthorizeSecurityGroupEgress", || {
                let call = aws.ec2.authorize_security_group_egress();
                call.group_id(id).set_ip_permissions(rules()).send()
            })
            .await
            .map(drop),
    }
}

async fn describe(aws: &Aws, id: &str, to: Direction, rules: &[IpPermission]) -> Result<(), CallError> {
    let rules = || Some(rules.to_vec());
    match to {
        Direction::Ingress => aws
            .change("ec2", "UpdateSecurityGroupRuleDescriptionsIngress", || {
                let call = aws.ec2.update_security_group_rule_descriptions_ingress();
                call.group_id(id).set_ip_permissions(rules()).send()
            })
            .await
            .map(drop),
        Direction::Egress => aws
            .change("ec2", "UpdateSecurityGroupRuleDescriptionsEgress", || {
                let call = aws.ec2.update_security_group_rule_descriptions_egress();
                call.group_id(id).set_ip_permissions(rules()).send()
            })
            .await
            .map(drop),
    }
}

async fn revoke(aws: &Aws, id: &str, to: Direction, rules: &[IpPermission]) -> Result<(), CallError> {
    let rules = || Some(rules.to_vec());
    match to {
        Direction::Ingress => aws
            .change("ec2", "RevokeSecurityGroupIngress", || {
                let call = aws.ec2.revoke_security_group_ingress();
                call.group_id(id).set_ip_permissions(rules()).send()
            })
            .await
            .map(drop),
        Direction::Egress => aws
            .change("ec2", "RevokeSecurityGroupEgress", || {
                let call = aws.ec2.revoke_security_group_egress();
                call.group_id(id).set_ip_permissions(rules()).send()
            })
            .await
            .map(drop),
    }
}

fn typed(group: &aws_sdk_ec2::types::SecurityGroup) -> kinds::SecurityGroup {
    let owner = group.owner_id().unwrap_or_default();
    kinds::SecurityGroup {
        vpc: Ref::physical(group.vpc_id().unwrap_or_default()),
        name: group.group_name().unwrap_or_default().to_owned(),
        description: group.description().unwrap_or_default().to_owned(),
        ingress: rules::read(group.ip_permissions(), owner),
        egress: rules::read(group.ip_permissions_egress(), owner),
    }
}

fn observe(group: &aws_sdk_ec2::types::SecurityGroup) -> Observed {
    Observed::new(group.group_id().unwrap_or_default(), &typed(group))
        .tags(tag::from_ec2(group.tags.clone()))
        .attribute("arn", group.security_group_arn())
}
