"""Route 53: a caller reference makes one zone, a batch of changes is one change.

Restores, against moto 5.2.5:
- API_CreateHostedZone, CallerReference: "a unique string that identifies the request and that allows failed
  CreateHostedZone requests to be retried without the risk of running the operation twice"; a reference that was used is
  HostedZoneAlreadyExists, also for another name, for as long as the zone exists;
- API_ChangeResourceRecordSets: a batch takes effect as a whole or not at all; deleting what is not there, or is otherwise,
  and creating what is there, is InvalidChangeBatch;
- developer guide "DNS domain name format": an asterisk of a record's name is answered as \\052.
"""

import copy

from moto.route53 import models
from moto.route53.exceptions import Route53ClientError

from moto.route53.responses import Route53

from .patching import method


class InvalidChangeBatch(Route53ClientError):
    def __init__(self, verb, record, why):
        named = f"[name='{record['Name']}', type='{record['Type']}']"
        super().__init__("InvalidChangeBatch", f"[Tried to {verb} resource record set {named} but {why}]")


def like(record):
    """What a record set is to DNS, from a request or from moto's store."""
    if isinstance(record, dict):
        values = [r["Value"] if isinstance(r, dict) else r for r in record.get("ResourceRecords") or []]
        alias, ttl = record.get("AliasTarget"), record.get("TTL")
    else:
        values, alias, ttl = record.records or [], record.alias_target, record.ttl
    target = (alias["HostedZoneId"], alias["DNSName"].rstrip(".").lower()) if alias else None
    return (sorted(values), target, None if alias else str(ttl))


def named(record):
    return (record["Name"].rstrip(".").lower(), record["Type"], record.get("SetIdentifier"))


def find(zone, record):
    """The record set of that name, type and set identifier, as it stands."""
    name = record["Name"].replace("\\052", "*").rstrip(".").lower()
    for standing in zone.rrsets:
        same = standing.name.rstrip(".").lower() == name and standing.type == record["Type"]
        if same and standing.set_identifier == record.get("SetIdentifier"):
            return standing
    return None


def install() -> None:
    @method(models.Route53Backend)
    def change_resource_record_sets(original, self, zoneid, change_list):
        zone = self.get_hosted_zone(zoneid)
        for change in change_list:
            record = change["ResourceRecordSet"]
            record["Name"] = record["Name"].replace("\\052", "*")
            standing = find(zone, record)
            if change["Action"] == "CREATE" and standing:
                raise InvalidChangeBatch("create", record, "it already exists")
            if change["Action"] == "DELETE" and standing is None:
                raise InvalidChangeBatch("delete", record, "it was not found")
            if change["Action"] == "DELETE" and like(standing) != like(record):
                raise InvalidChangeBatch("delete", record, "the values provided do not match the current values")
        kept, journal = list(zone.rrsets), list(zone.rr_changes)
        try:
            for change in change_list:
                if change["Action"] == "DELETE":
                    zone.rrsets = [r for r in zone.rrsets if r is not find(zone, change["ResourceRecordSet"])]
            rest = [change for change in change_list if change["Action"] != "DELETE"]
            # moto takes a creation that its journal has seen for one of a record that stands, also after that was deleted.
            made = {named(change["ResourceRecordSet"]) for change in rest}
            zone.rr_changes[:] = [c for c in zone.rr_changes if named(c["ResourceRecordSet"]) not in made]
            original(self, zoneid, rest)
        except Exception:
            zone.rrsets, zone.rr_changes[:] = kept, journal
            raise

    @method(Route53)
    def list_resource_record_sets(original, self):
        result = original(self)
        escaped = []
        for record in result.result["ResourceRecordSets"]:
            if "*" in record.name:
                record = copy.copy(record)
                record.name = record.name.replace("*", "\\052")
            escaped.append(record)
        result.result["ResourceRecordSets"] = escaped
        return result

    @method(models.Route53Backend)
    def create_hosted_zone(original, self, name, private_zone, caller_reference=None, *args, **kwargs):
        for zone in self.zones.values():
            if caller_reference and zone.caller_reference == caller_reference:
                raise Route53ClientError(
                    "HostedZoneAlreadyExists",
                    f"A hosted zone has already been created with the specified caller reference {caller_reference}.",
                )
        return original(self, name, private_zone, caller_reference, *args, **kwargs)
