//! Subnets through EC2. Listed by VPC, so that a stranger's subnet in our VPC is seen too.

use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::snapshot::State;

use super::*;
use crate::aws::listing::{display_name, pages};
use crate::aws::{interfaces, tag};

pub(crate) struct Subnet;

#[async_trait]
impl AwsKind for Subnet {
    fn id(&self) -> KindId {
        KindId::Subnet
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let filters = &discovery.ec2_within("vpc-id").await?;
        let all = pages("ec2", "DescribeSubnets", |next| async move {
            let page = aws
                .read("ec2", "DescribeSubnets", || {
                    let call = aws.ec2.describe_subnets().set_filters(Some(filters.clone()));
                    call.set_next_token(next.clone()).send()
                })
                .await?;
            Ok((page.subnets, page.next_token))
        })
        .await?;
        let mut found = Vec::new();
        for subnet in &all {
            let object = observe(subnet)?;
            if discovery.owns(&object.tags) {
                found.push(object);
            } else {
                let (name, vpc) = (display_name(&object.tags), subnet.vpc_id().unwrap_or_default());
                discovery.note_stranger("subnet", object.id, name, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Subnet = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::Subnet, &operation.tags);
        let answer = aws
            .change("ec2", "CreateSubnet", || {
                aws.ec2
                    .create_subnet()
                    .vpc_id(wanted.vpc.as_str())
                    .cidr_block(wanted.cidr.to_string())
                    .availability_zone(&wanted.zone)
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        let id = answer
            .subnet
            .and_then(|made| made.subnet_id)
            .ok_or_else(|| missing("ec2", "CreateSubnet", "subnet id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::Subnet = operation.wanted()?;
        let on = AttributeBooleanValue::builder().value(wanted.public_addresses.unwrap_or_default()).build();
        aws.change("ec2", "ModifySubnetAttribute", || {
            aws.ec2
                .modify_subnet_attribute()
                .subnet_id(operation.id())
                .map_public_ip_on_launch(on.clone())
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        gone_is_done(aws.change("ec2", "DeleteSubnet", || aws.ec2.delete_subnet().subnet_id(id).send()).await)
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        interfaces::holding(aws, "subnet-id", id).await
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer =
            aws.read("ec2", "DescribeSubnets", || aws.ec2.describe_subnets().subnet_ids(id).send()).await;
        let found = gone_is_none(answer)?.and_then(|answer| answer.subnets).unwrap_or_default();
        found.first().map(observe).transpose()
    }
}

fn observe(subnet: &aws_sdk_ec2::types::Subnet) -> Result<Observed, CallError> {
    let fields = kinds::Subnet {
        vpc: Ref::physical(subnet.vpc_id().unwrap_or_default()),
        cidr: subnet
            .cidr_block()
            .unwrap_or_default()
            .parse()
            .map_err(|_| missing("ec2", "DescribeSubnets", "CIDR"))?,
        zone: subnet.availability_zone().unwrap_or_default().to_owned(),
        public_addresses: subnet.map_public_ip_on_launch,
    };
    let state = match subnet.state() {
        Some(aws_sdk_ec2::types::SubnetState::Pending) => State::Pending("pending".to_owned()),
        _ => State::Ready,
    };
    Ok(Observed::new(subnet.subnet_id().unwrap_or_default(), &fields)
        .tags(tag::from_ec2(subnet.tags.clone()))
        .state(state))
}
