//! Database subnet groups through RDS, which lists them without tags.

use infra_model::kinds;

use super::*;
use crate::aws::compare::{sorted, texts};
use crate::aws::listing::pages;
use crate::aws::tag;

pub(crate) struct DbSubnetGroup;

#[async_trait]
impl AwsKind for DbSubnetGroup {
    fn id(&self) -> KindId {
        KindId::DbSubnetGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = pages("rds", "DescribeDBSubnetGroups", |next| async move {
            let page = aws
                .read("rds", "DescribeDBSubnetGroups", || {
                    aws.rds.describe_db_subnet_groups().set_marker(next.clone()).send()
                })
                .await?;
            Ok((page.db_subnet_groups, page.marker))
        })
        .await?;
        let mut found = Vec::new();
        for group in &all {
            let (name, arn) = (group.db_subnet_group_name(), group.db_subnet_group_arn());
            let (name, arn) = (name.unwrap_or_default(), arn.unwrap_or_default());
            let tags = discovery.tags_of(arn, name, || aws.tags_of_rds(arn)).await?;
            if discovery.owns(&tags) {
                found.push(observe(group).tags(tags));
            } else {
                let vpc = group.vpc_id().unwrap_or_default();
                discovery.note_stranger("database subnet group", name, None, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::DbSubnetGroup = operation.wanted()?;
        let answer = aws
            .change("rds", "CreateDBSubnetGroup", || {
                aws.rds
                    .create_db_subnet_group()
                    .db_subnet_group_name(&wanted.name)
                    .db_subnet_group_description(&wanted.description)
                    .set_subnet_ids(Some(texts(&wanted.subnets)))
                    .set_tags(Some(tag::rds(&operation.tags)))
                    .send()
            })
            .await?;
        let made = answer.db_subnet_group.map(|group| observe(&group));
        let made = made.ok_or_else(|| missing("rds", "CreateDBSubnetGroup", "subnet group"))?;
        Ok(Made { id: made.id, attributes: made.attributes })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::DbSubnetGroup = operation.wanted()?;
        aws.change("rds", "ModifyDBSubnetGroup", || {
            aws.rds
                .modify_db_subnet_group()
                .db_subnet_group_name(operation.id())
                .db_subnet_group_description(&wanted.description)
                .set_subnet_ids(Some(texts(&wanted.subnets)))
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_rds(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        gone_is_done(
            aws.change("rds", "DeleteDBSubnetGroup", || {
                aws.rds.delete_db_subnet_group().db_subnet_group_name(name).send()
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("rds", "DescribeDBSubnetGroups", || {
                aws.rds.describe_db_subnet_groups().db_subnet_group_name(id).send()
            })
            .await;
        let groups = gone_is_none(answer)?.and_then(|answer| answer.db_subnet_groups).unwrap_or_default();
        let Some(group) = groups.first() else { return Ok(None) };
        let tags = aws.tags_of_rds(group.db_subnet_group_arn().unwrap_or_default()).await?;
        Ok(Some(observe(group).tags(tags)))
    }
}

fn observe(group: &aws_sdk_rds::types::DbSubnetGroup) -> Observed {
    let subnets = group.subnets().iter().filter_map(|subnet| subnet.subnet_identifier.clone());
    let fields = kinds::DbSubnetGroup {
        name: group.db_subnet_group_name().unwrap_or_default().to_owned(),
        description: group.db_subnet_group_description().unwrap_or_default().to_owned(),
        subnets: sorted(subnets),
    };
    Observed::new(fields.name.clone(), &fields).attribute("arn", group.db_subnet_group_arn())
}
