//! The kinds of AWS resource that infra knows, as data. Every kind has one file of one shape: a struct of
//! its fields and a [`Spec`] that says what AWS does when a field changes. How a kind is read and written through an SDK is
//! the shell crate's business; how many of a kind an environment wants is the blueprint's.

mod spec;

pub use crate::address::{Any, Ref};
pub use spec::{Change, Compare, Field, Layer, Losing, Loss, Replacement, Spec, Wait};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind's typed form. `Option` fields left `None` are not managed.
pub trait Kind: Serialize + DeserializeOwned + Send + Sync + 'static {
    const ID: KindId;
    const SPEC: Spec;
}

macro_rules! kinds {
    ($($module:ident :: $kind:ident),+ $(,)?) => {
        $(pub mod $module; pub use $module::$kind;)+

        /// Names a kind. The order is the order of creation where nothing else decides, and of every listing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum KindId { $($kind),+ }

        impl KindId {
            pub const ALL: &'static [KindId] = &[$(KindId::$kind),+];

            pub fn spec(self) -> &'static Spec {
                match self { $(KindId::$kind => const { &<$kind as Kind>::SPEC }),+ }
            }

            /// Parses fields into the typed form and back, to tell whether they are this kind's.
            pub fn check(self, fields: &crate::value::Fields) -> Result<(), serde_json::Error> {
                let value = serde_json::Value::Object(fields.clone());
                match self { $(KindId::$kind => serde_json::from_value::<$kind>(value).map(drop)),+ }
            }
        }
    };
}

// The registry. One line a kind, in the order in which an empty account is filled.
kinds! {
    log_group::LogGroup,
    role::Role,
    secret::Secret,
    repository::Repository,
    vpc::Vpc,
    internet_gateway::InternetGateway,
    subnet::Subnet,
    elastic_ip::ElasticIp,
    nat_gateway::NatGateway,
    route_table::RouteTable,
    security_group::SecurityGroup,
    vpc_endpoint::VpcEndpoint,
    flow_log::FlowLog,
    dns_zone::DnsZone,
    certificate::Certificate,
    load_balancer::LoadBalancer,
    target_group::TargetGroup,
    listener::Listener,
    dns_record::DnsRecord,
    ip_set::IpSet,
    web_acl::WebAcl,
    cache_subnet_group::CacheSubnetGroup,
    cache_parameter_group::CacheParameterGroup,
    cache::Cache,
    db_subnet_group::DbSubnetGroup,
    db_parameter_group::DbParameterGroup,
    database::Database,
    cluster::Cluster,
    task_definition::TaskDefinition,
    service::Service,
    scaling::Scaling,
}

impl KindId {
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    pub fn parse(name: &str) -> Option<KindId> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for KindId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for KindId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for KindId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("no kind is called `{name}`")))
    }
}

#[cfg(test)]
mod tests;
