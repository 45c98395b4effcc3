"""WAFv2: capacity, managed rule groups, associations, unique names, whole-document updates.

Restores, against moto 5.2.5:
- ListResourcesForWebACL, CheckCapacity, DescribeManagedRuleGroup, ListAvailableManagedRuleGroups (500 in moto); a web ACL's
  Capacity is computed as the developer guide's table of WCUs says and more than 5,000 is WAFLimitsExceededException;
- duplicate names of IP sets, pattern sets and web ACLs are WAFDuplicateItemException (API_CreateIPSet, Errors) per scope;
- DeleteIPSet, DeleteRegexPatternSet, DeleteWebACL refuse what is referenced or associated: WAFAssociatedItemException;
- one resource has one web ACL: AssociateWebACL moves it, and needs a resource that exists (API_AssociateWebACL);
- UpdateWebACL replaces the whole document: no rules given means no rules, an absent description means an empty one;
- answers leave out what is not set, as AWS's do, instead of sending null;
- DeleteWebACL takes its logging configuration with it; logging needs a destination named aws-waf-logs-*.
"""

import json

from moto.core.exceptions import JsonRESTError
from moto.wafv2 import models
from moto.wafv2.exceptions import WAFNonexistentItemException
from moto.wafv2.responses import WAFV2Response

from .ec2_refusals import other_backend
from .patching import action, method

# Developer guide, "AWS Managed Rules rule groups list": capacity and rules of the versionless default.
MANAGED = {
    "AWSManagedRulesCommonRuleSet": (700, (
        "NoUserAgent_HEADER", "UserAgent_BadBots_HEADER", "SizeRestrictions_QUERYSTRING", "SizeRestrictions_Cookie_HEADER",
        "SizeRestrictions_BODY", "SizeRestrictions_URIPATH", "EC2MetaDataSSRF_BODY", "EC2MetaDataSSRF_COOKIE",
        "EC2MetaDataSSRF_URIPATH", "EC2MetaDataSSRF_QUERYARGUMENTS", "GenericLFI_QUERYARGUMENTS", "GenericLFI_URIPATH",
        "GenericLFI_BODY", "RestrictedExtensions_URIPATH", "RestrictedExtensions_QUERYARGUMENTS",
        "GenericRFI_QUERYARGUMENTS", "GenericRFI_BODY", "GenericRFI_URIPATH", "CrossSiteScripting_COOKIE",
        "CrossSiteScripting_QUERYARGUMENTS", "CrossSiteScripting_BODY", "CrossSiteScripting_URIPATH",
    )),
    "AWSManagedRulesKnownBadInputsRuleSet": (200, (
        "JavaDeserializationRCE_HEADER", "JavaDeserializationRCE_BODY", "JavaDeserializationRCE_URIPATH",
        "JavaDeserializationRCE_QUERYSTRING", "Host_localhost_HEADER", "PROPFIND_METHOD", "ExploitablePaths_URIPATH",
        "Log4JRCE_HEADER", "Log4JRCE_QUERYSTRING", "Log4JRCE_BODY", "Log4JRCE_URIPATH",
    )),
    "AWSManagedRulesSQLiRuleSet": (200, (
        "SQLi_QUERYARGUMENTS", "SQLiExtendedPatterns_QUERYARGUMENTS", "SQLi_BODY", "SQLiExtendedPatterns_BODY",
        "SQLi_COOKIE", "SQLi_URIPATH", "SQLiExtendedPatterns_HEADER",
    )),
    "AWSManagedRulesLinuxRuleSet": (200, ("LFI_URIPATH", "LFI_QUERYSTRING", "LFI_HEADER")),
    "AWSManagedRulesUnixRuleSet": (100, ("UNIXShellCommandsVariables_QUERYSTRING", "UNIXShellCommandsVariables_BODY", "UNIXShellCommandsVariables_HEADER")),
    "AWSManagedRulesAdminProtectionRuleSet": (100, ("AdminProtection_URIPATH",)),
    "AWSManagedRulesAmazonIpReputationList": (25, ("AWSManagedIPReputationList", "AWSManagedReconnaissanceList", "AWSManagedIPDDoSList")),
    "AWSManagedRulesAnonymousIpList": (50, ("AnonymousIPList", "HostingProviderIPList")),
    "AWSManagedRulesBotControlRuleSet": (50, ("CategoryAdvertising", "CategoryScraping", "CategoryHttpLibrary", "SignalNonBrowserUserAgent")),
    "AWSManagedRulesATPRuleSet": (50, ("UnsupportedCognitoIDP", "VolumetricIpHigh", "AttributeCompromisedCredentials")),
    "AWSManagedRulesAntiDDoSRuleSet": (50, ("ChallengeAllDuringEvent", "ChallengeDDoSRequests", "DDoSRequests")),
}
CAPACITY_MAX = 5_000  # developer guide, "AWS WAF web ACL capacity units": hard limit of a web ACL


class WafError(JsonRESTError):
    code = 400


def duplicate():
    return WafError(
        "WAFDuplicateItemException",
        "AWS WAF could not perform the operation because some resource in your request is a duplicate of an existing one.",
    )


def associated():
    return WafError(
        "WAFAssociatedItemException",
        "AWS WAF couldn't perform the operation because your resource is being used by another resource or it's associated with another resource.",
    )


def capacity_of_statement(statement: dict) -> int:
    """Developer guide, "Rule statements list", column WCU."""
    total = 0
    for name, body in (statement or {}).items():
        if name in ("IPSetReferenceStatement", "GeoMatchStatement", "LabelMatchStatement", "AsnMatchStatement"):
            total += 1
        elif name == "ByteMatchStatement":
            base = {"EXACTLY": 2, "STARTS_WITH": 2, "ENDS_WITH": 2}.get(body.get("PositionalConstraint"), 10)
            total += base + transformations(body)
        elif name == "SizeConstraintStatement":
            total += 1 + transformations(body)
        elif name == "RegexMatchStatement":
            total += 3 + transformations(body)
        elif name == "RegexPatternSetReferenceStatement":
            total += 25 + transformations(body)
        elif name == "SqliMatchStatement":
            total += (30 if body.get("SensitivityLevel") == "HIGH" else 20) + transformations(body)
        elif name == "XssMatchStatement":
            total += 40 + transformations(body)
        elif name == "RateBasedStatement":
            keys = body.get("CustomKeys") or []
            total += 2 + 30 * len(keys) + capacity_of_statement(body.get("ScopeDownStatement") or {})
        elif name in ("AndStatement", "OrStatement"):
            total += sum(capacity_of_statement(s) for s in body.get("Statements", []))
        elif name == "NotStatement":
            total += capacity_of_statement(body.get("Statement"))
        elif name == "ManagedRuleGroupStatement":
            known = MANAGED.get(body.get("Name"))
            if body.get("VendorName") != "AWS" or known is None:
                raise WafError("WAFNonexistentItemException", f"AWS WAF couldn't find the rule group {body.get('Name')}.")
            total += known[0] + capacity_of_statement(body.get("ScopeDownStatement") or {})
    return total


def transformations(body: dict) -> int:
    return 10 * len([t for t in body.get("TextTransformations") or [] if t.get("Type") != "NONE"])


def capacity_of(rules: list) -> int:
    return sum(capacity_of_statement(rule.get("Statement")) for rule in rules or [])


def checked_capacity(rules: list) -> int:
    capacity = capacity_of(rules)
    if capacity > CAPACITY_MAX:
        raise WafError("WAFLimitsExceededException", f"The web ACL needs {capacity} WCUs; the limit is {CAPACITY_MAX}.")
    return capacity


def scope_of(arn: str) -> str:
    return "CLOUDFRONT" if ":global/" in arn else "REGIONAL"


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def referenced(statement, key: str, arn: str) -> bool:
    if isinstance(statement, dict):
        return statement.get("ARN") == arn or any(referenced(v, key, arn) for v in statement.values())
    return isinstance(statement, list) and any(referenced(v, key, arn) for v in statement)


def install() -> None:
    backend = models.WAFV2Backend
    _documents(backend)
    _names_and_references(backend)
    _associations(backend)
    _answers()


def _documents(backend) -> None:
    for shape in (models.FakeWebACL, models.FakeRuleGroup, models.FakeRule, models.FakeLoggingConfiguration):
        @method(shape)
        def to_dict(original, self):
            return without_nulls(original(self))

    @method(models.FakeIPSet, "to_dict")
    def ip_set(original, self):
        return {k: v if v is not None else "" for k, v in original(self).items()}

    @method(backend)
    def create_web_acl(original, self, name, visibility_config, default_action, scope, description, tags, rules, *rest):
        if any(a.name == name and scope_of(a.arn) == scope for a in self.wacls.values()):
            raise duplicate()
        capacity = checked_capacity(rules)
        self._require_references(rules)
        acl = original(self, name, visibility_config, default_action, scope, description, tags, rules, *rest)
        acl.capacity = capacity
        return acl

    def require_references(self, rules):
        known = {*self.ip_sets, *self.regex_pattern_sets, *self.rule_groups}
        for arn in _arns(rules):
            if arn not in known:
                raise WAFNonexistentItemException

    backend._require_references = require_references
    # moto asks by name alone, whatever the scope; the check above is the documented one.
    backend._is_duplicate_name = lambda self, name: False

    @method(backend)
    def update_web_acl(original, self, name, _id, default_action, rules, description, visibility_config, lock_token, *rest):
        acl = self.get_web_acl(None, name, _id)
        capacity = checked_capacity(rules)
        self._require_references(rules)
        token = original(self, name, _id, default_action, rules, description, visibility_config, lock_token, *rest)
        acl.rules = acl.rules if rules else []
        acl.description = description or ""
        acl.capacity = capacity
        return token


def _arns(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "ARN" and isinstance(inner, str):
                yield inner
            else:
                yield from _arns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _arns(inner)


def _names_and_references(backend) -> None:
    @method(backend)
    def create_ip_set(original, self, name, scope, description, ip_address_version, addresses, tags):
        if any(s.name == name and s.scope == scope for s in self.ip_sets.values()):
            raise duplicate()
        return original(self, name, scope, description, ip_address_version, addresses, tags or [])

    @method(backend)
    def create_regex_pattern_set(original, self, name, scope, *args, **kwargs):
        if any(s.name == name and s.scope == scope for s in self.regex_pattern_sets.values()):
            raise duplicate()
        return original(self, name, scope, *args, **kwargs)

    def refuse_if_used(self, kind, name, _id):
        arn = next((a for a in getattr(self, kind) if a.endswith(f"/{name}/{_id}")), None)
        holders = [*self.wacls.values(), *self.rule_groups.values()]
        if arn and any(arn in _arns([r.statement for r in holder.rules]) for holder in holders):
            raise associated()

    for operation, kind in (("delete_ip_set", "ip_sets"), ("delete_regex_pattern_set", "regex_pattern_sets")):
        _refuse_when_used(backend, operation, kind, refuse_if_used)

    @method(backend)
    def delete_web_acl(original, self, name, scope, _id, lock_token):
        acl = self.get_web_acl(None, name, _id)
        if acl.associated_resources:
            raise associated()
        original(self, name, scope, _id, lock_token)
        self.logging_configurations.pop(acl.arn, None)


def _refuse_when_used(backend, operation, kind, check) -> None:
    @method(backend, operation)
    def delete(original, self, name, scope, _id=None, lock_token=None, **kwargs):
        identifier = _id or kwargs.get("id")
        check(self, kind, name, identifier)
        if _id is not None:
            return original(self, name, scope, _id, lock_token)
        return original(self, name, scope, lock_token=lock_token, **kwargs)


def _associations(backend) -> None:
    @method(backend)
    def associate_web_acl(original, self, web_acl_arn, resource_arn):
        if web_acl_arn not in self.wacls:
            raise WAFNonexistentItemException
        if ":loadbalancer/" in resource_arn:
            elb = other_backend(self, "elbv2")
            if not elb or resource_arn not in elb.load_balancers:
                raise WAFNonexistentItemException
        for acl in self.wacls.values():
            while resource_arn in acl.associated_resources:
                acl.associated_resources.remove(resource_arn)
        original(self, web_acl_arn, resource_arn)

    @method(backend)
    def put_logging_configuration(original, self, arn, destinations, *args):
        if arn not in self.wacls:
            raise WAFNonexistentItemException
        if not all(":aws-waf-logs-" in d or "/aws-waf-logs-" in d for d in destinations):
            raise WafError(
                "WAFLogDestinationPermissionIssueException",
                "The name of a logging destination starts with aws-waf-logs-.",
            )
        return original(self, arn, destinations, *args)


def _answers() -> None:
    for operation in ("get_web_acl_for_resource",):
        @method(WAFV2Response, operation)
        def without_null(original, self):
            status, headers, body = original(self)
            return status, headers, json.dumps(without_nulls(json.loads(body)))

    @action(WAFV2Response)
    def list_resources_for_web_acl(self):
        acl = self.wafv2_backend.get_web_acl(self._get_param("WebACLArn"), None, None)
        kind = self._get_param("ResourceType") or "APPLICATION_LOAD_BALANCER"
        mark = {"APPLICATION_LOAD_BALANCER": ":loadbalancer/app/", "API_GATEWAY": ":/restapis/"}.get(kind, kind.lower())
        found = [arn for arn in acl.associated_resources if mark in arn]
        return json.dumps({"ResourceArns": found})

    # boto spells the action ListResourcesForWebACL; moto's underscores make `web_acl` of it.
    @action(WAFV2Response)
    def check_capacity(self):
        return json.dumps({"Capacity": capacity_of(json.loads(self.body).get("Rules", []))})

    @action(WAFV2Response)
    def describe_managed_rule_group(self):
        known = MANAGED.get(self._get_param("Name"))
        if known is None or self._get_param("VendorName") != "AWS":
            raise WAFNonexistentItemException
        capacity, rules = known
        return json.dumps(
            {
                "Capacity": capacity,
                "Rules": [{"Name": rule, "Action": {"Block": {}}} for rule in rules],
                "LabelNamespace": f"awswaf:managed:aws:{self._get_param('Name').lower()}:",
            }
        )

    @action(WAFV2Response)
    def list_available_managed_rule_groups(self):
        groups = [{"VendorName": "AWS", "Name": name, "VersioningSupported": False} for name in MANAGED]
        return json.dumps({"ManagedRuleGroups": groups})
