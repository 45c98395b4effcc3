//! Autoscaling of ECS services through Application Auto Scaling. Targets and policies are listed for the whole
//! namespace; neither list shows tags. Registering is an upsert that ignores the tags of a target that is there.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_applicationautoscaling::types::{
    CustomizedMetricSpecification, MetricDimension, MetricStatistic, MetricType, PolicyType,
    PredefinedMetricSpecification, ScalableDimension, ScalableTarget, ScalingPolicy, ServiceNamespace,
    TargetTrackingScalingPolicyConfiguration as Tracking,
};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::kinds::scaling::{CustomMetric, Policy};

use super::*;
use crate::aws::ecs::{built, signed, unsigned};
use crate::aws::tag::Tags;

pub(crate) struct Scaling;

const SERVICE: &str = "application-autoscaling";
const NAMESPACE: ServiceNamespace = ServiceNamespace::Ecs;
const DIMENSION: ScalableDimension = ScalableDimension::EcsServiceDesiredCount;

/// AWS takes this for a cooldown that is left out.
const COOLDOWN_S_DEFAULT: i32 = 300;

#[async_trait]
impl AwsKind for Scaling {
    fn id(&self) -> KindId {
        KindId::Scaling
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let (targets, policies) = futures::try_join!(targets(aws, None), policies(aws, None))?;
        let reads = targets.iter().map(|target| {
            let policies = &policies;
            async move {
                let arn = target.scalable_target_arn().unwrap_or_default();
                // `service/keyway-staging/app`: the cluster's name tells whose it may be.
                let cluster = target.resource_id.split('/').nth(1).unwrap_or_default();
                let tags = discovery.tags_of(arn, cluster, || read_tags(aws, arn)).await?;
                Ok::<_, CallError>(discovery.owns(&tags).then(|| observe(target, policies, tags)))
            }
        });
        Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Scaling = operation.wanted()?;
        let mut arn = None;
        if let Some(there) = targets(aws, Some(&wanted.resource)).await?.first() {
            let known = there.scalable_target_arn().unwrap_or_default();
            let tags = read_tags(aws, known).await?;
            if !operation.tags.iter().all(|(key, value)| tags.get(key) == Some(value)) {
                let message = format!("`{}` is scaled by somebody else already", wanted.resource);
                return Err(CallError::new(SERVICE, "RegisterScalableTarget", Class::Exists, message));
            }
            arn = Some(known.to_owned());
        }
        let answer = register(aws, &wanted, Some(&operation.tags)).await?;
        let arn = answer
            .or(arn)
            .ok_or_else(|| missing(SERVICE, "RegisterScalableTarget", "scalable target ARN"))?;
        Ok(Made { id: wanted.resource, attributes: BTreeMap::from([("arn".to_owned(), arn)]) })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Scaling = operation.wanted()?;
        if group == "bounds" {
            return register(aws, &wanted, None).await.map(drop);
        }
        let seen: kinds::Scaling = operation.seen()?;
        let extra = seen.policies.iter().filter(|(name, policy)| {
            // A policy of another type cannot become one of ours under the same name.
            !wanted.policies.contains_key(*name) || !is_tracking(policy)
        });
        for (name, _) in extra {
            gone_is_done(
                aws.change(SERVICE, "DeleteScalingPolicy", || {
                    aws.autoscaling
                        .delete_scaling_policy()
                        .policy_name(name)
                        .service_namespace(NAMESPACE)
                        .resource_id(&wanted.resource)
                        .scalable_dimension(DIMENSION)
                        .send()
                })
                .await,
            )?;
        }
        for (name, policy) in
            wanted.policies.iter().filter(|(name, policy)| seen.policies.get(*name) != Some(policy))
        {
            let tracking = tracking(policy)?;
            aws.change(SERVICE, "PutScalingPolicy", || {
                aws.autoscaling
                    .put_scaling_policy()
                    .policy_name(name)
                    .service_namespace(NAMESPACE)
                    .resource_id(&wanted.resource)
                    .scalable_dimension(DIMENSION)
                    .policy_type(PolicyType::TargetTrackingScaling)
                    .target_tracking_scaling_policy_configuration(tracking.clone())
                    .send()
            })
            .await?;
        }
        Ok(())
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let known = operation.observed.as_ref().and_then(|seen| seen.attributes.get("arn"));
        let arn = known.ok_or_else(|| missing(SERVICE, "DescribeScalableTargets", "scalable target ARN"))?;
        aws.change(SERVICE, "TagResource", || {
            aws.autoscaling.tag_resource().resource_arn(arn).set_tags(Some(to_map(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            aws.change(SERVICE, "UntagResource", || {
                let call = aws.autoscaling.untag_resource().resource_arn(arn);
                call.set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    /// The target takes its policies and their alarms with it.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        gone_is_done(
            aws.change(SERVICE, "DeregisterScalableTarget", || {
                aws.autoscaling
                    .deregister_scalable_target()
                    .service_namespace(NAMESPACE)
                    .resource_id(operation.id())
                    .scalable_dimension(DIMENSION)
                    .send()
            })
            .await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let (targets, policies) = futures::try_join!(targets(aws, Some(id)), policies(aws, Some(id)))?;
        let Some(target) = targets.first() else { return Ok(None) };
        let tags = read_tags(aws, target.scalable_target_arn().unwrap_or_default()).await?;
        Ok(Some(observe(target, &policies, tags)))
    }
}

/// Answers with the ARN where AWS tells it.
async fn register(
    aws: &Aws,
    wanted: &kinds::Scaling,
    tags: Option<&Tags>,
) -> Result<Option<String>, CallError> {
    let answer = aws
        .change(SERVICE, "RegisterScalableTarget", || {
            aws.autoscaling
                .register_scalable_target()
                .service_namespace(NAMESPACE)
                .resource_id(&wanted.resource)
                .scalable_dimension(DIMENSION)
                .min_capacity(signed(wanted.minimum))
                .max_capacity(signed(wanted.maximum))
                .set_tags(tags.map(to_map))
                .send()
        })
        .await?;
    Ok(answer.scalable_target_arn)
}

/// One target, or all of ECS: 50 a page, AWS's maximum.
async fn targets(aws: &Aws, only: Option<&str>) -> Result<Vec<ScalableTarget>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read(SERVICE, "DescribeScalableTargets", || {
                aws.autoscaling
                    .describe_scalable_targets()
                    .service_namespace(NAMESPACE)
                    .scalable_dimension(DIMENSION)
                    .set_resource_ids(only.map(|id| vec![id.to_owned()]))
                    .set_next_token(next.clone())
                    .send()
            })
            .await?;
        found.extend(page.scalable_targets.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn policies(aws: &Aws, only: Option<&str>) -> Result<Vec<ScalingPolicy>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read(SERVICE, "DescribeScalingPolicies", || {
                let call = aws.autoscaling.describe_scaling_policies().service_namespace(NAMESPACE);
                // The API takes a dimension only together with a resource.
                let call = match only {
                    Some(id) => call.resource_id(id).scalable_dimension(DIMENSION),
                    None => call,
                };
                call.set_next_token(next.clone()).send()
            })
            .await?;
        found.extend(page.scaling_policies.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn read_tags(aws: &Aws, arn: &str) -> Result<Tags, CallError> {
    let answer = aws
        .read(SERVICE, "ListTagsForResource", || {
            aws.autoscaling.list_tags_for_resource().resource_arn(arn).send()
        })
        .await?;
    Ok(answer.tags.unwrap_or_default().into_iter().collect())
}

fn to_map(tags: &Tags) -> HashMap<String, String> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A policy of another type is shown by its type's name, which is no metric's.
fn is_tracking(policy: &Policy) -> bool {
    policy.predefined.as_deref().is_none_or(|name| PolicyType::values().iter().all(|other| *other != name))
}

fn tracking(policy: &Policy) -> Result<Tracking, CallError> {
    let tracking = Tracking::builder()
        .target_value(policy.target)
        .scale_in_cooldown(signed(policy.scale_in_cooldown_s))
        .scale_out_cooldown(signed(policy.scale_out_cooldown_s));
    let tracking = match (&policy.predefined, &policy.custom) {
        (Some(metric), _) => {
            let metric = PredefinedMetricSpecification::builder()
                .predefined_metric_type(MetricType::from(metric.as_str()));
            tracking.predefined_metric_specification(built(metric.build())?)
        }
        (None, Some(custom)) => {
            let dimensions = custom
                .dimensions
                .iter()
                .map(|(name, value)| built(MetricDimension::builder().name(name).value(value).build()));
            tracking.customized_metric_specification(
                CustomizedMetricSpecification::builder()
                    .namespace(&custom.namespace)
                    .metric_name(&custom.name)
                    .set_dimensions(Some(dimensions.collect::<Result<_, _>>()?))
                    .statistic(MetricStatistic::from(custom.statistic.as_str()))
                    .build(),
            )
        }
        (None, None) => {
            let message = "a scaling policy names neither a predefined nor a custom metric";
            return Err(CallError::new(SERVICE, "PutScalingPolicy", Class::Fatal, message));
        }
    };
    built(tracking.build())
}

fn observe_policy(policy: &ScalingPolicy) -> Policy {
    let Some(tracking) = policy.target_tracking_scaling_policy_configuration() else {
        return Policy {
            predefined: Some(policy.policy_type.as_str().to_owned()),
            custom: None,
            target: 0.0,
            scale_in_cooldown_s: 0,
            scale_out_cooldown_s: 0,
        };
    };
    let custom = tracking.customized_metric_specification().map(|metric| CustomMetric {
        namespace: metric.namespace().unwrap_or_default().to_owned(),
        name: metric.metric_name().unwrap_or_default().to_owned(),
        dimensions: metric
            .dimensions()
            .iter()
            .map(|dimension| (dimension.name.clone(), dimension.value.clone()))
            .collect(),
        statistic: metric.statistic().map(MetricStatistic::as_str).unwrap_or_default().to_owned(),
    });
    let cooldown = |seconds: Option<i32>| unsigned(seconds.unwrap_or(COOLDOWN_S_DEFAULT));
    Policy {
        predefined: tracking
            .predefined_metric_specification()
            .map(|metric| metric.predefined_metric_type.as_str().to_owned()),
        custom,
        target: tracking.target_value,
        scale_in_cooldown_s: cooldown(tracking.scale_in_cooldown),
        scale_out_cooldown_s: cooldown(tracking.scale_out_cooldown),
    }
}

fn observe(target: &ScalableTarget, policies: &[ScalingPolicy], tags: Tags) -> Observed {
    let of_target = policies.iter().filter(|policy| {
        policy.resource_id == target.resource_id && policy.scalable_dimension == target.scalable_dimension
    });
    let fields = kinds::Scaling {
        resource: target.resource_id.clone(),
        // AWS knows the service by its name only.
        service: Ref::physical(&target.resource_id),
        minimum: unsigned(target.min_capacity),
        maximum: unsigned(target.max_capacity),
        policies: of_target.map(|policy| (policy.policy_name.clone(), observe_policy(policy))).collect(),
    };
    let object = Observed::new(target.resource_id.clone(), &fields);
    object.tags(tags).attribute("arn", target.scalable_target_arn())
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    fn observed(policy_type: PolicyType, configuration: Option<Tracking>) -> Policy {
        let policy = ScalingPolicy::builder()
            .policy_arn("arn")
            .policy_name("cpu")
            .service_namespace(NAMESPACE)
            .resource_id("service/keyway-staging/app")
            .scalable_dimension(DIMENSION)
            .policy_type(policy_type)
            .set_target_tracking_scaling_policy_configuration(configuration)
            .creation_time(DateTime::from_secs(0));
        observe_policy(&policy.build().unwrap())
    }

    #[test]
    fn a_policy_comes_back_as_it_went() {
        let cpu = Policy {
            predefined: Some("ECSServiceAverageCPUUtilization".to_owned()),
            custom: None,
            target: 60.0,
            scale_in_cooldown_s: 300,
            scale_out_cooldown_s: 60,
        };
        let sockets = Policy {
            predefined: None,
            custom: Some(CustomMetric {
                namespace: "Keyway".to_owned(),
                name: "OpenSockets".to_owned(),
                dimensions: BTreeMap::from([("Service".to_owned(), "gateway".to_owned())]),
                statistic: "Average".to_owned(),
            }),
            target: 5000.0,
            scale_in_cooldown_s: 0,
            scale_out_cooldown_s: 30,
        };
        for policy in [cpu, sockets] {
            assert!(is_tracking(&policy));
            let configuration = tracking(&policy).unwrap();
            assert_eq!(observed(PolicyType::TargetTrackingScaling, Some(configuration)), policy);
        }
    }

    #[test]
    fn a_policy_of_another_type_is_seen_and_is_none_of_ours() {
        let step = observed(PolicyType::StepScaling, None);
        assert_eq!(step.predefined.as_deref(), Some("StepScaling"));
        assert!(!is_tracking(&step));
    }
}
