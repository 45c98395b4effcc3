//! Route tables through EC2, with their routes and associations, for which AWS has a call each and no batch. Routes
//! that AWS itself puts there (local, gateway endpoints, propagation) and the VPC's main table are left out.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{ResourceType, RouteOrigin};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::kinds::route_table::Route;

use super::*;
use crate::aws::listing::{display_name, filter, pages};
use crate::aws::tag;

pub(crate) struct RouteTable;

#[async_trait]
impl AwsKind for RouteTable {
    fn id(&self) -> KindId {
        KindId::RouteTable
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let filters = &discovery.ec2_within("vpc-id").await?;
        let all = pages("ec2", "DescribeRouteTables", |next| async move {
            let page = aws
                .read("ec2", "DescribeRouteTables", || {
                    let call = aws.ec2.describe_route_tables().set_filters(Some(filters.clone()));
                    call.set_next_token(next.clone()).send()
                })
                .await?;
            Ok((page.route_tables, page.next_token))
        })
        .await?;
        let mut found = Vec::new();
        for table in &all {
            let object = observe(table);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else if !is_made_by_aws(table) {
                let (name, vpc) = (display_name(&object.tags), table.vpc_id().unwrap_or_default());
                discovery.note_stranger("route table", object.id, name, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::RouteTable = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::RouteTable, &operation.tags);
        let answer = aws
            .change("ec2", "CreateRouteTable", || {
                aws.ec2
                    .create_route_table()
                    .vpc_id(wanted.vpc.as_str())
                    .client_token(&operation.token)
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        let id = answer
            .route_table
            .and_then(|made| made.route_table_id)
            .ok_or_else(|| missing("ec2", "CreateRouteTable", "table id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let (id, wanted, seen) = (operation.id(), operation.wanted()?, operation.seen()?);
        match group {
            "routes" => set_routes(aws, id, &wanted, &seen).await,
            _ => set_subnets(aws, id, &wanted, &seen).await,
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    /// AWS deletes no table that a subnet still uses, so the associations go first.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        let seen: kinds::RouteTable = operation.seen()?;
        if !seen.subnets.is_empty() {
            let all = associations(aws, "route-table-id", id).await?;
            disassociate(aws, all.into_iter().map(|association| association.id)).await?;
        }
        gone_is_done(
            aws.change("ec2", "DeleteRouteTable", || aws.ec2.delete_route_table().route_table_id(id).send())
                .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read("ec2", "DescribeRouteTables", || aws.ec2.describe_route_tables().route_table_ids(id).send())
            .await;
        let answer = gone_is_none(answer)?;
        Ok(answer.and_then(|answer| answer.route_tables.unwrap_or_default().first().map(observe)))
    }
}

/// What turns the seen routes into the wanted ones, by destination.
#[derive(Debug, Default, PartialEq)]
struct RouteChanges {
    create: Vec<Route>,
    replace: Vec<Route>,
    delete: Vec<String>,
}

fn route_changes(seen: &[Route], wanted: &[Route]) -> RouteChanges {
    let now: BTreeMap<&str, &Route> = seen.iter().map(|route| (route.destination.as_str(), route)).collect();
    let then: BTreeMap<&str, &Route> = wanted.iter().map(|r| (r.destination.as_str(), r)).collect();
    let mut changes = RouteChanges::default();
    for (destination, &route) in &then {
        match now.get(destination) {
            None => changes.create.push(route.clone()),
            Some(&old) if old.target != route.target => changes.replace.push(route.clone()),
            Some(_) => {}
        }
    }
    changes.delete = now.keys().filter(|d| !then.contains_key(*d)).map(|&d| d.to_owned()).collect();
    changes
}

async fn set_routes(
    aws: &Aws,
    id: &str,
    wanted: &kinds::RouteTable,
    seen: &kinds::RouteTable,
) -> Result<(), CallError> {
    let changes = route_changes(&seen.routes, &wanted.routes);
    for route in &changes.create {
        match create_route(aws, id, route).await {
            // An earlier attempt made it, or somebody else did with another target.
            Err(error) if error.class == Class::Exists => replace_route(aws, id, route).await?,
            other => other?,
        }
    }
    for route in &changes.replace {
        match replace_route(aws, id, route).await {
            Err(error) if is_no_route(&error) => create_route(aws, id, route).await?,
            other => other?,
        }
    }
    for destination in &changes.delete {
        gone_is_done(
            aws.change("ec2", "DeleteRoute", || {
                let call = aws.ec2.delete_route().route_table_id(id);
                match Destination::of(destination) {
                    Destination::V4 => call.destination_cidr_block(destination),
                    Destination::V6 => call.destination_ipv6_cidr_block(destination),
                    Destination::PrefixList => call.destination_prefix_list_id(destination),
                }
                .send()
            })
            .await,
        )?;
    }
    Ok(())
}

/// AWS says it in two ways.
fn is_no_route(error: &CallError) -> bool {
    error.code.as_deref() == Some("InvalidRoute.NotFound") || error.message.contains("no route defined")
}

enum Destination {
    V4,
    V6,
    PrefixList,
}

impl Destination {
    fn of(text: &str) -> Self {
        match text {
            list if list.starts_with("pl-") => Self::PrefixList,
            v6 if v6.contains(':') => Self::V6,
            _ => Self::V4,
        }
    }
}

/// CreateRoute and ReplaceRoute have the same parameters and no common type.
macro_rules! routed {
    ($call:expr, $route:expr) => {{
        let (call, target) = ($call, $route.target.as_str());
        let call = match Destination::of(&$route.destination) {
            Destination::V4 => call.destination_cidr_block(&$route.destination),
            Destination::V6 => call.destination_ipv6_cidr_block(&$route.destination),
            Destination::PrefixList => call.destination_prefix_list_id(&$route.destination),
        };
        match target.split('-').next().unwrap_or_default() {
            "nat" => call.nat_gateway_id(target),
            "pcx" => call.vpc_peering_connection_id(target),
            "eni" => call.network_interface_id(target),
            "tgw" => call.transit_gateway_id(target),
            "vpce" => call.vpc_endpoint_id(target),
            "eigw" => call.egress_only_internet_gateway_id(target),
            "i" => call.instance_id(target),
            "cagw" => call.carrier_gateway_id(target),
            "lgw" => call.local_gateway_id(target),
            // Internet and virtual private gateways.
            _ => call.gateway_id(target),
        }
        .send()
    }};
}

async fn create_route(aws: &Aws, id: &str, route: &Route) -> Result<(), CallError> {
    aws.change("ec2", "CreateRoute", || routed!(aws.ec2.create_route().route_table_id(id), route))
        .await
        .map(drop)
}

async fn replace_route(aws: &Aws, id: &str, route: &Route) -> Result<(), CallError> {
    aws.change("ec2", "ReplaceRoute", || routed!(aws.ec2.replace_route().route_table_id(id), route))
        .await
        .map(drop)
}

async fn set_subnets(
    aws: &Aws,
    id: &str,
    wanted: &kinds::RouteTable,
    seen: &kinds::RouteTable,
) -> Result<(), CallError> {
    for subnet in wanted.subnets.iter().filter(|subnet| !seen.subnets.contains(subnet)) {
        associate(aws, id, subnet.as_str()).await?;
    }
    let unwanted = |subnet: &Ref<kinds::Subnet>| !wanted.subnets.contains(subnet);
    if !seen.subnets.iter().any(unwanted) {
        return Ok(());
    }
    let all = associations(aws, "route-table-id", id).await?;
    let gone = all.into_iter().filter(|association| unwanted(&Ref::physical(association.subnet.clone())));
    disassociate(aws, gone.map(|association| association.id)).await
}

/// Gives a subnet this table. A subnet has one table: where it has another, AWS swaps them in one step.
async fn associate(aws: &Aws, id: &str, subnet: &str) -> Result<(), CallError> {
    let answer = aws
        .change("ec2", "AssociateRouteTable", || {
            aws.ec2.associate_route_table().route_table_id(id).subnet_id(subnet).send()
        })
        .await;
    let taken = match answer {
        Err(error) if error.class == Class::Exists => error,
        other => return other.map(drop),
    };
    let present = associations(aws, "association.subnet-id", subnet).await?;
    let Some(present) = present.into_iter().find(|association| association.subnet == subnet) else {
        return Err(taken);
    };
    if present.table == id {
        return Ok(());
    }
    aws.change("ec2", "ReplaceRouteTableAssociation", || {
        let call = aws.ec2.replace_route_table_association().association_id(&present.id);
        call.route_table_id(id).send()
    })
    .await
    .map(drop)
}

async fn disassociate(aws: &Aws, ids: impl Iterator<Item = String> + Send) -> Result<(), CallError> {
    for association in ids.collect::<Vec<_>>() {
        gone_is_done(
            aws.change("ec2", "DisassociateRouteTable", || {
                aws.ec2.disassociate_route_table().association_id(&association).send()
            })
            .await,
        )?;
    }
    Ok(())
}

/// A subnet's use of a table. AWS gives it an id and no tags.
struct Association {
    id: String,
    table: String,
    subnet: String,
}

/// Associations of subnets, the main one left out: it is the VPC's.
async fn associations(aws: &Aws, by: &str, value: &str) -> Result<Vec<Association>, CallError> {
    let answer = aws
        .read("ec2", "DescribeRouteTables", || {
            aws.ec2.describe_route_tables().filters(filter(by, [value.to_owned()])).send()
        })
        .await?;
    let all = answer.route_tables.unwrap_or_default().into_iter();
    Ok(all
        .flat_map(|table| table.associations.unwrap_or_default())
        .filter(|association| association.main != Some(true))
        .filter_map(|association| {
            Some(Association {
                id: association.route_table_association_id?,
                table: association.route_table_id?,
                subnet: association.subnet_id?,
            })
        })
        .collect())
}

/// The VPC's main table, and the one that a regional NAT gateway brings along.
fn is_made_by_aws(table: &aws_sdk_ec2::types::RouteTable) -> bool {
    table.associations().iter().any(|association| {
        association.main() == Some(true)
            || association.gateway_id().is_some_and(|gateway| gateway.starts_with("nat-"))
    })
}

fn observe(table: &aws_sdk_ec2::types::RouteTable) -> Observed {
    let mut routes: Vec<Route> = table.routes().iter().filter_map(route).collect();
    routes.sort_by(|a, b| a.destination.cmp(&b.destination));
    let used_by = table.associations().iter().filter(|association| association.main() != Some(true));
    let mut subnets: Vec<_> =
        used_by.filter_map(|association| association.subnet_id()).map(Ref::physical).collect();
    subnets.sort();
    let vpc = Ref::physical(table.vpc_id().unwrap_or_default());
    Observed::new(table.route_table_id().unwrap_or_default(), &kinds::RouteTable { vpc, routes, subnets })
        .tags(tag::from_ec2(table.tags.clone()))
}

/// A route as a person wrote it; `None` for what AWS puts there. The target of a black hole is the id of what is gone.
fn route(route: &aws_sdk_ec2::types::Route) -> Option<Route> {
    if route.origin() == Some(&RouteOrigin::EnableVgwRoutePropagation) || route.gateway_id() == Some("local")
    {
        return None;
    }
    let target = route
        .nat_gateway_id()
        .or(route.gateway_id())
        .or(route.transit_gateway_id())
        .or(route.vpc_peering_connection_id())
        .or(route.egress_only_internet_gateway_id())
        .or(route.network_interface_id())
        .or(route.instance_id())
        .or(route.carrier_gateway_id())
        .or(route.local_gateway_id())
        .or(route.core_network_arn())?;
    if route.destination_prefix_list_id().is_some() && target.starts_with("vpce-") {
        return None;
    }
    let destination = route
        .destination_cidr_block()
        .or(route.destination_ipv6_cidr_block())
        .or(route.destination_prefix_list_id())?;
    Some(Route { destination: destination.to_owned(), target: Ref::physical(target) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{Route as AwsRoute, RouteState, RouteTableAssociation};

    fn to(destination: &str, target: &str) -> Route {
        Route { destination: destination.to_owned(), target: Ref::physical(target) }
    }

    #[test]
    fn routes_change_by_destination() {
        let seen = [to("0.0.0.0/0", "nat-dead"), to("10.9.0.0/16", "pcx-1"), to("10.8.0.0/16", "pcx-2")];
        let wanted = [to("0.0.0.0/0", "nat-1"), to("10.8.0.0/16", "pcx-2"), to("::/0", "eigw-1")];
        let expected = RouteChanges {
            create: vec![to("::/0", "eigw-1")],
            replace: vec![to("0.0.0.0/0", "nat-1")],
            delete: vec!["10.9.0.0/16".to_owned()],
        };
        assert_eq!(route_changes(&seen, &wanted), expected);
        assert_eq!(route_changes(&wanted, &wanted), RouteChanges::default());
    }

    #[test]
    fn awss_own_routes_and_the_main_association_are_not_seen_and_black_holes_are() {
        let table = aws_sdk_ec2::types::RouteTable::builder()
            .route_table_id("rtb-1")
            .vpc_id("vpc-1")
            .routes(AwsRoute::builder().destination_cidr_block("10.0.0.0/16").gateway_id("local").build())
            .routes(AwsRoute::builder().destination_prefix_list_id("pl-1").gateway_id("vpce-1").build())
            .routes(
                AwsRoute::builder()
                    .destination_cidr_block("192.168.0.0/16")
                    .gateway_id("vgw-1")
                    .origin(RouteOrigin::EnableVgwRoutePropagation)
                    .build(),
            )
            .routes(
                AwsRoute::builder()
                    .destination_cidr_block("0.0.0.0/0")
                    .nat_gateway_id("nat-dead")
                    .state(RouteState::Blackhole)
                    .build(),
            )
            .associations(RouteTableAssociation::builder().main(true).build())
            .associations(RouteTableAssociation::builder().main(false).subnet_id("subnet-b").build())
            .associations(RouteTableAssociation::builder().subnet_id("subnet-a").build())
            .build();
        let seen = observe(&table);
        assert_eq!(
            seen.fields["routes"],
            serde_json::json!([{"destination": "0.0.0.0/0", "target": "nat-dead"}])
        );
        assert_eq!(seen.fields["subnets"], serde_json::json!(["subnet-a", "subnet-b"]));
        assert!(is_made_by_aws(&table));
    }
}
