"""Security groups, gateways, endpoints, and what a VPC refuses to lose: AWS's behaviour, asked of the emulator."""

from case import REGION, Case, inventory, spec


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
