//! VPC endpoints through EC2: gateways in route tables, interfaces in subnets. Only the fields of its own type are
//! shown. Deleting is a batch call whose answer is a success even when the one deletion in it failed.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{ResourceType, VpcEndpointType};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::snapshot::State;

use super::*;
use crate::aws::compare::sorted;
use crate::aws::error::unsuccessful;
use crate::aws::listing::{display_name, pages};
use crate::aws::tag;

pub(crate) struct VpcEndpoint;

#[async_trait]
impl AwsKind for VpcEndpoint {
    fn id(&self) -> KindId {
        KindId::VpcEndpoint
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let filters = &discovery.ec2_within("vpc-id").await?;
        let all = pages("ec2", "DescribeVpcEndpoints", |next| async move {
            let page = aws
                .read("ec2", "DescribeVpcEndpoints", || {
                    let call = aws.ec2.describe_vpc_endpoints().set_filters(Some(filters.clone()));
                    call.set_next_token(next.clone()).send()
                })
                .await?;
            Ok((page.vpc_endpoints, page.next_token))
        })
        .await?;
        let mut found = Vec::new();
        for endpoint in all.iter().filter(|endpoint| !is_deleted(endpoint)) {
            let object = observe(endpoint);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else {
                // Some services put their own endpoint into a VPC, and it keeps the VPC from going.
                let name = display_name(&object.tags).or_else(|| endpoint.service_name.clone());
                let vpc = endpoint.vpc_id().unwrap_or_default();
                discovery.note_stranger("VPC endpoint", object.id, name, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::VpcEndpoint = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::VpcEndpoint, &operation.tags);
        let answer = aws
            .change("ec2", "CreateVpcEndpoint", || {
                aws.ec2
                    .create_vpc_endpoint()
                    .vpc_id(wanted.vpc.as_str())
                    .service_name(&wanted.service)
                    .vpc_endpoint_type(VpcEndpointType::from(wanted.endpoint_type.as_str()))
                    .set_private_dns_enabled(wanted.private_dns)
                    .set_route_table_ids(ids(wanted.route_tables.as_deref()))
                    .set_subnet_ids(ids(wanted.subnets.as_deref()))
                    .set_security_group_ids(ids(wanted.security_groups.as_deref()))
                    .client_token(&operation.token)
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        let id = answer
            .vpc_endpoint
            .and_then(|made| made.vpc_endpoint_id)
            .ok_or_else(|| missing("ec2", "CreateVpcEndpoint", "endpoint id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let (id, wanted) = (operation.id(), operation.wanted()?);
        match modify(aws, id, &wanted, &operation.seen()?).await {
            // Adding what is there or removing what is not: an attempt whose answer was lost has done some of it.
            Err(error) if matches!(error.class, Class::Exists | Class::Gone) => {
                let Some(now) = describe(aws, id).await? else { return Err(error) };
                modify(aws, id, &wanted, &typed(&now)).await
            }
            other => other,
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let answer = aws
            .change("ec2", "DeleteVpcEndpoints", || {
                aws.ec2.delete_vpc_endpoints().vpc_endpoint_ids(operation.id()).send()
            })
            .await;
        gone_is_done(answer.and_then(|a| unsuccessful("ec2", "DeleteVpcEndpoints", a.unsuccessful())))
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let object = self.inspect(aws, id).await?;
        Ok(object.map(|object| Look { state: object.state, attributes: object.attributes }))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        Ok(describe(aws, id).await?.as_ref().map(observe))
    }
}

async fn describe(aws: &Aws, id: &str) -> Result<Option<aws_sdk_ec2::types::VpcEndpoint>, CallError> {
    let answer = aws
        .read("ec2", "DescribeVpcEndpoints", || aws.ec2.describe_vpc_endpoints().vpc_endpoint_ids(id).send())
        .await;
    let all = gone_is_none(answer)?.and_then(|answer| answer.vpc_endpoints).unwrap_or_default();
    Ok(all.into_iter().find(|endpoint| !is_deleted(endpoint)))
}

async fn modify(
    aws: &Aws,
    id: &str,
    wanted: &kinds::VpcEndpoint,
    seen: &kinds::VpcEndpoint,
) -> Result<(), CallError> {
    let tables = difference(seen.route_tables.as_deref(), wanted.route_tables.as_deref());
    let subnets = difference(seen.subnets.as_deref(), wanted.subnets.as_deref());
    let groups = difference(seen.security_groups.as_deref(), wanted.security_groups.as_deref());
    let private_dns = wanted.private_dns.filter(|_| wanted.private_dns != seen.private_dns);
    let lists = [&tables, &subnets, &groups];
    if private_dns.is_none() && lists.iter().all(|list| list.add.is_none() && list.remove.is_none()) {
        return Ok(());
    }
    aws.change("ec2", "ModifyVpcEndpoint", || {
        aws.ec2
            .modify_vpc_endpoint()
            .vpc_endpoint_id(id)
            .set_private_dns_enabled(private_dns)
            .set_add_route_table_ids(tables.add.clone())
            .set_remove_route_table_ids(tables.remove.clone())
            .set_add_subnet_ids(subnets.add.clone())
            .set_remove_subnet_ids(subnets.remove.clone())
            .set_add_security_group_ids(groups.add.clone())
            .set_remove_security_group_ids(groups.remove.clone())
            .send()
    })
    .await
    .map(drop)
}

/// What to add to and remove from a list; `None` where there is nothing.
#[derive(Debug, Default, PartialEq)]
struct Difference {
    add: Option<Vec<String>>,
    remove: Option<Vec<String>>,
}

/// A list that is not wanted is not managed.
fn difference<K>(seen: Option<&[Ref<K>]>, wanted: Option<&[Ref<K>]>) -> Difference {
    let Some(wanted) = wanted else { return Difference::default() };
    let set = |refs: &[Ref<K>]| -> BTreeSet<String> { refs.iter().map(|r| r.as_str().to_owned()).collect() };
    let (now, then) = (set(seen.unwrap_or_default()), set(wanted));
    let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        Some(a.difference(b).cloned().collect::<Vec<_>>()).filter(|list| !list.is_empty())
    };
    Difference { add: list(&then, &now), remove: list(&now, &then) }
}

fn ids<K>(refs: Option<&[Ref<K>]>) -> Option<Vec<String>> {
    refs.map(|refs| refs.iter().map(|r| r.as_str().to_owned()).collect())
}

fn is_deleted(endpoint: &aws_sdk_ec2::types::VpcEndpoint) -> bool {
    state_word(endpoint) == "deleted"
}

/// EC2 writes `pending` where its model, and so the SDK's enumeration, has `Pending`.
fn state_word(endpoint: &aws_sdk_ec2::types::VpcEndpoint) -> String {
    endpoint.state().map(|state| state.as_str().to_ascii_lowercase()).unwrap_or_default()
}

fn typed(endpoint: &aws_sdk_ec2::types::VpcEndpoint) -> kinds::VpcEndpoint {
    let endpoint_type = endpoint.vpc_endpoint_type().unwrap_or(&VpcEndpointType::Gateway);
    let gateway = *endpoint_type == VpcEndpointType::Gateway;
    let groups = endpoint.groups().iter().filter_map(|group| group.group_id.clone());
    kinds::VpcEndpoint {
        vpc: Ref::physical(endpoint.vpc_id().unwrap_or_default()),
        service: endpoint.service_name().unwrap_or_default().to_owned(),
        endpoint_type: endpoint_type.as_str().to_owned(),
        private_dns: endpoint.private_dns_enabled().filter(|_| !gateway),
        route_tables: gateway.then(|| sorted(endpoint.route_table_ids().iter().cloned())),
        subnets: (!gateway).then(|| sorted(endpoint.subnet_ids().iter().cloned())),
        security_groups: (!gateway).then(|| sorted(groups)),
    }
}

fn observe(endpoint: &aws_sdk_ec2::types::VpcEndpoint) -> Observed {
    let word = state_word(endpoint);
    let state = match word.as_str() {
        "pending" | "pendingacceptance" => State::Pending(word.clone()),
        "deleting" | "deleted" => State::Deleting,
        "failed" | "rejected" | "expired" => {
            let told = endpoint.last_error().and_then(|error| error.message());
            State::Failed(told.or(endpoint.failure_reason()).unwrap_or(&word).to_owned())
        }
        _ => State::Ready,
    };
    Observed::new(endpoint.vpc_endpoint_id().unwrap_or_default(), &typed(endpoint))
        .tags(tag::from_ec2(endpoint.tags.clone()))
        .state(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::SecurityGroupIdentifier;

    #[test]
    fn lists_differ_only_where_they_are_wanted() {
        let refs =
            |ids: &[&str]| ids.iter().map(|id| Ref::<kinds::Subnet>::physical(*id)).collect::<Vec<_>>();
        let (now, then) = (refs(&["a", "b"]), refs(&["c", "b"]));
        let changed = difference(Some(&now), Some(&then));
        assert_eq!(changed.add.unwrap(), ["c"]);
        assert_eq!(changed.remove.unwrap(), ["a"]);
        assert_eq!(difference(Some(&now), None), Difference::default());
        assert_eq!(difference(Some(&now), Some(&refs(&["b", "a"]))), Difference::default());
    }

    #[test]
    fn each_type_shows_its_own_fields() {
        let base = aws_sdk_ec2::types::VpcEndpoint::builder()
            .vpc_endpoint_id("vpce-1")
            .vpc_id("vpc-1")
            .service_name("com.amazonaws.eu-central-1.s3")
            .private_dns_enabled(false);
        let gateway =
            base.clone().vpc_endpoint_type(VpcEndpointType::Gateway).route_table_ids("rtb-1").build();
        let seen = observe(&gateway);
        assert_eq!(seen.fields["route_tables"], serde_json::json!(["rtb-1"]));
        assert!(!seen.fields.contains_key("private_dns") && !seen.fields.contains_key("subnets"));

        let interface = base
            .vpc_endpoint_type(VpcEndpointType::Interface)
            .state("pending".into())
            .subnet_ids("subnet-b")
            .subnet_ids("subnet-a")
            .groups(SecurityGroupIdentifier::builder().group_id("sg-1").build())
            .build();
        let seen = observe(&interface);
        assert_eq!(seen.fields["subnets"], serde_json::json!(["subnet-a", "subnet-b"]));
        assert_eq!(seen.fields["security_groups"], serde_json::json!(["sg-1"]));
        assert!(!seen.fields.contains_key("route_tables"));
        assert_eq!(seen.state, State::Pending("pending".to_owned()));
    }
}
