//! VPCs through EC2. Their two DNS attributes have a read and a write call each. Reading ours also reads the network
//! interfaces in them, for the report of what nobody manages.

use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, VpcAttributeName};
use infra_model::kinds;
use infra_model::snapshot::State;

use super::*;
use crate::aws::listing::pages;
use crate::aws::{interfaces, tag};

pub(crate) struct Vpc;

/// The environment's VPCs, which most network kinds filter by.
pub(crate) async fn list(discovery: &Discovery<'_>) -> Result<Vec<aws_sdk_ec2::types::Vpc>, CallError> {
    let aws = discovery.aws;
    let filters = &discovery.ec2_tag_filters();
    pages("ec2", "DescribeVpcs", |next| async move {
        let page = aws
            .read("ec2", "DescribeVpcs", || {
                aws.ec2.describe_vpcs().set_filters(Some(filters.clone())).set_next_token(next.clone()).send()
            })
            .await?;
        Ok((page.vpcs, page.next_token))
    })
    .await
}

#[async_trait]
impl AwsKind for Vpc {
    fn id(&self) -> KindId {
        KindId::Vpc
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let vpcs = discovery.vpcs().await?;
        let ours = futures::future::try_join_all(vpcs.iter().map(|vpc| observe(discovery.aws, vpc)));
        let (found, ()) = futures::try_join!(ours, interfaces::note_strangers(discovery))?;
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Vpc = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::Vpc, &operation.tags);
        let answer = aws
            .change("ec2", "CreateVpc", || {
                aws.ec2
                    .create_vpc()
                    .cidr_block(wanted.cidr.to_string())
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        let id =
            answer.vpc.and_then(|vpc| vpc.vpc_id).ok_or_else(|| missing("ec2", "CreateVpc", "VPC id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Vpc = operation.wanted()?;
        let value = |on: Option<bool>| AttributeBooleanValue::builder().value(on.unwrap_or_default()).build();
        aws.change("ec2", "ModifyVpcAttribute", || {
            let call = aws.ec2.modify_vpc_attribute().vpc_id(operation.id());
            match group {
                "dns_support" => call.enable_dns_support(value(wanted.dns_support)),
                _ => call.enable_dns_hostnames(value(wanted.dns_hostnames)),
            }
            .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        gone_is_done(
            aws.change("ec2", "DeleteVpc", || aws.ec2.delete_vpc().vpc_id(operation.id()).send()).await,
        )
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        interfaces::holding(aws, "vpc-id", id).await
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws.read("ec2", "DescribeVpcs", || aws.ec2.describe_vpcs().vpc_ids(id).send()).await;
        match gone_is_none(answer)?.and_then(|answer| answer.vpcs).unwrap_or_default().first() {
            Some(vpc) => observe(aws, vpc).await.map(Some),
            None => Ok(None),
        }
    }
}

async fn observe(aws: &Aws, vpc: &aws_sdk_ec2::types::Vpc) -> Result<Observed, CallError> {
    let id = vpc.vpc_id.clone().unwrap_or_default();
    let attribute = |name: VpcAttributeName| {
        let id = &id;
        async move {
            aws.read("ec2", "DescribeVpcAttribute", || {
                aws.ec2.describe_vpc_attribute().vpc_id(id).attribute(name.clone()).send()
            })
            .await
        }
    };
    let (support, hostnames) = futures::try_join!(
        attribute(VpcAttributeName::EnableDnsSupport),
        attribute(VpcAttributeName::EnableDnsHostnames)
    )?;
    let fields = kinds::Vpc {
        cidr: vpc
            .cidr_block()
            .unwrap_or_default()
            .parse()
            .map_err(|_| missing("ec2", "DescribeVpcs", "CIDR"))?,
        dns_support: support.enable_dns_support.and_then(|on| on.value),
        dns_hostnames: hostnames.enable_dns_hostnames.and_then(|on| on.value),
    };
    let state = match vpc.state() {
        Some(aws_sdk_ec2::types::VpcState::Pending) => State::Pending("pending".to_owned()),
        _ => State::Ready,
    };
    Ok(Observed::new(id.clone(), &fields).tags(tag::from_ec2(vpc.tags.clone())).state(state))
}
