//! Drift in what guards and in what nobody declares: switches that disarm the firewall, certificates and parameters that
//! somebody added, a record that is gone, a subnet that another route table took.

use serde_json::{Value, json};

use crate::drift::{Drift, World, check};

fn acl_key(world: &World<'_>) -> Value {
    let found = world.standing.iter().find(|thing| thing.kind == "web-acl").unwrap();
    json!({ "Name": found.field("name"), "Scope": "REGIONAL", "Id": found.id.rsplit('/').next().unwrap() })
}

const LOOSENED: [Drift; 8] = [
    Drift {
        what: "a firewall that lets everything through when it cannot answer",
        address: "edge/load_balancer",
        act: |world| {
            let arn = world.id("load-balancer", "edge/load_balancer");
            let attributes = json!([{ "Key": "waf.fail_open.enabled", "Value": "true" }]);
            let change = json!({ "LoadBalancerArn": arn, "Attributes": attributes });
            world.call("elbv2", "modify_load_balancer_attributes", change);
        },
    },
    Drift {
        what: "a firewall log that drops everything",
        address: "firewall/web_acl",
        act: |world| {
            let arn = &world.standing.iter().find(|thing| thing.kind == "web-acl").unwrap().id;
            let got = world.call("wafv2", "get_logging_configuration", json!({ "ResourceArn": arn }));
            let mut config = got["LoggingConfiguration"].clone();
            config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            config["LoggingFilter"] = json!({
                "DefaultBehavior": "DROP",
                "Filters": [{
                    "Behavior": "KEEP", "Requirement": "MEETS_ANY",
                    "Conditions": [{ "ActionCondition": { "Action": "COUNT" } }]
                }]
            });
            world.call("wafv2", "put_logging_configuration", json!({ "LoggingConfiguration": config }));
        },
    },
    Drift {
        what: "a firewall that keeps no samples",
        address: "firewall/web_acl",
        act: |world| {
            let key = acl_key(world);
            let got = world.call("wafv2", "get_web_acl", key.clone());
            let acl = &got["WebACL"];
            let mut visibility = acl["VisibilityConfig"].clone();
            visibility["SampledRequestsEnabled"] = json!(false);
            let update = json!({
                "Name": key["Name"], "Scope": "REGIONAL", "Id": key["Id"], "LockToken": got["LockToken"],
                "Description": acl["Description"], "DefaultAction": acl["DefaultAction"], "Rules": acl["Rules"],
                "VisibilityConfig": visibility,
            });
            world.call("wafv2", "update_web_acl", update);
        },
    },
    Drift {
        what: "a second certificate",
        address: "edge/listener/https",
        act: |world| {
            let made = world.call("acm", "request_certificate", json!({ "DomainName": "by-hand.example" }));
            let certificates = json!([{ "CertificateArn": made["CertificateArn"] }]);
            let change = json!({ "ListenerArn": world.listener(), "Certificates": certificates });
            world.call("elbv2", "add_listener_certificates", change);
        },
    },
    Drift {
        what: "a parameter of the database that nobody declared",
        address: "data/postgres/parameter_group",
        act: |world| {
            let name = world.id("db-parameter-group", "data/postgres/parameter_group");
            let parameter = json!([{
                "ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"
            }]);
            let change = json!({ "DBParameterGroupName": name, "Parameters": parameter });
            world.call("rds", "modify_db_parameter_group", change);
        },
    },
    Drift {
        what: "a parameter of the cache that nobody declared",
        address: "data/redis/parameter_group",
        act: |world| {
            let name = world.id("cache-parameter-group", "data/redis/parameter_group");
            let parameter = json!([{ "ParameterName": "timeout", "ParameterValue": "5" }]);
            let change = json!({ "CacheParameterGroupName": name, "ParameterNameValues": parameter });
            world.call("elasticache", "modify_cache_parameter_group", change);
        },
    },
    Drift {
        what: "a record that is gone",
        address: "edge/record/api",
        act: |world| {
            let zone = &world.standing.iter().find(|thing| thing.kind == "zone").unwrap().id;
            let listed = world.call("route53", "list_resource_record_sets", json!({ "HostedZoneId": zone }));
            let records = listed["ResourceRecordSets"].as_array().unwrap();
            let ours = |record: &&Value| {
                record["Type"] == "A" && record["Name"].as_str().unwrap().starts_with("api.")
            };
            let record = records.iter().find(ours).unwrap();
            let batch = json!({ "Changes": [{ "Action": "DELETE", "ResourceRecordSet": record }] });
            let change = json!({ "HostedZoneId": zone, "ChangeBatch": batch });
            world.call("route53", "change_resource_record_sets", change);
        },
    },
    Drift {
        what: "a subnet that another table took",
        address: "network/route_table/private/a",
        act: |world| {
            let subnet = world.id("subnet", "network/subnet/private/a");
            let filter = json!([{ "Name": "association.subnet-id", "Values": [subnet] }]);
            let answer = world.call("ec2", "describe_route_tables", json!({ "Filters": filter }));
            let associations = answer["RouteTables"][0]["Associations"].as_array().unwrap();
            let held = associations.iter().find(|one| one["SubnetId"] == json!(subnet)).unwrap();
            let table = world.id("route-table", "network/route_table/private/b");
            let change = json!({ "AssociationId": held["RouteTableAssociationId"], "RouteTableId": table });
            world.call("ec2", "replace_route_table_association", change);
        },
    },
];

#[test]
fn what_guards_is_found_loosened_and_mended() {
    check(&LOOSENED);
}
