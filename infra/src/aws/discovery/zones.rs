//! The environment's own hosted zones, which records are read from too. Route 53 is global, so the tagging API of a region
//! does not know zones: their tags are asked for ten at a time.
//!
//! AWS takes no tags when it makes a zone, but a caller reference, which nobody can change: ours tells whose the zone is
//! before its tags are there. A run that ends between the two calls leaves a zone that the next one finds.

use std::collections::BTreeSet;

use aws_sdk_route53::types::{HostedZone, TagResourceType};
use futures::future::try_join_all;
use infra_model::address::Address;
use infra_model::graph::{TAG_ADDRESS, TAG_ENVIRONMENT, TAG_PROJECT};
use sha2::{Digest, Sha256};

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
    /// Of a zone that has no tags at all, from its caller reference.
    pub(crate) address: Option<Address>,
}

/// What our creation of a zone is called: the same for every attempt, whichever run makes it. Another name is another zone.
pub(crate) fn reference(tags: &Tags, name: &str) -> String {
    let tag = |key: &str| tags.get(key).map_or("", String::as_str);
    let name: String = Sha256::digest(name).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{name}", prefix(tag(TAG_PROJECT), tag(TAG_ENVIRONMENT)) + tag(TAG_ADDRESS))
}

fn prefix(project: &str, environment: &str) -> String {
    format!("keyway:{project}:{environment}:")
}

/// The address in a reference of ours.
fn referred(project: &str, environment: &str, reference: &str) -> Option<Address> {
    reference.strip_prefix(&prefix(project, environment))?.rsplit_once(':')?.0.parse().ok()
}

impl Discovery<'_> {
    pub(crate) async fn zones(&self) -> Result<&[OwnedZone], CallError> {
        self.zones.get_or_try_init(|| read(self)).await.map(Vec::as_slice)
    }

    /// Every hosted zone of the account.
    async fn hosted_zones(&self) -> Result<&[HostedZone], CallError> {
        self.hosted_zones.get_or_try_init(|| list(self.aws)).await.map(Vec::as_slice)
    }

    /// The zones that records may be in: ours, those of others that the environment names, and others of their names. Whoever
    /// changes the id in the file from one to the other has records in both until the next apply.
    pub(crate) async fn zones_with_records(&self) -> Result<BTreeSet<String>, CallError> {
        let (own, all) = futures::try_join!(self.zones(), self.hosted_zones())?;
        let shared = &self.scope.shared_zones;
        let names: BTreeSet<&str> =
            all.iter().filter(|zone| shared.contains(&plain_id(&zone.id))).map(|zone| zone.name()).collect();
        let namesakes = all.iter().filter(|zone| names.contains(zone.name())).map(|zone| plain_id(&zone.id));
        let own = own.iter().map(|zone| zone.id.clone());
        Ok(own.chain(shared.iter().cloned()).chain(namesakes).collect())
    }
}

async fn read(discovery: &Discovery<'_>) -> Result<Vec<OwnedZone>, CallError> {
    let all = discovery.hosted_zones().await?;
    let ids: Vec<String> = all.iter().map(|zone| plain_id(&zone.id)).collect();
    let asked = try_join_all(ids.chunks(IDS_MAX).map(|ids| tags_of(discovery.aws, ids))).await?;
    let tags: std::collections::BTreeMap<String, Tags> = asked.into_iter().flatten().collect();
    let owned = all.iter().cloned().filter_map(|zone| {
        let id = plain_id(&zone.id);
        let tags = tags.get(&id).cloned().unwrap_or_default();
        // A zone that was forgotten has kept a tag, or has got one for that.
        let address = if tags.is_empty() {
            let scope = discovery.scope;
            referred(&scope.project, &scope.environment, &zone.caller_reference)
        } else {
            None
        };
        (address.is_some() || discovery.owns(&tags)).then_some(OwnedZone { id, zone, tags, address })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_tells_the_address_to_its_own_environment_only() {
        let tags = [(TAG_PROJECT, "keyway"), (TAG_ENVIRONMENT, "staging"), (TAG_ADDRESS, "edge/zone")];
        let tags: Tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let ours = reference(&tags, "staging.example.com");
        let told = |environment| referred("keyway", environment, &ours).map(|address| address.to_string());
        assert_eq!(told("staging").as_deref(), Some("edge/zone"));
        assert_eq!(told("stag"), None);
        assert_eq!(told("production"), None);
        assert_eq!(referred("keyway", "staging", "2024-01-01 by hand"), None);
        assert_ne!(ours, reference(&tags, "other.example.com"));
    }
}
