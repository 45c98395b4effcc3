//! Load balancers and listeners with their tags, which several kinds need. Listed whole (ELB has no tag filter); tags come
//! from the shared read of the tagging API, and only for what that cannot tell from ELB, 20 at a time.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{Listener, LoadBalancer, LoadBalancerTypeEnum};
use futures::future::try_join_all;
use infra_model::graph::TAG_PREFIX;
use infra_model::snapshot::Unmanaged;

use super::Discovery;
use crate::account::{CallError, Class, Operation};
use crate::aws::Aws;
use crate::aws::tag::{self, Tags};

/// What DescribeTags takes at most.
pub(crate) const ARNS_MAX: usize = 20;

impl Discovery<'_> {
    /// The environment's application load balancers. Strangers in our VPC are noted on the way.
    pub(crate) async fn load_balancers(&self) -> Result<&[(LoadBalancer, Tags)], CallError> {
        self.load_balancers.get_or_try_init(|| load_balancers(self)).await.map(Vec::as_slice)
    }

    /// Every listener of the environment's load balancers, strangers' too.
    pub(crate) async fn listeners(&self) -> Result<&[(Listener, Tags)], CallError> {
        self.listeners.get_or_try_init(|| listeners(self)).await.map(Vec::as_slice)
    }

    /// The tags of ELB objects that a list has just shown; of those that cannot be ours, none.
    pub(crate) async fn elb_tags(
        &self,
        objects: &[(&str, bool)],
    ) -> Result<BTreeMap<String, Tags>, CallError> {
        if objects.is_empty() {
            return Ok(BTreeMap::new());
        }
        let tagged = self.tagged().await?;
        let mut found: BTreeMap<String, Tags> = objects
            .iter()
            .filter_map(|(arn, _)| Some(((*arn).to_owned(), tagged.get(arn)?.clone())))
            .collect();
        let ask: Vec<String> = objects
            .iter()
            .filter(|(arn, looks_ours)| tagged.must_ask(arn, *looks_ours))
            .map(|(arn, _)| (*arn).to_owned())
            .collect();
        for answer in try_join_all(ask.chunks(ARNS_MAX).map(|arns| describe_tags(self.aws, arns))).await? {
            found.extend(answer);
        }
        Ok(found)
    }
}

/// The tags of up to 20 objects. One that went away meanwhile makes AWS refuse them all: then each is asked for alone.
pub(crate) async fn describe_tags(aws: &Aws, arns: &[String]) -> Result<BTreeMap<String, Tags>, CallError> {
    let ask = |arns: Vec<String>| async move {
        let answer = aws
            .read("elasticloadbalancing", "DescribeTags", || {
                aws.elb.describe_tags().set_resource_arns(Some(arns.clone())).send()
            })
            .await?;
        let described = answer.tag_descriptions.unwrap_or_default().into_iter();
        Ok::<_, CallError>(
            described
                .filter_map(|one| Some((one.resource_arn?, tag::from_elb(one.tags))))
                .collect::<BTreeMap<_, _>>(),
        )
    };
    match ask(arns.to_vec()).await {
        Err(error) if error.class == Class::Gone => {
            let mut found = BTreeMap::new();
            for arn in arns {
                match ask(vec![arn.clone()]).await {
                    Ok(one) => found.extend(one),
                    Err(error) if error.class == Class::Gone => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        }
        answer => answer,
    }
}

/// ELB answers a creation that equals what is there with the object that is there, whoever made it. Only its tags tell
/// whether it is ours; if not, the creation has found its name taken.
pub(crate) async fn must_be_ours(
    aws: &Aws,
    operation: &Operation,
    action: &'static str,
    arn: &str,
) -> Result<(), CallError> {
    let found = describe_tags(aws, &[arn.to_owned()]).await?.remove(arn).unwrap_or_default();
    let ownership = operation.tags.iter().filter(|(key, _)| key.starts_with(TAG_PREFIX));
    if ownership.into_iter().all(|(key, value)| found.get(key) == Some(value)) {
        return Ok(());
    }
    let message = format!("{arn} is there already, with the same settings");
    Err(CallError::new("elasticloadbalancing", action, Class::Exists, message))
}

async fn load_balancers(discovery: &Discovery<'_>) -> Result<Vec<(LoadBalancer, Tags)>, CallError> {
    let aws = discovery.aws;
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("elasticloadbalancing", "DescribeLoadBalancers", || {
                aws.elb.describe_load_balancers().set_marker(next.clone()).send()
            })
            .await?;
        all.extend(page.load_balancers.unwrap_or_default());
        next = page.next_marker.filter(|marker| !marker.is_empty());
        if next.is_none() {
            break;
        }
    }
    let vpcs = discovery.vpc_ids().await?;
    let inside = |balancer: &LoadBalancer| vpcs.iter().any(|vpc| Some(vpc.as_str()) == balancer.vpc_id());
    let objects: Vec<(&str, bool)> = all
        .iter()
        .map(|balancer| {
            let named = discovery.names_ours(balancer.load_balancer_name().unwrap_or_default());
            (balancer.load_balancer_arn().unwrap_or_default(), named || inside(balancer))
        })
        .collect();
    let mut tags = discovery.elb_tags(&objects).await?;
    let mut ours = Vec::new();
    for balancer in all {
        let arn = balancer.load_balancer_arn().unwrap_or_default();
        let tags = tags.remove(arn).unwrap_or_default();
        if discovery.owns(&tags) && balancer.r#type() == Some(&LoadBalancerTypeEnum::Application) {
            ours.push((balancer, tags));
        } else if inside(&balancer) {
            discovery.note_unmanaged(Unmanaged {
                what: "load balancer".to_owned(),
                id: arn.to_owned(),
                name: balancer.load_balancer_name().map(str::to_owned),
                within: balancer.vpc_id().unwrap_or_default().to_owned(),
            });
        }
    }
    Ok(ours)
}

async fn listeners(discovery: &Discovery<'_>) -> Result<Vec<(Listener, Tags)>, CallError> {
    let arns =
        discovery.load_balancers().await?.iter().filter_map(|(balancer, _)| balancer.load_balancer_arn());
    let all: Vec<Listener> =
        try_join_all(arns.map(|arn| listeners_of(discovery.aws, arn))).await?.into_iter().flatten().collect();
    let objects: Vec<(&str, bool)> =
        all.iter().map(|listener| (listener.listener_arn().unwrap_or_default(), true)).collect();
    let mut tags = discovery.elb_tags(&objects).await?;
    let tags_of = |listener: Listener| {
        let tags = tags.remove(listener.listener_arn().unwrap_or_default()).unwrap_or_default();
        (listener, tags)
    };
    Ok(all.into_iter().map(tags_of).collect())
}

/// All listeners of one load balancer; none when it is gone.
pub(crate) async fn listeners_of(aws: &Aws, balancer: &str) -> Result<Vec<Listener>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let answer = aws
            .read("elasticloadbalancing", "DescribeListeners", || {
                aws.elb.describe_listeners().load_balancer_arn(balancer).set_marker(next.clone()).send()
            })
            .await;
        let page = match answer {
            Err(error) if error.class == Class::Gone => return Ok(found),
            answer => answer?,
        };
        found.extend(page.listeners.unwrap_or_default());
        next = page.next_marker.filter(|marker| !marker.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}
