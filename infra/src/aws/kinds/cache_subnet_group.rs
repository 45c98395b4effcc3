//! Cache subnet groups through ElastiCache, which lists them without tags.

use infra_model::kinds;

use super::*;
use crate::aws::compare::{sorted, texts};
use crate::aws::listing::pages;
use crate::aws::tag;

pub(crate) struct CacheSubnetGroup;

#[async_trait]
impl AwsKind for CacheSubnetGroup {
    fn id(&self) -> KindId {
        KindId::CacheSubnetGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let mut found = Vec::new();
        for group in discovery.cache_subnet_groups().await? {
            let (name, arn) = (group.cache_subnet_group_name(), group.arn());
            let (name, arn) = (name.unwrap_or_default(), arn.unwrap_or_default());
            let tags = discovery.tags_of(arn, name, || aws.tags_of_elasticache(arn)).await?;
            if discovery.owns(&tags) {
                found.push(observe(group).tags(tags));
            } else {
                let vpc = group.vpc_id().unwrap_or_default();
                discovery.note_stranger("cache subnet group", name, None, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::CacheSubnetGroup = operation.wanted()?;
        let answer = aws
            .change("elasticache", "CreateCacheSubnetGroup", || {
                aws.elasticache
                    .create_cache_subnet_group()
                    .cache_subnet_group_name(&wanted.name)
                    .cache_subnet_group_description(&wanted.description)
                    .set_subnet_ids(Some(texts(&wanted.subnets)))
                    .set_tags(Some(tag::elasticache(&operation.tags)))
                    .send()
            })
            .await?;
        let made = answer.cache_subnet_group.map(|group| observe(&group));
        let made = made.ok_or_else(|| missing("elasticache", "CreateCacheSubnetGroup", "subnet group"))?;
        Ok(Made { id: made.id, attributes: made.attributes })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::CacheSubnetGroup = operation.wanted()?;
        aws.change("elasticache", "ModifyCacheSubnetGroup", || {
            aws.elasticache
                .modify_cache_subnet_group()
                .cache_subnet_group_name(operation.id())
                .cache_subnet_group_description(&wanted.description)
                .set_subnet_ids(Some(texts(&wanted.subnets)))
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_elasticache(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        gone_is_done(
            aws.change("elasticache", "DeleteCacheSubnetGroup", || {
                aws.elasticache.delete_cache_subnet_group().cache_subnet_group_name(name).send()
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("elasticache", "DescribeCacheSubnetGroups", || {
                aws.elasticache.describe_cache_subnet_groups().cache_subnet_group_name(id).send()
            })
            .await;
        let groups = gone_is_none(answer)?.and_then(|answer| answer.cache_subnet_groups).unwrap_or_default();
        let Some(group) = groups.first() else { return Ok(None) };
        let tags = aws.tags_of_elasticache(group.arn().unwrap_or_default()).await?;
        Ok(Some(observe(group).tags(tags)))
    }
}

/// All subnet groups of the account: a cache does not tell its VPC, its subnet group does.
pub(crate) async fn list(aws: &Aws) -> Result<Vec<aws_sdk_elasticache::types::CacheSubnetGroup>, CallError> {
    pages("elasticache", "DescribeCacheSubnetGroups", |next| async move {
        let page = aws
            .read("elasticache", "DescribeCacheSubnetGroups", || {
                aws.elasticache.describe_cache_subnet_groups().set_marker(next.clone()).send()
            })
            .await?;
        Ok((page.cache_subnet_groups, page.marker))
    })
    .await
}

fn observe(group: &aws_sdk_elasticache::types::CacheSubnetGroup) -> Observed {
    let subnets = group.subnets().iter().filter_map(|subnet| subnet.subnet_identifier.clone());
    let fields = kinds::CacheSubnetGroup {
        name: group.cache_subnet_group_name().unwrap_or_default().to_owned(),
        description: group.cache_subnet_group_description().unwrap_or_default().to_owned(),
        subnets: sorted(subnets),
    };
    Observed::new(fields.name.clone(), &fields).attribute("arn", group.arn())
}
