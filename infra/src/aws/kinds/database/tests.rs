//! Conversions of instances, without RDS.

use aws_sdk_rds::types::{DbSubnetGroup, PendingModifiedValues};
use aws_smithy_types::DateTime;

use super::*;

fn instance(status: &str) -> aws_sdk_rds::types::builders::DbInstanceBuilder {
    DbInstance::builder()
        .db_instance_identifier("keyway-staging")
        .dbi_resource_id("db-ABC")
        .instance_create_time(DateTime::from_secs(1_700_000_000))
        .db_instance_status(status)
        .engine("postgres")
        .engine_version("17.4")
        .auto_minor_version_upgrade(true)
        .db_instance_class("db.t4g.small")
        .allocated_storage(20)
        .backup_retention_period(7)
        .db_subnet_group(DbSubnetGroup::builder().db_subnet_group_name("keyway-staging").build())
}

#[test]
fn an_accepted_change_is_shown_and_still_waited_for() {
    let pending =
        PendingModifiedValues::builder().db_instance_class("db.t4g.large").engine_version("18.1").build();
    let busy = instance("available").pending_modified_values(pending).build();
    let seen = observe(&busy);
    assert_eq!(seen.fields["class"], "db.t4g.large");
    assert_eq!(seen.fields["engine_version"], "18");
    assert_eq!(settled(&busy), State::Pending("changing".to_owned()));
    assert_eq!(settled(&instance("available").build()), State::Ready);
}

#[test]
fn states_are_those_of_a_plan_and_of_a_wait() {
    let check = |status: &str, in_plan: &str, in_wait: &str| {
        let name = |state: State| format!("{state:?}").split('(').next().unwrap_or_default().to_owned();
        assert_eq!(name(state(status)), in_plan, "{status} in a plan");
        assert_eq!(name(settled(&instance(status).build())), in_wait, "{status} in a wait");
    };
    check("creating", "Pending", "Pending");
    check("available", "Ready", "Ready");
    check("backing-up", "Ready", "Ready");
    check("modifying", "Ready", "Pending");
    check("stopped", "Ready", "Ready");
    check("deleting", "Deleting", "Deleting");
    check("failed", "Failed", "Failed");
    // Repaired by changing it, never by making another: it holds the data.
    check("incompatible-parameters", "Ready", "Failed");
    check("storage-full", "Ready", "Failed");
}

#[test]
fn a_final_snapshot_is_named_after_one_generation_and_only_where_backups_are_kept() {
    let first = final_snapshot(&instance("available").build()).unwrap();
    assert_eq!(final_snapshot(&instance("modifying").build()).as_ref(), Some(&first));
    assert!(first.starts_with("keyway-staging-final-"), "{first}");
    let next = instance("available").instance_create_time(DateTime::from_secs(1_700_000_001)).build();
    assert_ne!(final_snapshot(&next), Some(first));
    assert_eq!(final_snapshot(&instance("available").backup_retention_period(0).build()), None);
    assert_eq!(final_snapshot(&instance("failed").build()), None);
}
