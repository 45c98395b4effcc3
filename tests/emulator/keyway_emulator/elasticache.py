"""ElastiCache: replication groups with their members, parameter groups, subnet groups that can change and go.

Restores, against moto 5.2.5 (all of it 404 or 500 there unless said otherwise):
- NumCacheClusters of CreateReplicationGroup (ignored in moto); members are listed by DescribeCacheClusters and carry what
  DescribeReplicationGroups does not: subnet group, security groups, parameter group, engine version, maintenance window;
- ModifyReplicationGroup of every documented setting at once when ApplyImmediately; IncreaseReplicaCount, DecreaseReplicaCount;
- DeleteReplicationGroup ends with the group gone (moto leaves it "deleting" for ever), with its final snapshot when asked;
- ModifyCacheSubnetGroup, DeleteCacheSubnetGroup (CacheSubnetGroupInUse while a group stands in it);
- Create/Describe/Modify/Reset/DeleteCacheParameterGroup and DescribeCacheParameters, DescribeCacheEngineVersions;
- names are unique (API reference, Errors) and tags are asked of what exists.
"""

from moto.core.responses import ActionResult, EmptyResult, PaginatedResult
from moto.core.utils import utcnow
from moto.elasticache import models
from moto.elasticache.exceptions import CacheSubnetGroupNotFound, ElastiCacheException, ReplicationGroupNotFound
from moto.elasticache.responses import ElastiCacheResponse

from .patching import action, method, of_backend, replace

# API_DescribeCacheEngineVersions, the newest of each family that the reference environment may name.
ENGINE_VERSIONS = (
    ("valkey", "7.2", "valkey7"), ("valkey", "8.0", "valkey8"), ("valkey", "8.1", "valkey8"), ("valkey", "8.2", "valkey8"),
    ("redis", "6.2", "redis6.x"), ("redis", "7.0", "redis7"), ("redis", "7.1", "redis7"), ("memcached", "1.6.22", "memcached1.6"),
)


class Refusal(ElastiCacheException):
    def __init__(self, code, message):
        super().__init__(code, message)


class ParameterGroup:
    def __init__(self, account_id, region, name, family, description):
        self.cache_parameter_group_name = name
        self.cache_parameter_group_family = family
        self.description = description
        self.is_global = False
        self.arn = f"arn:aws:elasticache:{region}:{account_id}:parametergroup:{name}"
        self.values: dict[str, str] = {}


def parameter_groups(backend) -> dict:
    return of_backend(backend, "cache_parameter_groups", dict)


def family_of(group) -> str:
    return next((f for e, v, f in ENGINE_VERSIONS if e == group.engine and v == group.engine_version), f"{group.engine}7")


def newest(engine: str) -> str:
    return [version for known, version, _ in ENGINE_VERSIONS if known == engine][-1]


def member(backend, group, name):
    """A member of a replication group as DescribeCacheClusters shows it."""
    parameter_group = group.cache_parameter_group_name or f"default.{family_of(group)}"
    node = next((n for g in group.node_groups for n in g["node_group_members"] if n["cache_cluster_id"] == name), {})
    return {
        "CacheClusterId": name,
        "ReplicationGroupId": group.replication_group_id,
        "ARN": f"arn:aws:elasticache:{backend.region_name}:{backend.account_id}:cluster:{name}",
        "CacheClusterStatus": group.status,
        "CacheNodeType": group.cache_node_type,
        "Engine": group.engine,
        "EngineVersion": group.engine_version,
        "NumCacheNodes": 1,
        "PreferredAvailabilityZone": node.get("preferred_availability_zone"),
        "CacheClusterCreateTime": group.replication_group_create_time,
        "PreferredMaintenanceWindow": group.preferred_maintenance_window,
        "CacheParameterGroup": {"CacheParameterGroupName": parameter_group, "ParameterApplyStatus": "in-sync"},
        "CacheSubnetGroupName": group.cache_subnet_group_name,
        "AutoMinorVersionUpgrade": group.auto_minor_version_upgrade,
        "SecurityGroups": [{"SecurityGroupId": i, "Status": "active"} for i in group.security_group_ids or []],
        "SnapshotRetentionLimit": group.snapshot_retention_limit if name == group.member_clusters[-1] else 0,
        "SnapshotWindow": group.snapshot_window,
        "AuthTokenEnabled": group.auth_token_enabled,
        "TransitEncryptionEnabled": group.transit_encryption_enabled,
        "AtRestEncryptionEnabled": group.at_rest_encryption_enabled,
        "TransitEncryptionMode": group.transit_encryption_mode,
        "NetworkType": group.network_type,
        "IpDiscovery": group.ip_discovery,
        **(
            {"NotificationConfiguration": {"TopicArn": group.notification_topic_arn, "TopicStatus": "active"}}
            if group.notification_topic_arn
            else {}
        ),
    }


def install() -> None:
    backend = models.ElastiCacheBackend
    _replication_groups(backend)
    _modify(backend)
    _subnet_groups(backend)
    _parameter_groups()
    _tags(backend)


def place_members(backend, group, replicas: int) -> None:
    """One shard, cluster mode disabled: rebuilds its members over the zones of the subnet group."""
    place = backend.cache_subnet_groups.get(group.cache_subnet_group_name)
    zones = [s.get("subnet_availability_zone") for s in place.subnets] if place else [f"{backend.region_name}a"]
    zones = [getattr(z, "name", z) for z in zones if z]
    shard = group.node_groups[0]
    domain = shard["primary_endpoint"]["address"].removeprefix("master.")
    group.member_clusters = [f"{group.replication_group_id}-{n:0>3}" for n in range(1, replicas + 2)]
    shard["node_group_members"] = [
        {
            "cache_cluster_id": name,
            "cache_node_id": "0001",
            "read_endpoint": {"address": f"{name}.{domain}", "port": group.port},
            "preferred_availability_zone": zones[n % len(zones)],
            "current_role": "primary" if n == 0 else "replica",
        }
        for n, name in enumerate(group.member_clusters)
    ]
    shard["reader_endpoint"] = {"address": f"replica.{domain}", "port": group.port}


def _replication_groups(backend) -> None:
    @method(backend)
    def create_replication_group(original, self, **kwargs):
        wanted, shards = kwargs.get("num_cache_clusters"), kwargs.get("num_node_groups")
        name = kwargs.get("cache_subnet_group_name")
        if name and name not in self.cache_subnet_groups:
            raise CacheSubnetGroupNotFound(name)
        parameters = kwargs.get("cache_parameter_group_name")
        if parameters and not parameters.startswith("default.") and parameters not in parameter_groups(self):
            raise Refusal("CacheParameterGroupNotFound", f"CacheParameterGroup {parameters} not found.")
        if kwargs.get("automatic_failover_enabled") and (wanted or 1) < 2 and not kwargs.get("replicas_per_node_group"):
            raise Refusal("InvalidParameterCombination", "Automatic failover needs at least one replica.")
        if kwargs.get("auth_token") and not kwargs.get("transit_encryption_enabled"):
            raise Refusal("InvalidParameterCombination", "AuthToken is supported only with TransitEncryptionEnabled.")
        group = original(self, **kwargs)
        group.engine_version = group.engine_version or newest(group.engine)
        group.preferred_maintenance_window = group.preferred_maintenance_window or "sun:05:00-sun:06:00"
        group.auto_minor_version_upgrade = str(kwargs.get("auto_minor_version_upgrade")).lower() != "false"
        if group.transit_encryption_enabled:
            group.transit_encryption_mode = group.transit_encryption_mode or "required"
        if not group.cluster_enabled and not (shards and shards > 1):
            place_members(self, group, (wanted or 1) - 1 if wanted else kwargs.get("replicas_per_node_group") or 0)
        return group

    @method(backend)
    def describe_cache_clusters(original, self, cache_cluster_id=None):
        members = {
            name: member(self, group, name)
            for group in self.replication_groups.values()
            for name in group.member_clusters
        }
        if cache_cluster_id in members:
            return [members[cache_cluster_id]]
        standing = original(self, cache_cluster_id)
        return standing if cache_cluster_id else [*standing, *members.values()]

    @method(ElastiCacheResponse)
    def delete_replication_group(original, self):
        backend = self.elasticache_backend
        snapshot = self._get_param("FinalSnapshotIdentifier")
        name = self._get_param("ReplicationGroupId")
        if snapshot and name in backend.replication_groups:
            backend.create_snapshot(snapshot, name, None, None, [])
        result = original(self)
        backend.replication_groups.pop(name, None)
        return result

    @method(backend)
    def delete_cache_cluster(original, self, cache_cluster_id):
        cluster = original(self, cache_cluster_id)
        self.cache_clusters.pop(cache_cluster_id, None)
        return cluster


# ModifyReplicationGroup: request field, attribute of moto's group.
SETTINGS = (
    ("SnapshotWindow", "snapshot_window"), ("PreferredMaintenanceWindow", "preferred_maintenance_window"),
    ("SecurityGroupIds", "security_group_ids"), ("CacheParameterGroupName", "cache_parameter_group_name"),
    ("EngineVersion", "engine_version"), ("NotificationTopicArn", "notification_topic_arn"),
    ("TransitEncryptionMode", "transit_encryption_mode"), ("IpDiscovery", "ip_discovery"),
)


def _modify(backend) -> None:
    @method(ElastiCacheResponse)
    def modify_replication_group(original, self):
        result = original(self)
        group = result.result["ReplicationGroup"]
        parameters = self._get_param("CacheParameterGroupName")
        if parameters and not parameters.startswith("default.") and parameters not in parameter_groups(self.elasticache_backend):
            raise Refusal("CacheParameterGroupNotFound", f"CacheParameterGroup {parameters} not found.")
        for field, attribute in SETTINGS:
            if self._get_param(field) is not None:
                setattr(group, attribute, self._get_param(field))
        if self._get_bool_param("AutoMinorVersionUpgrade") is not None:
            group.auto_minor_version_upgrade = self._get_bool_param("AutoMinorVersionUpgrade")
        if self._get_bool_param("TransitEncryptionEnabled") is not None:
            group.transit_encryption_enabled = self._get_bool_param("TransitEncryptionEnabled")
        if self._get_param("AuthToken"):
            group.auth_token_enabled, group.auth_token_last_modified_date = True, utcnow()
        if self._get_param("LogDeliveryConfigurations"):
            group.log_delivery_configurations = group._get_log_delivery_configurations(
                [c for c in self._get_param("LogDeliveryConfigurations") if c.get("Enabled", True) is not False]
            )
        return result

    for operation in ("increase_replica_count", "decrease_replica_count"):
        def change(self):
            backend = self.elasticache_backend
            group = backend.describe_replication_groups(self._get_param("ReplicationGroupId"))[0]
            place_members(backend, group, self._get_int_param("NewReplicaCount"))
            return ActionResult({"ReplicationGroup": group})

        change.__name__ = operation
        action(ElastiCacheResponse)(change)


def _subnet_groups(backend) -> None:
    @action(ElastiCacheResponse)
    def delete_cache_subnet_group(self):
        backend, name = self.elasticache_backend, self._get_param("CacheSubnetGroupName")
        if name not in backend.cache_subnet_groups:
            raise CacheSubnetGroupNotFound(name)
        holders = [*backend.replication_groups.values(), *backend.cache_clusters.values()]
        if any(holder.cache_subnet_group_name == name for holder in holders):
            raise Refusal("CacheSubnetGroupInUse", f"Cache subnet group {name} is currently in use by a cache cluster.")
        backend.cache_subnet_groups.pop(name)
        return EmptyResult()

    @action(ElastiCacheResponse)
    def modify_cache_subnet_group(self):
        backend, name = self.elasticache_backend, self._get_param("CacheSubnetGroupName")
        if name not in backend.cache_subnet_groups:
            raise CacheSubnetGroupNotFound(name)
        group = backend.cache_subnet_groups[name]
        changed = models.CacheSubnetGroup(
            backend.account_id, backend.region_name, name,
            self._get_param("CacheSubnetGroupDescription") or group.cache_subnet_group_description,
            self._get_param("SubnetIds") or group.subnet_ids, group.tags,
        )
        backend.cache_subnet_groups[name] = changed
        return ActionResult({"CacheSubnetGroup": changed})

    @method(backend)
    def create_cache_subnet_group(original, self, cache_subnet_group_name, cache_subnet_group_description, subnet_ids, tags):
        ec2 = models_ec2(self)
        known = {s.id for zone in ec2.subnets.values() for s in zone.values()}
        for subnet_id in subnet_ids:
            if subnet_id not in known:
                raise Refusal("InvalidSubnet", f"The requested subnet {subnet_id} does not exist.")
        return original(self, cache_subnet_group_name, cache_subnet_group_description, subnet_ids, tags)


def models_ec2(backend):
    from moto.ec2.models import ec2_backends

    return ec2_backends[backend.account_id][backend.region_name]


def _parameter_groups() -> None:
    def found(self):
        name = self._get_param("CacheParameterGroupName")
        group = parameter_groups(self.elasticache_backend).get(name)
        if group is None:
            raise Refusal("CacheParameterGroupNotFound", f"CacheParameterGroup {name} not found.")
        return group

    @action(ElastiCacheResponse)
    def create_cache_parameter_group(self):
        backend, name = self.elasticache_backend, self._get_param("CacheParameterGroupName")
        if name in parameter_groups(backend):
            raise Refusal("CacheParameterGroupAlreadyExists", f"CacheParameterGroup {name} already exists.")
        group = ParameterGroup(
            backend.account_id, backend.region_name, name,
            self._get_param("CacheParameterGroupFamily"), self._get_param("Description"),
        )
        parameter_groups(backend)[name] = group
        if self._get_param("Tags"):
            backend.tagging_service.tag_resource(group.arn, self._get_param("Tags"))
        return ActionResult({"CacheParameterGroup": group})

    @action(ElastiCacheResponse)
    def describe_cache_parameter_groups(self):
        if self._get_param("CacheParameterGroupName"):
            return ActionResult({"CacheParameterGroups": [found(self)]})
        return PaginatedResult({"CacheParameterGroups": list(parameter_groups(self.elasticache_backend).values())})

    @action(ElastiCacheResponse)
    def modify_cache_parameter_group(self):
        group = found(self)
        for given in self._get_param("ParameterNameValues", []):
            group.values[given["ParameterName"]] = given.get("ParameterValue", "")
        return ActionResult({"CacheParameterGroupName": group.cache_parameter_group_name})

    @action(ElastiCacheResponse)
    def reset_cache_parameter_group(self):
        group = found(self)
        names = [given["ParameterName"] for given in self._get_param("ParameterNameValues", [])]
        for name in list(group.values) if self._get_bool_param("ResetAllParameters") else names:
            group.values.pop(name, None)
        return ActionResult({"CacheParameterGroupName": group.cache_parameter_group_name})

    @action(ElastiCacheResponse)
    def describe_cache_parameters(self):
        source = self._get_param("Source")
        listed = [
            {"ParameterName": k, "ParameterValue": v, "Source": "user", "IsModifiable": True, "DataType": "string"}
            for k, v in found(self).values.items()
        ]
        return ActionResult({"Parameters": listed if source in (None, "user") else []})

    @action(ElastiCacheResponse)
    def delete_cache_parameter_group(self):
        group = found(self)
        name = group.cache_parameter_group_name
        backend = self.elasticache_backend
        if any(g.cache_parameter_group_name == name for g in backend.replication_groups.values()):
            raise Refusal("InvalidCacheParameterGroupState", f"One or more cache clusters are still members of {name}.")
        parameter_groups(backend).pop(name)
        return EmptyResult()

    @action(ElastiCacheResponse)
    def describe_cache_engine_versions(self):
        wanted = {"Engine": self._get_param("Engine"), "EngineVersion": self._get_param("EngineVersion")}
        listed = [
            {"Engine": e, "EngineVersion": v, "CacheParameterGroupFamily": f}
            for e, v, f in ENGINE_VERSIONS
            if wanted["Engine"] in (None, e) and wanted["EngineVersion"] in (None, v)
        ]
        return ActionResult({"CacheEngineVersions": listed})


def _tags(backend) -> None:
    def known_arns(self):
        kinds = (self.cache_clusters, self.cache_subnet_groups, self.replication_groups, self.snapshots, self.users)
        arns = [thing.arn for kind in kinds for thing in kind.values()]
        members = [c["ARN"] for c in self.describe_cache_clusters() if isinstance(c, dict)]
        return {*arns, *members, *(g.arn for g in parameter_groups(self).values())}

    def refuse_unknown(self, arn):
        if arn in known_arns(self):
            return
        if ":replicationgroup:" in arn:
            raise ReplicationGroupNotFound(arn.rsplit(":", 1)[-1])
        if ":subnetgroup:" in arn:
            raise CacheSubnetGroupNotFound(arn.rsplit(":", 1)[-1])
        if ":parametergroup:" in arn:
            raise Refusal("CacheParameterGroupNotFound", f"{arn} not found.")
        raise Refusal("CacheClusterNotFound", f"{arn} is either not present or not available.")

    @replace(backend)
    def list_tags_for_resource(self, arn):
        refuse_unknown(self, arn)
        return self.tagging_service.list_tags_for_resource(arn)

    @method(backend)
    def add_tags_to_resource(original, self, arn, tags):
        refuse_unknown(self, arn)
        return original(self, arn, tags)

    # The actions answer with the tags that result (API_AddTagsToResource, TagList); moto answers with nothing.
    for operation in ("add_tags_to_resource", "remove_tags_from_resource"):
        _answer_tags(operation)


def _answer_tags(operation) -> None:
    @method(ElastiCacheResponse, operation)
    def answer(original, self):
        original(self)
        tags = self.elasticache_backend.tagging_service.list_tags_for_resource(self._get_param("ResourceName"))
        return ActionResult({"TagList": tags["Tags"]})
