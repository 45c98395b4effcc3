"""ACM: a certificate is issued when its validation record stands in a zone, and not deleted while in use.

Restores, against moto 5.2.5:
- user guide "DNS validation": a requested certificate is PENDING_VALIDATION until the CNAME that DescribeCertificate names
  is found; moto issues every certificate after 60 s whether or not anybody proved anything;
- API_DeleteCertificate: ResourceInUseException while a listener uses it;
- an idempotency token whose certificate was deleted requests a new one (moto answers 500).
"""

from moto.acm import models
from moto.acm.exceptions import AWSResourceNotFoundException
from moto.core.base_backend import BackendDict

from .patching import method, replace


class ResourceInUse(AWSResourceNotFoundException):
    TYPE = "ResourceInUseException"


def zones():
    for known in BackendDict._instances:
        if known.service_name == "route53":
            for account in known.values():
                for backend in account.values():
                    yield from backend.zones.values()


def proven(certificate) -> bool:
    """Every name's validation record stands in some zone."""
    standing = {
        (record.name.rstrip(".").lower(), value.rstrip(".").lower())
        for zone in zones()
        for record in zone.rrsets
        if record.type == "CNAME"
        for value in record.records
    }
    wanted = certificate.describe()["Certificate"].get("DomainValidationOptions", [])
    records = [(o["ResourceRecord"]["Name"], o["ResourceRecord"]["Value"]) for o in wanted]
    return bool(records) and all((n.rstrip(".").lower(), v.rstrip(".").lower()) in standing for n, v in records)


def install() -> None:
    @replace(models.CertBundle)
    def check(self):
        if self.type == "AMAZON_ISSUED" and self.status == "PENDING_VALIDATION" and proven(self):
            self.status = "ISSUED"

    @method(models.AWSCertificateManagerBackend)
    def delete_certificate(original, self, arn):
        if arn in self._certificates and self._certificates[arn].in_use_by:
            raise ResourceInUse(message=f"Certificate {arn} in account {self.account_id} is in use.")
        original(self, arn)

    @method(models.AWSCertificateManagerBackend)
    def _get_arn_from_idempotency_token(original, self, token):
        arn = original(self, token)
        return arn if arn in self._certificates else None
