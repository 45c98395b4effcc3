"""What EC2 refuses to delete while something else hangs on it.

Restores DependencyViolation, InvalidIPAddress.InUse, AuthFailure-free releases and CannotDelete as documented in
"Error codes for the Amazon EC2 API" and in API_DeleteSecurityGroup, API_DeleteSubnet, API_DeleteVpc,
API_DetachInternetGateway, API_ReleaseAddress. moto has no interfaces of load balancers, tasks, databases and caches, so
their use of a subnet or a group is read from those services. It refuses to know how those are deleted themselves.
"""

from moto.core.base_backend import BackendDict
from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models import EC2Backend

from .patching import method


class AddressInUse(EC2ClientError):
    def __init__(self, address):
        super().__init__("InvalidIPAddress.InUse", f"Address {address} is in use.")


class CannotDelete(EC2ClientError):
    def __init__(self, group_id):
        super().__init__("CannotDelete", f"the specified group: \"{group_id}\" name: \"default\" cannot be deleted by a user")


def other_backend(ec2, service):
    """The backend of `service` in the same account and region, or None while nobody has used it."""
    for known in BackendDict._instances:
        if known.service_name == service and ec2.account_id in known:
            account = known[ec2.account_id]
            return account[ec2.region_name] if ec2.region_name in account else None
    return None


def users_in_other_services(ec2):
    """(what it is, its subnets, its groups) of everything that holds interfaces in a VPC."""
    elb = other_backend(ec2, "elbv2")
    for balancer in elb.load_balancers.values() if elb else ():
        yield f"ELB app/{balancer.name}", [s.id for s in balancer.subnets], list(balancer.security_groups or [])
    ecs = other_backend(ec2, "ecs")
    for service in ecs.services.values() if ecs else ():
        network = (service.network_configuration or {}).get("awsvpcConfiguration", {})
        if service.status == "ACTIVE" and service.running_count:
            yield f"ECS service {service.name}", network.get("subnets", []), network.get("securityGroups", [])
    rds = other_backend(ec2, "rds")
    for database in rds.databases.values() if rds else ():
        group = database.db_subnet_group
        subnets = [s.id for s in group._subnets] if group else []
        yield f"RDS instance {database.db_instance_identifier}", subnets, list(database.vpc_security_group_ids or [])
    caches = other_backend(ec2, "elasticache")
    for group in caches.replication_groups.values() if caches else ():
        place = caches.cache_subnet_groups.get(group.cache_subnet_group_name)
        subnets = list(place.subnet_ids) if place else []
        yield f"ElastiCache {group.replication_group_id}", subnets, list(group.security_group_ids or [])
    for endpoint in ec2.vpc_end_points.values():
        yield f"endpoint {endpoint.id}", list(endpoint.subnet_ids or []), list(endpoint.security_group_ids or [])
    for nat in ec2.nat_gateways.values():
        if nat.state != "deleted":
            yield f"NAT gateway {nat.id}", [nat.subnet_id], []


def _refuse(kind, resource_id):
    raise DependencyViolationError(f"The {kind} '{resource_id}' has dependencies and cannot be deleted.")


def install() -> None:
    @method(EC2Backend)
    def delete_security_group(original, self, name=None, group_id=None):
        group = self.get_security_group_from_id(group_id) if group_id else self.get_security_group_from_name(name)
        if group and not getattr(self, "_keyway_deleting_vpc", False):
            if group.is_default or group.name == "default":
                raise CannotDelete(group.id)
            for other in (g for groups in self.groups.values() for g in groups.values()):
                if other.id == group.id:
                    continue
                if any(r.source_group.get("GroupId") == group.id for r in other.ingress_rules + other.egress_rules):
                    raise DependencyViolationError(f"resource {group.id} has a dependent object")
            if any(group.id in groups for _, _, groups in users_in_other_services(self)):
                raise DependencyViolationError(f"resource {group.id} has a dependent object")
            if any(group.id in [g.id for g in eni._group_set] for eni in self.enis.values()):
                raise DependencyViolationError(f"resource {group.id} has a dependent object")
        return original(self, name=name, group_id=group_id)

    @method(EC2Backend)
    def delete_subnet(original, self, subnet_id):
        in_use = any(subnet_id in subnets for _, subnets, _ in users_in_other_services(self))
        held = any((e.subnet if isinstance(e.subnet, str) else e.subnet.id) == subnet_id for e in self.enis.values())
        if in_use or held:
            _refuse("subnet", subnet_id)
        deleted = original(self, subnet_id)
        # Associations with route tables go with the subnet.
        for table in self.route_tables.values():
            for association in [a for a, target in table._associations.items() if target == subnet_id]:
                table._associations.pop(association)
        return deleted

    @method(EC2Backend)
    def detach_internet_gateway(original, self, internet_gateway_id, vpc_id):
        public = [
            n for n in self.nat_gateways.values()
            if n.vpc_id == vpc_id and n.state != "deleted" and n.connectivity_type != "private"
        ]
        elb = other_backend(self, "elbv2")
        balancers = [
            b for b in (elb.load_balancers.values() if elb else ()) if b.vpc_id == vpc_id and b.scheme != "internal"
        ]
        if public or balancers:
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
            )
        return original(self, internet_gateway_id, vpc_id)

    @method(EC2Backend)
    def delete_vpc(original, self, vpc_id):
        gateways = [g for g in self.internet_gateways.values() if g.vpc and g.vpc.id == vpc_id]
        groups = [g for g in self.groups.get(vpc_id, {}).values() if g.name != "default"]
        endpoints = [e for e in self.vpc_end_points.values() if e.vpc_id == vpc_id]
        nats = [n for n in self.nat_gateways.values() if n.vpc_id == vpc_id and n.state != "deleted"]
        tables = [t for t in self.route_tables.values() if t.vpc_id == vpc_id and t.main_association_id is None]
        if gateways or groups or endpoints or nats or tables:
            _refuse("vpc", vpc_id)
        self._keyway_deleting_vpc = True
        try:
            deleted = original(self, vpc_id)
        finally:
            self._keyway_deleting_vpc = False
        # DeleteFlowLogs: "flow logs of a deleted VPC are deleted with it".
        for flow_log_id in [i for i, f in self.flow_logs.items() if f.resource_id == vpc_id]:
            self.flow_logs.pop(flow_log_id)
        return deleted

    @method(EC2Backend)
    def delete_route_table(original, self, route_table_id):
        table = self.get_route_table(route_table_id)
        if table.main_association_id is not None and not getattr(self, "_keyway_deleting_vpc", False):
            _refuse("routeTable", route_table_id)
        return original(self, route_table_id)

    @method(EC2Backend)
    def release_address(original, self, address=None, allocation_id=None):
        found = self.address_by_allocation([allocation_id]) if allocation_id else self.address_by_ip([address])
        if found[0].association_id or found[0].eni:
            raise AddressInUse(found[0].public_ip)
        return original(self, address=address, allocation_id=allocation_id)
