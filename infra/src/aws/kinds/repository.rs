//! Image repositories through ECR. Their id is the name; their list shows neither tags nor lifecycle policies.

use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability, Repository as Described, Tag};
use infra_model::kinds;
use serde_json::Value;

use super::*;
use crate::aws::tag::Tags;

pub(crate) struct Repository;

#[async_trait]
impl AwsKind for Repository {
    fn id(&self) -> KindId {
        KindId::Repository
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = list(aws, None).await?;
        let reads = all.iter().map(|repository| async move {
            let (arn, name) = (repository.repository_arn().unwrap_or_default(), name(repository));
            let tags = discovery.tags_of(arn, name, || read_tags(aws, arn)).await?;
            if !discovery.owns(&tags) {
                return Ok(None);
            }
            Ok::<_, CallError>(Some(observe(repository, lifecycle(aws, name).await?, tags)))
        });
        Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Repository = operation.wanted()?;
        let answer = aws
            .change("ecr", "CreateRepository", || {
                aws.ecr
                    .create_repository()
                    .repository_name(&wanted.name)
                    .set_image_tag_mutability(wanted.immutable_tags.map(mutability))
                    .set_image_scanning_configuration(wanted.scan_on_push.map(scanning))
                    .set_tags(Some(to_ecr(&operation.tags)))
                    .send()
            })
            .await?;
        let made =
            answer.repository.ok_or_else(|| missing("ecr", "CreateRepository", "description of it"))?;
        Ok(Made { id: wanted.name, attributes: attributes(&made).into_iter().collect() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Repository = operation.wanted()?;
        let name = operation.id();
        match group {
            "immutable_tags" => {
                let value = mutability(wanted.immutable_tags.unwrap_or_default());
                aws.change("ecr", "PutImageTagMutability", || {
                    let call = aws.ecr.put_image_tag_mutability().repository_name(name);
                    call.image_tag_mutability(value.clone()).send()
                })
                .await
                .map(drop)
            }
            "scan_on_push" => {
                let value = scanning(wanted.scan_on_push.unwrap_or_default());
                aws.change("ecr", "PutImageScanningConfiguration", || {
                    let call = aws.ecr.put_image_scanning_configuration().repository_name(name);
                    call.image_scanning_configuration(value.clone()).send()
                })
                .await
                .map(drop)
            }
            _ => match &wanted.lifecycle {
                Some(policy) => aws
                    .change("ecr", "PutLifecyclePolicy", || {
                        let call = aws.ecr.put_lifecycle_policy().repository_name(name);
                        call.lifecycle_policy_text(policy.to_string()).send()
                    })
                    .await
                    .map(drop),
                None => gone_is_done(
                    aws.change("ecr", "DeleteLifecyclePolicy", || {
                        aws.ecr.delete_lifecycle_policy().repository_name(name).send()
                    })
                    .await,
                ),
            },
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let arn = aws.arn("ecr", &format!("repository/{}", operation.id())).await?;
        aws.change("ecr", "TagResource", || {
            aws.ecr.tag_resource().resource_arn(&arn).set_tags(Some(to_ecr(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            aws.change("ecr", "UntagResource", || {
                aws.ecr.untag_resource().resource_arn(&arn).set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    /// With its images: the plan lets the deletion of a store through only when a person has named it.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        gone_is_done(
            aws.change("ecr", "DeleteRepository", || {
                aws.ecr.delete_repository().repository_name(name).force(true).send()
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let found = match list(aws, Some(id)).await {
            Ok(found) => found,
            Err(error) if error.class == Class::Gone => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(repository) = found.first() else { return Ok(None) };
        let arn = repository.repository_arn().unwrap_or_default();
        let (policy, tags) = futures::try_join!(lifecycle(aws, id), read_tags(aws, arn))?;
        Ok(Some(observe(repository, policy, tags)))
    }
}

/// One repository, or all of the account: ECR cannot filter.
async fn list(aws: &Aws, only: Option<&str>) -> Result<Vec<Described>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("ecr", "DescribeRepositories", || {
                let call = aws.ecr.describe_repositories();
                // The API takes a page size or names, not both.
                let call = match only {
                    Some(name) => call.repository_names(name),
                    None => call.max_results(1000),
                };
                call.set_next_token(next.clone()).send()
            })
            .await?;
        found.extend(page.repositories.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn lifecycle(aws: &Aws, name: &str) -> Result<Option<String>, CallError> {
    let answer = aws
        .read("ecr", "GetLifecyclePolicy", || aws.ecr.get_lifecycle_policy().repository_name(name).send())
        .await;
    match answer {
        Ok(answer) => Ok(answer.lifecycle_policy_text),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_tags(aws: &Aws, arn: &str) -> Result<Tags, CallError> {
    let answer = aws
        .read("ecr", "ListTagsForResource", || aws.ecr.list_tags_for_resource().resource_arn(arn).send())
        .await?;
    Ok(answer.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect())
}

fn to_ecr(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build().expect("key and value are set");
    tags.iter().map(tag).collect()
}

fn mutability(immutable: bool) -> ImageTagMutability {
    if immutable { ImageTagMutability::Immutable } else { ImageTagMutability::Mutable }
}

fn scanning(on: bool) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(on).build()
}

fn name(repository: &Described) -> &str {
    repository.repository_name().unwrap_or_default()
}

fn attributes(repository: &Described) -> Vec<(String, String)> {
    let known = [("arn", repository.repository_arn()), ("uri", repository.repository_uri())];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

fn observe(repository: &Described, policy: Option<String>, tags: Tags) -> Observed {
    let lifecycle = match policy {
        // A policy that is no JSON differs from every wanted one, and is shown as it is.
        Some(text) => Some(serde_json::from_str(&text).unwrap_or(Value::String(text))),
        None => None,
    };
    let fields = kinds::Repository {
        name: name(repository).to_owned(),
        // Exclusions make neither promise: each is shown as the opposite of what is usually wanted beside it.
        immutable_tags: repository.image_tag_mutability().map(|mutability| {
            matches!(mutability, ImageTagMutability::Immutable | ImageTagMutability::MutableWithExclusion)
        }),
        scan_on_push: repository.image_scanning_configuration().map(|scanning| scanning.scan_on_push),
        lifecycle,
    };
    let mut object = Observed::new(name(repository), &fields).tags(tags);
    object.attributes.extend(attributes(repository));
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repository_is_observed_with_its_policy_in_order() {
        let described = Described::builder()
            .repository_name("keyway-staging/app")
            .repository_uri("123456789012.dkr.ecr.eu-central-1.amazonaws.com/keyway-staging/app")
            .image_tag_mutability(ImageTagMutability::Immutable)
            .image_scanning_configuration(scanning(true))
            .build();
        let policy = r#"{"rules":[{"rulePriority":2},{"rulePriority":1}]}"#;
        let observed = observe(&described, Some(policy.to_owned()), Tags::new());
        assert_eq!(
            Value::Object(observed.fields),
            json!({
                "name": "keyway-staging/app", "immutable_tags": true, "scan_on_push": true,
                "lifecycle": {"rules": [{"rulePriority": 1}, {"rulePriority": 2}]},
            })
        );
        let excluded = Described::builder().image_tag_mutability(ImageTagMutability::ImmutableWithExclusion);
        let observed = observe(&excluded.build(), None, Tags::new());
        assert_eq!(observed.fields["immutable_tags"], false);
    }
}
