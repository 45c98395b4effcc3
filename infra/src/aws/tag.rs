//! Tags, in the many shapes that the services give them.

mod edge;
mod stores;

use std::collections::BTreeMap;

use super::Aws;
use crate::account::{CallError, Operation};
pub(crate) use edge::*;
pub(crate) use stores::*;

pub(crate) type Tags = BTreeMap<String, String>;

/// EC2's tags-with-create, for one resource type.
pub(crate) fn ec2_specification(
    kind: aws_sdk_ec2::types::ResourceType,
    tags: &Tags,
) -> aws_sdk_ec2::types::TagSpecification {
    aws_sdk_ec2::types::TagSpecification::builder().resource_type(kind).set_tags(Some(ec2(tags))).build()
}

pub(crate) fn ec2(tags: &Tags) -> Vec<aws_sdk_ec2::types::Tag> {
    tags.iter().map(|(k, v)| aws_sdk_ec2::types::Tag::builder().key(k).value(v).build()).collect()
}

pub(crate) fn from_ec2(tags: Option<Vec<aws_sdk_ec2::types::Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

impl Aws {
    /// Tags of any EC2 object: one pair of calls for all its kinds.
    pub(crate) async fn tag_ec2(&self, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let id = operation.id();
        self.change("ec2", "CreateTags", || {
            self.ec2.create_tags().resources(id).set_tags(Some(ec2(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            let keys: Vec<_> =
                remove.iter().map(|k| aws_sdk_ec2::types::Tag::builder().key(k).build()).collect();
            self.change("ec2", "DeleteTags", || {
                self.ec2.delete_tags().resources(id).set_tags(Some(keys.clone())).send()
            })
            .await?;
        }
        Ok(())
    }
}
