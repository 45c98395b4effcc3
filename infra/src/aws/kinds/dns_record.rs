//! Records through Route 53, in zones of ours and in shared ones. Whose a record is says a TXT record beside it, written
//! and removed in the same atomic change; how that looks is `marker`'s business. A record without one is a stranger's.

mod marker;

use std::collections::BTreeMap;

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use infra_model::address::Ref;
use infra_model::graph::TAG_PREFIX;
use infra_model::kinds;
use infra_model::kinds::dns_record::Alias;

use super::*;
use crate::aws::tag::Tags;
use marker::{dotted, plain};

pub(crate) struct DnsRecord;

/// The largest page of ListResourceRecordSets.
const PAGE: i32 = 300;

/// A marker is read by nobody but infra, so how long resolvers keep it does not matter.
const MARKER_TTL_S: i64 = 300;

/// Somebody else changes the same record in between; more than twice in a row is somebody to talk to.
const DELETE_ATTEMPTS_MAX: u32 = 3;

/// Route 53's usual lifetime, for a record of values that gives none.
const TTL_S_DEFAULT: u32 = 300;

#[async_trait]
impl AwsKind for DnsRecord {
    fn id(&self) -> KindId {
        KindId::DnsRecord
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let zones = discovery.zones_with_records().await?;
        let reads = zones.iter().map(|zone| async move {
            let records = match list(aws, zone).await {
                // What was in it is gone with it. Of a shared zone that may be a mistake in the file: whoever still wants
                // something in it hears of it, and whoever destroys goes on.
                Err(error) if error.class == Class::Gone => {
                    if discovery.scope.shared_zones.contains(zone) {
                        discovery.note_missing(zone, "hosted zone");
                    }
                    Vec::new()
                }
                answer => answer?,
            };
            Ok::<_, CallError>(owned(zone, &records, |tags| discovery.owns(tags)))
        });
        Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// CREATE, which fails when there is such a record; the marker replaces one whose record somebody took away.
    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::DnsRecord = operation.wanted()?;
        let zone = wanted.zone.as_str();
        let changes = vec![
            change(ChangeAction::Create, record_set(&wanted)?)?,
            change(ChangeAction::Upsert, marker_set(&wanted.name, &wanted.record_type, &operation.tags)?)?,
        ];
        submit(aws, zone, changes).await?;
        let name = plain(&wanted.name);
        Ok(Made { id: format!("{zone}/{name}/{}", wanted.record_type), ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::DnsRecord = operation.wanted()?;
        let changes = vec![change(ChangeAction::Upsert, record_set(&wanted)?)?];
        submit(aws, wanted.zone.as_str(), changes).await
    }

    /// Rewrites the marker; without any tag of ours left there is none.
    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let (zone, name, kind) = parts(operation.id())?;
        let mut tags = operation.observed.as_ref().map(|seen| seen.tags.clone()).unwrap_or_default();
        tags.extend(operation.tags.clone());
        tags.retain(|key, _| key.starts_with(TAG_PREFIX) && !remove.contains(key));
        if !tags.is_empty() {
            let changes = vec![change(ChangeAction::Upsert, marker_set(name, kind, &tags)?)?];
            return submit(aws, zone, changes).await;
        }
        match find(aws, zone, &marker::name(name, kind), "TXT").await? {
            Some(marker) => {
                gone_is_done(submit(aws, zone, vec![change(ChangeAction::Delete, marker)?]).await)
            }
            None => Ok(()),
        }
    }

    /// Route 53 deletes a record only when it is given whole, so it is read first, and again when it changed meanwhile.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let (zone, name, kind) = parts(operation.id())?;
        let marker = marker::name(name, kind);
        for attempt in 1.. {
            let (record, marker) =
                match futures::try_join!(find(aws, zone, name, kind), find(aws, zone, &marker, "TXT")) {
                    Err(error) if error.class == Class::Gone => return Ok(()),
                    answer => answer?,
                };
            // Without its marker it is no longer ours.
            let Some(marker) = marker else { return Ok(()) };
            let changes = record.into_iter().chain([marker]).map(|set| change(ChangeAction::Delete, set));
            match submit(aws, zone, changes.collect::<Result<Vec<_>, _>>()?).await {
                // One of the two had gone by then, so neither was deleted.
                Err(error) if error.class == Class::Gone && attempt < DELETE_ATTEMPTS_MAX => {}
                answer => return answer,
            }
        }
        Ok(())
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let (zone, name, kind) = parts(id)?;
        let marker = marker::name(name, kind);
        let (record, marker) =
            match futures::try_join!(find(aws, zone, name, kind), find(aws, zone, &marker, "TXT")) {
                Err(error) if error.class == Class::Gone => return Ok(None),
                answer => answer?,
            };
        let tags = marker.map(|marker| marker::read(&texts(&marker))).unwrap_or_default();
        Ok(record.filter(is_simple).map(|record| observe(zone, &record).tags(tags)))
    }
}

/// `<zone>/<name>/<type>`.
fn parts(id: &str) -> Result<(&str, &str, &str), CallError> {
    let mut parts = id.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(zone), Some(name), Some(kind)) => Ok((zone, name, kind)),
        _ => {
            let message = format!("`{id}` is not the id of a DNS record; write ZONE/NAME/TYPE");
            Err(CallError::new("route53", "ListResourceRecordSets", Class::Fatal, message))
        }
    }
}

/// Every record of a zone.
pub(crate) async fn list(aws: &Aws, zone: &str) -> Result<Vec<ResourceRecordSet>, CallError> {
    let mut found = Vec::new();
    let mut from: Option<(String, Option<RrType>, Option<String>)> = None;
    loop {
        let page = aws
            .read("route53", "ListResourceRecordSets", || {
                let call = aws.route53.list_resource_record_sets().hosted_zone_id(zone).max_items(PAGE);
                match &from {
                    Some((name, kind, identifier)) => call
                        .start_record_name(name)
                        .set_start_record_type(kind.clone())
                        .set_start_record_identifier(identifier.clone()),
                    None => call,
                }
                .send()
            })
            .await?;
        found.extend(page.resource_record_sets);
        from = match page.next_record_name {
            Some(name) if page.is_truncated => {
                Some((name, page.next_record_type, page.next_record_identifier))
            }
            _ => return Ok(found),
        };
    }
}

/// One record, exactly as it stands.
async fn find(aws: &Aws, zone: &str, name: &str, kind: &str) -> Result<Option<ResourceRecordSet>, CallError> {
    let answer = aws
        .read("route53", "ListResourceRecordSets", || {
            aws.route53
                .list_resource_record_sets()
                .hosted_zone_id(zone)
                .start_record_name(dotted(name))
                .start_record_type(RrType::from(kind))
                .max_items(1)
                .send()
        })
        .await?;
    // The listing starts there; when there is no such record it shows the next one.
    let found = answer.resource_record_sets.into_iter().next();
    Ok(found.filter(|record| plain(&record.name) == plain(name) && record.r#type.as_str() == kind))
}

/// The records of a zone whose markers `ours` accepts.
fn owned(zone: &str, records: &[ResourceRecordSet], ours: impl Fn(&Tags) -> bool) -> Vec<Observed> {
    let markers: BTreeMap<String, Tags> = records
        .iter()
        .filter(|record| record.r#type == RrType::Txt && marker::is_name(&plain(&record.name)))
        .map(|record| (plain(&record.name), marker::read(&texts(record))))
        .filter(|(_, tags)| ours(tags))
        .collect();
    records
        .iter()
        .filter(|record| is_simple(record))
        .filter_map(|record| {
            let tags = markers.get(&plain(&marker::name(&plain(&record.name), record.r#type.as_str())))?;
            Some(observe(zone, record).tags(tags.clone()))
        })
        .collect()
}

/// Records that are chosen by weight, place or health come in several of one name and type; infra writes none such.
fn is_simple(record: &ResourceRecordSet) -> bool {
    record.set_identifier.is_none()
}

fn texts(record: &ResourceRecordSet) -> Vec<String> {
    record.resource_records().iter().map(|record| record.value.clone()).collect()
}

fn observe(zone: &str, record: &ResourceRecordSet) -> Observed {
    let kind = record.r#type.as_str();
    let name = plain(&record.name);
    let alias = record
        .alias_target
        .as_ref()
        .map(|alias| Alias { dns_name: plain(&alias.dns_name), zone_id: alias.hosted_zone_id.clone() });
    let values = alias.is_none().then(|| {
        let mut values: Vec<String> =
            record.resource_records().iter().map(|record| seen_value(kind, &record.value)).collect();
        values.sort();
        values
    });
    let fields = kinds::DnsRecord {
        zone: Ref::physical(zone),
        name: name.clone(),
        record_type: kind.to_owned(),
        ttl_s: record.ttl.and_then(|ttl| u32::try_from(ttl).ok()),
        values,
        alias,
    };
    Observed::new(format!("{zone}/{name}/{kind}"), &fields)
}

/// Values are compared as people write them: names without the final dot, texts without quotes.
fn seen_value(kind: &str, value: &str) -> String {
    match kind {
        "TXT" => marker::unquoted(value),
        "CNAME" => value.trim_end_matches('.').to_owned(),
        _ => value.to_owned(),
    }
}

fn written_value(kind: &str, value: &str) -> String {
    match kind {
        "TXT" => marker::quoted(value),
        _ => value.to_owned(),
    }
}

fn malformed(error: impl std::fmt::Display) -> CallError {
    CallError::new(
        "route53",
        "ChangeResourceRecordSets",
        Class::Fatal,
        format!("the record is incomplete: {error}"),
    )
}

fn record_set(wanted: &kinds::DnsRecord) -> Result<ResourceRecordSet, CallError> {
    let kind = wanted.record_type.as_str();
    let set = ResourceRecordSet::builder().name(dotted(&wanted.name)).r#type(RrType::from(kind));
    let set = match &wanted.alias {
        Some(alias) => {
            // The load balancer checks its targets itself; with one target there is nothing else to answer with.
            let target = AliasTarget::builder()
                .dns_name(dotted(&alias.dns_name))
                .hosted_zone_id(&alias.zone_id)
                .evaluate_target_health(false)
                .build()
                .map_err(malformed)?;
            set.alias_target(target)
        }
        None => {
            let values = wanted.values.iter().flatten().map(|value| {
                ResourceRecord::builder().value(written_value(kind, value)).build().map_err(malformed)
            });
            set.ttl(i64::from(wanted.ttl_s.unwrap_or(TTL_S_DEFAULT)))
                .set_resource_records(Some(values.collect::<Result<Vec<_>, _>>()?))
        }
    };
    set.build().map_err(malformed)
}

fn marker_set(name: &str, kind: &str, tags: &Tags) -> Result<ResourceRecordSet, CallError> {
    let value = ResourceRecord::builder().value(marker::write(tags)).build().map_err(malformed)?;
    ResourceRecordSet::builder()
        .name(dotted(&marker::name(name, kind)))
        .r#type(RrType::Txt)
        .ttl(MARKER_TTL_S)
        .resource_records(value)
        .build()
        .map_err(malformed)
}

fn change(action: ChangeAction, set: ResourceRecordSet) -> Result<Change, CallError> {
    Change::builder().action(action).resource_record_set(set).build().map_err(malformed)
}

/// All of it or nothing.
async fn submit(aws: &Aws, zone: &str, changes: Vec<Change>) -> Result<(), CallError> {
    let batch = ChangeBatch::builder().set_changes(Some(changes)).build().map_err(malformed)?;
    aws.change("route53", "ChangeResourceRecordSets", || {
        aws.route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch.clone()).send()
    })
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, kind: &str, values: &[&str]) -> kinds::DnsRecord {
        kinds::DnsRecord {
            zone: Ref::physical("Z1"),
            name: name.to_owned(),
            record_type: kind.to_owned(),
            ttl_s: Some(60),
            values: Some(values.iter().map(|&value| value.to_owned()).collect()),
            alias: None,
        }
    }

    #[test]
    fn a_record_with_our_marker_is_found_and_a_strangers_is_not() {
        let ours = Tags::from([("keyway:project".to_owned(), "keyway".to_owned())]);
        let record = wanted("*.a.example", "TXT", &["b \"quoted\"", "a"]);
        let mut set = record_set(&record).unwrap();
        set.name = "\\052.a.example.".to_owned(); // as Route 53 shows it
        let mut mark = marker_set(&record.name, "TXT", &ours).unwrap();
        mark.name = mark.name.replace('*', "\\052");
        let stranger = record_set(&wanted("b.a.example", "A", &["192.0.2.1"])).unwrap();
        let found = owned("Z1", &[set, mark, stranger], |tags| *tags == ours);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].id, "Z1/*.a.example/TXT");
        assert_eq!(found[0].fields["values"], serde_json::json!(["a", "b \"quoted\""]));
        assert_eq!(found[0].fields["ttl_s"], 60);
    }

    #[test]
    fn an_alias_reads_back_as_written() {
        let alias = Alias { dns_name: "lb.elb.example".into(), zone_id: "ZLB".into() };
        let mut record = wanted("www.example", "A", &[]);
        (record.alias, record.values, record.ttl_s) = (Some(alias.clone()), None, None);
        let seen = observe("Z1", &record_set(&record).unwrap());
        assert_eq!(seen.fields, infra_model::value::to_fields(&record));
    }
}
