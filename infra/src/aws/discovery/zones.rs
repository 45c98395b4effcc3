//! The environment's own hosted zones, which records are read from too. Route 53 is global, so the tagging API of a region
//! does not know zones: their tags are asked for ten at a time.

use aws_sdk_route53::types::{HostedZone, TagResourceType};
use futures::future::try_join_all;

use super::Discovery;
use crate::account::CallError;
use crate::aws::Aws;
use crate::aws::tag::{self, Tags};

/// What ListTagsForResources takes at most.
const IDS_MAX: usize = 10;

#[derive(Debug)]
pub(crate) struct OwnedZone {
    /// Without the `/hostedzone/` prefix.
    pub(crate) id: String,
    pub(crate) zone: HostedZone,
    pub(crate) tags: Tags,
}

impl Discovery<'_> {
    pub(crate) async fn zones(&self) -> Result<&[OwnedZone], CallError> {
        self.zones.get_or_try_init(|| read(self)).await.map(Vec::as_slice)
    }
}

async fn read(discovery: &Discovery<'_>) -> Result<Vec<OwnedZone>, CallError> {
    let all = list(discovery.aws).await?;
    let ids: Vec<String> = all.iter().map(|zone| plain_id(&zone.id)).collect();
    let asked = try_join_all(ids.chunks(IDS_MAX).map(|ids| tags_of(discovery.aws, ids))).await?;
    let tags: std::collections::BTreeMap<String, Tags> = asked.into_iter().flatten().collect();
    let owned = all.into_iter().filter_map(|zone| {
        let id = plain_id(&zone.id);
        let tags = tags.get(&id).filter(|tags| discovery.owns(tags))?.clone();
        Some(OwnedZone { id, zone, tags })
    });
    Ok(owned.collect())
}

/// Every hosted zone of the account.
pub(crate) async fn list(aws: &Aws) -> Result<Vec<HostedZone>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("route53", "ListHostedZones", || {
                aws.route53.list_hosted_zones().set_marker(next.clone()).send()
            })
            .await?;
        found.extend(page.hosted_zones);
        next = page.next_marker.filter(|marker| page.is_truncated && !marker.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

pub(crate) async fn tags_of(aws: &Aws, ids: &[String]) -> Result<Vec<(String, Tags)>, CallError> {
    let answer = aws
        .read("route53", "ListTagsForResources", || {
            aws.route53
                .list_tags_for_resources()
                .resource_type(TagResourceType::Hostedzone)
                .set_resource_ids(Some(ids.to_vec()))
                .send()
        })
        .await?;
    let sets = answer.resource_tag_sets.into_iter();
    Ok(sets.filter_map(|set| Some((plain_id(&set.resource_id?), tag::from_route53(set.tags)))).collect())
}

/// `/hostedzone/Z1` and `Z1` are the same zone.
pub(crate) fn plain_id(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}
