"""EC2 security groups: rules as AWS identifies, describes and modifies them.

Restores, against moto 5.2.5:
- a rule's identity is direction, protocol, ports and peer; its description is not part of it (API_RevokeSecurityGroupIngress:
  "the rule's source and ports must match"; a second rule that differs only in its description is InvalidPermission.Duplicate);
- Authorize* returns every rule that it made, not those of the last permission (API_AuthorizeSecurityGroupIngress,
  securityGroupRuleSet), and all or nothing of one call takes effect;
- descriptions of rules whose peer is a group or a prefix list (API_SecurityGroupRule, Description);
- ModifySecurityGroupRules on groups, prefix lists and IPv6 ranges (API_SecurityGroupRuleRequest), also with ports -1;
- GetSecurityGroupsForVpc and DescribeVpcBlockPublicAccessOptions, which moto does not know;
- the limit of rules counts 60 per direction and peer family, all permissions of one call together.
It refuses to know deletes: those are in ec2_refusals.
"""

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidPermissionDuplicateError, InvalidSecurityGroupRuleIdNotFoundError
from moto.ec2.models import security_groups as models
from moto.ec2.responses import EC2Response
from moto.ec2.responses.security_groups import SecurityGroups

from .patching import action, replace

Rule = models.SecurityGroupRule
Backend = models.SecurityGroupBackend


def identity(rule):
    return (
        rule.ip_protocol,
        rule.from_port,
        rule.to_port,
        rule.ip_range.get("CidrIp"),
        rule.ip_range.get("CidrIpv6"),
        rule.source_group.get("GroupId"),
        rule.prefix_list_id,
    )


def install() -> None:
    Rule.__eq__ = lambda self, other: identity(self) == identity(other)
    Rule.__hash__ = None

    first_init = Rule.__init__

    def keep_the_description_of_a_prefix_list(self, *args, **kwargs):
        first_init(self, *args, **kwargs)
        prefix_list = kwargs.get("prefix_list_id") or (args[7] if len(args) > 7 else None)
        self.prefix_list_description = (prefix_list or {}).get("Description")
        # moto hands the request's dictionaries to the rule, and one tag dictionary to every rule of a call.
        self.ip_range, self.source_group = dict(self.ip_range), dict(self.source_group)

    Rule.__init__ = keep_the_description_of_a_prefix_list

    Rule.description = property(
        lambda self: self.ip_range.get("Description")
        or self.source_group.get("Description")
        or getattr(self, "prefix_list_description", None)
    )
    Rule.referenced_group_info = property(
        lambda self: {"GroupId": self.source_group["GroupId"], "UserId": self.owner_id} if self.source_group else None
    )
    Rule.group_owner_id = property(lambda self: self.owner_id)
    Rule.security_group_rule_arn = property(
        lambda self: f"arn:aws:ec2:{self.ec2_backend.region_name}:{self.owner_id}:security-group-rule/{self.id}"
    )

    for direction in ("ingress", "egress"):
        _authorize_as_one(direction)

    @replace(Backend)
    def modify_security_group_rules(self, group_id, rules):
        group = self.get_security_group_by_name_or_id(group_id)
        if group is None:
            raise models.InvalidSecurityGroupNotFoundError(group_id)
        for rule_id, new in rules.items():
            rule = group.get_rule(rule_id)
            if rule is None:
                raise InvalidSecurityGroupRuleIdNotFoundError(rule_id)
            peers = [k for k in ("CidrIpv4", "CidrIpv6", "PrefixListId", "ReferencedGroupId") if new.get(k) is not None]
            if len(peers) > 1:
                raise models.InvalidParameterCombination(
                    "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified"
                )
            if not peers:
                raise models.MissingParameter(
                    "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId"
                )
            if new.get("IpProtocol") is None:
                raise models.InvalidParameterValue(
                    "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly."
                )
            was = (
                "CidrIpv4" if rule.ip_range.get("CidrIp")
                else "CidrIpv6" if rule.ip_range.get("CidrIpv6")
                else "ReferencedGroupId" if rule.source_group
                else "PrefixListId"
            )
            if peers[0] != was:
                raise models.InvalidParameterValue(
                    f"Invalid rule type for security group rule '{rule_id}'. You may not specify {peers[0]} for an existing {was} rule."
                )
            protocol = str(new["IpProtocol"])
            rule.ip_protocol = {"6": "tcp", "17": "udp", "1": "icmp", "all": "-1"}.get(protocol.lower(), protocol.lower())
            if rule.ip_protocol == "-1":
                rule.from_port = rule.to_port = None
            else:
                if new.get("FromPort") is None or new.get("ToPort") is None:
                    raise models.InvalidParameterValue(
                        "Invalid value for portRange. Must specify both from and to ports with TCP/UDP."
                    )
                rule.from_port, rule.to_port = int(new["FromPort"]), int(new["ToPort"])
            described = {"Description": new["Description"]} if new.get("Description") else {}
            if was == "CidrIpv4":
                rule.ip_range = {"CidrIp": new["CidrIpv4"], **described}
            elif was == "CidrIpv6":
                rule.ip_range = {"CidrIpv6": new["CidrIpv6"], **described}
            elif was == "ReferencedGroupId":
                if not self.get_security_group_from_id(new["ReferencedGroupId"]):
                    raise models.InvalidSecurityGroupNotFoundError(new["ReferencedGroupId"])
                rule.source_group = {"GroupId": new["ReferencedGroupId"], "UserId": self.account_id, **described}
            else:
                rule.prefix_list_id = new["PrefixListId"]
                rule.prefix_list_description = described.get("Description")

    @action(EC2Response)
    def get_security_groups_for_vpc(self):
        vpc_id = self._get_param("VpcId")
        groups = self.ec2_backend.describe_security_groups(filters={"vpc-id": [vpc_id]})
        return ActionResult(
            {
                "SecurityGroupForVpcs": [
                    {
                        "GroupId": g.id,
                        "GroupName": g.name,
                        "Description": g.description,
                        "OwnerId": g.owner_id,
                        "PrimaryVpcId": g.vpc_id,
                        "Tags": g.tag_set,
                    }
                    for g in groups
                ]
            }
        )

    @action(EC2Response)
    def describe_vpc_block_public_access_options(self):
        # API_DescribeVpcBlockPublicAccessOptions: an account that never set it answers "off".
        return ActionResult(
            {
                "VpcBlockPublicAccessOptions": {
                    "AwsAccountId": self.current_account,
                    "AwsRegion": self.region,
                    "State": "default-state",
                    "InternetGatewayBlockMode": "off",
                    "ExclusionsAllowed": "allowed",
                    "ManagedBy": "account",
                }
            }
        )


def _authorize_as_one(direction: str) -> None:
    def authorize(self):
        self.error_on_dryrun()
        backend = self.ec2_backend
        calls = list(self._process_rules_from_querystring())
        group = backend.get_security_group_by_name_or_id(calls[0]["group_name_or_id"])
        before = list(getattr(group, f"{direction}_rules")) if group else []
        made = []
        try:
            for kwargs in calls:
                rules, _ = getattr(backend, f"authorize_security_group_{direction}")(**kwargs)
                made.extend(rules)
        except Exception:
            if group:
                setattr(group, f"{direction}_rules", before)
            raise
        return ActionResult({"Return": True, "SecurityGroupRules": made})

    authorize.__name__ = f"authorize_security_group_{direction}"
    replace(SecurityGroups)(authorize)

    add = getattr(models.SecurityGroup, f"add_{direction}_rule")

    def add_unless_there(self, rule):
        if rule in getattr(self, f"{direction}_rules"):
            raise InvalidPermissionDuplicateError()
        add(self, rule)

    setattr(models.SecurityGroup, f"add_{direction}_rule", add_unless_there)
