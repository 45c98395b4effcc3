//! Public addresses through EC2. They are in no VPC, so only tags say whose they are.

use aws_sdk_ec2::types::{DomainType, ResourceType};
use infra_model::kinds;

use super::*;
use crate::aws::tag;

pub(crate) struct ElasticIp;

#[async_trait]
impl AwsKind for ElasticIp {
    fn id(&self) -> KindId {
        KindId::ElasticIp
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        // The one list of EC2 that has no pages.
        let answer = aws
            .read("ec2", "DescribeAddresses", || {
                aws.ec2.describe_addresses().set_filters(Some(discovery.ec2_tag_filters())).send()
            })
            .await?;
        Ok(answer.addresses.unwrap_or_default().iter().map(observe).collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::ElasticIp = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::ElasticIp, &operation.tags);
        let answer = aws
            .change("ec2", "AllocateAddress", || {
                aws.ec2
                    .allocate_address()
                    .domain(DomainType::from(wanted.domain.as_str()))
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        let id = answer.allocation_id.ok_or_else(|| missing("ec2", "AllocateAddress", "allocation id"))?;
        let attributes = answer.public_ip.map(|ip| ("public_ip".to_owned(), ip)).into_iter().collect();
        Ok(Made { id, attributes })
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        gone_is_done(
            aws.change("ec2", "ReleaseAddress", || aws.ec2.release_address().allocation_id(id).send()).await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("ec2", "DescribeAddresses", || aws.ec2.describe_addresses().allocation_ids(id).send())
            .await;
        let answer = gone_is_none(answer)?;
        Ok(answer.and_then(|answer| answer.addresses.unwrap_or_default().first().map(observe)))
    }
}

fn observe(address: &aws_sdk_ec2::types::Address) -> Observed {
    let domain = address.domain().map_or("vpc", DomainType::as_str).to_owned();
    Observed::new(address.allocation_id().unwrap_or_default(), &kinds::ElasticIp { domain })
        .tags(tag::from_ec2(address.tags.clone()))
        .attribute("public_ip", address.public_ip())
}
