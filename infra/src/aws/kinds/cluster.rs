//! ECS clusters. Their description carries tags, settings and capacity providers.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{Cluster as Described, ClusterSetting, ClusterSettingName};
use infra_model::kinds;
use infra_model::snapshot::State;

use super::*;
use crate::aws::ecs;

pub(crate) struct Cluster;

#[async_trait]
impl AwsKind for Cluster {
    fn id(&self) -> KindId {
        KindId::Cluster
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        Ok(discovery.clusters().await?.into_iter().map(observe).collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Cluster = operation.wanted()?;
        let answer = aws
            .change("ecs", "CreateCluster", || {
                aws.ecs
                    .create_cluster()
                    .cluster_name(&wanted.name)
                    .set_settings(wanted.container_insights.as_deref().map(insights))
                    .set_capacity_providers(
                        Some(wanted.capacity_providers.clone()).filter(|list| !list.is_empty()),
                    )
                    .set_tags(Some(ecs::tags(&operation.tags)))
                    .send()
            })
            .await?;
        let cluster = answer.cluster.ok_or_else(|| missing("ecs", "CreateCluster", "cluster"))?;
        let id = cluster.cluster_arn.clone().ok_or_else(|| missing("ecs", "CreateCluster", "cluster ARN"))?;
        // AWS answers a taken name with the cluster that has it, whoever's it is.
        if !tagged_so(&cluster, operation) {
            let now = ecs::describe_clusters(aws, std::slice::from_ref(&id)).await?;
            if !now.first().is_some_and(|cluster| tagged_so(cluster, operation)) {
                let message = format!("a cluster named `{}` is there already", wanted.name);
                return Err(CallError::new("ecs", "CreateCluster", Class::Exists, message));
            }
        }
        Ok(Made { id, attributes: BTreeMap::from([("name".to_owned(), wanted.name)]) })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Cluster = operation.wanted()?;
        let arn = operation.id();
        if group == "settings" {
            let settings = insights(wanted.container_insights.as_deref().unwrap_or("disabled"));
            return aws
                .change("ecs", "UpdateClusterSettings", || {
                    let call = aws.ecs.update_cluster_settings().cluster(arn);
                    call.set_settings(Some(settings.clone())).send()
                })
                .await
                .map(drop);
        }
        // The call replaces the default strategy too, which is nobody's here: what is there stays as far as it can.
        let now = ecs::describe_clusters(aws, &[arn.to_owned()]).await?;
        let strategy = now.first().map(Described::default_capacity_provider_strategy).unwrap_or_default();
        let kept = strategy.iter().filter(|item| wanted.capacity_providers.contains(&item.capacity_provider));
        let kept: Vec<_> = kept.cloned().collect();
        aws.change("ecs", "PutClusterCapacityProviders", || {
            aws.ecs
                .put_cluster_capacity_providers()
                .cluster(arn)
                .set_capacity_providers(Some(wanted.capacity_providers.clone()))
                .set_default_capacity_provider_strategy(Some(kept.clone()))
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ecs(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        gone_is_done(
            aws.change("ecs", "DeleteCluster", || aws.ecs.delete_cluster().cluster(arn).send()).await,
        )
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        let found = ecs::describe_clusters(aws, &[id.to_owned()]).await?;
        Ok(found.first().map(|cluster| Look { state: state(cluster), attributes: attributes(cluster) }))
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let services = aws
            .read("ecs", "ListServices", || aws.ecs.list_services().cluster(id).max_results(100).send())
            .await?;
        let mut held: Vec<String> = services
            .service_arns()
            .iter()
            .map(|arn| format!("the service {} is in it", ecs::last_part(arn)))
            .collect();
        if let Some(cluster) = ecs::describe_clusters(aws, &[id.to_owned()]).await?.first() {
            let tasks = cluster.running_tasks_count + cluster.pending_tasks_count;
            if tasks > 0 {
                held.push(format!("{tasks} tasks run in it"));
            }
        }
        Ok((!held.is_empty()).then(|| held.join("; ")))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        Ok(ecs::describe_clusters(aws, &[id.to_owned()]).await?.first().map(observe))
    }
}

fn tagged_so(cluster: &Described, operation: &Operation) -> bool {
    let tags = ecs::from_tags(cluster.tags.clone());
    operation.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
}

fn insights(value: &str) -> Vec<ClusterSetting> {
    vec![ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(value).build()]
}

fn attributes(cluster: &Described) -> BTreeMap<String, String> {
    BTreeMap::from([("name".to_owned(), cluster.cluster_name().unwrap_or_default().to_owned())])
}

fn state(cluster: &Described) -> State {
    match cluster.status() {
        Some("DEPROVISIONING") => State::Deleting,
        Some("FAILED") => State::Failed("its capacity providers could not be set up".to_owned()),
        Some("PROVISIONING") => State::Pending("PROVISIONING".to_owned()),
        _ => State::Ready,
    }
}

fn observe(cluster: &Described) -> Observed {
    let named = |setting: &&ClusterSetting| setting.name() == Some(&ClusterSettingName::ContainerInsights);
    let mut providers = cluster.capacity_providers().to_vec();
    providers.sort();
    let fields = kinds::Cluster {
        name: cluster.cluster_name().unwrap_or_default().to_owned(),
        container_insights: cluster
            .settings()
            .iter()
            .find(named)
            .map(|setting| setting.value().unwrap_or_default().to_owned()),
        capacity_providers: providers,
    };
    let mut object = Observed::new(cluster.cluster_arn().unwrap_or_default(), &fields)
        .tags(ecs::from_tags(cluster.tags.clone()))
        .state(state(cluster));
    object.attributes = attributes(cluster);
    object
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_cluster_is_observed_with_sorted_providers() {
        let cluster = Described::builder()
            .cluster_arn("arn:aws:ecs:eu-central-1:123456789012:cluster/keyway-staging")
            .cluster_name("keyway-staging")
            .status("DEPROVISIONING")
            .set_settings(Some(insights("enhanced")))
            .capacity_providers("FARGATE_SPOT")
            .capacity_providers("FARGATE")
            .build();
        let observed = observe(&cluster);
        assert_eq!(
            Value::Object(observed.fields),
            json!({
                "name": "keyway-staging", "container_insights": "enhanced",
                "capacity_providers": ["FARGATE", "FARGATE_SPOT"],
            })
        );
        assert_eq!(observed.state, State::Deleting);
        assert_eq!(observed.attributes["name"], "keyway-staging");
    }
}
