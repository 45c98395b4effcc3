"""EC2 route tables, NAT gateways, endpoints and addresses: tokens, lifetimes and what hangs on what.

Restores, against moto 5.2.5:
- ClientToken of CreateRouteTable, CreateNatGateway, CreateVpcEndpoint and CreateFlowLogs (API reference of each:
  "Unique, case-sensitive identifier to ensure the idempotency of the request");
- a deleted NAT gateway gives up its interface and its association but keeps the address allocated, stays visible as
  `deleted`, and leaves its routes as `blackhole` (user guide "NAT gateway basics"; API_Route, State);
- NatGatewayNotFound instead of a 500, `tag:` and `state` filters of DescribeNatGateways;
- a gateway endpoint adds and removes the prefix list route when its route tables are modified (user guide "Gateway
  endpoints"), an interface endpoint its interfaces with its subnets; PrivateDnsEnabled and IpAddressType can be modified;
  an endpoint that was deleted is gone (DescribeVpcEndpoints) and an unknown id is reported in `unsuccessful`;
- AssociateRouteTable of a subnet that another table has is Resource.AlreadyAssociated, not a success that changes nothing
  ("Error codes for the Amazon EC2 API"); of the same table it answers the association that is there;
- CreateRoute of a destination that a prefix list or IPv6 route already holds is RouteAlreadyExists; ReplaceRoute finds
  prefix list routes.
It refuses to know which deletes are refused: that is ec2_refusals.
"""

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, RouteAlreadyExistsError
from moto.ec2.models import nat_gateways, route_tables, vpcs
from moto.ec2.responses.flow_logs import FlowLogs
from moto.ec2.responses.nat_gateways import NatGateways
from moto.ec2.responses.route_tables import RouteTables
from moto.ec2.responses.vpcs import VPCs
from moto.ec2.utils import random_private_ip

from .patching import method, once, replace


class AlreadyAssociated(EC2ClientError):
    def __init__(self, table):
        super().__init__(
            "Resource.AlreadyAssociated",
            f"the specified association for route table {table} conflicts with an existing association",
        )


class NatGatewayNotFound(EC2ClientError):
    def __init__(self, nat_gateway_id):
        super().__init__("NatGatewayNotFound", f"NAT gateway {nat_gateway_id} was not found")


def install() -> None:
    _tokens()
    _nat_gateways()
    _routes()
    _endpoints()


def _tokens() -> None:
    for responses, operation in (
        (RouteTables, "create_route_table"),
        (NatGateways, "create_nat_gateway"),
        (VPCs, "create_vpc_endpoint"),
        (FlowLogs, "create_flow_logs"),
    ):
        _honour_token(responses, operation)


def _honour_token(responses, operation) -> None:
    @method(responses, operation)
    def create(original, self):
        request = {k: v for k, v in dict(self._get_params()).items() if k not in ("ClientToken", "DryRun")}
        token = self._get_param("ClientToken")
        result = once(self.ec2_backend, operation, token, repr(request), lambda: original(self).result)
        if token and isinstance(result, dict):
            result = {**result, "ClientToken": token}
        return ActionResult(result)


def _nat_gateways() -> None:
    backend = nat_gateways.NatGatewayBackend

    @replace(backend)
    def delete_nat_gateway(self, nat_gateway_id):
        nat = self.nat_gateways.get(nat_gateway_id)
        if nat is None:
            raise NatGatewayNotFound(nat_gateway_id)
        if nat.state != "deleted":
            nat.state = "deleted"
            for address in self.addresses:
                if address.eni is nat._eni:
                    self.disassociate_address(address=address.public_ip)
            self.enis.pop(nat._eni.id, None)
        return nat

    @method(backend)
    def describe_nat_gateways(original, self, filters, nat_gateway_ids):
        for nat_gateway_id in nat_gateway_ids or []:
            if nat_gateway_id not in self.nat_gateways:
                raise NatGatewayNotFound(nat_gateway_id)
        found = original(self, filters, nat_gateway_ids)
        tags = {k: v for k, v in (filters or {}).items() if k.startswith("tag")}
        return [nat for nat in found if all(_tag_matches(nat, k, v) for k, v in tags.items())]


def _tag_matches(resource, key, values) -> bool:
    tags = {tag["key"]: tag["value"] for tag in resource.get_tags()}
    if key == "tag-key":
        return any(value in tags for value in values)
    return tags.get(key.removeprefix("tag:")) in values


def _routes() -> None:
    route_tables.Route.state = property(
        lambda self: "blackhole"
        if (self.nat_gateway and self.nat_gateway.state != "available")
        or (self.interface and self.interface.id not in self.route_table.ec2_backend.enis)
        or (self.gateway and self.gateway.id.startswith("igw-") and self.gateway.vpc is None)
        else "active"
    )

    @method(route_tables.RouteBackend)
    def associate_route_table(original, self, route_table_id, gateway_id=None, subnet_id=None):
        for table in self.route_tables.values():
            if subnet_id and table.id != route_table_id and subnet_id in table._associations.values():
                raise AlreadyAssociated(route_table_id)
        return original(self, route_table_id, gateway_id, subnet_id)

    @method(route_tables.RouteBackend)
    def create_route(original, self, route_table_id, destination_cidr_block, *args, **kwargs):
        destinations = [destination_cidr_block, *args[:2]]
        destinations += [kwargs.get("destination_ipv6_cidr_block"), kwargs.get("destination_prefix_list_id")]
        table = self.get_route_table(route_table_id)
        for route in table.routes:
            if route.destination_prefix_list_id in destinations[1:] and route.destination_prefix_list_id:
                raise RouteAlreadyExistsError(route.destination_prefix_list_id)
            if route.destination_ipv6_cidr_block in destinations[1:] and route.destination_ipv6_cidr_block:
                raise RouteAlreadyExistsError(route.destination_ipv6_cidr_block)
        nat_id = kwargs.get("nat_gateway_id")
        if nat_id and nat_id not in self.nat_gateways:
            raise NatGatewayNotFound(nat_id)
        return original(self, route_table_id, destination_cidr_block, *args, **kwargs)


def _endpoints() -> None:
    backend = vpcs.VPCBackend

    @method(backend)
    def create_vpc_endpoint(original, self, *args, **kwargs):
        kind = (kwargs.get("endpoint_type") or "Gateway").capitalize()
        kwargs["endpoint_type"] = kind
        if kind == "Interface":
            vpc_id = kwargs.get("vpc_id") or args[0]
            groups = kwargs.get("security_group_ids") or []
            if not groups:
                # API_CreateVpcEndpoint, SecurityGroupId: "If this parameter is not specified, we use the default group".
                kwargs["security_group_ids"] = [self.get_default_security_group(vpc_id).id]
            for group_id in groups:
                if self.get_security_group_from_id(group_id) is None:
                    raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        else:
            # API_CreateVpcEndpoint: private DNS is of interface endpoints only.
            kwargs["private_dns_enabled"] = False
        endpoint = original(self, *args, **kwargs)
        endpoint.ip_address_type = "ipv4"
        endpoint.requester_managed = False
        endpoint.subnet_ids = list(endpoint.subnet_ids or [])
        endpoint.route_table_ids = list(endpoint.route_table_ids or [])
        for eni_id in endpoint.network_interface_ids:
            self.enis[eni_id].description = f"VPC Endpoint Interface {endpoint.id}"
        return endpoint

    @method(backend)
    def modify_vpc_endpoint(original, self, vpc_id, policy_doc, add_subnets, remove_subnets, remove_route_tables, add_route_tables, add_security_groups, remove_security_groups):
        endpoint = self.get_vpc_end_point(vpc_id)
        prefix_list = endpoint.destination_prefix_list_id
        for table_id in add_route_tables or []:
            if prefix_list and table_id not in endpoint.route_table_ids:
                self.create_route(table_id, None, gateway_id=endpoint.id, destination_prefix_list_id=prefix_list)
        for table_id in remove_route_tables or []:
            if prefix_list and table_id in endpoint.route_table_ids:
                self.delete_route(table_id, prefix_list)
        for subnet_id in add_subnets or []:
            if endpoint.vpc_endpoint_type == "Interface" and subnet_id not in endpoint.subnet_ids:
                eni = self.create_network_interface(subnet_id, random_private_ip())
                eni.description = f"VPC Endpoint Interface {endpoint.id}"
                endpoint.network_interface_ids.append(eni.id)
        for eni_id in list(endpoint.network_interface_ids):
            eni = self.enis.get(eni_id)
            if eni and _subnet_of(eni) in (remove_subnets or []):
                self.enis.pop(eni_id)
                endpoint.network_interface_ids.remove(eni_id)
        original(
            self, vpc_id, policy_doc, add_subnets, remove_subnets, remove_route_tables, add_route_tables,
            add_security_groups, remove_security_groups,
        )

    @method(VPCs, "modify_vpc_endpoint")
    def modify(original, self):
        result = original(self)
        endpoint = self.ec2_backend.get_vpc_end_point(self._get_param("VpcEndpointId"))
        if self._get_bool_param("PrivateDnsEnabled") is not None:
            endpoint.private_dns_enabled = self._get_bool_param("PrivateDnsEnabled")
        if self._get_bool_param("ResetPolicy"):
            endpoint.policy_document = vpcs.json.dumps(vpcs.VPCEndPoint.DEFAULT_POLICY)
        return result

    @method(VPCs, "delete_vpc_endpoints")
    def delete(original, self):
        backend = self.ec2_backend
        wanted = self._get_param("VpcEndpointIds", [])
        unknown = [i for i in wanted if i not in backend.vpc_end_points]
        known = [i for i in wanted if i in backend.vpc_end_points]
        for endpoint_id in known:
            # A table may have lost the route or be gone already: AWS does not mind.
            endpoint = backend.vpc_end_points[endpoint_id]
            for table_id in endpoint.route_table_ids if endpoint.destination_prefix_list_id else []:
                table = backend.route_tables.get(table_id)
                for route in list(table.routes) if table else []:
                    if route.gateway is endpoint:
                        table._routes.pop(route.id)
            for eni_id in endpoint.network_interface_ids:
                backend.enis.pop(eni_id, None)
            backend.vpc_end_points.pop(endpoint_id)
        return ActionResult(
            {
                "Unsuccessful": [
                    {
                        "ResourceId": i,
                        "Error": {
                            "Code": "InvalidVpcEndpoint.NotFound",
                            "Message": f"The Vpc Endpoint Id '{i}' does not exist",
                        },
                    }
                    for i in unknown
                ]
            }
        )


def _subnet_of(eni) -> str:
    subnet = eni.subnet
    return subnet if isinstance(subnet, str) else subnet.id
