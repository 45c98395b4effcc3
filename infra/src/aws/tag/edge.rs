//! Tags of load balancing, certificates, DNS and the firewall.

use super::Tags;
use crate::account::{CallError, Operation};
use crate::aws::Aws;

pub(crate) fn elb(tags: &Tags) -> Vec<aws_sdk_elasticloadbalancingv2::types::Tag> {
    let pair = |(k, v): (&String, &String)| {
        aws_sdk_elasticloadbalancingv2::types::Tag::builder().key(k).value(v).build()
    };
    tags.iter().map(pair).collect()
}

pub(crate) fn from_elb(tags: Option<Vec<aws_sdk_elasticloadbalancingv2::types::Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

pub(crate) fn acm(tags: &Tags) -> Vec<aws_sdk_acm::types::Tag> {
    // A tag without a key cannot be built, and every key here is a map's key.
    tags.iter().filter_map(|(k, v)| aws_sdk_acm::types::Tag::builder().key(k).value(v).build().ok()).collect()
}

pub(crate) fn from_acm(tags: Option<Vec<aws_sdk_acm::types::Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value.unwrap_or_default())).collect()
}

pub(crate) fn route53(tags: &Tags) -> Vec<aws_sdk_route53::types::Tag> {
    tags.iter().map(|(k, v)| aws_sdk_route53::types::Tag::builder().key(k).value(v).build()).collect()
}

pub(crate) fn from_route53(tags: Option<Vec<aws_sdk_route53::types::Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

pub(crate) fn waf(tags: &Tags) -> Vec<aws_sdk_wafv2::types::Tag> {
    tags.iter()
        .filter_map(|(k, v)| aws_sdk_wafv2::types::Tag::builder().key(k).value(v).build().ok())
        .collect()
}

impl Aws {
    /// Tags of a load balancer, a target group or a listener.
    pub(crate) async fn tag_elb(&self, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = operation.id();
        if !operation.tags.is_empty() {
            self.change("elasticloadbalancing", "AddTags", || {
                self.elb.add_tags().resource_arns(arn).set_tags(Some(elb(&operation.tags))).send()
            })
            .await?;
        }
        if !remove.is_empty() {
            self.change("elasticloadbalancing", "RemoveTags", || {
                self.elb.remove_tags().resource_arns(arn).set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    /// Tags of an IP set or a web ACL.
    pub(crate) async fn tag_waf(&self, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = operation.id();
        if !operation.tags.is_empty() {
            self.change("wafv2", "TagResource", || {
                self.waf.tag_resource().resource_arn(arn).set_tags(Some(waf(&operation.tags))).send()
            })
            .await?;
        }
        if !remove.is_empty() {
            self.change("wafv2", "UntagResource", || {
                self.waf.untag_resource().resource_arn(arn).set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    /// The tags of an IP set or a web ACL as WAF itself tells them.
    pub(crate) async fn waf_tags(&self, arn: &str) -> Result<Tags, CallError> {
        let (mut found, mut next) = (Tags::new(), None::<String>);
        loop {
            let page = self
                .read("wafv2", "ListTagsForResource", || {
                    self.waf.list_tags_for_resource().resource_arn(arn).set_next_marker(next.clone()).send()
                })
                .await?;
            let tags = page.tag_info_for_resource.and_then(|info| info.tag_list).unwrap_or_default();
            found.extend(tags.into_iter().map(|tag| (tag.key, tag.value)));
            next = page.next_marker.filter(|marker| !marker.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }
}
