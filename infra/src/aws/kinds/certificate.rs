//! Certificates through ACM, proved by DNS. A request answers before ACM has worked out the records that prove the
//! domains, so creation waits, within a bound, until they are there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_acm::types::{CertificateDetail, CertificateStatus, CertificateSummary, ValidationMethod};
use infra_model::kinds;
use infra_model::snapshot::State;
use sha2::{Digest, Sha256};

use super::*;
use crate::aws::tag::{self, Tags};

pub(crate) struct Certificate;

/// ACM works out validation records within seconds; 20 looks are half a minute.
const LOOKS_MAX: u32 = 20;
const LOOK_PAUSE_MS: u64 = 1_500;

/// The tagging API knows a new object after a few minutes; a certificate has no name of ours to tell it by, so any that is
/// younger than this is asked for its tags.
const FRESH_S: u64 = 3_600;

#[async_trait]
impl AwsKind for Certificate {
    fn id(&self) -> KindId {
        KindId::Certificate
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let (all, tagged) = futures::try_join!(list(aws), discovery.tagged())?;
        let observed = all.iter().map(|summary| async move {
            let arn = summary.certificate_arn().unwrap_or_default();
            let tags = match tagged.get(arn) {
                Some(tags) => tags.clone(),
                None if tagged.must_ask(arn, is_fresh(summary)) => match tags_of(aws, arn).await {
                    Err(error) if error.class == Class::Gone => return Ok(None),
                    answer => answer?,
                },
                None => return Ok(None),
            };
            if !discovery.owns(&tags) {
                return Ok(None);
            }
            Ok::<_, CallError>(describe(aws, arn).await?.map(|detail| observe(&detail).tags(tags)))
        });
        Ok(futures::future::try_join_all(observed).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Certificate = operation.wanted()?;
        let token = idempotency_token(&operation.token);
        let others = Some(wanted.alternative_names.clone()).filter(|names| !names.is_empty());
        let answer = aws
            .change("acm", "RequestCertificate", || {
                aws.acm
                    .request_certificate()
                    .domain_name(&wanted.domain)
                    .set_subject_alternative_names(others.clone())
                    .validation_method(ValidationMethod::Dns)
                    .idempotency_token(&token)
                    .set_tags(Some(tag::acm(&operation.tags)))
                    .send()
            })
            .await?;
        let id =
            answer.certificate_arn.ok_or_else(|| missing("acm", "RequestCertificate", "certificate ARN"))?;
        for _ in 0..LOOKS_MAX {
            if let Some(detail) = describe(aws, &id).await?
                && let Some(attributes) = proofs(&detail)
            {
                return Ok(Made { id, attributes });
            }
            tokio::time::sleep(Duration::from_millis(LOOK_PAUSE_MS)).await;
        }
        // The same token again answers with the same certificate.
        let message = format!("{id} is requested, and ACM has not said yet which records prove its domains");
        Err(CallError::new("acm", "DescribeCertificate", Class::NotYet, message))
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = operation.id();
        if !operation.tags.is_empty() {
            let tags = tag::acm(&operation.tags);
            aws.change("acm", "AddTagsToCertificate", || {
                aws.acm.add_tags_to_certificate().certificate_arn(arn).set_tags(Some(tags.clone())).send()
            })
            .await?;
        }
        if !remove.is_empty() {
            // ACM removes a tag by its key alone when no value is given.
            let keys: Vec<_> = remove
                .iter()
                .filter_map(|key| aws_sdk_acm::types::Tag::builder().key(key).build().ok())
                .collect();
            aws.change("acm", "RemoveTagsFromCertificate", || {
                aws.acm
                    .remove_tags_from_certificate()
                    .certificate_arn(arn)
                    .set_tags(Some(keys.clone()))
                    .send()
            })
            .await?;
        }
        Ok(())
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        gone_is_done(
            aws.change("acm", "DeleteCertificate", || {
                aws.acm.delete_certificate().certificate_arn(arn).send()
            })
            .await,
        )
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let found = describe(aws, id).await?;
        Ok(found
            .map(|detail| Look { state: state(&detail), attributes: proofs(&detail).unwrap_or_default() }))
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let users = describe(aws, id).await?.and_then(|detail| detail.in_use_by).unwrap_or_default();
        Ok((!users.is_empty()).then(|| format!("{} uses it", users.join(", "))))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some(detail) = describe(aws, id).await? else { return Ok(None) };
        Ok(Some(observe(&detail).tags(tags_of(aws, id).await?)))
    }
}

async fn list(aws: &Aws) -> Result<Vec<CertificateSummary>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("acm", "ListCertificates", || {
                aws.acm.list_certificates().set_next_token(next.clone()).send()
            })
            .await?;
        found.extend(page.certificate_summary_list.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn describe(aws: &Aws, arn: &str) -> Result<Option<CertificateDetail>, CallError> {
    let answer = aws
        .read("acm", "DescribeCertificate", || aws.acm.describe_certificate().certificate_arn(arn).send())
        .await;
    match answer {
        Ok(answer) => Ok(answer.certificate),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn tags_of(aws: &Aws, arn: &str) -> Result<Tags, CallError> {
    let answer = aws
        .read("acm", "ListTagsForCertificate", || {
            aws.acm.list_tags_for_certificate().certificate_arn(arn).send()
        })
        .await?;
    Ok(tag::from_acm(answer.tags))
}

fn is_fresh(summary: &CertificateSummary) -> bool {
    let Some(made_s) = summary.created_at().map(|at| at.secs()) else { return true };
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    now_s.saturating_sub(u64::try_from(made_s).unwrap_or_default()) < FRESH_S
}

/// ACM takes 32 characters at most.
fn idempotency_token(token: &str) -> String {
    Sha256::digest(token).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `validation_name:<domain>` and `validation_value:<domain>` of every domain; `None` until ACM has worked all of them out.
fn proofs(detail: &CertificateDetail) -> Option<BTreeMap<String, String>> {
    let options = detail.domain_validation_options();
    if options.is_empty() {
        return None;
    }
    let mut proofs = BTreeMap::new();
    for option in options {
        let record = option.resource_record()?;
        let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        proofs.insert(format!("validation_name:{}", option.domain_name()), plain(record.name()));
        proofs.insert(format!("validation_value:{}", option.domain_name()), plain(record.value()));
    }
    Some(proofs)
}

fn state(detail: &CertificateDetail) -> State {
    match detail.status() {
        Some(CertificateStatus::PendingValidation) => State::Pending("pending validation".to_owned()),
        Some(CertificateStatus::Issued) | None => State::Ready,
        Some(status) => {
            let reason = detail.failure_reason().map(|reason| format!(": {}", reason.as_str()));
            State::Failed(format!("{}{}", status.as_str(), reason.unwrap_or_default()))
        }
    }
}

fn observe(detail: &CertificateDetail) -> Observed {
    let domain = detail.domain_name().unwrap_or_default();
    let others = detail.subject_alternative_names().iter().filter(|name| *name != domain);
    let mut alternative_names: Vec<String> = others.cloned().collect();
    alternative_names.sort();
    let fields = kinds::Certificate { domain: domain.to_owned(), alternative_names };
    let mut observed =
        Observed::new(detail.certificate_arn().unwrap_or_default(), &fields).state(state(detail));
    observed.attributes = proofs(detail).unwrap_or_default();
    observed
}

#[cfg(test)]
mod tests {
    use aws_sdk_acm::types::{DomainValidation, RecordType, ResourceRecord};

    use super::*;

    #[test]
    fn tokens_are_32_word_characters_and_follow_the_operations() {
        let one = idempotency_token("edge/certificate 1");
        assert_eq!(one.len(), 32);
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(one, idempotency_token("edge/certificate 2"));
    }

    #[test]
    fn proofs_are_told_only_when_all_of_them_are_there() {
        let record =
            ResourceRecord::builder().name("_A.x.example.").value("_b.aws.").r#type(RecordType::Cname);
        let whole = DomainValidation::builder()
            .domain_name("x.example")
            .resource_record(record.build().unwrap())
            .build()
            .unwrap();
        let waiting = DomainValidation::builder().domain_name("y.example").build().unwrap();
        let detail =
            |options| CertificateDetail::builder().set_domain_validation_options(Some(options)).build();
        assert_eq!(proofs(&detail(vec![])), None);
        assert_eq!(proofs(&detail(vec![whole.clone(), waiting])), None);
        let found = proofs(&detail(vec![whole])).unwrap();
        assert_eq!(found["validation_name:x.example"], "_a.x.example");
        assert_eq!(found["validation_value:x.example"], "_b.aws");
    }
}
