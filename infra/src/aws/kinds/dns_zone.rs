//! Hosted zones through Route 53. AWS takes no tags at creation: they follow in a second call, and a creation that was cut
//! in between is found again by its caller reference, by this run or by any later one.

use aws_sdk_route53::types::{HostedZone, HostedZoneConfig, TagResourceType};
use infra_model::graph::TAG_PROJECT;
use infra_model::kinds;

use super::*;
use crate::aws::discovery::zones::{self, plain_id};
use crate::aws::tag::{self, Tags};

pub(crate) struct DnsZone;

/// What ChangeTagsForResource takes at most.
const TAGS_MAX: usize = 10;

/// Enough to recognise whose they are.
const HOLDERS_TOLD_MAX: usize = 10;

#[async_trait]
impl AwsKind for DnsZone {
    fn id(&self) -> KindId {
        KindId::DnsZone
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let observed = discovery.zones().await?.iter().map(|owned| async move {
            let found = describe(aws, &owned.id).await?;
            Ok::<_, CallError>(found.map(|(_, servers)| Observed {
                address: owned.address.clone(),
                ..observe(&owned.zone, servers).tags(owned.tags.clone())
            }))
        });
        Ok(futures::future::try_join_all(observed).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::DnsZone = operation.wanted()?;
        let reference = zones::reference(&operation.tags, &wanted.name);
        let config = HostedZoneConfig::builder().set_comment(wanted.comment.clone()).build();
        let answer = aws
            .change("route53", "CreateHostedZone", || {
                aws.route53
                    .create_hosted_zone()
                    .name(&wanted.name)
                    .caller_reference(&reference)
                    .hosted_zone_config(config.clone())
                    .send()
            })
            .await;
        let (id, servers) = match answer {
            Ok(answer) => {
                let id = answer.hosted_zone.map(|zone| plain_id(&zone.id));
                let servers = answer.delegation_set.map(|set| set.name_servers).unwrap_or_default();
                (id.ok_or_else(|| missing("route53", "CreateHostedZone", "zone id"))?, servers)
            }
            Err(error) if error.class == Class::Exists => {
                let all = zones::list(aws).await?;
                let made = all.iter().find(|zone| zone.caller_reference == reference).ok_or(error.clone())?;
                let id = plain_id(&made.id);
                // Only a creation at this address can have left it, unless it was given away since.
                let tags = zones::tags_of(aws, std::slice::from_ref(&id)).await?;
                let others = tags.iter().any(|(_, tags)| !tags.is_empty() && !tags.contains_key(TAG_PROJECT));
                if others {
                    return Err(error);
                }
                let servers = describe(aws, &id).await?.map(|(_, servers)| servers).unwrap_or_default();
                (id, servers)
            }
            Err(error) => return Err(error),
        };
        change_tags(aws, &id, &operation.tags, &[]).await?;
        let attributes = [("name_servers".to_owned(), servers.join(","))].into_iter().collect();
        Ok(Made { id, attributes })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::DnsZone = operation.wanted()?;
        aws.change("route53", "UpdateHostedZoneComment", || {
            let comment = wanted.comment.clone();
            aws.route53.update_hosted_zone_comment().id(operation.id()).set_comment(comment).send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        change_tags(aws, operation.id(), &operation.tags, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        gone_is_done(
            aws.change("route53", "DeleteHostedZone", || aws.route53.delete_hosted_zone().id(id).send())
                .await,
        )
    }

    /// The records that AWS wants gone first.
    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let Some((zone, _)) = describe(aws, id).await? else { return Ok(None) };
        let records = super::dns_record::list(aws, id).await?;
        // A zone's own two records, at its top, never keep it.
        let own = |record: &aws_sdk_route53::types::ResourceRecordSet| {
            record.name == zone.name && matches!(record.r#type.as_str(), "NS" | "SOA")
        };
        let mut holders: Vec<String> = records
            .iter()
            .filter(|record| !own(record))
            .map(|record| format!("{} {}", record.name, record.r#type.as_str()))
            .collect();
        if holders.len() > HOLDERS_TOLD_MAX {
            let more = holders.split_off(HOLDERS_TOLD_MAX).len();
            holders.push(format!("and {more} more"));
        }
        Ok((!holders.is_empty()).then(|| format!("it still holds {}", holders.join(", "))))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some((zone, servers)) = describe(aws, id).await? else { return Ok(None) };
        let tags = zones::tags_of(aws, &[plain_id(id)]).await?.into_iter().next();
        Ok(Some(observe(&zone, servers).tags(tags.map(|(_, tags)| tags).unwrap_or_default())))
    }
}

/// A zone with its name servers.
async fn describe(aws: &Aws, id: &str) -> Result<Option<(HostedZone, Vec<String>)>, CallError> {
    match aws.read("route53", "GetHostedZone", || aws.route53.get_hosted_zone().id(id).send()).await {
        Ok(answer) => {
            let servers = answer.delegation_set.map(|set| set.name_servers).unwrap_or_default();
            Ok(answer.hosted_zone.map(|zone| (zone, servers)))
        }
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn change_tags(aws: &Aws, id: &str, tags: &Tags, remove: &[String]) -> Result<(), CallError> {
    let (tags, mut remove) = (tag::route53(tags), remove.to_vec());
    let mut chunks: Vec<_> = tags.chunks(TAGS_MAX).map(|chunk| Some(chunk.to_vec())).collect();
    if chunks.is_empty() && !remove.is_empty() {
        chunks.push(None);
    }
    for add in chunks {
        // Ten keys are more than the ownership tags; the rest of a longer list would be refused by AWS, and said.
        let gone = Some(std::mem::take(&mut remove)).filter(|keys| !keys.is_empty());
        aws.change("route53", "ChangeTagsForResource", || {
            aws.route53
                .change_tags_for_resource()
                .resource_type(TagResourceType::Hostedzone)
                .resource_id(id)
                .set_add_tags(add.clone())
                .set_remove_tag_keys(gone.clone())
                .send()
        })
        .await?;
    }
    Ok(())
}

fn observe(zone: &HostedZone, mut servers: Vec<String>) -> Observed {
    servers.sort();
    let comment = zone.config().and_then(HostedZoneConfig::comment).filter(|text| !text.is_empty());
    let fields = kinds::DnsZone {
        name: zone.name.trim_end_matches('.').to_owned(),
        comment: comment.map(str::to_owned),
    };
    Observed::new(plain_id(&zone.id), &fields).attribute("name_servers", Some(servers.join(",")))
}
