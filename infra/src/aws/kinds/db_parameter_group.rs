//! Database parameter groups through RDS. Only parameters that somebody set are read: those of the family are
//! several pages, and nobody manages them.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{ApplyMethod, Parameter};
use futures::future::try_join_all;
use infra_model::kinds;

use super::*;
use crate::aws::compare::{changed, surplus};
use crate::aws::listing::pages;
use crate::aws::tag;

pub(crate) struct DbParameterGroup;

/// Parameters that one ModifyDBParameterGroup takes.
const BATCH: usize = 20;

#[async_trait]
impl AwsKind for DbParameterGroup {
    fn id(&self) -> KindId {
        KindId::DbParameterGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = pages("rds", "DescribeDBParameterGroups", |next| async move {
            let page = aws
                .read("rds", "DescribeDBParameterGroups", || {
                    aws.rds.describe_db_parameter_groups().set_marker(next.clone()).send()
                })
                .await?;
            Ok((page.db_parameter_groups, page.marker))
        })
        .await?;
        let mut ours = Vec::new();
        for group in &all {
            let (name, arn) = (group.db_parameter_group_name(), group.db_parameter_group_arn());
            let (name, arn) = (name.unwrap_or_default(), arn.unwrap_or_default());
            let tags = discovery.tags_of(arn, name, || aws.tags_of_rds(arn)).await?;
            if discovery.owns(&tags) {
                ours.push(observe(aws, group, tags));
            }
        }
        Ok(try_join_all(ours).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::DbParameterGroup = operation.wanted()?;
        let answer = aws
            .change("rds", "CreateDBParameterGroup", || {
                aws.rds
                    .create_db_parameter_group()
                    .db_parameter_group_name(&wanted.name)
                    .db_parameter_group_family(&wanted.family)
                    .description(&wanted.description)
                    .set_tags(Some(tag::rds(&operation.tags)))
                    .send()
            })
            .await?;
        let group = answer.db_parameter_group;
        let group = group.ok_or_else(|| missing("rds", "CreateDBParameterGroup", "parameter group"))?;
        let attributes =
            group.db_parameter_group_arn.map(|arn| ("arn".to_owned(), arn)).into_iter().collect();
        Ok(Made { id: group.db_parameter_group_name.unwrap_or(wanted.name), attributes })
    }

    /// At once where the parameter allows it. Which parameters wait for a restart only AWS knows, and it takes several
    /// pages to ask, so that is asked only when AWS refuses.
    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::DbParameterGroup = operation.wanted()?;
        let seen: kinds::DbParameterGroup = operation.seen()?;
        let changed = changed(&seen.parameters, &wanted.parameters);
        for batch in changed.chunks(BATCH) {
            match modify(aws, operation.id(), batch, &BTreeMap::new()).await {
                Err(error) if error.code.as_deref() == Some("InvalidParameterCombination") => {
                    let types = apply_types(aws, operation.id()).await?;
                    modify(aws, operation.id(), batch, &types).await?;
                }
                answer => answer?,
            }
        }
        for batch in surplus(&seen.parameters, &wanted.parameters).chunks(BATCH) {
            match reset(aws, operation.id(), batch, &BTreeMap::new()).await {
                Err(error) if error.code.as_deref() == Some("InvalidParameterCombination") => {
                    let types = apply_types(aws, operation.id()).await?;
                    reset(aws, operation.id(), batch, &types).await?;
                }
                answer => answer?,
            }
        }
        Ok(())
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_rds(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        gone_is_done(
            aws.change("rds", "DeleteDBParameterGroup", || {
                aws.rds.delete_db_parameter_group().db_parameter_group_name(name).send()
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("rds", "DescribeDBParameterGroups", || {
                aws.rds.describe_db_parameter_groups().db_parameter_group_name(id).send()
            })
            .await;
        let groups = gone_is_none(answer)?.and_then(|answer| answer.db_parameter_groups).unwrap_or_default();
        let Some(group) = groups.first() else { return Ok(None) };
        let tags = aws.tags_of_rds(group.db_parameter_group_arn().unwrap_or_default()).await?;
        observe(aws, group, tags).await
    }
}

async fn modify(
    aws: &Aws,
    name: &str,
    batch: &[(String, String)],
    types: &BTreeMap<String, String>,
) -> Result<(), CallError> {
    let parameters: Vec<_> = batch.iter().map(|(key, value)| parameter(key, value, types)).collect();
    aws.change("rds", "ModifyDBParameterGroup", || {
        let call = aws.rds.modify_db_parameter_group().db_parameter_group_name(name);
        call.set_parameters(Some(parameters.clone())).send()
    })
    .await
    .map(drop)
}

/// Back to what the family has.
async fn reset(
    aws: &Aws,
    name: &str,
    batch: &[String],
    types: &BTreeMap<String, String>,
) -> Result<(), CallError> {
    let method = |key: &String| parameter(key, "", types).apply_method;
    let named = |key: &String| Parameter::builder().parameter_name(key).set_apply_method(method(key)).build();
    let parameters: Vec<_> = batch.iter().map(named).collect();
    aws.change("rds", "ResetDBParameterGroup", || {
        let call = aws.rds.reset_db_parameter_group().db_parameter_group_name(name);
        call.set_parameters(Some(parameters.clone())).send()
    })
    .await
    .map(drop)
}

fn parameter(key: &str, value: &str, types: &BTreeMap<String, String>) -> Parameter {
    let waits = types.get(key).is_some_and(|kind| kind == "static");
    let method = if waits { ApplyMethod::PendingReboot } else { ApplyMethod::Immediate };
    Parameter::builder().parameter_name(key).parameter_value(value).apply_method(method).build()
}

/// `static` or `dynamic`, by parameter.
async fn apply_types(aws: &Aws, name: &str) -> Result<BTreeMap<String, String>, CallError> {
    let all = parameters(aws, name, None).await?;
    Ok(all.into_iter().filter_map(|p| Some((p.parameter_name?, p.apply_type?))).collect())
}

async fn parameters(aws: &Aws, name: &str, source: Option<&str>) -> Result<Vec<Parameter>, CallError> {
    pages("rds", "DescribeDBParameters", |next| async move {
        let page = aws
            .read("rds", "DescribeDBParameters", || {
                let call = aws.rds.describe_db_parameters().db_parameter_group_name(name);
                call.set_source(source.map(str::to_owned)).set_marker(next.clone()).send()
            })
            .await?;
        Ok((page.parameters, page.marker))
    })
    .await
}

/// `None` when the group went away between its listing and this.
async fn observe(
    aws: &Aws,
    group: &aws_sdk_rds::types::DbParameterGroup,
    tags: tag::Tags,
) -> Result<Option<Observed>, CallError> {
    let name = group.db_parameter_group_name().unwrap_or_default();
    let Some(set) = gone_is_none(parameters(aws, name, Some("user")).await)? else { return Ok(None) };
    let fields = kinds::DbParameterGroup {
        name: name.to_owned(),
        family: group.db_parameter_group_family().unwrap_or_default().to_owned(),
        description: group.description().unwrap_or_default().to_owned(),
        parameters: set.into_iter().filter_map(|p| Some((p.parameter_name?, p.parameter_value?))).collect(),
    };
    let arn = group.db_parameter_group_arn();
    Ok(Some(Observed::new(name, &fields).tags(tags).attribute("arn", arn)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_parameters_wait_for_a_restart() {
        let types = BTreeMap::from([
            ("max_connections".to_owned(), "static".to_owned()),
            ("work_mem".to_owned(), "dynamic".to_owned()),
        ]);
        let check = |key: &str, method| {
            assert_eq!(parameter(key, "1", &types).apply_method, Some(method), "{key}");
        };
        check("max_connections", ApplyMethod::PendingReboot);
        check("work_mem", ApplyMethod::Immediate);
        check("unknown", ApplyMethod::Immediate);
    }
}
