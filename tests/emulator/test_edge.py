"""Load balancers, the firewall, names and certificates: AWS's behaviour, asked of the emulator."""

from case import ACCOUNT, REGION, Case, client


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


class Names(Case):
    def test_a_caller_reference_makes_one_zone(self):
        zones = client("route53")
        zones.create_hosted_zone(Name=f"z{self.n}.example", CallerReference=f"ref-{self.n}")
        with self.refused("HostedZoneAlreadyExists"):
            zones.create_hosted_zone(Name=f"z{self.n}.example", CallerReference=f"ref-{self.n}")

    def test_a_batch_is_one_change_and_an_asterisk_is_escaped(self):
        zones, name = client("route53"), f"b{self.n}.example"
        zone = zones.create_hosted_zone(Name=name, CallerReference=f"batch-{self.n}")["HostedZone"]["Id"]

        def change(*changes):
            batch = [{"Action": action, "ResourceRecordSet": record} for action, record in changes]
            zones.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": batch})

        def names():
            found = zones.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
            return {r["Name"] for r in found if r["Type"] == "TXT"}

        wild = {"Name": f"*.{name}", "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"1"'}]}
        other = {**wild, "Name": f"other.{name}"}
        change(("CREATE", wild))
        self.assertEqual(names(), {f"\\052.{name}."})
        with self.refused("InvalidChangeBatch"):
            change(("CREATE", other), ("CREATE", wild))
        with self.refused("InvalidChangeBatch"):
            change(("DELETE", {**wild, "TTL": 61}))
        self.assertEqual(names(), {f"\\052.{name}."})
        change(("DELETE", wild), ("UPSERT", other))
        self.assertEqual(names(), {f"other.{name}."})
        with self.refused("InvalidChangeBatch"):
            change(("DELETE", wild))

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
