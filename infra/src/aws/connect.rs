//! Clients from the ordinary AWS configuration: profile, environment variables, single sign-on, instance role.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::{Aws, call};

/// How to reach an account.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The environment's region; it wins over the profile's.
    pub region: String,
    /// Another endpoint for all services (an emulator); `AWS_ENDPOINT_URL` does the same.
    pub endpoint_url: Option<String>,
    pub profile: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{0}` is not an endpoint; give a URL such as http://127.0.0.1:5000")]
    Endpoint(String),
}

/// Long enough for the slowest control-plane call that answers at all (RDS, about 20 s), short enough to notice a cut.
const ATTEMPT_S_MAX: u64 = 60;
const CONNECT_S_MAX: u64 = 5;

impl Aws {
    pub async fn connect(connection: &Connection) -> Result<Self, ConnectError> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(connection.region.clone()))
            // One place decides what is safe to repeat: call.rs.
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(CONNECT_S_MAX))
                    .operation_attempt_timeout(Duration::from_secs(ATTEMPT_S_MAX))
                    .build(),
            );
        if let Some(url) = &connection.endpoint_url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(ConnectError::Endpoint(url.clone()));
            }
            loader = loader.endpoint_url(url);
        }
        if let Some(profile) = &connection.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        Ok(Self {
            region: connection.region.clone(),
            calls: call::Pace::default(),
            identity: tokio::sync::OnceCell::new(),
            acm: aws_sdk_acm::Client::new(&config),
            autoscaling: aws_sdk_applicationautoscaling::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ecr: aws_sdk_ecr::Client::new(&config),
            ecs: aws_sdk_ecs::Client::new(&config),
            elasticache: aws_sdk_elasticache::Client::new(&config),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            rds: aws_sdk_rds::Client::new(&config),
            tagging: aws_sdk_resourcegroupstagging::Client::new(&config),
            route53: aws_sdk_route53::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            waf: aws_sdk_wafv2::Client::new(&config),
        })
    }

    /// Calls made so far.
    pub fn calls(&self) -> &call::CallLog {
        &self.calls.log
    }
}
