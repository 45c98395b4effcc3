//! Internet gateways through EC2. Attaching is a call of its own, so all gateways are listed, not only those of our
//! VPC: one that was made and never attached must be found again.

use aws_sdk_ec2::types::ResourceType;
use infra_model::address::Ref;
use infra_model::kinds;

use super::*;
use crate::aws::listing::{display_name, pages};
use crate::aws::{interfaces, tag};

pub(crate) struct InternetGateway;

#[async_trait]
impl AwsKind for InternetGateway {
    fn id(&self) -> KindId {
        KindId::InternetGateway
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = pages("ec2", "DescribeInternetGateways", |next| async move {
            let page = aws
                .read("ec2", "DescribeInternetGateways", || {
                    aws.ec2.describe_internet_gateways().set_next_token(next.clone()).send()
                })
                .await?;
            Ok((page.internet_gateways, page.next_token))
        })
        .await?;
        let mut found = Vec::new();
        for gateway in &all {
            let object = observe(gateway);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else if let Some(vpc) = attached_to(gateway) {
                let name = display_name(&object.tags);
                discovery.note_stranger("internet gateway", object.id, name, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let tags = tag::ec2_specification(ResourceType::InternetGateway, &operation.tags);
        let answer = aws
            .change("ec2", "CreateInternetGateway", || {
                aws.ec2.create_internet_gateway().tag_specifications(tags.clone()).send()
            })
            .await?;
        let id = answer
            .internet_gateway
            .and_then(|made| made.internet_gateway_id)
            .ok_or_else(|| missing("ec2", "CreateInternetGateway", "gateway id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let id = operation.id();
        let wanted: kinds::InternetGateway = operation.wanted()?;
        let seen: kinds::InternetGateway = operation.seen()?;
        if seen.vpc == wanted.vpc {
            return Ok(());
        }
        if let Some(vpc) = &seen.vpc {
            detach(aws, id, vpc.as_str()).await?;
        }
        let Some(vpc) = &wanted.vpc else { return Ok(()) };
        let attached = aws
            .change("ec2", "AttachInternetGateway", || {
                aws.ec2.attach_internet_gateway().internet_gateway_id(id).vpc_id(vpc.as_str()).send()
            })
            .await;
        match attached {
            // Attached, but to what? An attempt whose answer was lost has done it already.
            Err(error) if error.class == Class::Exists => match self.inspect(aws, id).await? {
                Some(now) if now.fields.get("vpc").and_then(|v| v.as_str()) == Some(vpc.as_str()) => Ok(()),
                _ => Err(error),
            },
            other => other.map(drop),
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        let seen: kinds::InternetGateway = operation.seen()?;
        if let Some(vpc) = &seen.vpc {
            detach(aws, id, vpc.as_str()).await?;
        }
        gone_is_done(
            aws.change("ec2", "DeleteInternetGateway", || {
                aws.ec2.delete_internet_gateway().internet_gateway_id(id).send()
            })
            .await,
        )
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let vpc = self.inspect(aws, id).await?;
        match vpc.as_ref().and_then(|object| object.fields.get("vpc")?.as_str()) {
            Some(vpc) => interfaces::with_public_address(aws, vpc).await,
            None => Ok(None),
        }
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("ec2", "DescribeInternetGateways", || {
                aws.ec2.describe_internet_gateways().internet_gateway_ids(id).send()
            })
            .await;
        let answer = gone_is_none(answer)?;
        Ok(answer.and_then(|answer| answer.internet_gateways.unwrap_or_default().first().map(observe)))
    }
}

async fn detach(aws: &Aws, id: &str, vpc: &str) -> Result<(), CallError> {
    gone_is_done(
        aws.change("ec2", "DetachInternetGateway", || {
            aws.ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc).send()
        })
        .await,
    )
}

/// A gateway has at most one attachment.
fn attached_to(gateway: &aws_sdk_ec2::types::InternetGateway) -> Option<&str> {
    gateway.attachments().first().and_then(|attachment| attachment.vpc_id())
}

fn observe(gateway: &aws_sdk_ec2::types::InternetGateway) -> Observed {
    let fields = kinds::InternetGateway { vpc: attached_to(gateway).map(Ref::physical) };
    Observed::new(gateway.internet_gateway_id().unwrap_or_default(), &fields)
        .tags(tag::from_ec2(gateway.tags.clone()))
}
