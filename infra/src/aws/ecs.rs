//! What the kinds of ECS share: the shape of its tags and ARNs, and the list of the environment's clusters.

use aws_sdk_ecs::types::{Cluster, ClusterField, Tag};

use super::tag::Tags;
use super::{Aws, Discovery};
use crate::account::{CallError, Class, Operation};

/// ARNs that DescribeClusters takes at once.
const CLUSTERS_MAX: usize = 100;

pub(crate) fn tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

pub(crate) fn from_tags(tags: Option<Vec<Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

/// The last part of an ARN: `app` of `arn:aws:ecs:eu-central-1:123456789012:service/keyway-staging/app`.
pub(crate) fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// The name of the cluster that a service's ARN carries.
pub(crate) fn cluster_of(service: &str) -> &str {
    service.rsplit('/').nth(1).unwrap_or_default()
}

/// A number that the model has and the API wants signed.
pub(crate) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A number that AWS never makes negative.
pub(crate) fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// A part of a request that AWS's own types refuse: a fault in the fields, not of the account.
pub(crate) fn built<T, E: std::fmt::Display>(part: Result<T, E>) -> Result<T, CallError> {
    part.map_err(|error| CallError::new("ecs", "build", Class::Fatal, error.to_string()))
}

/// All clusters of the account that are not gone: one list, one description for each hundred.
pub(crate) async fn clusters(aws: &Aws) -> Result<Vec<Cluster>, CallError> {
    let (mut arns, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("ecs", "ListClusters", || {
                aws.ecs.list_clusters().max_results(100).set_next_token(next.clone()).send()
            })
            .await?;
        arns.extend(page.cluster_arns.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    let reads = arns.chunks(CLUSTERS_MAX).map(|arns| describe_clusters(aws, arns));
    Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
}

/// Clusters by name or ARN; those that are gone are left out.
pub(crate) async fn describe_clusters(aws: &Aws, clusters: &[String]) -> Result<Vec<Cluster>, CallError> {
    let answer = aws
        .read("ecs", "DescribeClusters", || {
            aws.ecs
                .describe_clusters()
                .set_clusters(Some(clusters.to_vec()))
                .include(ClusterField::Tags)
                .include(ClusterField::Settings)
                .send()
        })
        .await?;
    let found = answer.clusters.unwrap_or_default().into_iter();
    Ok(found.filter(|cluster| cluster.status() != Some("INACTIVE")).collect())
}

impl Discovery<'_> {
    /// The clusters that carry this environment's tags: one, none yet, or two after an accident.
    pub(crate) async fn clusters(&self) -> Result<Vec<&Cluster>, CallError> {
        let all = self.clusters.get_or_try_init(|| clusters(self.aws)).await?;
        Ok(all.iter().filter(|cluster| self.owns(&from_tags(cluster.tags.clone()))).collect())
    }
}

impl Aws {
    /// Tags of any ECS object, by its ARN.
    pub(crate) async fn tag_ecs(&self, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = operation.id();
        self.change("ecs", "TagResource", || {
            self.ecs.tag_resource().resource_arn(arn).set_tags(Some(tags(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            self.change("ecs", "UntagResource", || {
                self.ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_arn_names_its_cluster() {
        let arn = "arn:aws:ecs:eu-central-1:123456789012:service/keyway-staging/app";
        assert_eq!((cluster_of(arn), last_part(arn)), ("keyway-staging", "app"));
    }
}
