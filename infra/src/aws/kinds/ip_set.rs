//! IP sets through WAFv2. Every change names the version it is made to (a lock token), so it is read first.

use std::future::Future;

use aws_sdk_wafv2::types::{IpAddressVersion, IpSet as Described, IpSetSummary, Scope};
use infra_model::kinds;

use super::*;
use crate::aws::tag;

pub(crate) struct IpSet;

/// The largest page of WAFv2's lists.
pub(super) const PAGE: i32 = 100;

/// Somebody else's change in between makes ours fail; more than a few in a row is somebody to talk to.
const LOCK_ATTEMPTS_MAX: u32 = 5;

#[async_trait]
impl AwsKind for IpSet {
    fn id(&self) -> KindId {
        KindId::IpSet
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = list(aws).await?;
        let observed = all.iter().map(|summary| async move {
            let (arn, name) = (summary.arn().unwrap_or_default(), summary.name().unwrap_or_default());
            let tags = discovery.tags_of(arn, name, || aws.waf_tags(arn)).await?;
            if !discovery.owns(&tags) {
                return Ok(None);
            }
            Ok::<_, CallError>(get(aws, arn).await?.map(|(set, _)| observe(&set).tags(tags)))
        });
        Ok(futures::future::try_join_all(observed).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::IpSet = operation.wanted()?;
        let answer = aws
            .change("wafv2", "CreateIPSet", || {
                aws.waf
                    .create_ip_set()
                    .name(&wanted.name)
                    .scope(Scope::Regional)
                    .set_description(wanted.description.clone())
                    .ip_address_version(IpAddressVersion::from(wanted.ip_version.as_str()))
                    .set_addresses(Some(wanted.addresses.iter().cloned().collect()))
                    .set_tags(Some(tag::waf(&operation.tags)))
                    .send()
            })
            .await?;
        let id = answer
            .summary
            .and_then(|summary| summary.arn)
            .ok_or_else(|| missing("wafv2", "CreateIPSet", "IP set ARN"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::IpSet = operation.wanted()?;
        let arn = operation.id();
        let (name, id) = name_and_id(arn)?;
        with_lock(|| async {
            let Some((_, lock)) = get(aws, arn).await? else { return Err(gone("GetIPSet", arn)) };
            aws.change("wafv2", "UpdateIPSet", || {
                aws.waf
                    .update_ip_set()
                    .name(name)
                    .id(id)
                    .scope(Scope::Regional)
                    .set_description(wanted.description.clone())
                    .set_addresses(Some(wanted.addresses.iter().cloned().collect()))
                    .lock_token(&lock)
                    .send()
            })
            .await
            .map(drop)
        })
        .await
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_waf(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        let (name, id) = name_and_id(arn)?;
        gone_is_done(
            with_lock(|| async {
                let Some((_, lock)) = get(aws, arn).await? else { return Ok(()) };
                aws.change("wafv2", "DeleteIPSet", || {
                    aws.waf.delete_ip_set().name(name).id(id).scope(Scope::Regional).lock_token(&lock).send()
                })
                .await
                .map(drop)
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some((set, _)) = get(aws, id).await? else { return Ok(None) };
        Ok(Some(observe(&set).tags(aws.waf_tags(id).await?)))
    }
}

async fn list(aws: &Aws) -> Result<Vec<IpSetSummary>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("wafv2", "ListIPSets", || {
                aws.waf.list_ip_sets().scope(Scope::Regional).limit(PAGE).set_next_marker(next.clone()).send()
            })
            .await?;
        let sets = page.ip_sets.unwrap_or_default();
        // WAFv2 sends a marker with every page; the last one is followed by an empty page.
        next = page.next_marker.filter(|marker| !marker.is_empty() && sets.len() >= PAGE as usize);
        found.extend(sets);
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// A set with its lock token; `None` when it is gone.
async fn get(aws: &Aws, arn: &str) -> Result<Option<(Described, String)>, CallError> {
    let (name, id) = name_and_id(arn)?;
    let answer = aws
        .read("wafv2", "GetIPSet", || aws.waf.get_ip_set().name(name).id(id).scope(Scope::Regional).send())
        .await;
    match answer {
        Ok(answer) => Ok(answer.ip_set.map(|set| (set, answer.lock_token.unwrap_or_default()))),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// `arn:aws:wafv2:<region>:<account>:regional/<what>/<name>/<id>`.
pub(super) fn name_and_id(arn: &str) -> Result<(&str, &str), CallError> {
    let mut parts = arn.rsplitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(id), Some(name), Some(_)) => Ok((name, id)),
        _ => {
            let message = format!("`{arn}` is not the ARN of a WAFv2 object");
            Err(CallError::new("wafv2", "Get", Class::Fatal, message))
        }
    }
}

pub(super) fn gone(action: &'static str, arn: &str) -> CallError {
    CallError::new("wafv2", action, Class::Gone, format!("{arn} is gone"))
}

/// Reads and writes again when somebody else wrote in between: AWS said that nothing happened.
pub(super) async fn with_lock<F, Fut>(attempt: F) -> Result<(), CallError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), CallError>>,
{
    for _ in 1..LOCK_ATTEMPTS_MAX {
        match attempt().await {
            Err(error) if error.code.as_deref() == Some("WAFOptimisticLockException") => {}
            answer => return answer,
        }
    }
    attempt().await
}

fn observe(set: &Described) -> Observed {
    let fields = kinds::IpSet {
        name: set.name.clone(),
        description: set.description.clone().filter(|text| !text.is_empty()),
        ip_version: set.ip_address_version.as_str().to_owned(),
        addresses: set.addresses.iter().cloned().collect(),
    };
    Observed::new(set.arn.clone(), &fields)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn names_and_ids_are_the_end_of_an_arn() {
        let arn = "arn:aws:wafv2:eu-central-1:123456789012:regional/ipset/keyway-x-allow/a1-b2";
        assert_eq!(name_and_id(arn).unwrap(), ("keyway-x-allow", "a1-b2"));
        assert!(name_and_id("keyway-x-allow").is_err());
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_a_bounded_number_of_times() {
        let lost = || CallError {
            code: Some("WAFOptimisticLockException".to_owned()),
            ..CallError::new("wafv2", "UpdateIPSet", Class::InUse, "somebody was faster")
        };
        let attempts = AtomicU32::new(0);
        let won = with_lock(|| async {
            if attempts.fetch_add(1, Ordering::Relaxed) < 2 { Err(lost()) } else { Ok(()) }
        })
        .await;
        assert!(won.is_ok());
        assert_eq!(attempts.swap(0, Ordering::Relaxed), 3);
        let never = with_lock(|| async {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err(lost())
        })
        .await;
        assert_eq!(never.unwrap_err().class, Class::InUse);
        assert_eq!(attempts.load(Ordering::Relaxed), LOCK_ATTEMPTS_MAX);
    }
}
