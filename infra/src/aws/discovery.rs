//! Reading a whole environment: every kind lists itself in bulk and at the same time, and reads that several kinds
//! need are made once. What is denied is noted as incomplete, never taken for absence.

pub(crate) mod balancers;
mod tagged;
pub(crate) mod zones;

use std::collections::BTreeMap;

use futures::future::join_all;
use infra_model::graph::{Scope, TAG_ENVIRONMENT, TAG_PROJECT};
use infra_model::kinds::KindId;
use infra_model::snapshot::{Observed, Snapshot, Unmanaged};
use tokio::sync::OnceCell;

use super::tag::Tags;
use super::{Aws, kinds};
use crate::account::{CallError, Class};

/// One reading of one environment, with what its kinds share. Each shared read is made at most once, on first use.
pub struct Discovery<'a> {
    pub(crate) aws: &'a Aws,
    pub(crate) scope: &'a Scope,
    pub(crate) vpcs: OnceCell<Vec<aws_sdk_ec2::types::Vpc>>,
    pub(super) clusters: OnceCell<Vec<aws_sdk_ecs::types::Cluster>>,
    tagged: OnceCell<tagged::Tagged>,
    load_balancers: OnceCell<Vec<(aws_sdk_elasticloadbalancingv2::types::LoadBalancer, Tags)>>,
    listeners: OnceCell<Vec<(aws_sdk_elasticloadbalancingv2::types::Listener, Tags)>>,
    hosted_zones: OnceCell<Vec<aws_sdk_route53::types::HostedZone>>,
    zones: OnceCell<Vec<zones::OwnedZone>>,
    nat_gateways: OnceCell<Vec<aws_sdk_ec2::types::NatGateway>>,
    cache_subnet_groups: OnceCell<Vec<aws_sdk_elasticache::types::CacheSubnetGroup>>,
    unmanaged: std::sync::Mutex<Vec<Unmanaged>>,
    missing: std::sync::Mutex<BTreeMap<String, String>>,
}

impl<'a> Discovery<'a> {
    fn new(aws: &'a Aws, scope: &'a Scope) -> Self {
        Self {
            aws,
            scope,
            vpcs: OnceCell::new(),
            clusters: OnceCell::new(),
            tagged: OnceCell::new(),
            load_balancers: OnceCell::new(),
            listeners: OnceCell::new(),
            hosted_zones: OnceCell::new(),
            zones: OnceCell::new(),
            nat_gateways: OnceCell::new(),
            cache_subnet_groups: OnceCell::new(),
            unmanaged: std::sync::Mutex::default(),
            missing: std::sync::Mutex::default(),
        }
    }

    /// The ids of this environment's VPCs: one, none yet, or two after an accident.
    pub(crate) async fn vpc_ids(&self) -> Result<Vec<String>, CallError> {
        Ok(self.vpcs().await?.iter().filter_map(|vpc| vpc.vpc_id.clone()).collect())
    }

    pub(crate) async fn vpcs(&self) -> Result<&[aws_sdk_ec2::types::Vpc], CallError> {
        self.vpcs.get_or_try_init(|| kinds::vpc::list(self)).await.map(Vec::as_slice)
    }

    /// The NAT gateways in our VPCs that are not gone, whoever owns them.
    pub(crate) async fn nat_gateways(&self) -> Result<&[aws_sdk_ec2::types::NatGateway], CallError> {
        self.nat_gateways.get_or_try_init(|| kinds::nat_gateway::list(self)).await.map(Vec::as_slice)
    }

    /// All cache subnet groups of the account, whoever owns them.
    pub(crate) async fn cache_subnet_groups(
        &self,
    ) -> Result<&[aws_sdk_elasticache::types::CacheSubnetGroup], CallError> {
        let list = || kinds::cache_subnet_group::list(self.aws);
        self.cache_subnet_groups.get_or_try_init(list).await.map(Vec::as_slice)
    }

    /// EC2's filters for objects of this environment.
    pub(crate) fn ec2_tag_filters(&self) -> Vec<aws_sdk_ec2::types::Filter> {
        [(TAG_PROJECT, &self.scope.project), (TAG_ENVIRONMENT, &self.scope.environment)]
            .into_iter()
            .map(|(key, value)| {
                aws_sdk_ec2::types::Filter::builder().name(format!("tag:{key}")).values(value).build()
            })
            .collect()
    }

    /// Whether these tags say that the object belongs to this environment.
    pub(crate) fn owns(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(TAG_PROJECT) == Some(&self.scope.project)
            && tags.get(TAG_ENVIRONMENT) == Some(&self.scope.environment)
    }

    /// Notes an object that lives inside our VPC or cluster without our tags.
    pub(crate) fn note_unmanaged(&self, object: Unmanaged) {
        self.unmanaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(object);
    }
}

impl Discovery<'_> {
    /// Notes that nothing has an id which the environment names: `what` it would be.
    pub(crate) fn note_missing(&self, id: &str, what: &str) {
        let mut missing = self.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        missing.insert(id.to_owned(), what.to_owned());
    }
}

pub(super) async fn discover(aws: &Aws, scope: &Scope, wanted: &[KindId]) -> Result<Snapshot, CallError> {
    let discovery = Discovery::new(aws, scope);
    let reads = wanted.iter().map(|&kind| {
        let discovery = &discovery;
        async move { (kind, kinds::of(kind).discover(discovery).await) }
    });
    let mut snapshot = Snapshot::empty(scope.clone());
    for (kind, answer) in join_all(reads).await {
        match answer {
            Ok(found) => snapshot.resources.extend(found.into_iter().map(|object| addressed(scope, object))),
            Err(error) if error.class == Class::Denied => {
                snapshot.incomplete.insert(kind, error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    snapshot.unmanaged = discovery.unmanaged.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    snapshot.missing = discovery.missing.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    snapshot.sort();
    Ok(snapshot)
}

/// An object's address is what its tags say; without them, what the kind could tell otherwise.
fn addressed(scope: &Scope, mut object: Observed) -> Observed {
    object.address = scope.address_of(&object.tags).or(object.address);
    object
}
