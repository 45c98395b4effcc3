//! NAT gateways through EC2, zonal and regional. AWS shows a deleted one for an hour; it does not exist here.

use aws_sdk_ec2::types::{AvailabilityMode, NatGatewayState, ResourceType};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::snapshot::State;

use super::*;
use crate::aws::listing::{display_name, pages};
use crate::aws::tag;

pub(crate) struct NatGateway;

const REGIONAL: &str = "regional";

#[async_trait]
impl AwsKind for NatGateway {
    fn id(&self) -> KindId {
        KindId::NatGateway
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let mut found = Vec::new();
        for gateway in discovery.nat_gateways().await? {
            let object = observe(gateway);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else {
                let (name, vpc) = (display_name(&object.tags), gateway.vpc_id().unwrap_or_default());
                discovery.note_stranger("NAT gateway", object.id, name, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::NatGateway = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::Natgateway, &operation.tags);
        let text = |r: Option<&str>| r.map(str::to_owned);
        let answer = aws
            .change("ec2", "CreateNatGateway", || {
                let call = aws
                    .ec2
                    .create_nat_gateway()
                    .client_token(&operation.token)
                    .tag_specifications(tags.clone());
                // A zonal gateway is AWS's default; only a regional one is asked for by name.
                if wanted.availability == REGIONAL {
                    call.availability_mode(AvailabilityMode::Regional)
                        .set_vpc_id(text(wanted.vpc.as_ref().map(Ref::as_str)))
                } else {
                    call.set_subnet_id(text(wanted.subnet.as_ref().map(Ref::as_str)))
                        .set_allocation_id(text(wanted.address.as_ref().map(Ref::as_str)))
                }
                .send()
            })
            .await?;
        let id = answer
            .nat_gateway
            .and_then(|made| made.nat_gateway_id)
            .ok_or_else(|| missing("ec2", "CreateNatGateway", "gateway id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        gone_is_done(
            aws.change("ec2", "DeleteNatGateway", || aws.ec2.delete_nat_gateway().nat_gateway_id(id).send())
                .await,
        )
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let object = self.inspect(aws, id).await?;
        Ok(object.map(|object| Look { state: object.state, attributes: object.attributes }))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("ec2", "DescribeNatGateways", || aws.ec2.describe_nat_gateways().nat_gateway_ids(id).send())
            .await;
        let gateways = gone_is_none(answer)?.and_then(|answer| answer.nat_gateways).unwrap_or_default();
        Ok(gateways.iter().find(|gateway| !is_deleted(gateway)).map(observe))
    }
}

/// The gateways in our VPCs. Their network interfaces are known by them, too.
pub(crate) async fn list(
    discovery: &Discovery<'_>,
) -> Result<Vec<aws_sdk_ec2::types::NatGateway>, CallError> {
    let aws = discovery.aws;
    let filters = &discovery.ec2_within("vpc-id").await?;
    let mut all = pages("ec2", "DescribeNatGateways", |next| async move {
        let page = aws
            .read("ec2", "DescribeNatGateways", || {
                let call = aws.ec2.describe_nat_gateways().set_filter(Some(filters.clone()));
                call.set_next_token(next.clone()).send()
            })
            .await?;
        Ok((page.nat_gateways, page.next_token))
    })
    .await?;
    all.retain(|gateway| !is_deleted(gateway));
    Ok(all)
}

fn is_deleted(gateway: &aws_sdk_ec2::types::NatGateway) -> bool {
    gateway.state() == Some(&NatGatewayState::Deleted)
}

fn observe(gateway: &aws_sdk_ec2::types::NatGateway) -> Observed {
    let addresses = gateway.nat_gateway_addresses();
    let primary =
        addresses.iter().find(|address| address.is_primary() == Some(true)).or_else(|| addresses.first());
    let regional = gateway.availability_mode() == Some(&AvailabilityMode::Regional);
    // A regional gateway's addresses and zones come and go with the VPC's use of zones: AWS's, not ours.
    let fields = if regional {
        kinds::NatGateway {
            availability: REGIONAL.to_owned(),
            subnet: None,
            address: None,
            vpc: gateway.vpc_id().map(Ref::physical),
        }
    } else {
        kinds::NatGateway {
            availability: "zonal".to_owned(),
            subnet: gateway.subnet_id().map(Ref::physical),
            address: primary.and_then(|address| address.allocation_id()).map(Ref::physical),
            vpc: None,
        }
    };
    let state = match gateway.state() {
        Some(NatGatewayState::Pending) => State::Pending("pending".to_owned()),
        Some(NatGatewayState::Deleting | NatGatewayState::Deleted) => State::Deleting,
        Some(NatGatewayState::Failed) => {
            let code = gateway.failure_code().unwrap_or("no reason given");
            State::Failed(gateway.failure_message().unwrap_or(code).to_owned())
        }
        _ => State::Ready,
    };
    Observed::new(gateway.nat_gateway_id().unwrap_or_default(), &fields)
        .tags(tag::from_ec2(gateway.tags.clone()))
        .attribute("public_ip", primary.and_then(|address| address.public_ip()))
        .state(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::NatGatewayAddress;

    #[test]
    fn a_zonal_gateway_shows_its_primary_address_and_a_regional_one_its_vpc() {
        let address = |id, primary| {
            NatGatewayAddress::builder().allocation_id(id).public_ip("192.0.2.1").is_primary(primary).build()
        };
        let zonal = aws_sdk_ec2::types::NatGateway::builder()
            .nat_gateway_id("nat-1")
            .vpc_id("vpc-1")
            .subnet_id("subnet-1")
            .state(NatGatewayState::Available)
            .nat_gateway_addresses(address("eipalloc-2", false))
            .nat_gateway_addresses(address("eipalloc-1", true))
            .build();
        let seen = observe(&zonal);
        assert_eq!(seen.fields["address"], "eipalloc-1");
        assert!(!seen.fields.contains_key("vpc"));
        assert_eq!(seen.attributes["public_ip"], "192.0.2.1");

        let regional = aws_sdk_ec2::types::NatGateway::builder()
            .nat_gateway_id("nat-2")
            .vpc_id("vpc-1")
            .availability_mode(AvailabilityMode::Regional)
            .state(NatGatewayState::Failed)
            .failure_message("the VPC has no internet gateway")
            .build();
        let seen = observe(&regional);
        assert_eq!(seen.fields["availability"], "regional");
        assert_eq!(seen.fields["vpc"], "vpc-1");
        assert_eq!(seen.state, State::Failed("the VPC has no internet gateway".to_owned()));
    }
}
