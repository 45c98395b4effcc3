//! Tags of RDS and ElastiCache, which name objects by ARN when it comes to tags.

use super::Tags;
use crate::account::{CallError, Operation};
use crate::aws::Aws;

pub(crate) fn rds(tags: &Tags) -> Vec<aws_sdk_rds::types::Tag> {
    tags.iter().map(|(k, v)| aws_sdk_rds::types::Tag::builder().key(k).value(v).build()).collect()
}

pub(crate) fn from_rds(tags: Option<Vec<aws_sdk_rds::types::Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

pub(crate) fn elasticache(tags: &Tags) -> Vec<aws_sdk_elasticache::types::Tag> {
    tags.iter().map(|(k, v)| aws_sdk_elasticache::types::Tag::builder().key(k).value(v).build()).collect()
}

fn from_elasticache(tags: Option<Vec<aws_sdk_elasticache::types::Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

/// The ARN by which RDS and ElastiCache tag what they otherwise call by name.
fn arn(operation: &Operation) -> Result<&str, CallError> {
    let arn = operation.observed.as_ref().and_then(|observed| observed.attributes.get("arn"));
    arn.map(String::as_str).ok_or_else(|| {
        let message = format!("the ARN of {} is not known", operation.address);
        CallError::new("infra", "tag", crate::account::Class::Fatal, message)
    })
}

impl Aws {
    pub(crate) async fn tag_rds(&self, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = arn(operation)?;
        self.change("rds", "AddTagsToResource", || {
            let call = self.rds.add_tags_to_resource().resource_name(arn);
            call.set_tags(Some(rds(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            self.change("rds", "RemoveTagsFromResource", || {
                let call = self.rds.remove_tags_from_resource().resource_name(arn);
                call.set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    pub(crate) async fn tags_of_rds(&self, arn: &str) -> Result<Tags, CallError> {
        let answer = self
            .read("rds", "ListTagsForResource", || {
                self.rds.list_tags_for_resource().resource_name(arn).send()
            })
            .await?;
        Ok(from_rds(answer.tag_list))
    }

    pub(crate) async fn tag_elasticache(
        &self,
        operation: &Operation,
        remove: &[String],
    ) -> Result<(), CallError> {
        let arn = arn(operation)?;
        self.change("elasticache", "AddTagsToResource", || {
            let call = self.elasticache.add_tags_to_resource().resource_name(arn);
            call.set_tags(Some(elasticache(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            self.change("elasticache", "RemoveTagsFromResource", || {
                let call = self.elasticache.remove_tags_from_resource().resource_name(arn);
                call.set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    pub(crate) async fn tags_of_elasticache(&self, arn: &str) -> Result<Tags, CallError> {
        let answer = self
            .read("elasticache", "ListTagsForResource", || {
                self.elasticache.list_tags_for_resource().resource_name(arn).send()
            })
            .await?;
        Ok(from_elasticache(answer.tag_list))
    }
}
