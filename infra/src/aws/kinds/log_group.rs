//! Log groups through CloudWatch Logs. Their id is the name; their list shows no tags. The firewall's group has a name
//! that AWS prescribes, so two prefixes are read.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_cloudwatchlogs::types::LogGroup as Group;
use infra_model::kinds;

use super::*;
use crate::aws::ecs::{signed, unsigned};
use crate::aws::tag::Tags;

pub(crate) struct LogGroup;

/// AWS takes a log group for a web ACL only if its name begins so.
const FIREWALL_PREFIX: &str = "aws-waf-logs-";

#[async_trait]
impl AwsKind for LogGroup {
    fn id(&self) -> KindId {
        KindId::LogGroup
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let prefix = discovery.scope.prefix();
        let firewall = format!("{FIREWALL_PREFIX}{prefix}");
        let (named, firewall, tagged) =
            futures::try_join!(list(aws, &prefix), list(aws, &firewall), discovery.tagged())?;
        let mut groups: BTreeMap<String, Group> =
            named.into_iter().chain(firewall).map(|group| (name(&group).to_owned(), group)).collect();
        // Adopted under another name: the index knows it, and the list says whether it is still there.
        let strangers = tagged.arns().filter_map(|arn| arn.split_once(":log-group:")).map(|(_, name)| name);
        let strangers = strangers.filter(|name| !groups.contains_key(*name));
        let found = futures::future::try_join_all(strangers.map(|name| find(aws, name))).await?;
        groups.extend(found.into_iter().flatten().map(|group| (name(&group).to_owned(), group)));

        let reads = groups.values().map(|group| async move {
            let arn = arn(group);
            let name = name(group).trim_start_matches(FIREWALL_PREFIX);
            let tags = discovery.tags_of(&arn, name, || read_tags(aws, &arn)).await?;
            Ok::<_, CallError>(observe(group, tags))
        });
        let found = futures::future::try_join_all(reads).await?;
        Ok(found.into_iter().filter(|object| discovery.owns(&object.tags)).collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::LogGroup = operation.wanted()?;
        // The answer is empty; the ARN follows from the name.
        let arn = aws.arn("logs", &format!("log-group:{}", wanted.name)).await?;
        aws.change("logs", "CreateLogGroup", || {
            aws.logs
                .create_log_group()
                .log_group_name(&wanted.name)
                .set_tags(Some(to_map(&operation.tags)))
                .send()
        })
        .await?;
        Ok(Made { id: wanted.name, attributes: BTreeMap::from([("arn".to_owned(), arn)]) })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::LogGroup = operation.wanted()?;
        let name = operation.id();
        match wanted.retention_days {
            Some(days) => aws
                .change("logs", "PutRetentionPolicy", || {
                    let call = aws.logs.put_retention_policy().log_group_name(name);
                    call.retention_in_days(signed(days)).send()
                })
                .await
                .map(drop),
            None => aws
                .change("logs", "DeleteRetentionPolicy", || {
                    aws.logs.delete_retention_policy().log_group_name(name).send()
                })
                .await
                .map(drop),
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = aws.arn("logs", &format!("log-group:{}", operation.id())).await?;
        aws.change("logs", "TagResource", || {
            aws.logs.tag_resource().resource_arn(&arn).set_tags(Some(to_map(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            aws.change("logs", "UntagResource", || {
                aws.logs.untag_resource().resource_arn(&arn).set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        gone_is_done(
            aws.change("logs", "DeleteLogGroup", || aws.logs.delete_log_group().log_group_name(name).send())
                .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some(group) = find(aws, id).await? else { return Ok(None) };
        let tags = read_tags(aws, &arn(&group)).await?;
        Ok(Some(observe(&group, tags)))
    }
}

/// All groups whose name begins so, 50 a page: the API's maximum.
async fn list(aws: &Aws, prefix: &str) -> Result<Vec<Group>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("logs", "DescribeLogGroups", || {
                let call = aws.logs.describe_log_groups().log_group_name_prefix(prefix);
                call.limit(50).set_next_token(next.clone()).send()
            })
            .await?;
        found.extend(page.log_groups.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn find(aws: &Aws, wanted: &str) -> Result<Option<Group>, CallError> {
    Ok(list(aws, wanted).await?.into_iter().find(|group| name(group) == wanted))
}

async fn read_tags(aws: &Aws, arn: &str) -> Result<Tags, CallError> {
    let answer = aws
        .read("logs", "ListTagsForResource", || aws.logs.list_tags_for_resource().resource_arn(arn).send())
        .await?;
    Ok(answer.tags.unwrap_or_default().into_iter().collect())
}

fn to_map(tags: &Tags) -> HashMap<String, String> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn name(group: &Group) -> &str {
    group.log_group_name().unwrap_or_default()
}

/// The ARN that tags and policies mean. The older field ends in `:*`, which means "its streams".
fn arn(group: &Group) -> String {
    let arn = group.log_group_arn().or(group.arn()).unwrap_or_default();
    arn.strip_suffix(":*").unwrap_or(arn).to_owned()
}

fn observe(group: &Group, tags: Tags) -> Observed {
    let fields = kinds::LogGroup {
        name: name(group).to_owned(),
        retention_days: group.retention_in_days().map(unsigned),
    };
    Observed::new(name(group), &fields).tags(tags).attribute("arn", Some(arn(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_is_the_group_and_not_its_streams() {
        let plain = "arn:aws:logs:eu-central-1:123456789012:log-group:keyway-staging/app";
        let old = Group::builder().log_group_name("keyway-staging/app").arn(format!("{plain}:*")).build();
        let new =
            Group::builder().arn(format!("{plain}:*")).log_group_arn(plain).retention_in_days(30).build();
        assert_eq!((arn(&old), arn(&new)), (plain.to_owned(), plain.to_owned()));
        let observed = observe(&old, Tags::new());
        assert_eq!(observed.fields.get("retention_days"), None);
        assert_eq!(observe(&new, Tags::new()).fields["retention_days"], 30);
    }
}
