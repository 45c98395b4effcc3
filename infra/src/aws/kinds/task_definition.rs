//! Task definitions. A family is ours by the tags of any of its revisions: a pipeline registers revisions without our
//! tags, and they belong to the family by name. The newest active revision is the object.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{
    Compatibility, CpuArchitecture, NetworkMode, OsFamily, RuntimePlatform, SortOrder,
    TaskDefinition as Revision, TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus,
};
use infra_model::address::Ref;
use infra_model::graph::Scope;
use infra_model::kinds;

use super::*;
use crate::aws::ecs;
use crate::aws::tag::Tags;

mod container;

pub(crate) struct TaskDefinition;

/// Revisions looked at behind an untagged one when the tag index cannot tell whose the family is. Pipelines register one
/// revision a deployment; the index learns of ours within a minute.
const REVISIONS_MAX: i32 = 10;

#[async_trait]
impl AwsKind for TaskDefinition {
    fn id(&self) -> KindId {
        KindId::TaskDefinition
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let prefix = discovery.scope.prefix();
        let (named, tagged) = futures::try_join!(families(aws, &prefix), discovery.tagged())?;
        let owners = owners(discovery.scope, tagged.iter());
        let mut all: std::collections::BTreeSet<&str> = named.iter().map(String::as_str).collect();
        // The index also knows the dead; of names like ours the list above has all that live.
        all.extend(owners.keys().map(String::as_str).filter(|family| !family.starts_with(&prefix)));
        let reads = all.into_iter().map(|family| {
            let owner = owners.get(family);
            async move {
                let Some((revision, mut tags)) = describe(aws, family).await? else { return Ok(None) };
                if !discovery.owns(&tags) {
                    match owner {
                        Some(owner) => tags.clone_from(owner),
                        None if discovery.names_ours(family) => {
                            tags = older_tags(discovery, family).await?.unwrap_or_default();
                        }
                        None => {}
                    }
                }
                Ok::<_, CallError>(
                    Some(observe(&revision, tags)).filter(|object| discovery.owns(&object.tags)),
                )
            }
        });
        Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::TaskDefinition = operation.wanted()?;
        let containers = wanted.containers.iter().map(container::to_ecs).collect::<Result<Vec<_>, _>>()?;
        let platform = RuntimePlatform::builder()
            .cpu_architecture(CpuArchitecture::from(wanted.architecture.as_str()))
            .operating_system_family(OsFamily::Linux)
            .build();
        let answer = aws
            .change("ecs", "RegisterTaskDefinition", || {
                aws.ecs
                    .register_task_definition()
                    .family(&wanted.family)
                    .cpu(wanted.cpu.to_string())
                    .memory(wanted.memory_mib.to_string())
                    .network_mode(NetworkMode::Awsvpc)
                    .requires_compatibilities(Compatibility::Fargate)
                    .runtime_platform(platform.clone())
                    .execution_role_arn(wanted.execution_role.as_str())
                    .task_role_arn(wanted.task_role.as_str())
                    .set_container_definitions(Some(containers.clone()))
                    .set_tags(Some(ecs::tags(&operation.tags)))
                    .send()
            })
            .await?;
        let id = answer
            .task_definition
            .and_then(|made| made.task_definition_arn)
            .ok_or_else(|| missing("ecs", "RegisterTaskDefinition", "task definition ARN"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ecs(operation, remove).await
    }

    /// Of a revision that has a successor, just this one goes. With the newest, the family goes: all revisions that are
    /// still active, the pipeline's and those an interrupted run has left.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        let active = revisions(aws, family_of(arn)).await?;
        let newest = active.first().is_none_or(|newest| revision_of(newest) <= revision_of(arn));
        let going = active.iter().filter(|active| newest || active.as_str() == arn);
        for revision in going {
            gone_is_done(
                aws.change("ecs", "DeregisterTaskDefinition", || {
                    aws.ecs.deregister_task_definition().task_definition(revision).send()
                })
                .await,
            )?;
        }
        Ok(())
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        Ok(describe(aws, id).await?.map(|_| Look::ready()))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        Ok(describe(aws, id).await?.map(|(revision, tags)| observe(&revision, tags)))
    }
}

/// `keyway-staging-app` of `arn:aws:ecs:...:task-definition/keyway-staging-app:7`.
fn family_of(arn: &str) -> &str {
    let name = ecs::last_part(arn);
    name.split_once(':').map_or(name, |(family, _)| family)
}

fn revision_of(arn: &str) -> u64 {
    let (_, revision) = ecs::last_part(arn).split_once(':').unwrap_or_default();
    revision.parse().unwrap_or_default()
}

/// For each family, the tags of the newest of its revisions that the index knows as ours, dead or alive.
fn owners<'a>(scope: &Scope, tagged: impl Iterator<Item = (&'a str, &'a Tags)>) -> BTreeMap<String, Tags> {
    let mut newest: BTreeMap<String, (u64, &Tags)> = BTreeMap::new();
    let revisions = tagged.filter(|(arn, _)| arn.contains(":task-definition/"));
    for (arn, tags) in revisions.filter(|(_, tags)| scope.address_of(tags).is_some()) {
        let entry = newest.entry(family_of(arn).to_owned()).or_insert((0, tags));
        if revision_of(arn) >= entry.0 {
            *entry = (revision_of(arn), tags);
        }
    }
    newest.into_iter().map(|(family, (_, tags))| (family, tags.clone())).collect()
}

/// Families with an active revision whose name begins so.
async fn families(aws: &Aws, prefix: &str) -> Result<Vec<String>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("ecs", "ListTaskDefinitionFamilies", || {
                let call = aws.ecs.list_task_definition_families().family_prefix(prefix);
                let call = call.status(TaskDefinitionFamilyStatus::Active);
                call.max_results(100).set_next_token(next.clone()).send()
            })
            .await?;
        found.extend(page.families.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// The active revisions of a family, newest first.
async fn revisions(aws: &Aws, family: &str) -> Result<Vec<String>, CallError> {
    let (mut found, mut next) = (Vec::<String>::new(), None::<String>);
    loop {
        let page = aws
            .read("ecs", "ListTaskDefinitions", || {
                // Not a prefix in spite of its name: the whole family's name.
                let call = aws.ecs.list_task_definitions().family_prefix(family);
                let call = call.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc);
                call.max_results(100).set_next_token(next.clone()).send()
            })
            .await?;
        let arns = page.task_definition_arns.unwrap_or_default();
        found.extend(arns.into_iter().filter(|arn| family_of(arn) == family));
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            found.sort_by_key(|arn| std::cmp::Reverse(revision_of(arn)));
            return Ok(found);
        }
    }
}

/// A revision by its ARN, or a family's newest active one by its name. What is deregistered is absent.
async fn describe(aws: &Aws, name: &str) -> Result<Option<(Revision, Tags)>, CallError> {
    let answer = aws
        .read("ecs", "DescribeTaskDefinition", || {
            let call = aws.ecs.describe_task_definition().task_definition(name);
            call.include(TaskDefinitionField::Tags).send()
        })
        .await;
    match answer {
        Ok(answer) => {
            let active =
                answer.task_definition.filter(|found| found.status() == Some(&TaskDefinitionStatus::Active));
            Ok(active.map(|revision| (revision, ecs::from_tags(answer.tags))))
        }
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// The tags of the newest revision that is ours behind an untagged one.
async fn older_tags(discovery: &Discovery<'_>, family: &str) -> Result<Option<Tags>, CallError> {
    let aws = discovery.aws;
    let answer = aws
        .read("ecs", "ListTaskDefinitions", || {
            let call = aws.ecs.list_task_definitions().family_prefix(family);
            let call = call.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc);
            call.max_results(REVISIONS_MAX).send()
        })
        .await?;
    let reads = answer.task_definition_arns().iter().skip(1).map(|arn| describe(aws, arn));
    let found = futures::future::try_join_all(reads).await?.into_iter().flatten();
    Ok(found.map(|(_, tags)| tags).find(|tags| discovery.owns(tags)))
}

fn observe(revision: &Revision, tags: Tags) -> Observed {
    let platform = revision.runtime_platform().and_then(RuntimePlatform::cpu_architecture);
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
    let fields = kinds::TaskDefinition {
        family: revision.family().unwrap_or_default().to_owned(),
        cpu: number(revision.cpu()),
        memory_mib: number(revision.memory()),
        architecture: platform.unwrap_or(&CpuArchitecture::X8664).as_str().to_owned(),
        execution_role: Ref::physical(revision.execution_role_arn().unwrap_or_default()),
        task_role: Ref::physical(revision.task_role_arn().unwrap_or_default()),
        containers: revision.container_definitions().iter().map(container::from_ecs).collect(),
    };
    Observed::new(revision.task_definition_arn().unwrap_or_default(), &fields).tags(tags)
}

#[cfg(test)]
mod tests {
    use infra_model::address::Address;

    use super::*;

    const PREFIX: &str = "arn:aws:ecs:eu-central-1:123456789012:task-definition/";

    #[test]
    fn an_arn_names_family_and_revision() {
        let arn = format!("{PREFIX}keyway-staging-app:12");
        assert_eq!((family_of(&arn), revision_of(&arn)), ("keyway-staging-app", 12));
        assert_eq!((family_of("bare"), revision_of("bare")), ("bare", 0));
    }

    #[test]
    fn a_family_belongs_to_whom_its_newest_tagged_revision_says() {
        let scope = Scope {
            project: "keyway".to_owned(),
            environment: "staging".to_owned(),
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            shared_zones: Default::default(),
        };
        let tags = |address: &str| scope.ownership(&Address::new(address));
        let known = BTreeMap::from([
            (format!("{PREFIX}app:9"), tags("services/old")),
            (format!("{PREFIX}app:10"), tags("services/app")),
            (format!("{PREFIX}foreign:1"), Tags::new()),
            ("arn:aws:ecs:eu-central-1:123456789012:service/c/app".to_owned(), tags("services/app/service")),
        ]);
        let found = owners(&scope, known.iter().map(|(arn, tags)| (arn.as_str(), tags)));
        assert_eq!(found, BTreeMap::from([("app".to_owned(), tags("services/app"))]));
    }
}
