//! Postgres instances through RDS. RDS makes the master password itself and keeps it in a secret of its own. Deleting
//! lifts deletion protection first (whether it may is decided elsewhere) and leaves a final snapshot when the instance
//! keeps backups at all.

mod version;

use aws_sdk_rds::types::DbInstance;
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::snapshot::State;
use sha2::{Digest, Sha256};

use super::*;
use crate::aws::compare::{differing, differing_set, sorted, texts};
use crate::aws::listing::pages;
use crate::aws::tag;

pub(crate) struct Database;

#[async_trait]
impl AwsKind for Database {
    fn id(&self) -> KindId {
        KindId::Database
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = pages("rds", "DescribeDBInstances", |next| async move {
            let page = aws
                .read("rds", "DescribeDBInstances", || {
                    aws.rds.describe_db_instances().set_marker(next.clone()).send()
                })
                .await?;
            Ok((page.db_instances, page.marker))
        })
        .await?;
        let mut found = Vec::new();
        for instance in &all {
            let object = observe(instance);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else {
                let vpc = instance.db_subnet_group().and_then(|group| group.vpc_id()).unwrap_or_default();
                discovery.note_stranger("database", object.id, None, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Database = operation.wanted()?;
        let made = match &wanted.restore_from {
            None => create(aws, operation, &wanted).await?.map(|made| observe(&made)),
            Some(snapshot) => restore(aws, operation, &wanted, snapshot).await?.map(|made| observe(&made)),
        };
        let made = made.ok_or_else(|| missing("rds", "CreateDBInstance", "instance"))?;
        let attributes = made.attributes.into_iter().filter(|(name, _)| name == "arn").collect();
        Ok(Made { id: made.id, attributes })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, _group: &str) -> Result<(), CallError> {
        let wanted: kinds::Database = operation.wanted()?;
        let seen: kinds::Database = operation.seen()?;
        modify(aws, operation.id(), &wanted, &seen).await
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_rds(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let id = operation.id();
        let Some(instance) = describe(aws, id).await? else { return Ok(()) };
        if observe(&instance).state == State::Deleting {
            return Ok(());
        }
        if instance.deletion_protection() == Some(true) {
            aws.change("rds", "ModifyDBInstance", || {
                let call = aws.rds.modify_db_instance().db_instance_identifier(id);
                call.deletion_protection(false).apply_immediately(true).send()
            })
            .await?;
        }
        let snapshot = final_snapshot(&instance);
        gone_is_done(
            aws.change("rds", "DeleteDBInstance", || {
                let call = aws.rds.delete_db_instance().db_instance_identifier(id);
                let call = call.skip_final_snapshot(snapshot.is_none());
                call.set_final_db_snapshot_identifier(snapshot.clone()).send()
            })
            .await,
        )
    }

    async fn look(&self, aws: &Aws, id: &str) -> Result<Option<Look>, CallError> {
        Ok(describe(aws, id).await?.map(|instance| {
            let attributes = observe(&instance).attributes;
            Look { state: settled(&instance), attributes }
        }))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        Ok(describe(aws, id).await?.as_ref().map(observe))
    }
}

async fn describe(aws: &Aws, id: &str) -> Result<Option<DbInstance>, CallError> {
    let answer = aws
        .read("rds", "DescribeDBInstances", || {
            aws.rds.describe_db_instances().db_instance_identifier(id).send()
        })
        .await;
    let all = gone_is_none(answer)?.and_then(|answer| answer.db_instances).unwrap_or_default();
    Ok(all.into_iter().next())
}

async fn create(
    aws: &Aws,
    operation: &Operation,
    wanted: &kinds::Database,
) -> Result<Option<DbInstance>, CallError> {
    let leaves_minor = version::leaves_minor(&wanted.engine, &wanted.engine_version);
    let answer = aws
        .change("rds", "CreateDBInstance", || {
            aws.rds
                .create_db_instance()
                .db_instance_identifier(&wanted.name)
                .engine(&wanted.engine)
                .engine_version(&wanted.engine_version)
                .auto_minor_version_upgrade(leaves_minor)
                .db_instance_class(&wanted.class)
                .allocated_storage(number(wanted.storage_gib))
                .storage_type(&wanted.storage_type)
                .db_name(&wanted.database)
                .master_username(&wanted.master_user)
                .manage_master_user_password(true)
                .db_subnet_group_name(wanted.subnet_group.as_str())
                .set_vpc_security_group_ids(Some(texts(&wanted.security_groups)))
                .set_db_parameter_group_name(text(wanted.parameter_group.as_ref()))
                .set_multi_az(wanted.multi_az)
                .publicly_accessible(wanted.public)
                .storage_encrypted(wanted.encrypted)
                .set_backup_retention_period(wanted.backup_days.map(number))
                .set_preferred_backup_window(wanted.backup_window.clone())
                .set_preferred_maintenance_window(wanted.maintenance_window.clone())
                .set_deletion_protection(wanted.deletion_protection)
                .set_enable_performance_insights(wanted.performance_insights)
                .set_tags(Some(tag::rds(&operation.tags)))
                .send()
        })
        .await?;
    Ok(answer.db_instance)
}

/// From a snapshot, which decides engine, database, user and encryption. What this call cannot carry (maintenance
/// window, performance insights, another version) the next plan finds and sets.
async fn restore(
    aws: &Aws,
    operation: &Operation,
    wanted: &kinds::Database,
    snapshot: &str,
) -> Result<Option<DbInstance>, CallError> {
    let leaves_minor = version::leaves_minor(&wanted.engine, &wanted.engine_version);
    let answer = aws
        .change("rds", "RestoreDBInstanceFromDBSnapshot", || {
            aws.rds
                .restore_db_instance_from_db_snapshot()
                .db_instance_identifier(&wanted.name)
                .db_snapshot_identifier(snapshot)
                .auto_minor_version_upgrade(leaves_minor)
                .db_instance_class(&wanted.class)
                .allocated_storage(number(wanted.storage_gib))
                .storage_type(&wanted.storage_type)
                .manage_master_user_password(true)
                .db_subnet_group_name(wanted.subnet_group.as_str())
                .set_vpc_security_group_ids(Some(texts(&wanted.security_groups)))
                .set_db_parameter_group_name(text(wanted.parameter_group.as_ref()))
                .set_multi_az(wanted.multi_az)
                .publicly_accessible(wanted.public)
                .set_backup_retention_period(wanted.backup_days.map(number))
                .set_preferred_backup_window(wanted.backup_window.clone())
                .set_deletion_protection(wanted.deletion_protection)
                .set_tags(Some(tag::rds(&operation.tags)))
                .send()
        })
        .await?;
    Ok(answer.db_instance)
}

async fn modify(
    aws: &Aws,
    id: &str,
    wanted: &kinds::Database,
    seen: &kinds::Database,
) -> Result<(), CallError> {
    if wanted == seen {
        return Ok(());
    }
    let version = version::change(&wanted.engine, &seen.engine_version, &wanted.engine_version);
    let value = |seen: &str, wanted: &str| Some(wanted.to_owned()).filter(|_| seen != wanted);
    let storage = Some(number(wanted.storage_gib)).filter(|_| wanted.storage_gib != seen.storage_gib);
    let parameter_group = differing(&seen.parameter_group, &wanted.parameter_group);
    aws.change("rds", "ModifyDBInstance", || {
        aws.rds
            .modify_db_instance()
            .db_instance_identifier(id)
            // In the maintenance window the account would stay different for days, and every plan with it.
            .apply_immediately(true)
            .set_engine_version(version.to.clone())
            .set_allow_major_version_upgrade(version.major.then_some(true))
            .set_auto_minor_version_upgrade(version.leaves_minor)
            .set_db_instance_class(value(&seen.class, &wanted.class))
            .set_allocated_storage(storage)
            .set_storage_type(value(&seen.storage_type, &wanted.storage_type))
            .set_vpc_security_group_ids(differing_set(&seen.security_groups, &wanted.security_groups))
            .set_db_parameter_group_name(text(parameter_group.as_ref()))
            .set_multi_az(differing(&seen.multi_az, &wanted.multi_az))
            .set_publicly_accessible(Some(wanted.public).filter(|public| *public != seen.public))
            .set_backup_retention_period(differing(&seen.backup_days, &wanted.backup_days).map(number))
            .set_preferred_backup_window(differing(&seen.backup_window, &wanted.backup_window))
            .set_preferred_maintenance_window(differing(&seen.maintenance_window, &wanted.maintenance_window))
            .set_deletion_protection(differing(&seen.deletion_protection, &wanted.deletion_protection))
            .set_enable_performance_insights(differing(
                &seen.performance_insights,
                &wanted.performance_insights,
            ))
            .send()
    })
    .await
    .map(drop)
}

fn text<K>(reference: Option<&Ref<K>>) -> Option<String> {
    reference.map(|r| r.as_str().to_owned())
}

/// Sizes and days are far below this; AWS refuses what is not.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The same for every attempt at deleting one instance, another for the next instance of that name: snapshot names
/// are unique, and the last generation's data must not stand in the way. `None`: no snapshot can or should be made.
fn final_snapshot(instance: &DbInstance) -> Option<String> {
    let keeps_backups = instance.backup_retention_period().unwrap_or_default() > 0;
    if !keeps_backups || never_worked(instance.db_instance_status().unwrap_or_default()) {
        return None;
    }
    let made_at = instance.instance_create_time().map(aws_smithy_types::DateTime::secs).unwrap_or_default();
    let generation = format!("{}/{made_at}", instance.dbi_resource_id().unwrap_or_default());
    let digest = Sha256::digest(generation.as_bytes());
    let short: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{}-final-{short}", instance.db_instance_identifier().unwrap_or_default()))
}

fn never_worked(status: &str) -> bool {
    matches!(status, "failed" | "incompatible-restore" | "restore-error" | "incompatible-create")
}

/// What the object is worth in a plan: an instance that is merely busy is there.
fn state(status: &str) -> State {
    match status {
        "deleting" => State::Deleting,
        "creating" => State::Pending(status.to_owned()),
        failed if never_worked(failed) => State::Failed(format!("RDS calls it {failed}")),
        _ => State::Ready,
    }
}

/// What somebody who waits for it wants to know: it is not settled before every change has arrived.
fn settled(instance: &DbInstance) -> State {
    let status = instance.db_instance_status().unwrap_or("unknown");
    let changing = instance.pending_modified_values().is_some_and(|pending| {
        pending.engine_version.is_some()
            || pending.db_instance_class.is_some()
            || pending.allocated_storage.is_some()
            || pending.storage_type.is_some()
            || pending.multi_az.is_some()
    });
    match status {
        "available" if changing => State::Pending("changing".to_owned()),
        // Backups and storage optimisation go on for hours and hinder nobody; a stopped one was stopped by somebody.
        "available" | "backing-up" | "storage-optimization" | "stopped" => State::Ready,
        "storage-full" | "inaccessible-encryption-credentials" => {
            State::Failed(format!("RDS calls it {status}"))
        }
        other if other.starts_with("incompatible-") => State::Failed(format!("RDS calls it {status}")),
        other => match state(other) {
            State::Ready => State::Pending(other.to_owned()),
            worse => worse,
        },
    }
}

fn observe(instance: &DbInstance) -> Observed {
    // A change that RDS has accepted counts, or every plan until it has arrived would make it again.
    let pending = instance.pending_modified_values();
    let engine = instance.engine().unwrap_or_default().to_owned();
    let actual = pending.and_then(|p| p.engine_version()).or(instance.engine_version()).unwrap_or_default();
    let class = pending.and_then(|p| p.db_instance_class()).or(instance.db_instance_class());
    let storage = pending.and_then(|p| p.allocated_storage).or(instance.allocated_storage);
    let storage_type = pending.and_then(|p| p.storage_type()).or(instance.storage_type());
    let backup_days = pending.and_then(|p| p.backup_retention_period).or(instance.backup_retention_period);
    let groups = instance.vpc_security_groups().iter().filter_map(|g| g.vpc_security_group_id.clone());
    let owned = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let subnet_group = instance.db_subnet_group().and_then(|group| group.db_subnet_group_name());
    let parameters = instance.db_parameter_groups().first();
    let fields = kinds::Database {
        name: owned(instance.db_instance_identifier()),
        engine_version: version::shown(&engine, actual, instance.auto_minor_version_upgrade() == Some(true)),
        engine,
        class: owned(class),
        storage_gib: storage.and_then(|gib| u32::try_from(gib).ok()).unwrap_or_default(),
        storage_type: owned(storage_type),
        database: owned(instance.db_name()),
        master_user: owned(instance.master_username()),
        subnet_group: Ref::physical(subnet_group.unwrap_or_default()),
        security_groups: sorted(groups),
        parameter_group: parameters.and_then(|group| group.db_parameter_group_name()).map(Ref::physical),
        multi_az: pending.and_then(|p| p.multi_az).or(instance.multi_az),
        public: instance.publicly_accessible().unwrap_or_default(),
        encrypted: instance.storage_encrypted().unwrap_or_default(),
        backup_days: backup_days.and_then(|days| u32::try_from(days).ok()),
        backup_window: instance.preferred_backup_window.clone(),
        maintenance_window: instance.preferred_maintenance_window.clone(),
        deletion_protection: instance.deletion_protection,
        performance_insights: instance.performance_insights_enabled,
        restore_from: None,
    };
    let endpoint = instance.endpoint();
    let port = endpoint.and_then(|endpoint| endpoint.port).map(|port| port.to_string());
    Observed::new(fields.name.clone(), &fields)
        .tags(tag::from_rds(instance.tag_list.clone()))
        .attribute("arn", instance.db_instance_arn())
        .attribute("endpoint", endpoint.and_then(|endpoint| endpoint.address()))
        .attribute("port", port)
        .attribute("secret_arn", instance.master_user_secret().and_then(|secret| secret.secret_arn()))
        .state(state(instance.db_instance_status().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
