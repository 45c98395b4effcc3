"""Route 53: a caller reference makes one zone.

Restores, against moto 5.2.5: API_CreateHostedZone, CallerReference: "a unique string that identifies the request and that
allows failed CreateHostedZone requests to be retried without the risk of running the operation twice"; a reference that
was used is HostedZoneAlreadyExists, also for another name, for as long as the zone exists.
"""

from moto.route53 import models
from moto.route53.exceptions import Route53ClientError

from .patching import method


def install() -> None:
    @method(models.Route53Backend)
    def create_hosted_zone(original, self, name, private_zone, caller_reference=None, *args, **kwargs):
        for zone in self.zones.values():
            if caller_reference and zone.caller_reference == caller_reference:
                raise Route53ClientError(
                    "HostedZoneAlreadyExists",
                    f"A hosted zone has already been created with the specified caller reference {caller_reference}.",
                )
        return original(self, name, private_zone, caller_reference, *args, **kwargs)
