//! The account as AWS keeps it, through its SDKs. Only this folder names `aws_sdk_*`. It owns clients, the pace of
//! calls and how AWS's errors are understood; what to change it is told, and it decides nothing.

mod call;
mod compare;
mod connect;
mod discovery;
mod ecs;
mod error;
mod interfaces;
pub mod kinds;
mod lease_store;
mod listing;
mod tag;
#[cfg(test)]
mod wire;

use async_trait::async_trait;
use infra_model::graph::Scope;
use infra_model::kinds::KindId;
use infra_model::snapshot::{Observed, Snapshot};

use crate::account::{Account, CallError, Caller, Look, Made, Operation, Parameter, Verb};
pub use call::CallLog;
pub use connect::{ConnectError, Connection};
pub use discovery::Discovery;
pub(crate) use error::strange;

/// Clients of one account and region, and the pace at which they may be used.
pub struct Aws {
    pub(crate) region: String,
    pub(crate) calls: call::Pace,
    /// Asked once: credentials do not change hands during a run.
    identity: tokio::sync::OnceCell<Caller>,
    pub(crate) acm: aws_sdk_acm::Client,
    pub(crate) autoscaling: aws_sdk_applicationautoscaling::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) ecr: aws_sdk_ecr::Client,
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) elasticache: aws_sdk_elasticache::Client,
    pub(crate) elb: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) tagging: aws_sdk_resourcegroupstagging::Client,
    pub(crate) route53: aws_sdk_route53::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) waf: aws_sdk_wafv2::Client,
}

impl Aws {
    async fn identity(&self) -> Result<&Caller, CallError> {
        self.identity
            .get_or_try_init(async || {
                let answer =
                    self.read("sts", "GetCallerIdentity", || self.sts.get_caller_identity().send()).await?;
                Ok(Caller {
                    account: answer.account.unwrap_or_default(),
                    arn: answer.arn.unwrap_or_default(),
                })
            })
            .await
    }

    /// The ARN of something in this account and region, for services that do not answer with it.
    pub(crate) async fn arn(&self, service: &str, resource: &str) -> Result<String, CallError> {
        let caller = self.identity().await?;
        // `arn:aws-cn:sts::...`: the partition is where the caller is.
        let partition = caller.arn.split(':').nth(1).unwrap_or("aws");
        Ok(format!("arn:{partition}:{service}:{}:{}:{resource}", self.region, caller.account))
    }
}

#[async_trait]
impl Account for Aws {
    async fn caller(&self) -> Result<Caller, CallError> {
        self.identity().await.cloned()
    }

    async fn discover(&self, scope: &Scope, wanted: &[KindId]) -> Result<Snapshot, CallError> {
        discovery::discover(self, scope, wanted).await
    }

    async fn perform(&self, operation: &Operation) -> Result<Made, CallError> {
        let kind = kinds::of(operation.kind);
        match &operation.verb {
            Verb::Create => kind.create(self, operation).await,
            Verb::Set(group) => kind.set(self, operation, group).await.map(|()| Made::default()),
            Verb::Tag { remove } => kind.tag(self, operation, remove).await.map(|()| Made::default()),
            Verb::Delete => kind.delete(self, operation).await.map(|()| Made::default()),
        }
    }

    async fn look(&self, kind: KindId, id: &str) -> Result<Option<Look>, CallError> {
        kinds::of(kind).look(self, id).await
    }

    async fn blockers(&self, kind: KindId, id: &str) -> Result<Option<String>, CallError> {
        kinds::of(kind).blockers(self, id).await
    }

    async fn inspect(&self, kind: KindId, id: &str) -> Result<Option<Observed>, CallError> {
        kinds::of(kind).inspect(self, id).await
    }

    async fn parameters(&self, path: &str) -> Result<Vec<Parameter>, CallError> {
        self.list_parameters(path).await
    }

    async fn put_parameter(&self, parameter: &Parameter, fresh: bool) -> Result<(), CallError> {
        self.write_parameter(parameter, fresh).await
    }

    async fn delete_parameter(&self, name: &str) -> Result<(), CallError> {
        self.remove_parameter(name).await
    }
}
