"""Load balancers, listeners, rules and target groups: unique names, one-call reordering, protection.

Restores, against moto 5.2.5:
- API_SetRulePriorities: "the priorities of the rules you name are set at once; you can reuse the priority of a rule that
  is in the same call": a swap works, a clash with a rule that is not in the call is PriorityInUse;
- API_CreateLoadBalancer, API_CreateTargetGroup, API_CreateListener: "This operation is idempotent... if you attempt to
  create multiple with the same settings, each call succeeds"; another one of that name (or port) is DuplicateLoadBalancerName,
  DuplicateTargetGroupName, DuplicateListener;
- API_DeleteLoadBalancer: OperationNotPermitted while deletion protection is on; its web ACL association ends with it;
- LoadBalancerArns of a target group are those that use it now; ResourceInUse counts weighted forwards and every listener;
- an HTTPS listener needs a certificate that is issued (CertificateNotFound, UnsupportedCertificate);
- tags of what is gone are TargetGroupNotFound and the like, so a reader notices.
"""

from moto.elbv2 import models
from moto.elbv2.exceptions import DuplicateListenerError, DuplicateLoadBalancerName, ELBClientError, PriorityInUseError

from .ec2_refusals import other_backend
from .patching import method, of_backend, replace


def install() -> None:
    backend = models.ELBv2Backend
    first_rules = models.ELBv2Backend.describe_rules

    @replace(backend)
    def set_rule_priorities(self, rule_priorities):
        wanted = {item["RuleArn"]: int(item["Priority"]) for item in rule_priorities}
        if len(set(wanted.values())) < len(wanted):
            twice = next(p for p in wanted.values() if list(wanted.values()).count(p) > 1)
            raise models.DuplicatePriorityError(twice)
        rules = first_rules(self, listener_arn=None, rule_arns=list(wanted))
        if len(rules) < len(wanted):
            raise models.RuleNotFoundError()
        for rule in rules:
            listener = self.describe_listeners(None, [rule.listener_arn])[0]
            for other in listener.rules.values():
                same = str(other.priority) == str(wanted[rule.arn])
                if same and other.arn not in wanted:
                    raise PriorityInUseError()
        for rule in rules:
            rule.priority = wanted[rule.arn]
        return rules

    @method(backend)
    def create_load_balancer(original, self, name, security_groups, subnet_ids, *args, **kwargs):
        request = (sorted(security_groups or []), sorted(subnet_ids or []), repr(args), repr({k: v for k, v in kwargs.items() if k != "tags"}))
        requests = of_backend(self, "_keyway_requests", dict)
        for balancer in self.load_balancers.values():
            if balancer.name == name:
                if requests.get(balancer.arn) == request:
                    return balancer
                raise DuplicateLoadBalancerName()
        balancer = original(self, name, security_groups, subnet_ids, *args, **kwargs)
        requests[balancer.arn] = request
        return balancer

    @method(backend)
    def create_target_group(original, self, name, **kwargs):
        request = repr(sorted((k, v) for k, v in kwargs.items() if k != "tags"))
        requests = of_backend(self, "_keyway_requests", dict)
        for group in self.target_groups.values():
            if group.name == name and requests.get(group.arn) == request:
                return group
        group = original(self, name, **kwargs)
        requests[group.arn] = request
        return group

    @method(backend)
    def create_listener(original, self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, *args, **kwargs):
        request = (protocol, str(port), ssl_policy, certificate, repr(actions))
        requests = of_backend(self, "_keyway_requests", dict)
        balancer = self.load_balancers.get(load_balancer_arn)
        for listener in balancer.listeners.values() if balancer else ():
            if str(listener.port) == str(port):
                if requests.get(listener.arn) == request:
                    return listener
                raise DuplicateListenerError()
        _require_issued(self, certificate)
        listener = original(self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, *args, **kwargs)
        requests[listener.arn] = request
        return listener

    @method(backend)
    def delete_load_balancer(original, self, arn):
        balancer = self.load_balancers.get(arn)
        if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
            raise ELBClientError(
                "OperationNotPermitted",
                f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
            )
        if balancer:
            waf = other_backend(self, "wafv2")
            for acl in waf.wacls.values() if waf else ():
                if arn in acl.associated_resources:
                    acl.associated_resources.remove(arn)
            for listener in balancer.listeners.values():
                _release(self, listener.arn)
        return original(self, arn)

    @method(backend)
    def delete_listener(original, self, listener_arn):
        listener = original(self, listener_arn)
        _release(self, listener_arn)
        return listener

    def used_by(self):
        elb = models.elbv2_backends[self.account_id][self.region_name]
        return [
            balancer.arn
            for balancer in elb.load_balancers.values()
            if any(
                self.arn in elb._get_target_group_arns_from(action_data=action.data)
                for listener in balancer.listeners.values()
                for actions in [listener.default_actions, *[rule.actions for rule in listener.rules.values()]]
                for action in actions
                if action.type == "forward"
            )
        ]

    # Data descriptor without a store: moto's own bookkeeping of it never forgets.
    models.FakeTargetGroup.load_balancer_arns = property(used_by, lambda self, value: None)

    @replace(backend)
    def _any_listener_using(self, target_group_arn):
        group = self.target_groups.get(target_group_arn)
        return bool(group and group.load_balancer_arns)


def _require_issued(self, certificate):
    acm = other_backend(self, "acm")
    if not certificate or ":acm:" not in certificate:
        return
    bundle = acm._certificates.get(certificate) if acm else None
    if bundle is None:
        raise ELBClientError("CertificateNotFound", f"Certificate ARN '{certificate}' is not found")
    bundle.check()
    if bundle.status != "ISSUED":
        raise ELBClientError(
            "UnsupportedCertificate",
            f"The certificate '{certificate}' must have a fully-qualified domain name, a supported signature, and a supported key size.",
        )


def _release(self, listener_arn):
    acm = other_backend(self, "acm")
    for bundle in acm._certificates.values() if acm else ():
        while listener_arn in bundle.in_use_by:
            bundle.in_use_by.remove(listener_arn)
