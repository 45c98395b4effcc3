"""Every patch of keyway_emulator, asked of the running server through boto3, as any tool would.

Each test names the behaviour of AWS it holds the emulator to. `python -B -m unittest` in this folder, in the emulator's
own environment; `tests/run` does so. One server for the whole file, one VPC per test.
"""

import itertools
import json
import os
import subprocess
import sys
import time
import unittest
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FOLDER = Path(__file__).parent
ACCOUNT, REGION = "123456789012", "eu-central-1"
NUMBERS = itertools.count(1)


def setUpModule():
    global SERVER, URL
    started = time.monotonic()
    SERVER = subprocess.Popen(
        [sys.executable, "-B", str(FOLDER / "serve.py"), "--port", "0", "--until-stdin-closes"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    URL = json.loads(SERVER.stdout.readline())["url"]
    print(f"emulator ready after {time.monotonic() - started:.1f} s", file=sys.stderr)


def tearDownModule():
    SERVER.stdin.close()
    SERVER.wait(timeout=10)
    SERVER.stdout.close()


def client(service):
    return boto3.client(
        service, endpoint_url=URL, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )


def inventory():
    with urllib.request.urlopen(f"{URL}/_keyway/inventory") as answer:
        return json.load(answer)


def spec(kind, address):
    return [{"ResourceType": kind, "Tags": [{"Key": "address", "Value": address}]}]


TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]})


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.ec2, self.elb, self.waf, self.ecs = client("ec2"), client("elbv2"), client("wafv2"), client("ecs")
        self.n = next(NUMBERS)
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    @contextmanager
    def refused(self, *codes):
        with self.assertRaises(ClientError) as caught:
            yield
        self.assertIn(caught.exception.response["Error"]["Code"], codes, caught.exception)

    def subnet(self, third, zone="a"):
        made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{third}.0/24", AvailabilityZone=f"{REGION}{zone}")
        return made["Subnet"]["SubnetId"]

    def group(self, name):
        return self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]

    def balancer(self, name, subnets, **more):
        made = self.elb.create_load_balancer(Name=f"{name}-{self.n}", Subnets=subnets, **more)
        return made["LoadBalancers"][0]["LoadBalancerArn"]

    def target_group(self, name, **more):
        made = self.elb.create_target_group(
            Name=f"{name}-{self.n}", Protocol="HTTP", Port=80, VpcId=self.vpc, TargetType="ip", **more
        )
        return made["TargetGroups"][0]["TargetGroupArn"]


class SecurityGroups(Case):
    def rules(self, group):
        found = self.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
        return [r for r in found["SecurityGroupRules"] if not r["IsEgress"]]

    def permission(self, port, **peer):
        return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peer}

    def test_authorize_returns_every_rule_with_its_description(self):
        front, back = self.group("front"), self.group("back")
        answer = self.ec2.authorize_security_group_ingress(
            GroupId=back,
            IpPermissions=[
                self.permission(80, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "inside"}]),
                self.permission(81, UserIdGroupPairs=[{"GroupId": front, "Description": "from the front"}]),
            ],
        )
        described = {r["FromPort"]: r.get("Description") for r in answer["SecurityGroupRules"]}
        self.assertEqual(described, {80: "inside", 81: "from the front"})
        self.assertEqual({r["FromPort"]: r.get("Description") for r in self.rules(back)}, described)
        by_port = {r["FromPort"]: r for r in self.rules(back)}
        self.assertEqual(by_port[81]["ReferencedGroupInfo"]["GroupId"], front)

    def test_a_call_takes_effect_as_a_whole_and_a_description_is_no_identity(self):
        group = self.group("one")
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[self.permission(80, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "a"}])])
        with self.refused("InvalidPermission.Duplicate"):
            self.ec2.authorize_security_group_ingress(
                GroupId=group,
                IpPermissions=[
                    self.permission(90, IpRanges=[{"CidrIp": "10.0.0.0/8"}]),
                    self.permission(80, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "b"}]),
                ],
            )
        self.assertEqual([r["FromPort"] for r in self.rules(group)], [80])
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[self.permission(80, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "other"}])])
        self.assertEqual(self.rules(group), [])

    def test_modify_a_group_reference(self):
        one, two, target = self.group("one"), self.group("two"), self.group("target")
        made = self.ec2.authorize_security_group_ingress(GroupId=target, IpPermissions=[self.permission(80, UserIdGroupPairs=[{"GroupId": one}])])
        rule_id = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        new = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8081, "ReferencedGroupId": two, "Description": "now two"}
        self.ec2.modify_security_group_rules(GroupId=target, SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": new}])
        rule = self.rules(target)[0]
        self.assertEqual((rule["SecurityGroupRuleId"], rule["FromPort"], rule["ToPort"], rule["Description"]), (rule_id, 8080, 8081, "now two"))
        self.assertEqual(rule["ReferencedGroupInfo"]["GroupId"], two)
        permissions = self.ec2.describe_security_groups(GroupIds=[target])["SecurityGroups"][0]["IpPermissions"]
        self.assertEqual(permissions[0]["UserIdGroupPairs"][0]["GroupId"], two)

    def test_groups_for_vpc_and_block_public_access(self):
        group = self.group("listed")
        found = self.ec2.get_security_groups_for_vpc(VpcId=self.vpc)["SecurityGroupForVpcs"]
        self.assertIn(group, [g["GroupId"] for g in found])
        options = self.ec2.describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]
        self.assertEqual(options["InternetGatewayBlockMode"], "off")

    def test_a_referenced_or_default_group_is_not_deleted(self):
        one, two = self.group("one"), self.group("two")
        permission = [self.permission(80, UserIdGroupPairs=[{"GroupId": one}])]
        self.ec2.authorize_security_group_ingress(GroupId=two, IpPermissions=permission)
        with self.refused("DependencyViolation"):
            self.ec2.delete_security_group(GroupId=one)
        self.ec2.revoke_security_group_ingress(GroupId=two, IpPermissions=permission)
        self.ec2.delete_security_group(GroupId=one)
        default = self.ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}, {"Name": "group-name", "Values": ["default"]}])
        with self.refused("CannotDelete"):
            self.ec2.delete_security_group(GroupId=default["SecurityGroups"][0]["GroupId"])


class Gateways(Case):
    def test_client_tokens(self):
        token = f"token-{self.n}"
        first = self.ec2.create_route_table(VpcId=self.vpc, ClientToken=token)["RouteTable"]["RouteTableId"]
        again = self.ec2.create_route_table(VpcId=self.vpc, ClientToken=token)["RouteTable"]["RouteTableId"]
        self.assertEqual(first, again)
        other = self.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        with self.refused("IdempotentParameterMismatch"):
            self.ec2.create_route_table(VpcId=other, ClientToken=token)
        service = f"com.amazonaws.{REGION}.s3"
        ends = {self.ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=service, ClientToken=token)["VpcEndpoint"]["VpcEndpointId"] for _ in range(2)}
        self.assertEqual(len(ends), 1)
        subnet, address = self.subnet(1), self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nats = {self.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, ClientToken=token)["NatGateway"]["NatGatewayId"] for _ in range(2)}
        self.assertEqual(len(nats), 1)

    def test_nat_gateway_life(self):
        subnet, address = self.subnet(1), self.ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip", f"eip-{self.n}"))
        made = self.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address["AllocationId"], TagSpecifications=spec("natgateway", f"nat-{self.n}"))
        nat = made["NatGateway"]["NatGatewayId"]
        found = self.ec2.describe_nat_gateways(Filter=[{"Name": "tag:address", "Values": [f"nat-{self.n}"]}])["NatGateways"]
        self.assertEqual([n["NatGatewayId"] for n in found], [nat])
        none = self.ec2.describe_nat_gateways(Filter=[{"Name": "tag:address", "Values": ["other"]}])["NatGateways"]
        self.assertEqual(none, [])
        with self.refused("InvalidIPAddress.InUse"):
            self.ec2.release_address(AllocationId=address["AllocationId"])
        with self.refused("DependencyViolation"):
            self.ec2.delete_subnet(SubnetId=subnet)
        table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
        self.ec2.delete_nat_gateway(NatGatewayId=nat)
        self.assertEqual(self.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]["State"], "deleted")
        routes = self.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        self.assertEqual({r["DestinationCidrBlock"]: r["State"] for r in routes}["0.0.0.0/0"], "blackhole")
        self.ec2.release_address(AllocationId=address["AllocationId"])
        self.ec2.delete_subnet(SubnetId=subnet)
        with self.refused("NatGatewayNotFound"):
            self.ec2.delete_nat_gateway(NatGatewayId="nat-0123456789abcdef0")

    def test_gateway_endpoint_follows_its_route_tables(self):
        one, two = (self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
        made = self.ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[one], TagSpecifications=spec("vpc-endpoint", f"s3-{self.n}"))
        endpoint = made["VpcEndpoint"]["VpcEndpointId"]
        self.assertFalse(made["VpcEndpoint"]["PrivateDnsEnabled"])

        def holders():
            tables = self.ec2.describe_route_tables(RouteTableIds=[one, two])["RouteTables"]
            return {t["RouteTableId"] for t in tables if any(r.get("GatewayId") == endpoint for r in t["Routes"])}

        self.assertEqual(holders(), {one})
        self.ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, AddRouteTableIds=[two], RemoveRouteTableIds=[one])
        self.assertEqual(holders(), {two})
        answer = self.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint, "vpce-0123456789abcdef0"])
        self.assertEqual([u["ResourceId"] for u in answer["Unsuccessful"]], ["vpce-0123456789abcdef0"])
        self.assertEqual(holders(), set())
        with self.refused("InvalidVpcEndpointId.NotFound"):
            self.ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])

    def test_interface_endpoint_holds_its_subnet_and_group(self):
        subnet, group = self.subnet(1), self.group("endpoints")
        made = self.ec2.create_vpc_endpoint(VpcId=self.vpc, VpcEndpointType="Interface", ServiceName=f"com.amazonaws.{REGION}.logs", SubnetIds=[subnet], SecurityGroupIds=[group], PrivateDnsEnabled=True)
        endpoint = made["VpcEndpoint"]["VpcEndpointId"]
        for refused in (lambda: self.ec2.delete_subnet(SubnetId=subnet), lambda: self.ec2.delete_security_group(GroupId=group)):
            with self.refused("DependencyViolation"):
                refused()
        self.ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, PrivateDnsEnabled=False)
        self.assertFalse(self.ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"][0]["PrivateDnsEnabled"])
        self.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
        self.ec2.delete_subnet(SubnetId=subnet)
        self.ec2.delete_security_group(GroupId=group)

    def test_a_vpc_is_deleted_last(self):
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        group, table = self.group("left"), self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        steps = (
            lambda: self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc),
            lambda: self.ec2.delete_security_group(GroupId=group),
            lambda: self.ec2.delete_route_table(RouteTableId=table),
        )
        for step in steps:
            with self.refused("DependencyViolation"):
                self.ec2.delete_vpc(VpcId=self.vpc)
            step()
        self.ec2.delete_vpc(VpcId=self.vpc)
        self.assertNotIn(self.vpc, [r["id"] for r in inventory()])

    def test_the_internet_gateway_stays_while_public_addresses_are_mapped(self):
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        balancer = self.balancer("public", [self.subnet(1), self.subnet(2, "b")])
        with self.refused("DependencyViolation"):
            self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.elb.delete_load_balancer(LoadBalancerArn=balancer)
        self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)


class LoadBalancers(Case):
    def setUp(self):
        super().setUp()
        self.subnets = [self.subnet(1), self.subnet(2, "b")]

    def listener(self, balancer, group, port=80):
        made = self.elb.create_listener(LoadBalancerArn=balancer, Port=port, Protocol="HTTP", DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
        return made["Listeners"][0]["ListenerArn"]

    def test_creates_are_idempotent_by_name_and_settings(self):
        first = self.balancer("same", self.subnets)
        self.assertEqual(first, self.balancer("same", self.subnets))
        with self.refused("DuplicateLoadBalancerName"):
            self.balancer("same", self.subnets, Scheme="internal")
        group = self.target_group("same")
        self.assertEqual(group, self.target_group("same"))
        with self.refused("DuplicateTargetGroupName"):
            self.target_group("same", HealthCheckPath="/other")
        listener = self.listener(first, group)
        self.assertEqual(listener, self.listener(first, group))
        with self.refused("DuplicateListener"):
            self.listener(first, self.target_group("two"))

    def test_rules_swap_their_priorities_in_one_call(self):
        listener = self.listener(self.balancer("swap", self.subnets), self.target_group("swap"))
        rules = []
        for n in (10, 20, 30):
            made = self.elb.create_rule(
                ListenerArn=listener, Priority=n, Conditions=[{"Field": "path-pattern", "Values": [f"/{n}"]}],
                Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
            )
            rules.append(made["Rules"][0]["RuleArn"])
        swap = [{"RuleArn": rules[0], "Priority": 20}, {"RuleArn": rules[1], "Priority": 10}]
        self.elb.set_rule_priorities(RulePriorities=swap)
        found = {r["RuleArn"]: r["Priority"] for r in self.elb.describe_rules(ListenerArn=listener)["Rules"]}
        self.assertEqual([found[r] for r in rules], ["20", "10", "30"])
        with self.refused("PriorityInUse"):
            self.elb.set_rule_priorities(RulePriorities=[{"RuleArn": rules[0], "Priority": 30}])

    def test_what_is_used_is_not_deleted(self):
        balancer, group = self.balancer("used", self.subnets), self.target_group("used")
        listener = self.listener(balancer, group)
        described = self.elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
        self.assertEqual(described["LoadBalancerArns"], [balancer])
        with self.refused("ResourceInUse"):
            self.elb.delete_target_group(TargetGroupArn=group)
        with self.refused("DependencyViolation"):
            self.ec2.delete_subnet(SubnetId=self.subnets[0])
        self.elb.delete_listener(ListenerArn=listener)
        self.assertEqual(self.elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]["LoadBalancerArns"], [])
        self.elb.delete_target_group(TargetGroupArn=group)
        self.elb.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
        with self.refused("OperationNotPermitted"):
            self.elb.delete_load_balancer(LoadBalancerArn=balancer)


class Firewall(Case):
    SEEN = {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": "m"}

    def managed(self, name, priority=0):
        return {"Name": name, "Priority": priority, "Statement": {"ManagedRuleGroupStatement": {"VendorName": "AWS", "Name": name}}, "OverrideAction": {"Count": {}}, "VisibilityConfig": self.SEEN}

    def acl(self, rules, name=None):
        made = self.waf.create_web_acl(Name=name or f"acl-{self.n}", Scope="REGIONAL", DefaultAction={"Allow": {}}, VisibilityConfig=self.SEEN, Rules=rules, Description="first")
        return made["Summary"]

    def test_capacity(self):
        rules = [self.managed("AWSManagedRulesCommonRuleSet"), self.managed("AWSManagedRulesAmazonIpReputationList", 1)]
        rate = {"Name": "rate", "Priority": 2, "Action": {"Block": {}}, "VisibilityConfig": self.SEEN,
                "Statement": {"RateBasedStatement": {"Limit": 1000, "AggregateKeyType": "IP"}}}
        self.assertEqual(self.waf.check_capacity(Scope="REGIONAL", Rules=[*rules, rate])["Capacity"], 727)
        summary = self.acl([*rules, rate])
        got = self.waf.get_web_acl(Name=summary["Name"], Id=summary["Id"], Scope="REGIONAL")["WebACL"]
        self.assertEqual(got["Capacity"], 727)
        many = [{**self.managed("AWSManagedRulesCommonRuleSet", n), "Name": f"c{n}"} for n in range(8)]
        with self.refused("WAFLimitsExceededException"):
            self.acl(many, name=f"big-{self.n}")

    def test_managed_groups_are_described(self):
        listed = {g["Name"] for g in self.waf.list_available_managed_rule_groups(Scope="REGIONAL")["ManagedRuleGroups"]}
        self.assertIn("AWSManagedRulesKnownBadInputsRuleSet", listed)
        told = self.waf.describe_managed_rule_group(VendorName="AWS", Name="AWSManagedRulesCommonRuleSet", Scope="REGIONAL")
        self.assertEqual(told["Capacity"], 700)
        self.assertIn("SizeRestrictions_BODY", [r["Name"] for r in told["Rules"]])

    def test_an_update_replaces_the_document_and_names_are_unique(self):
        summary = self.acl([self.managed("AWSManagedRulesCommonRuleSet")])
        with self.refused("WAFDuplicateItemException"):
            self.acl([])
        key = {"Name": summary["Name"], "Id": summary["Id"], "Scope": "REGIONAL"}
        self.waf.update_web_acl(**key, DefaultAction={"Allow": {}}, VisibilityConfig=self.SEEN, LockToken=summary["LockToken"], Rules=[])
        got = self.waf.get_web_acl(**key)
        self.assertEqual((got["WebACL"]["Rules"], got["WebACL"]["Capacity"], got["WebACL"].get("Description", "")), ([], 0, ""))
        with self.refused("WAFOptimisticLockException"):
            self.waf.update_web_acl(**key, DefaultAction={"Allow": {}}, VisibilityConfig=self.SEEN, LockToken=summary["LockToken"], Rules=[])

    def test_what_is_referenced_or_associated_is_not_deleted(self):
        made = self.waf.create_ip_set(Name=f"set-{self.n}", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=["192.0.2.0/24"])["Summary"]
        with self.refused("WAFDuplicateItemException"):
            self.waf.create_ip_set(Name=f"set-{self.n}", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=[])
        rule = {"Name": "listed", "Priority": 0, "Action": {"Block": {}}, "VisibilityConfig": self.SEEN, "Statement": {"IPSetReferenceStatement": {"ARN": made["ARN"]}}}
        acl = self.acl([rule])
        key = {"Name": made["Name"], "Id": made["Id"], "Scope": "REGIONAL", "LockToken": made["LockToken"]}
        with self.refused("WAFAssociatedItemException"):
            self.waf.delete_ip_set(**key)
        balancer = self.balancer("waf", [self.subnet(1), self.subnet(2, "b")])
        self.waf.associate_web_acl(WebACLArn=acl["ARN"], ResourceArn=balancer)
        self.assertEqual(self.waf.list_resources_for_web_acl(WebACLArn=acl["ARN"])["ResourceArns"], [balancer])
        self.assertEqual(self.waf.get_web_acl_for_resource(ResourceArn=balancer)["WebACL"]["ARN"], acl["ARN"])
        gone = {"Name": acl["Name"], "Id": acl["Id"], "Scope": "REGIONAL", "LockToken": acl["LockToken"]}
        with self.refused("WAFAssociatedItemException"):
            self.waf.delete_web_acl(**gone)
        self.waf.disassociate_web_acl(ResourceArn=balancer)
        self.assertNotIn("WebACL", self.waf.get_web_acl_for_resource(ResourceArn=balancer))
        self.waf.delete_web_acl(**gone)
        self.waf.delete_ip_set(**key)

    def test_logging_wants_the_documented_name(self):
        acl = self.acl([])
        base = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:"
        with self.refused("WAFLogDestinationPermissionIssueException"):
            self.waf.put_logging_configuration(LoggingConfiguration={"ResourceArn": acl["ARN"], "LogDestinationConfigs": [base + "other"]})
        self.waf.put_logging_configuration(LoggingConfiguration={"ResourceArn": acl["ARN"], "LogDestinationConfigs": [base + "aws-waf-logs-x"]})
        got = self.waf.get_logging_configuration(ResourceArn=acl["ARN"])["LoggingConfiguration"]
        self.assertEqual(got["LogDestinationConfigs"], [base + "aws-waf-logs-x"])


class Services(Case):
    def setUp(self):
        super().setUp()
        self.cluster = self.ecs.create_cluster(clusterName=f"c{self.n}", settings=[{"name": "containerInsights", "value": "enabled"}])["cluster"]["clusterName"]
        self.family = f"f{self.n}"
        self.first = self.register()
        self.network = {"awsvpcConfiguration": {"subnets": [self.subnet(1)]}}

    def register(self):
        made = self.ecs.register_task_definition(
            family=self.family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "app", "image": "app:1", "essential": True}],
        )
        return made["taskDefinition"]["taskDefinitionArn"]

    def service(self, **more):
        request = {
            "cluster": self.cluster, "serviceName": "app", "taskDefinition": self.family, "desiredCount": 2,
            "networkConfiguration": self.network,
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
            "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True, "rollback": True}, "maximumPercent": 200, "minimumHealthyPercent": 100},
            "enableExecuteCommand": True, "healthCheckGracePeriodSeconds": 30, **more,
        }
        return self.ecs.create_service(**request)["service"]

    def described(self):
        return self.ecs.describe_services(cluster=self.cluster, services=["app"], include=["TAGS"])["services"][0]

    def test_a_service_keeps_what_it_was_given_and_is_steady(self):
        self.service(tags=[{"key": "address", "value": "x"}])
        found = self.described()
        self.assertEqual(found["capacityProviderStrategy"], [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}])
        self.assertNotIn("launchType", found)
        self.assertTrue(found["deploymentConfiguration"]["deploymentCircuitBreaker"]["rollback"])
        self.assertTrue(found["enableExecuteCommand"])
        self.assertEqual(found["healthCheckGracePeriodSeconds"], 30)
        self.assertEqual((found["runningCount"], found["pendingCount"]), (2, 0))
        self.assertEqual(found["deployments"][0]["rolloutState"], "COMPLETED")
        self.assertEqual(found["taskDefinition"], self.first)
        self.assertTrue(found["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"])

    def test_an_update_rolls_out(self):
        service = self.service()
        second = self.register()
        self.ecs.update_service(cluster=self.cluster, service="app", taskDefinition=self.family, desiredCount=3, healthCheckGracePeriodSeconds=60)
        found = self.described()
        self.assertEqual((found["taskDefinition"], found["runningCount"], found["healthCheckGracePeriodSeconds"]), (second, 3, 60))
        self.assertEqual(found["deployments"][0]["taskDefinition"], second)
        listed = self.ecs.list_service_deployments(service=service["serviceArn"], cluster=self.cluster)["serviceDeployments"]
        self.assertEqual([d["status"] for d in listed], ["SUCCESSFUL", "SUCCESSFUL"])
        told = self.ecs.describe_service_deployments(serviceDeploymentArns=[listed[0]["serviceDeploymentArn"]])
        self.assertEqual(told["serviceDeployments"][0]["serviceArn"], service["serviceArn"])

    def test_a_service_is_made_once(self):
        first = self.service(clientToken="t1")
        self.assertEqual(self.service(clientToken="t1")["serviceArn"], first["serviceArn"])
        with self.refused("InvalidParameterException"):
            self.service(desiredCount=5)
        with self.refused("ClusterContainsServicesException"):
            self.ecs.delete_cluster(cluster=self.cluster)
        self.ecs.delete_service(cluster=self.cluster, service="app", force=True)
        self.assertEqual(self.ecs.list_services(cluster=self.cluster)["serviceArns"], [])
        self.assertEqual(self.described()["status"], "INACTIVE")
        self.service(desiredCount=5)
        self.ecs.delete_service(cluster=self.cluster, service="app", force=True)
        self.ecs.delete_cluster(cluster=self.cluster)
        self.assertNotIn(self.cluster, [arn.split("/")[-1] for arn in self.ecs.list_clusters()["clusterArns"]])

    def test_cluster_settings(self):
        self.ecs.update_cluster_settings(cluster=self.cluster, settings=[{"name": "containerInsights", "value": "disabled"}])
        found = self.ecs.describe_clusters(clusters=[self.cluster], include=["SETTINGS"])["clusters"][0]
        self.assertEqual(found["settings"], [{"name": "containerInsights", "value": "disabled"}])

    def test_scaling_tags_and_the_end_of_a_target(self):
        self.service()
        scaling = client("application-autoscaling")
        key = {"ServiceNamespace": "ecs", "ResourceId": f"service/{self.cluster}/app", "ScalableDimension": "ecs:service:DesiredCount"}
        arn = scaling.register_scalable_target(**key, MinCapacity=1, MaxCapacity=4, Tags={"address": "scale"})["ScalableTargetARN"]
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"address": "scale"})
        scaling.tag_resource(ResourceARN=arn, Tags={"more": "1"})
        scaling.untag_resource(ResourceARN=arn, TagKeys=["address"])
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"more": "1"})
        body = {"TargetValue": 50.0, "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}
        scaling.put_scaling_policy(**key, PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=body)
        scaling.deregister_scalable_target(**key)
        self.assertEqual(scaling.describe_scaling_policies(ServiceNamespace="ecs", ResourceId=key["ResourceId"])["ScalingPolicies"], [])
        with self.refused("ObjectNotFoundException"):
            scaling.deregister_scalable_target(**key)
        with self.refused("ObjectNotFoundException"):
            scaling.put_scaling_policy(**key, PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=body)


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
        )
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


class Names(Case):
    def test_a_caller_reference_makes_one_zone(self):
        zones = client("route53")
        zones.create_hosted_zone(Name=f"z{self.n}.example", CallerReference=f"ref-{self.n}")
        with self.refused("HostedZoneAlreadyExists"):
            zones.create_hosted_zone(Name=f"z{self.n}.example", CallerReference=f"ref-{self.n}")

    def test_a_certificate_is_issued_by_its_record_and_kept_while_used(self):
        acm, zones = client("acm"), client("route53")
        name = f"c{self.n}.example"
        zone = zones.create_hosted_zone(Name=name, CallerReference=f"cert-{self.n}")["HostedZone"]["Id"]
        arn = acm.request_certificate(DomainName=name, SubjectAlternativeNames=[f"*.{name}"], ValidationMethod="DNS", IdempotencyToken=f"t{self.n}")["CertificateArn"]
        told = acm.describe_certificate(CertificateArn=arn)["Certificate"]
        self.assertEqual(told["Status"], "PENDING_VALIDATION")
        balancer, group = self.balancer("tls", [self.subnet(1), self.subnet(2, "b")]), self.target_group("tls")
        listen = {"LoadBalancerArn": balancer, "Port": 443, "Protocol": "HTTPS", "Certificates": [{"CertificateArn": arn}], "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}]}
        with self.refused("UnsupportedCertificate"):
            self.elb.create_listener(**listen)
        for option in told["DomainValidationOptions"]:
            record = option["ResourceRecord"]
            change = {"Action": "UPSERT", "ResourceRecordSet": {"Name": record["Name"], "Type": record["Type"], "TTL": 60, "ResourceRecords": [{"Value": record["Value"]}]}}
            zones.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})
        self.assertEqual(acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"], "ISSUED")
        listener = self.elb.create_listener(**listen)["Listeners"][0]["ListenerArn"]
        with self.refused("ResourceInUseException"):
            acm.delete_certificate(CertificateArn=arn)
        self.elb.delete_listener(ListenerArn=listener)
        acm.delete_certificate(CertificateArn=arn)
        again = acm.request_certificate(DomainName=name, SubjectAlternativeNames=[f"*.{name}"], ValidationMethod="DNS", IdempotencyToken=f"t{self.n}")["CertificateArn"]
        self.assertNotEqual(arn, again)

    def test_a_deleted_secret_holds_its_name(self):
        secrets = client("secretsmanager")
        secrets.create_secret(Name=f"s{self.n}", SecretString="x")
        secrets.delete_secret(SecretId=f"s{self.n}", RecoveryWindowInDays=7)
        with self.refused("InvalidRequestException"):
            secrets.create_secret(Name=f"s{self.n}", SecretString="x")
        secrets.restore_secret(SecretId=f"s{self.n}")


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
        self.waf.create_web_acl(Name=f"t{self.n}", Scope="REGIONAL", DefaultAction={"Allow": {}}, VisibilityConfig=Firewall.SEEN, Rules=[], Tags=tag)
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


if __name__ == "__main__":
    unittest.main()
