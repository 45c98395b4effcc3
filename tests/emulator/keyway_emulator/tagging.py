"""Resource Groups Tagging API: the kinds of resource that it covers on AWS and moto leaves out.

Restores, against moto 5.2.5 ("Services that support the Resource Groups Tagging API" in its user guide):
- WAFv2 sets and ACLs, ECR repositories, listeners and listener rules, elastic IPs, endpoints, flow logs under their real
  ARN type, RDS subnet and parameter groups, ElastiCache parameter groups;
- TagsPerPage limits a page only when it is asked for (API_GetResources): moto cuts every page at 100 tags;
- resources that never had a tag are not listed ("Returns all the tagged or previously tagged resources").
It lists what is alive only: AWS may still list what is gone, which a reader has to bear anyway (in-memory account).
"""

from moto.core.base_backend import BackendDict
from moto.core.resource_tagging import TaggedResource, make_tag_matcher, match_resource_type
from moto.resourcegroupstaggingapi import models
from moto.resourcegroupstaggingapi.responses import ResourceGroupsTaggingAPIResponse

from .elasticache import parameter_groups
from .patching import method

# API_GetResources, ResourcesPerPage: "default 50"; a page is never limited by tags unless TagsPerPage is given.
UNLIMITED_TAGS = 1_000_000


def in_use(account_id, region):
    """(service name, backend) of what somebody has used in this account and region."""
    for known in list(BackendDict._instances):
        if account_id in known and region in known[account_id]:
            yield known.service_name, known[account_id][region]


def missing(account_id, region):
    """(ARN, tags, resource type) of what moto does not list itself."""
    for service, backend in in_use(account_id, region):
        if service == "wafv2":
            for kind, things in (("webacl", backend.wacls), ("ipset", backend.ip_sets), ("regexpatternset", backend.regex_pattern_sets)):
                for arn in things:
                    yield arn, backend.tagging_service.get_tag_dict_for_resource(arn), f"wafv2:{kind}"
        elif service == "ecr":
            for repository in backend.repositories.values():
                yield repository.arn, backend.tagger.get_tag_dict_for_resource(repository.arn), "ecr:repository"
        elif service == "elbv2":
            for balancer in backend.load_balancers.values():
                for listener in balancer.listeners.values():
                    for arn in (listener.arn, *(r.arn for r in listener.rules.values())):
                        kind = "listener-rule" if ":listener-rule/" in arn else "listener"
                        tags = backend.tagging_service.get_tag_dict_for_resource(arn)
                        yield arn, tags, f"elasticloadbalancing:{kind}"
        elif service == "ec2":
            prefix = f"arn:aws:ec2:{region}:{account_id}"
            for kind, ids in (
                ("elastic-ip", [a.allocation_id for a in backend.addresses]),
                ("vpc-endpoint", list(backend.vpc_end_points)),
                ("vpc-flow-log", list(backend.flow_logs)),
            ):
                for resource_id in ids:
                    yield f"{prefix}:{kind}/{resource_id}", dict(backend.tags.get(resource_id, {})), f"ec2:{kind}"
            for group in (g for groups in backend.groups.values() for g in groups.values()):
                for rule in group.ingress_rules + group.egress_rules:
                    tags = dict(backend.tags.get(rule.id, {}))
                    yield f"{prefix}:security-group-rule/{rule.id}", tags, "ec2:security-group-rule"
        elif service == "rds":
            for thing in (*backend.subnet_groups.values(), *backend.db_parameter_groups.values()):
                yield thing.arn, {t["Key"]: t["Value"] for t in thing.get_tags()}, f"rds:{thing.resource_type}"
        elif service == "elasticache":
            for group in parameter_groups(backend).values():
                tags = backend.tagging_service.get_tag_dict_for_resource(group.arn)
                yield group.arn, tags, "elasticache:parametergroup"


def install() -> None:
    @method(models.ResourceGroupsTaggingAPIBackend)
    def _get_resources_generator(original, self, tag_filters=None, resource_type_filters=None, resource_arn_list=None):
        seen = set()
        known = original(
            self, tag_filters=tag_filters, resource_type_filters=None, resource_arn_list=resource_arn_list
        )
        for resource in known:
            renamed = _aws_type(resource)
            if renamed and renamed.tags and match_resource_type(renamed.resource_type, resource_type_filters):
                seen.add(renamed.arn)
                yield renamed
        matches = make_tag_matcher(tag_filters)
        for arn, tags, kind in missing(self.account_id, self.region_name):
            if not tags or arn in seen or not matches(tags) or not match_resource_type(kind, resource_type_filters):
                continue
            if resource_arn_list and arn not in resource_arn_list:
                continue
            yield TaggedResource(arn=arn, tags=tags, resource_type=kind)

    @method(models.ResourceGroupsTaggingAPIBackend)
    def get_resources(original, self, **kwargs):
        if not kwargs.pop("_tags_asked", False):
            kwargs["tags_per_page"] = UNLIMITED_TAGS
        return original(self, **kwargs)

    @method(ResourceGroupsTaggingAPIResponse, "get_resources")
    def answer(original, self):
        asked = self._get_int_param("TagsPerPage") is not None
        backend = self.backend
        bound = backend.get_resources
        backend.get_resources = lambda **kwargs: bound(**kwargs, _tags_asked=asked)
        try:
            return original(self)
        finally:
            del backend.get_resources


def _aws_type(resource):
    """moto's own names of kinds, as AWS spells them in ARNs and ResourceTypeFilters."""
    if resource.resource_type == "ec2:flow-logs":
        return None  # listed as vpc-flow-log below
    if resource.resource_type.startswith("elasticache:"):
        kind = resource.arn.split(":")[5]
        return TaggedResource(resource.arn, resource.tags, f"elasticache:{kind}")
    if resource.resource_type == "logs:loggroup":
        return TaggedResource(resource.arn, resource.tags, "logs:log-group")
    return resource
