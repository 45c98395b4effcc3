//! Cache parameter groups through ElastiCache. Only parameters that somebody set are read.

use aws_sdk_elasticache::types::{Parameter, ParameterNameValue};
use futures::future::try_join_all;
use infra_model::kinds;

use super::*;
use crate::aws::compare::{changed, surplus};
use crate::aws::listing::pages;
use crate::aws::tag;

pub(crate) struct CacheParameterGroup;

/// Parameters that one ModifyCacheParameterGroup takes.
const BATCH: usize = 20;

#[async_trait]
impl AwsKind for CacheParameterGroup {
    fn id(&self) -> KindId {
        KindId::CacheParameterGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = pages("elasticache", "DescribeCacheParameterGroups", |next| async move {
            let page = aws
                .read("elasticache", "DescribeCacheParameterGroups", || {
                    aws.elasticache.describe_cache_parameter_groups().set_marker(next.clone()).send()
                })
                .await?;
            Ok((page.cache_parameter_groups, page.marker))
        })
        .await?;
        let mut ours = Vec::new();
        for group in &all {
            let (name, arn) = (group.cache_parameter_group_name(), group.arn());
            let (name, arn) = (name.unwrap_or_default(), arn.unwrap_or_default());
            let tags = discovery.tags_of(arn, name, || aws.tags_of_elasticache(arn)).await?;
            if discovery.owns(&tags) {
                ours.push(observe(aws, group, tags));
            }
        }
        Ok(try_join_all(ours).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::CacheParameterGroup = operation.wanted()?;
        let answer = aws
            .change("elasticache", "CreateCacheParameterGroup", || {
                aws.elasticache
                    .create_cache_parameter_group()
                    .cache_parameter_group_name(&wanted.name)
                    .cache_parameter_group_family(&wanted.family)
                    .description(&wanted.description)
                    .set_tags(Some(tag::elasticache(&operation.tags)))
                    .send()
            })
            .await?;
        let group = answer.cache_parameter_group;
        let group =
            group.ok_or_else(|| missing("elasticache", "CreateCacheParameterGroup", "parameter group"))?;
        let attributes = group.arn.map(|arn| ("arn".to_owned(), arn)).into_iter().collect();
        Ok(Made { id: group.cache_parameter_group_name.unwrap_or(wanted.name), attributes })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::CacheParameterGroup = operation.wanted()?;
        let seen: kinds::CacheParameterGroup = operation.seen()?;
        for batch in changed(&seen.parameters, &wanted.parameters).chunks(BATCH) {
            let values: Vec<_> = batch
                .iter()
                .map(|(k, v)| ParameterNameValue::builder().parameter_name(k).parameter_value(v).build())
                .collect();
            aws.change("elasticache", "ModifyCacheParameterGroup", || {
                let call = aws.elasticache.modify_cache_parameter_group();
                let call = call.cache_parameter_group_name(operation.id());
                call.set_parameter_name_values(Some(values.clone())).send()
            })
            .await?;
        }
        for batch in surplus(&seen.parameters, &wanted.parameters).chunks(BATCH) {
            let names: Vec<_> =
                batch.iter().map(|name| ParameterNameValue::builder().parameter_name(name).build()).collect();
            aws.change("elasticache", "ResetCacheParameterGroup", || {
                let call = aws.elasticache.reset_cache_parameter_group();
                let call = call.cache_parameter_group_name(operation.id());
                call.set_parameter_name_values(Some(names.clone())).send()
            })
            .await?;
        }
        Ok(())
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_elasticache(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        gone_is_done(
            aws.change("elasticache", "DeleteCacheParameterGroup", || {
                aws.elasticache.delete_cache_parameter_group().cache_parameter_group_name(name).send()
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("elasticache", "DescribeCacheParameterGroups", || {
                aws.elasticache.describe_cache_parameter_groups().cache_parameter_group_name(id).send()
            })
            .await;
        let groups =
            gone_is_none(answer)?.and_then(|answer| answer.cache_parameter_groups).unwrap_or_default();
        let Some(group) = groups.first() else { return Ok(None) };
        let tags = aws.tags_of_elasticache(group.arn().unwrap_or_default()).await?;
        observe(aws, group, tags).await
    }
}

async fn set_by_somebody(aws: &Aws, name: &str) -> Result<Vec<Parameter>, CallError> {
    pages("elasticache", "DescribeCacheParameters", |next| async move {
        let page = aws
            .read("elasticache", "DescribeCacheParameters", || {
                let call = aws.elasticache.describe_cache_parameters().cache_parameter_group_name(name);
                call.source("user").set_marker(next.clone()).send()
            })
            .await?;
        Ok((page.parameters, page.marker))
    })
    .await
}

/// `None` when the group went away between its listing and this.
async fn observe(
    aws: &Aws,
    group: &aws_sdk_elasticache::types::CacheParameterGroup,
    tags: tag::Tags,
) -> Result<Option<Observed>, CallError> {
    let name = group.cache_parameter_group_name().unwrap_or_default();
    let Some(set) = gone_is_none(set_by_somebody(aws, name).await)? else { return Ok(None) };
    let fields = kinds::CacheParameterGroup {
        name: name.to_owned(),
        family: group.cache_parameter_group_family().unwrap_or_default().to_owned(),
        description: group.description().unwrap_or_default().to_owned(),
        parameters: set.into_iter().filter_map(|p| Some((p.parameter_name?, p.parameter_value?))).collect(),
    };
    Ok(Some(Observed::new(name, &fields).tags(tags).attribute("arn", group.arn())))
}
