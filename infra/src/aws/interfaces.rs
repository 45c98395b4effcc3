//! Network interfaces: what keeps a group, a subnet or a VPC from going, and which of them in our VPC nobody accounts
//! for. No kind of ours makes one directly, so none is ever changed or deleted here.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{NetworkInterface, NetworkInterfaceType as Type};

use super::listing::{self, filter, pages};
use super::{Aws, Discovery, tag};
use crate::account::CallError;

/// Interfaces named in one message; the rest is counted.
const NAMED_MAX: usize = 5;

async fn list(aws: &Aws, by: &str, values: Vec<String>) -> Result<Vec<NetworkInterface>, CallError> {
    let filter = &filter(by, values);
    pages("ec2", "DescribeNetworkInterfaces", |next| async move {
        let page = aws
            .read("ec2", "DescribeNetworkInterfaces", || {
                let call = aws.ec2.describe_network_interfaces().filters(filter.clone());
                call.set_next_token(next.clone()).send()
            })
            .await?;
        Ok((page.network_interfaces, page.next_token))
    })
    .await
}

/// The interfaces that hold an object, for people. `by` is EC2's filter: `group-id`, `subnet-id`, `vpc-id`.
pub(crate) async fn holding(aws: &Aws, by: &str, id: &str) -> Result<Option<String>, CallError> {
    Ok(in_words(list(aws, by, vec![id.to_owned()]).await?.iter()))
}

/// The interfaces of a VPC that still have public addresses, which keep its internet gateway attached.
pub(crate) async fn with_public_address(aws: &Aws, vpc: &str) -> Result<Option<String>, CallError> {
    let all = list(aws, "vpc-id", vec![vpc.to_owned()]).await?;
    Ok(in_words(all.iter().filter(|interface| interface.association().is_some())))
}

fn in_words<'a>(interfaces: impl Iterator<Item = &'a NetworkInterface>) -> Option<String> {
    let mut named: Vec<String> = interfaces.map(describe).collect();
    named.sort();
    let more = named.len().saturating_sub(NAMED_MAX);
    named.truncate(NAMED_MAX);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    Some(named.join(", ")).filter(|text| !text.is_empty())
}

/// `eni-1 (ELB app/x/1, of amazon-elb)`.
fn describe(interface: &NetworkInterface) -> String {
    let id = interface.network_interface_id().unwrap_or("a network interface");
    let owner = interface.requester_id().or(interface.owner_id()).unwrap_or("an unknown owner");
    let instance = interface.attachment().and_then(|attachment| attachment.instance_id());
    match (interface.description().filter(|text| !text.is_empty()), instance) {
        (Some(text), _) => format!("{id} ({text}, of {owner})"),
        (None, Some(instance)) => format!("{id} (instance {instance}, of {owner})"),
        (None, None) => format!("{id} (of {owner})"),
    }
}

/// What AWS writes into the description of interfaces it makes for load balancers, databases, caches and tasks. Whose
/// those are is seen where they themselves are listed, so their interfaces need no second mention.
const KEPT_BY_DESCRIPTION: &[&str] = &[
    "ELB ",
    "RDSNetworkInterface",
    "ElastiCache ",
    "arn:aws:ecs:",
    "Interface for NAT Gateway",
    "VPC Endpoint Interface",
];

fn is_accounted_for(interface: &NetworkInterface) -> bool {
    let by_type = matches!(
        interface.interface_type(),
        Some(Type::NatGateway | Type::VpcEndpoint | Type::LoadBalancer | Type::NetworkLoadBalancer)
    );
    let text = interface.description().unwrap_or_default();
    by_type || KEPT_BY_DESCRIPTION.iter().any(|start| text.starts_with(start))
}

/// Notes the interfaces in our VPCs that neither carry our tags nor belong to something listed elsewhere: instances,
/// functions, file systems.
pub(crate) async fn note_strangers(discovery: &Discovery<'_>) -> Result<(), CallError> {
    let vpcs = discovery.vpc_ids().await?;
    if vpcs.is_empty() {
        return Ok(());
    }
    let (interfaces, gateways) =
        futures::try_join!(list(discovery.aws, "vpc-id", vpcs), discovery.nat_gateways())?;
    let of_gateways: BTreeSet<&str> = gateways
        .iter()
        .flat_map(|gateway| gateway.nat_gateway_addresses())
        .filter_map(|address| address.network_interface_id())
        .collect();
    for interface in interfaces {
        if of_gateways.contains(interface.network_interface_id().unwrap_or_default()) {
            continue;
        }
        let tags = tag::from_ec2(interface.tag_set.clone());
        if discovery.owns(&tags) || is_accounted_for(&interface) {
            continue;
        }
        let name = listing::display_name(&tags).or_else(|| interface.description.clone());
        let id = interface.network_interface_id.clone().unwrap_or_default();
        let within = interface.vpc_id().unwrap_or_default();
        discovery.note_stranger("network interface", id, name.filter(|n| !n.is_empty()), within).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(id: &str, description: &str, kind: Type) -> NetworkInterface {
        NetworkInterface::builder()
            .network_interface_id(id)
            .description(description)
            .interface_type(kind)
            .requester_id("amazon-elb")
            .build()
    }

    #[test]
    fn interfaces_of_listed_services_are_accounted_for_and_others_are_not() {
        let check = |description, kind, expected| {
            assert_eq!(is_accounted_for(&interface("eni-1", description, kind)), expected, "{description}");
        };
        check("ELB app/keyway-staging/0f", Type::Interface, true);
        check("RDSNetworkInterface", Type::Interface, true);
        check("arn:aws:ecs:eu-central-1:111122223333:attachment/1", Type::Interface, true);
        check("", Type::NatGateway, true);
        check("AWS Lambda VPC ENI-report", Type::Lambda, false);
        check("EFS mount target for fs-1", Type::Interface, false);
        check("", Type::Interface, false);
    }

    #[test]
    fn holders_are_named_and_the_rest_is_counted() {
        let seven: Vec<_> =
            (1..=7).map(|n| interface(&format!("eni-{n}"), "ELB app/x/1", Type::Interface)).collect();
        let text = in_words(seven.iter()).unwrap();
        assert!(text.starts_with("eni-1 (ELB app/x/1, of amazon-elb), eni-2"), "{text}");
        assert!(text.ends_with(", 2 more"), "{text}");
        assert_eq!(in_words([].iter()), None);
    }
}
