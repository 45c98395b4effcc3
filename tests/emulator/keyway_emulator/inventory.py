"""Everything that stands in the emulated accounts, read from moto's own state: what a destroy must leave empty.

It asks no API, so it sees what a reconciler's own reads might miss. Things that AWS keeps after their deletion (INACTIVE
clusters and task definitions, `deleted` NAT gateways, secrets in their recovery window) are left out or marked; what an
account has from the start (default VPC, default groups, AWS's own roles and policies) is left out.
"""

from moto.core.base_backend import BackendDict

from .elasticache import parameter_groups
from .scaling import tags_of


def row(kind, region, identifier, tags=None, **more):
    return {"kind": kind, "region": region, "id": identifier, "tags": dict(tags or {}), **more}


def everything() -> list:
    rows = []
    for known in list(BackendDict._instances):
        reader = READERS.get(known.service_name)
        for account_id in known if reader else ():
            for region, backend in known[account_id].items():
                rows.extend({"account": account_id, **r} for r in reader(backend, region))
    return rows


def pairs(tags, key="Key", value="Value"):
    return {t[key]: t[value] for t in tags or []}


def ec2(b, region):
    default = {v.id for v in b.vpcs.values() if v.is_default in (True, "true")}

    def of(kind, identifier, **more):
        return row(kind, region, identifier, b.tags.get(identifier), **more)

    for vpc in b.vpcs.values():
        if vpc.id not in default:
            yield of("vpc", vpc.id)
    for subnet in (s for zone in b.subnets.values() for s in zone.values()):
        if subnet.vpc_id not in default:
            yield of("subnet", subnet.id, vpc=subnet.vpc_id)
    for gateway in b.internet_gateways.values():
        yield of("internet-gateway", gateway.id, vpc=gateway.vpc.id if gateway.vpc else None)
    for address in b.addresses:
        yield of("elastic-ip", address.allocation_id)
    for nat in b.nat_gateways.values():
        if nat.state != "deleted":
            yield of("nat-gateway", nat.id, vpc=nat.vpc_id)
    for table in b.route_tables.values():
        if table.main_association_id is None and table.vpc_id not in default:
            yield of("route-table", table.id, vpc=table.vpc_id, routes=sorted(r.id.split("~")[-1] for r in table.routes))
    for endpoint in b.vpc_end_points.values():
        yield of("endpoint", endpoint.id, vpc=endpoint.vpc_id)
    for log in b.flow_logs.values():
        yield of("flow-log", log.id, vpc=log.resource_id)
    for group in (g for groups in b.groups.values() for g in groups.values()):
        if group.name != "default":
            rules = len(group.ingress_rules) + len(group.egress_rules)
            yield of("security-group", group.id, name=group.name, vpc=group.vpc_id, rules=rules)
    for eni in b.enis.values():
        yield of("network-interface", eni.id)


def elbv2(b, region):
    for balancer in b.load_balancers.values():
        tags = b.tagging_service.get_tag_dict_for_resource
        yield row("load-balancer", region, balancer.arn, tags(balancer.arn), name=balancer.name)
        for listener in balancer.listeners.values():
            yield row("listener", region, listener.arn, tags(listener.arn), port=listener.port)
            for rule in listener.rules.values():
                if rule.priority != "default":
                    yield row("listener-rule", region, rule.arn, tags(rule.arn), priority=rule.priority)
    for group in b.target_groups.values():
        yield row("target-group", region, group.arn, b.tagging_service.get_tag_dict_for_resource(group.arn), name=group.name)


def wafv2(b, region):
    tags = b.tagging_service.get_tag_dict_for_resource
    for kind, things in (("web-acl", b.wacls), ("ip-set", b.ip_sets), ("regex-set", b.regex_pattern_sets)):
        for arn, thing in things.items():
            yield row(kind, region, arn, tags(arn), name=thing.name)
    for arn in b.logging_configurations:
        yield row("waf-logging", region, arn)


def ecs(b, region):
    for cluster in b.clusters.values():
        if cluster.status == "ACTIVE":
            yield row("cluster", region, cluster.arn, pairs(cluster.tags, "key", "value"))
    for service in b.services.values():
        if service.status == "ACTIVE":
            yield row("service", region, service.arn, pairs(service.tags, "key", "value"), name=service.name)
    for revisions in b.task_definitions.values():
        for definition in revisions.values():
            if definition.status == "ACTIVE":
                yield row("task-definition", region, definition.arn, pairs(definition.tags, "key", "value"))


def scaling(b, region):
    for targets in b.targets.values():
        for target in targets.values():
            yield row("scalable-target", region, target.resource_id, tags_of(b, target.arn))
    for policy in b.policies.values():
        yield row("scaling-policy", region, f"{policy.resource_id}/{policy.policy_name}")


def iam(b, region):
    for role in b.roles.values():
        if not role.path.startswith("/aws-service-role/"):
            yield row("role", region, role.name, pairs(role.get_tags()), inline=sorted(role.policies), attached=sorted(role.managed_policies))
    for policy in b.managed_policies.values():
        if ":iam::aws:" not in policy.arn:
            yield row("policy", region, policy.arn)


def logs(b, region):
    for group in b.groups.values():
        yield row("log-group", region, group.name, b.tagger.get_tag_dict_for_resource(group.arn))


def ecr(b, region):
    for repository in b.repositories.values():
        yield row("repository", region, repository.name, b.tagger.get_tag_dict_for_resource(repository.arn))


def secretsmanager(b, region):
    for secret in b.secrets.values():
        if not secret.is_deleted():
            yield row("secret", region, secret.name, pairs(secret.tags))


def elasticache(b, region):
    tags = b.tagging_service.get_tag_dict_for_resource
    for group in b.replication_groups.values():
        yield row("replication-group", region, group.replication_group_id, tags(group.arn))
    for group in b.cache_subnet_groups.values():
        yield row("cache-subnet-group", region, group.cache_subnet_group_name, tags(group.arn))
    for group in parameter_groups(b).values():
        yield row("cache-parameter-group", region, group.cache_parameter_group_name, tags(group.arn))
    for cluster in b.cache_clusters.values():
        yield row("cache-cluster", region, cluster.cache_cluster_id, tags(cluster.arn))
    for snapshot in b.snapshots.values():
        yield row("cache-snapshot", region, snapshot.snapshot_name, tags(snapshot.arn))


def rds(b, region):
    for database in b.databases.values():
        yield row("database", region, database.db_instance_identifier, pairs(database.get_tags()))
    for group in b.subnet_groups.values():
        yield row("db-subnet-group", region, group.name, pairs(group.get_tags()))
    for group in b.db_parameter_groups.values():
        if not group.name.startswith("default."):
            yield row("db-parameter-group", region, group.name, pairs(group.get_tags()))
    for snapshot in b.database_snapshots.values():
        yield row("db-snapshot", region, snapshot.db_snapshot_identifier, pairs(snapshot.get_tags()))


def acm(b, region):
    for certificate in b._certificates.values():
        yield row("certificate", region, certificate.arn, {k: v or "" for k, v in certificate.tags.items()}, status=certificate.status)


def route53(b, region):
    for zone in b.zones.values():
        yield row("zone", region, zone.id, name=zone.name)
        for record in zone.rrsets:
            if record.type not in ("NS", "SOA"):
                yield row("record", region, f"{zone.id}/{record.name}/{record.type}", name=record.name)


def ssm(b, region):
    for name in list(b._parameters):
        yield row("parameter", region, name)


READERS = {
    "ec2": ec2, "elbv2": elbv2, "wafv2": wafv2, "ecs": ecs, "applicationautoscaling": scaling, "iam": iam, "logs": logs,
    "ecr": ecr, "secretsmanager": secretsmanager, "elasticache": elasticache, "rds": rds, "acm": acm, "route53": route53,
    "ssm": ssm,
}
