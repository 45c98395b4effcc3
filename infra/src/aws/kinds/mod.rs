//! How each kind is read and written through its SDK: one file a kind, all of one shape. None of them decides
//! anything; each says what is there, or does the one thing it is told.

use async_trait::async_trait;
use infra_model::kinds::KindId;
use infra_model::snapshot::Observed;

use super::{Aws, Discovery};
use crate::account::{CallError, Class, Look, Made, Operation};

pub(crate) mod cache;
pub(crate) mod cache_parameter_group;
pub(crate) mod cache_subnet_group;
pub(crate) mod certificate;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod db_parameter_group;
pub(crate) mod db_subnet_group;
pub(crate) mod dns_record;
pub(crate) mod dns_zone;
pub(crate) mod elastic_ip;
pub(crate) mod flow_log;
pub(crate) mod internet_gateway;
pub(crate) mod ip_set;
pub(crate) mod listener;
pub(crate) mod load_balancer;
pub(crate) mod log_group;
pub(crate) mod nat_gateway;
pub(crate) mod repository;
pub(crate) mod role;
pub(crate) mod route_table;
pub(crate) mod scaling;
pub(crate) mod secret;
pub(crate) mod security_group;
pub(crate) mod service;
pub(crate) mod subnet;
pub(crate) mod target_group;
pub(crate) mod task_definition;
pub(crate) mod vpc;
pub(crate) mod vpc_endpoint;
pub(crate) mod web_acl;

/// One kind against AWS.
#[async_trait]
pub(crate) trait AwsKind: Sync {
    fn id(&self) -> KindId;

    /// All objects of this kind that carry the environment's tags (and, noted apart, strangers inside what is ours).
    /// In bulk: the number of calls grows with pages, not with objects.
    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError>;

    /// Creates with tags in the same call.
    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError>;

    /// Makes the fields of one group as wanted. Doing it twice is harmless.
    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let _ = aws;
        let message = format!("a {} has no field group `{group}`", operation.kind);
        Err(CallError::new("infra", "set", Class::Fatal, message))
    }

    /// Sets and removes tags.
    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError>;

    /// Deletes. An object that is already gone is a success.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError>;

    /// One look at an object on its way up or down; `None` when gone. Only kinds that settle, or go slowly, need it.
    async fn look(&self, _aws: &Aws, _id: &str) -> Result<Option<Look>, CallError> {
        Ok(Some(Look::ready()))
    }

    /// What still holds an object that cannot be deleted.
    async fn blockers(&self, _aws: &Aws, _id: &str) -> Result<Option<String>, CallError> {
        Ok(None)
    }

    /// One object by id, whoever owns it, for `adopt`. `None`: there is none.
    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError>;
}

/// The registry: one line a kind.
static KINDS: &[&dyn AwsKind] = &[
    &log_group::LogGroup,
    &role::Role,
    &secret::Secret,
    &repository::Repository,
    &vpc::Vpc,
    &internet_gateway::InternetGateway,
    &subnet::Subnet,
    &elastic_ip::ElasticIp,
    &nat_gateway::NatGateway,
    &route_table::RouteTable,
    &security_group::SecurityGroup,
    &vpc_endpoint::VpcEndpoint,
    &flow_log::FlowLog,
    &dns_zone::DnsZone,
    &certificate::Certificate,
    &load_balancer::LoadBalancer,
    &target_group::TargetGroup,
    &listener::Listener,
    &dns_record::DnsRecord,
    &ip_set::IpSet,
    &web_acl::WebAcl,
    &cache_subnet_group::CacheSubnetGroup,
    &cache_parameter_group::CacheParameterGroup,
    &cache::Cache,
    &db_subnet_group::DbSubnetGroup,
    &db_parameter_group::DbParameterGroup,
    &database::Database,
    &cluster::Cluster,
    &task_definition::TaskDefinition,
    &service::Service,
    &scaling::Scaling,
];

pub(crate) fn of(id: KindId) -> &'static dyn AwsKind {
    KINDS
        .iter()
        .copied()
        .find(|kind| kind.id() == id)
        .expect("every kind of the model has an AWS file; a test holds it")
}

/// A deletion of what is already gone has succeeded.
pub(crate) fn gone_is_done<T>(answer: Result<T, CallError>) -> Result<(), CallError> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.class == Class::Gone => Ok(()),
        Err(error) => Err(error),
    }
}

/// A read of one object that is not there.
pub(crate) fn gone_is_none<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// The answer lacks what AWS promises to send.
pub(crate) fn missing(service: &'static str, action: &'static str, what: &str) -> CallError {
    CallError::new(service, action, Class::Lost, format!("the answer has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_model_is_here_once_and_in_its_order() {
        let ids: Vec<KindId> = KINDS.iter().map(|kind| kind.id()).collect();
        assert_eq!(ids, KindId::ALL);
    }
}
