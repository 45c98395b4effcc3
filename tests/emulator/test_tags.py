"""The tagging API over every kind that it covers, and the inventory that tests read: asked of the emulator."""

from case import REGION, TRUST, Case, client, inventory


class Tagging(Case):
    def test_the_tagging_api_covers_what_it_covers_on_aws(self):
        """One of each kind that our environments tag, and all of them in one page of 100."""
        tag = [{"Key": "scene", "Value": f"s{self.n}"}]
        lower = [{"key": "scene", "value": f"s{self.n}"}]
        plain = {"scene": f"s{self.n}"}

        def scene(kind):
            return [{"ResourceType": kind, "Tags": tag}]

        subnets = [self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{z}", TagSpecifications=scene("subnet"))["Subnet"]["SubnetId"] for n, z in ((1, "a"), (2, "b"))]
        address = self.ec2.allocate_address(Domain="vpc", TagSpecifications=scene("elastic-ip"))["AllocationId"]
        self.ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address, TagSpecifications=scene("natgateway"))
        self.ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=f"com.amazonaws.{REGION}.s3", TagSpecifications=scene("vpc-endpoint"))
        self.ec2.create_security_group(GroupName="tagged", Description="d", VpcId=self.vpc, TagSpecifications=scene("security-group"))
        group = client("logs")
        group.create_log_group(logGroupName=f"/g{self.n}", tags=plain)
        role = client("iam").create_role(RoleName=f"r{self.n}", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        self.ec2.create_flow_logs(ResourceIds=[self.vpc], ResourceType="VPC", TrafficType="ALL", LogGroupName=f"/g{self.n}", DeliverLogsPermissionArn=role, TagSpecifications=scene("vpc-flow-log"))
        balancer = self.balancer("tags", subnets, Tags=tag)
        targets = self.target_group("tags", Tags=tag)
        listener = self.elb.create_listener(LoadBalancerArn=balancer, Port=80, Protocol="HTTP", DefaultActions=[{"Type": "forward", "TargetGroupArn": targets}], Tags=tag)["Listeners"][0]["ListenerArn"]
        self.elb.create_rule(ListenerArn=listener, Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/"]}], Actions=[{"Type": "forward", "TargetGroupArn": targets}], Tags=tag)
        self.waf.create_ip_set(Name=f"t{self.n}", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=[], Tags=tag)
        self.waf.create_web_acl(Name=f"t{self.n}", Scope="REGIONAL", DefaultAction={"Allow": {}}, VisibilityConfig={"SampledRequestsEnabled": False, "CloudWatchMetricsEnabled": False, "MetricName": "m"}, Rules=[], Tags=tag)
        client("ecr").create_repository(repositoryName=f"e{self.n}", tags=tag)
        client("secretsmanager").create_secret(Name=f"t{self.n}", SecretString="x", Tags=tag)
        client("acm").request_certificate(DomainName=f"t{self.n}.example", Tags=tag)
        self.ecs.create_cluster(clusterName=f"t{self.n}", tags=lower)
        self.ecs.register_task_definition(family=f"t{self.n}", containerDefinitions=[{"name": "a", "image": "a", "memory": 64}], tags=lower)
        cache, rds = client("elasticache"), client("rds")
        cache.create_cache_subnet_group(CacheSubnetGroupName=f"t{self.n}", CacheSubnetGroupDescription="d", SubnetIds=subnets, Tags=tag)
        cache.create_replication_group(ReplicationGroupId=f"t{self.n}", ReplicationGroupDescription="d", CacheSubnetGroupName=f"t{self.n}", Tags=tag)
        cache.create_cache_parameter_group(CacheParameterGroupName=f"t{self.n}", CacheParameterGroupFamily="valkey8", Description="d", Tags=tag)
        rds.create_db_subnet_group(DBSubnetGroupName=f"t{self.n}", DBSubnetGroupDescription="d", SubnetIds=subnets, Tags=tag)
        rds.create_db_instance(DBInstanceIdentifier=f"t{self.n}", Engine="postgres", DBInstanceClass="db.t4g.micro", MasterUsername="u", MasterUserPassword="p" * 12, AllocatedStorage=20, Tags=tag)
        tagging = client("resourcegroupstaggingapi")
        page = tagging.get_resources(TagFilters=[{"Key": "scene", "Values": [f"s{self.n}"]}], ResourcesPerPage=100)
        self.assertFalse(page.get("PaginationToken"))
        kinds = set()
        for found in page["ResourceTagMappingList"]:
            self.assertEqual(found["Tags"], tag)
            service, rest = found["ResourceARN"].split(":")[2], found["ResourceARN"].split(":", 5)[5]
            kinds.add(f"{service}:{rest.split(':')[0].split('/')[0]}" if service != "wafv2" else f"{service}:{rest.split('/')[1]}")
        self.assertEqual(
            kinds,
            {
                "ec2:subnet", "ec2:elastic-ip", "ec2:natgateway", "ec2:vpc-endpoint", "ec2:security-group", "ec2:vpc-flow-log",
                "logs:log-group", "elasticloadbalancing:loadbalancer", "elasticloadbalancing:targetgroup",
                "elasticloadbalancing:listener", "elasticloadbalancing:listener-rule", "wafv2:ipset", "wafv2:webacl",
                "ecr:repository", "secretsmanager:secret", "acm:certificate", "ecs:cluster", "ecs:task-definition",
                "elasticache:subnetgroup", "elasticache:replicationgroup", "elasticache:parametergroup", "rds:subgrp", "rds:db",
            },
        )
        only = tagging.get_resources(TagFilters=[{"Key": "scene"}], ResourceTypeFilters=["ec2:elastic-ip"])["ResourceTagMappingList"]
        self.assertTrue(only and all(":elastic-ip/" in r["ResourceARN"] for r in only))
        many = tagging.get_resources(TagFilters=[{"Key": "scene", "Values": [f"s{self.n}"]}], ResourcesPerPage=5)
        self.assertTrue(many["PaginationToken"])


class Inventory(Case):
    def test_it_sees_what_stands_and_forgets_what_is_gone(self):
        group = self.group("seen")
        self.assertIn(group, [r["id"] for r in inventory()])
        self.ec2.delete_security_group(GroupId=group)
        self.assertNotIn(group, [r["id"] for r in inventory()])
