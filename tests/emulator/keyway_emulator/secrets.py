"""Secrets Manager: a secret that is scheduled for deletion still holds its name.

Restores, against moto 5.2.5: API_CreateSecret, Errors: InvalidRequestException "You can't create this secret because a
secret with this name is already scheduled for deletion."
"""

from moto.secretsmanager import models
from moto.secretsmanager.exceptions import InvalidRequestException

from .patching import method


def install() -> None:
    @method(models.SecretsManagerBackend)
    def create_secret(original, self, name, *args, **kwargs):
        if name in self.secrets and self.secrets[name].is_deleted():
            raise InvalidRequestException(
                "You can't create this secret because a secret with this name is already scheduled for deletion."
            )
        return original(self, name, *args, **kwargs)
