"""ElastiCache and RDS: AWS's behaviour, asked of the emulator."""

from case import REGION, Case, client


class Stores(Case):
    def setUp(self):
        super().setUp()
        self.cache, self.rds = client("elasticache"), client("rds")
        self.subnets = [self.subnet(1), self.subnet(2, "b"), self.subnet(3, "c")]

    def test_a_replication_group_and_its_members(self):
        name, group = f"cache-{self.n}", self.group("cache")
        self.cache.create_cache_subnet_group(CacheSubnetGroupName=name, CacheSubnetGroupDescription="d", SubnetIds=self.subnets[:2])
        parameters = f"params-{self.n}"
        self.cache.create_cache_parameter_group(CacheParameterGroupName=parameters, CacheParameterGroupFamily="valkey8", Description="d", Tags=[{"Key": "address", "Value": "p"}])
        made = self.cache.create_replication_group(
            ReplicationGroupId=name, ReplicationGroupDescription="d", Engine="valkey", NumCacheClusters=2, CacheNodeType="cache.t4g.micro",
            CacheSubnetGroupName=name, SecurityGroupIds=[group], CacheParameterGroupName=parameters, AutomaticFailoverEnabled=True,
            MultiAZEnabled=True, TransitEncryptionEnabled=True, AtRestEncryptionEnabled=True, AuthToken="a" * 20,
            Tags=[{"Key": "address", "Value": "cache"}],
        )["ReplicationGroup"]
        self.assertEqual(made["MemberClusters"], [f"{name}-001", f"{name}-002"])
        members = [c for c in self.cache.describe_cache_clusters()["CacheClusters"] if c.get("ReplicationGroupId") == name]
        self.assertEqual([m["CacheClusterId"] for m in members], made["MemberClusters"])
        one = self.cache.describe_cache_clusters(CacheClusterId=f"{name}-001")["CacheClusters"][0]
        self.assertEqual(one["CacheSubnetGroupName"], name)
        self.assertEqual([g["SecurityGroupId"] for g in one["SecurityGroups"]], [group])
        self.assertEqual(one["CacheParameterGroup"]["CacheParameterGroupName"], parameters)
        self.assertTrue(one["PreferredAvailabilityZone"].startswith(REGION))
        self.assertEqual(self.cache.list_tags_for_resource(ResourceName=made["ARN"])["TagList"], [{"Key": "address", "Value": "cache"}])
        self.change_and_delete(name, group, parameters)

    def change_and_delete(self, name, group, parameters):
        other = self.group("other")
        self.cache.modify_replication_group(ReplicationGroupId=name, ApplyImmediately=True, SnapshotWindow="02:00-03:00", SecurityGroupIds=[other], PreferredMaintenanceWindow="mon:03:00-mon:04:00")
        one = self.cache.describe_cache_clusters(CacheClusterId=f"{name}-001")["CacheClusters"][0]
        self.assertEqual((one["SecurityGroups"][0]["SecurityGroupId"], one["PreferredMaintenanceWindow"]), (other, "mon:03:00-mon:04:00"))
        self.cache.increase_replica_count(ReplicationGroupId=name, NewReplicaCount=2, ApplyImmediately=True)
        self.assertEqual(len(self.cache.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]["MemberClusters"]), 3)
        self.cache.modify_cache_parameter_group(CacheParameterGroupName=parameters, ParameterNameValues=[{"ParameterName": "maxmemory-policy", "ParameterValue": "noeviction"}])
        told = self.cache.describe_cache_parameters(CacheParameterGroupName=parameters, Source="user")["Parameters"]
        self.assertEqual([(p["ParameterName"], p["ParameterValue"]) for p in told], [("maxmemory-policy", "noeviction")])
        self.cache.modify_cache_subnet_group(CacheSubnetGroupName=name, SubnetIds=self.subnets)
        found = self.cache.describe_cache_subnet_groups(CacheSubnetGroupName=name)["CacheSubnetGroups"][0]
        self.assertEqual(len(found["Subnets"]), 3)
        refusals = (
            (lambda: self.cache.delete_cache_subnet_group(CacheSubnetGroupName=name), "CacheSubnetGroupInUse"),
            (lambda: self.cache.delete_cache_parameter_group(CacheParameterGroupName=parameters), "InvalidCacheParameterGroupState"),
            (lambda: self.ec2.delete_security_group(GroupId=other), "DependencyViolation"),
        )
        for refused, code in refusals:
            with self.refused(code):
                refused()
        self.cache.delete_replication_group(ReplicationGroupId=name, FinalSnapshotIdentifier=f"last-{self.n}")
        with self.refused("ReplicationGroupNotFoundFault"):
            self.cache.describe_replication_groups(ReplicationGroupId=name)
        self.assertEqual(self.cache.describe_snapshots(SnapshotName=f"last-{self.n}")["Snapshots"][0]["SnapshotName"], f"last-{self.n}")
        self.cache.delete_cache_subnet_group(CacheSubnetGroupName=name)
        self.cache.delete_cache_parameter_group(CacheParameterGroupName=parameters)
        self.ec2.delete_security_group(GroupId=other)

    def test_engine_versions(self):
        valkey = self.cache.describe_cache_engine_versions(Engine="valkey")["CacheEngineVersions"]
        self.assertIn("8.0", [v["EngineVersion"] for v in valkey])
        postgres = self.rds.describe_db_engine_versions(Engine="postgres", EngineVersion="17")["DBEngineVersions"]
        self.assertTrue(postgres and all(v["DBParameterGroupFamily"] == "postgres17" for v in postgres))
        self.assertEqual(self.rds.describe_pending_maintenance_actions()["PendingMaintenanceActions"], [])

    def test_a_database_and_its_groups(self):
        name, group = f"db-{self.n}", self.group("db")
        self.rds.create_db_subnet_group(DBSubnetGroupName=name, DBSubnetGroupDescription="d", SubnetIds=self.subnets[:2])
        with self.refused("DBSubnetGroupAlreadyExists"):
            self.rds.create_db_subnet_group(DBSubnetGroupName=name, DBSubnetGroupDescription="d", SubnetIds=self.subnets[:2])
        self.rds.modify_db_subnet_group(DBSubnetGroupName=name, SubnetIds=self.subnets)
        found = self.rds.describe_db_subnet_groups(DBSubnetGroupName=name)["DBSubnetGroups"][0]
        self.assertEqual(len(found["Subnets"]), 3)
        self.rds.create_db_parameter_group(DBParameterGroupName=name, DBParameterGroupFamily="postgres17", Description="d")
        self.rds.modify_db_parameter_group(DBParameterGroupName=name, Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "immediate"}])
        told = self.rds.describe_db_parameters(DBParameterGroupName=name, Source="user")["Parameters"]
        self.assertEqual([(p["ParameterName"], p["ParameterValue"], p["Source"]) for p in told], [("rds.force_ssl", "1", "user")])
        self.rds.create_db_instance(
            DBInstanceIdentifier=name, Engine="postgres", EngineVersion="17.6", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
            MasterUsername="keyway", MasterUserPassword="p" * 20, DBSubnetGroupName=name, VpcSecurityGroupIds=[group], DBParameterGroupName=name,
            EnablePerformanceInsights=True,
        )
        made = self.rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
        self.assertEqual((made["PerformanceInsightsEnabled"], made["PerformanceInsightsRetentionPeriod"]), (True, 7))
        refusals = (
            (lambda: self.rds.delete_db_subnet_group(DBSubnetGroupName=name), "InvalidDBSubnetGroupStateFault"),
            (lambda: self.rds.delete_db_parameter_group(DBParameterGroupName=name), "InvalidDBParameterGroupState"),
            (lambda: self.ec2.delete_security_group(GroupId=group), "DependencyViolation"),
            (lambda: self.rds.delete_db_instance(DBInstanceIdentifier=name), "InvalidParameterCombination"),
        )
        for refused, code in refusals:
            with self.refused(code):
                refused()
        self.rds.delete_db_instance(DBInstanceIdentifier=name, FinalDBSnapshotIdentifier=f"{name}-last")
        self.assertEqual(len(self.rds.describe_db_snapshots(DBSnapshotIdentifier=f"{name}-last")["DBSnapshots"]), 1)
        self.rds.delete_db_subnet_group(DBSubnetGroupName=name)
        self.rds.delete_db_parameter_group(DBParameterGroupName=name)
        self.ec2.delete_security_group(GroupId=group)
