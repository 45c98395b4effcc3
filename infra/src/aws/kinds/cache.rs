//! Valkey and Redis replication groups through ElastiCache. A group tells half of itself; its version, subnet group,
//! security groups and maintenance window are told by its member clusters, listed in one more call for all groups.

mod token;

use std::collections::BTreeMap;

use aws_sdk_elasticache::types::{
    AutomaticFailoverStatus, CacheCluster, MultiAzStatus, NodeGroup, ReplicationGroup,
};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::snapshot::State;
use sha2::{Digest, Sha256};
use token::Token;

use super::*;
use crate::aws::compare::{differing, differing_set, sorted, texts};
use crate::aws::listing::pages;
use crate::aws::tag;

pub(crate) struct Cache;

#[async_trait]
impl AwsKind for Cache {
    fn id(&self) -> KindId {
        KindId::Cache
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let (groups, clusters) = futures::try_join!(groups(aws), clusters(aws))?;
        let mut members: BTreeMap<&str, Vec<&CacheCluster>> = BTreeMap::new();
        for cluster in &clusters {
            members.entry(cluster.replication_group_id().unwrap_or_default()).or_default().push(cluster);
        }
        // Clusters that are in no group are no kind of ours: at best strangers.
        for cluster in members.remove("").unwrap_or_default() {
            note_stranger(discovery, cluster.cache_cluster_id().unwrap_or_default(), Some(cluster)).await?;
        }
        let mut found = Vec::new();
        for group in &groups {
            let (name, arn) = (group.replication_group_id(), group.arn());
            let (name, arn) = (name.unwrap_or_default(), arn.unwrap_or_default());
            let member = members.get(name).and_then(|members| members.first()).copied();
            let ask = || async { tags_while_busy(group, aws.tags_of_elasticache(arn).await) };
            let tags = discovery.tags_of(arn, name, ask).await?;
            if discovery.owns(&tags) {
                found.push(observe(group, member).tags(tags));
            } else {
                note_stranger(discovery, name, member).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Cache = operation.wanted()?;
        let Some(secret) = &wanted.auth_secret else {
            return create(aws, operation, &wanted, None).await;
        };
        // An earlier attempt whose answer was lost may have made the group with the token that the secret holds now; a
        // second token would lock everybody out.
        if describe(aws, &wanted.name).await?.is_some() {
            let message = format!("the replication group `{}` exists already", wanted.name);
            return Err(CallError::new("elasticache", "CreateReplicationGroup", Class::Exists, message));
        }
        let token = Token::generate()?;
        let written = token::write(aws, secret, &token).await?;
        match create(aws, operation, &wanted, Some(&token)).await {
            // It was there, only not visible yet.
            Err(error) if error.class == Class::Exists => {
                token::take_back(aws, secret, &written).await?;
                Err(error)
            }
            answer => answer,
        }
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Cache = operation.wanted()?;
        let seen: kinds::Cache = operation.seen()?;
        match group {
            "nodes" => set_nodes(aws, operation.id(), wanted.nodes, seen.nodes).await,
            _ => modify(aws, operation.id(), &wanted, &seen).await,
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_elasticache(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        let Some(group) = describe(aws, id).await? else { return Ok(()) };
        if state(&group) == State::Deleting {
            return Ok(());
        }
        let snapshot = final_snapshot(&group);
        gone_is_done(
            aws.change("elasticache", "DeleteReplicationGroup", || {
                let call = aws.elasticache.delete_replication_group().replication_group_id(id);
                call.set_final_snapshot_identifier(snapshot.clone()).send()
            })
            .await,
        )
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let group = describe(aws, id).await?;
        Ok(group.map(|group| Look { state: state(&group), attributes: observe(&group, None).attributes }))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some(group) = describe(aws, id).await? else { return Ok(None) };
        let member = match group.member_clusters().first() {
            Some(member) => describe_cluster(aws, member).await?,
            None => None,
        };
        let tags = aws.tags_of_elasticache(group.arn().unwrap_or_default()).await?;
        Ok(Some(observe(&group, member.as_ref()).tags(tags)))
    }
}

/// ElastiCache tells no tags of a group that is not available. One that is being made may be ours, so then the kind was
/// not read whole, and nothing of it is made or deleted; one that goes is as good as gone.
fn tags_while_busy(
    group: &ReplicationGroup,
    answer: Result<tag::Tags, CallError>,
) -> Result<tag::Tags, CallError> {
    match (answer, state(group)) {
        (Err(error), State::Deleting) if matches!(error.class, Class::InUse | Class::Gone) => {
            Ok(tag::Tags::new())
        }
        (Err(error), State::Pending(word)) if matches!(error.class, Class::InUse | Class::Gone) => {
            let name = group.replication_group_id().unwrap_or_default();
            let message = format!(
                "AWS does not tell the tags of the cache `{name}` while it is {word}; try again when it is available"
            );
            Err(CallError { class: Class::Denied, message, ..error })
        }
        (answer, _) => answer,
    }
}

async fn groups(aws: &Aws) -> Result<Vec<ReplicationGroup>, CallError> {
    pages("elasticache", "DescribeReplicationGroups", |next| async move {
        let page = aws
            .read("elasticache", "DescribeReplicationGroups", || {
                aws.elasticache.describe_replication_groups().set_marker(next.clone()).send()
            })
            .await?;
        Ok((page.replication_groups, page.marker))
    })
    .await
}

async fn clusters(aws: &Aws) -> Result<Vec<CacheCluster>, CallError> {
    pages("elasticache", "DescribeCacheClusters", |next| async move {
        let page = aws
            .read("elasticache", "DescribeCacheClusters", || {
                aws.elasticache.describe_cache_clusters().set_marker(next.clone()).send()
            })
            .await?;
        Ok((page.cache_clusters, page.marker))
    })
    .await
}

/// A cache tells no VPC; its subnet group does.
async fn note_stranger(
    discovery: &Discovery<'_>,
    name: &str,
    cluster: Option<&CacheCluster>,
) -> Result<(), CallError> {
    let Some(place) = cluster.and_then(|cluster| cluster.cache_subnet_group_name()) else { return Ok(()) };
    let all = discovery.cache_subnet_groups().await?;
    let group = all.iter().find(|group| group.cache_subnet_group_name() == Some(place));
    let vpc = group.and_then(|group| group.vpc_id()).unwrap_or_default();
    discovery.note_stranger("cache", name, None, vpc).await
}

async fn describe(aws: &Aws, id: &str) -> Result<Option<ReplicationGroup>, CallError> {
    let answer = aws
        .read("elasticache", "DescribeReplicationGroups", || {
            aws.elasticache.describe_replication_groups().replication_group_id(id).send()
        })
        .await;
    let all = gone_is_none(answer)?.and_then(|answer| answer.replication_groups).unwrap_or_default();
    Ok(all.into_iter().next())
}

async fn describe_cluster(aws: &Aws, id: &str) -> Result<Option<CacheCluster>, CallError> {
    let answer = aws
        .read("elasticache", "DescribeCacheClusters", || {
            aws.elasticache.describe_cache_clusters().cache_cluster_id(id).send()
        })
        .await;
    let all = gone_is_none(answer)?.and_then(|answer| answer.cache_clusters).unwrap_or_default();
    Ok(all.into_iter().next())
}

async fn create(
    aws: &Aws,
    operation: &Operation,
    wanted: &kinds::Cache,
    token: Option<&Token>,
) -> Result<Made, CallError> {
    let answer = aws
        .change("elasticache", "CreateReplicationGroup", || {
            aws.elasticache
                .create_replication_group()
                .replication_group_id(&wanted.name)
                .replication_group_description(&wanted.description)
                .engine(&wanted.engine)
                .engine_version(&wanted.engine_version)
                .auto_minor_version_upgrade(leaves_minor(&wanted.engine_version))
                .cache_node_type(&wanted.node_type)
                .num_cache_clusters(number(wanted.nodes))
                .cache_subnet_group_name(wanted.subnet_group.as_str())
                .set_security_group_ids(Some(texts(&wanted.security_groups)))
                .set_cache_parameter_group_name(text(wanted.parameter_group.as_ref()))
                .set_multi_az_enabled(wanted.multi_az)
                .set_automatic_failover_enabled(wanted.failover)
                .transit_encryption_enabled(wanted.tls)
                .at_rest_encryption_enabled(wanted.encrypted)
                .set_snapshot_retention_limit(wanted.snapshot_days.map(number))
                .set_snapshot_window(wanted.snapshot_window.clone())
                .set_preferred_maintenance_window(wanted.maintenance_window.clone())
                .set_auth_token(token.map(Token::copy))
                .set_tags(Some(tag::elasticache(&operation.tags)))
                .send()
        })
        .await
        .map_err(|error| token.map_or(error.clone(), |token| token.scrubbed(error)))?;
    let group = answer.replication_group;
    let group = group.ok_or_else(|| missing("elasticache", "CreateReplicationGroup", "replication group"))?;
    let attributes = group.arn.map(|arn| ("arn".to_owned(), arn)).into_iter().collect();
    Ok(Made { id: group.replication_group_id.unwrap_or_else(|| wanted.name.clone()), attributes })
}

async fn modify(aws: &Aws, id: &str, wanted: &kinds::Cache, seen: &kinds::Cache) -> Result<(), CallError> {
    let value = |seen: &str, wanted: &str| Some(wanted.to_owned()).filter(|_| seen != wanted);
    let to_version = value(&seen.engine_version, &wanted.engine_version);
    let leaves_minor = to_version.as_deref().map(leaves_minor);
    let parameter_group = differing(&seen.parameter_group, &wanted.parameter_group);
    aws.change("elasticache", "ModifyReplicationGroup", || {
        aws.elasticache
            .modify_replication_group()
            .replication_group_id(id)
            .apply_immediately(true)
            .set_replication_group_description(value(&seen.description, &wanted.description))
            .set_engine_version(to_version.clone())
            .set_auto_minor_version_upgrade(leaves_minor)
            .set_cache_node_type(value(&seen.node_type, &wanted.node_type))
            .set_security_group_ids(differing_set(&seen.security_groups, &wanted.security_groups))
            .set_cache_parameter_group_name(text(parameter_group.as_ref()))
            .set_multi_az_enabled(differing(&seen.multi_az, &wanted.multi_az))
            .set_automatic_failover_enabled(differing(&seen.failover, &wanted.failover))
            .set_snapshot_retention_limit(differing(&seen.snapshot_days, &wanted.snapshot_days).map(number))
            .set_snapshot_window(differing(&seen.snapshot_window, &wanted.snapshot_window))
            .set_preferred_maintenance_window(differing(&seen.maintenance_window, &wanted.maintenance_window))
            .send()
    })
    .await
    .map(drop)
}

/// AWS counts replicas, we count nodes.
async fn set_nodes(aws: &Aws, id: &str, wanted: u32, seen: u32) -> Result<(), CallError> {
    let replicas = number(wanted.saturating_sub(1));
    match wanted.cmp(&seen) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => aws
            .change("elasticache", "IncreaseReplicaCount", || {
                let call = aws.elasticache.increase_replica_count().replication_group_id(id);
                call.new_replica_count(replicas).apply_immediately(true).send()
            })
            .await
            .map(drop),
        std::cmp::Ordering::Less => aws
            .change("elasticache", "DecreaseReplicaCount", || {
                let call = aws.elasticache.decrease_replica_count().replication_group_id(id);
                call.new_replica_count(replicas).apply_immediately(true).send()
            })
            .await
            .map(drop),
    }
}

fn text<K>(reference: Option<&Ref<K>>) -> Option<String> {
    reference.map(|r| r.as_str().to_owned())
}

/// Counts and days are far below this; AWS refuses what is not.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// `8` leaves the minor version to AWS, `8.0` keeps it. The patch is AWS's in any case.
fn leaves_minor(version: &str) -> bool {
    !version.contains('.')
}

/// The actual version (`8.0.1`) as precisely as it is kept, so that an unchanged environment equals its cache.
fn shown_version(actual: &str, auto_minor: bool) -> String {
    actual.split('.').take(if auto_minor { 1 } else { 2 }).collect::<Vec<_>>().join(".")
}

/// The same for every attempt at deleting one group, another for the next group of that name. Only a group that keeps
/// snapshots leaves one: without them its content is a cache's.
fn final_snapshot(group: &ReplicationGroup) -> Option<String> {
    let keeps = group.snapshot_retention_limit().unwrap_or_default() > 0;
    if !keeps || group.status() == Some("create-failed") {
        return None;
    }
    let name = group.replication_group_id().unwrap_or_default();
    let made_at = group.replication_group_create_time().map(|at| at.secs()).unwrap_or_default();
    let digest = Sha256::digest(format!("{name}/{made_at}").as_bytes());
    let short: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{name}-final-{short}"))
}

fn state(group: &ReplicationGroup) -> State {
    match group.status().unwrap_or("unknown") {
        "available" | "snapshotting" => State::Ready,
        "deleting" => State::Deleting,
        "create-failed" => State::Failed("ElastiCache could not create it".to_owned()),
        other => State::Pending(other.to_owned()),
    }
}

fn observe(group: &ReplicationGroup, member: Option<&CacheCluster>) -> Observed {
    // A change that ElastiCache has accepted counts, or every plan until it has arrived would make it again.
    let pending = member.and_then(|member| member.pending_modified_values());
    let version = pending.and_then(|p| p.engine_version()).or(member.and_then(|m| m.engine_version()));
    let node_type = pending.and_then(|p| p.cache_node_type()).or(group.cache_node_type());
    let auto_minor =
        group.auto_minor_version_upgrade().or(member.and_then(|member| member.auto_minor_version_upgrade()));
    let engine = group.engine().or(member.and_then(|member| member.engine()));
    let place = member.and_then(|member| member.cache_subnet_group_name());
    let security_groups = member.map(|member| member.security_groups()).unwrap_or_default();
    let parameters = member.and_then(|member| member.cache_parameter_group());
    let owned = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let fields = kinds::Cache {
        name: owned(group.replication_group_id()),
        description: owned(group.description()),
        engine: owned(engine),
        engine_version: shown_version(version.unwrap_or_default(), auto_minor == Some(true)),
        node_type: owned(node_type),
        nodes: u32::try_from(group.member_clusters().len()).unwrap_or(u32::MAX),
        subnet_group: Ref::physical(place.unwrap_or_default()),
        security_groups: sorted(security_groups.iter().filter_map(|g| g.security_group_id.clone())),
        parameter_group: parameters.and_then(|group| group.cache_parameter_group_name()).map(Ref::physical),
        multi_az: group.multi_az().map(|on| *on == MultiAzStatus::Enabled),
        failover: group
            .automatic_failover()
            .map(|on| matches!(on, AutomaticFailoverStatus::Enabled | AutomaticFailoverStatus::Enabling)),
        tls: group.transit_encryption_enabled().unwrap_or_default(),
        encrypted: group.at_rest_encryption_enabled().unwrap_or_default(),
        auth: group.auth_token_enabled().unwrap_or_default(),
        snapshot_days: group.snapshot_retention_limit().and_then(|days| u32::try_from(days).ok()),
        snapshot_window: group.snapshot_window.clone(),
        maintenance_window: member.and_then(|member| member.preferred_maintenance_window.clone()),
        auth_secret: None,
    };
    let shard = group.node_groups().first();
    let endpoint = shard.and_then(NodeGroup::primary_endpoint).or(group.configuration_endpoint());
    let reader = shard.and_then(NodeGroup::reader_endpoint);
    let port = endpoint.and_then(|endpoint| endpoint.port).map(|port| port.to_string());
    Observed::new(fields.name.clone(), &fields)
        .attribute("arn", group.arn())
        .attribute("endpoint", endpoint.and_then(|endpoint| endpoint.address()))
        .attribute("reader_endpoint", reader.and_then(|endpoint| endpoint.address()))
        .attribute("port", port)
        .state(state(group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_elasticache::types::{Endpoint, PendingModifiedValues};
    use aws_smithy_types::DateTime;

    fn group() -> aws_sdk_elasticache::types::builders::ReplicationGroupBuilder {
        ReplicationGroup::builder()
            .replication_group_id("keyway-staging")
            .status("available")
            .replication_group_create_time(DateTime::from_secs(1_700_000_000))
            .snapshot_retention_limit(1)
            .automatic_failover(AutomaticFailoverStatus::Enabling)
            .member_clusters("keyway-staging-001")
            .member_clusters("keyway-staging-002")
    }

    #[test]
    fn a_cache_whose_tags_are_not_told_yet_is_not_taken_for_a_stranger() {
        let refused = || Err(CallError::new("elasticache", "ListTagsForResource", Class::InUse, "busy"));
        let ask = |status: &str| tags_while_busy(&group().status(status).build(), refused());
        assert_eq!(ask("creating").unwrap_err().class, Class::Denied);
        assert_eq!(ask("deleting").unwrap(), tag::Tags::new());
        assert_eq!(ask("available").unwrap_err().class, Class::InUse);
    }

    #[test]
    fn a_version_is_shown_as_precisely_as_it_is_kept() {
        assert_eq!(shown_version("8.0.1", false), "8.0");
        assert_eq!(shown_version("8.0.1", true), "8");
        assert_eq!(shown_version("8.0", false), "8.0");
        assert!(leaves_minor("8") && !leaves_minor("8.0"));
    }

    #[test]
    fn a_group_and_its_member_make_one_object() {
        let shard = NodeGroup::builder()
            .primary_endpoint(Endpoint::builder().address("master.x").port(6379).build())
            .reader_endpoint(Endpoint::builder().address("replica.x").port(6379).build())
            .build();
        let pending = PendingModifiedValues::builder().cache_node_type("cache.t4g.medium").build();
        let member = CacheCluster::builder()
            .engine("valkey")
            .engine_version("8.0.1")
            .cache_subnet_group_name("keyway-staging")
            .pending_modified_values(pending)
            .build();
        let whole = group().node_groups(shard).cache_node_type("cache.t4g.small").build();
        let seen = observe(&whole, Some(&member));
        assert_eq!(seen.fields["engine_version"], "8.0");
        assert_eq!(seen.fields["node_type"], "cache.t4g.medium");
        assert_eq!(seen.fields["nodes"], 2);
        assert_eq!(seen.fields["failover"], true);
        assert_eq!(seen.attributes["endpoint"], "master.x");
        assert_eq!(seen.attributes["reader_endpoint"], "replica.x");
        assert_eq!(seen.attributes["port"], "6379");
    }

    #[test]
    fn a_final_snapshot_is_named_after_one_generation_and_only_where_snapshots_are_kept() {
        let first = final_snapshot(&group().build()).unwrap();
        let next = group().replication_group_create_time(DateTime::from_secs(1_700_000_001)).build();
        assert_ne!(final_snapshot(&next), Some(first));
        assert_eq!(final_snapshot(&group().snapshot_retention_limit(0).build()), None);
    }
}
