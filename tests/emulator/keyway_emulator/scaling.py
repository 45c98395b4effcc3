"""Application Auto Scaling: tags, and what ends with a target.

Restores, against moto 5.2.5: ListTagsForResource, TagResource, UntagResource and the Tags of RegisterScalableTarget
(500 or dropped in moto); DeregisterScalableTarget "deletes the scaling policies that are associated with that scalable
target" (API reference); PutScalingPolicy without a target is ObjectNotFoundException; a missing target or policy is
ObjectNotFoundException, not ValidationException.
"""

import json

from moto.applicationautoscaling import models
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.core.exceptions import JsonRESTError

from .patching import action, method, of_backend


class ObjectNotFound(JsonRESTError):
    def __init__(self, message, code="ObjectNotFoundException"):
        super().__init__(code, message)


def target_by_arn(backend, arn):
    for targets in backend.targets.values():
        for target in targets.values():
            if target.arn == arn:
                return target
    raise ObjectNotFound(f"No scalable target found for ARN {arn}", "ResourceNotFoundException")


def tags_of(backend, arn) -> dict:
    return of_backend(backend, "_keyway_tags", dict).setdefault(arn, {})


def install() -> None:
    backend = models.ApplicationAutoscalingBackend

    @method(ApplicationAutoScalingResponse)
    def register_scalable_target(original, self):
        backend = self.applicationautoscaling_backend
        known = backend._scalable_target_exists(self._get_param("ResourceId"), self._get_param("ScalableDimension"))
        answer = original(self)
        if not known:
            tags_of(backend, json.loads(answer)["ScalableTargetARN"]).update(self._get_param("Tags") or {})
        return answer

    @method(backend)
    def deregister_scalable_target(original, self, namespace, r_id, dimension):
        if not self._scalable_target_exists(r_id, dimension):
            raise ObjectNotFound(
                f"No scalable target found for service namespace: {namespace}, resource ID: {r_id}, scalable dimension: {dimension}"
            )
        original(self, namespace, r_id, dimension)
        for key, policy in list(self.policies.items()):
            if (policy.resource_id, policy.scalable_dimension) == (r_id, dimension):
                policy.delete_alarms(self.account_id, self.region_name)
                del self.policies[key]

    @method(backend)
    def put_scaling_policy(original, self, policy_name, service_namespace, resource_id, scalable_dimension, *args, **kwargs):
        if not self._scalable_target_exists(resource_id, scalable_dimension):
            raise ObjectNotFound(
                f"No scalable targets registered for service namespace: {service_namespace}, resource ID: {resource_id}, scalable dimension: {scalable_dimension}"
            )
        return original(self, policy_name, service_namespace, resource_id, scalable_dimension, *args, **kwargs)

    @method(backend)
    def delete_scaling_policy(original, self, policy_name, service_namespace, resource_id, scalable_dimension):
        key = models.FakeApplicationAutoscalingPolicy.formulate_key(
            service_namespace, resource_id, scalable_dimension, policy_name
        )
        if key not in self.policies:
            raise ObjectNotFound(f"No scaling policy found for {policy_name}")
        return original(self, policy_name, service_namespace, resource_id, scalable_dimension)

    @action(ApplicationAutoScalingResponse)
    def list_tags_for_resource(self):
        target = target_by_arn(self.applicationautoscaling_backend, self._get_param("ResourceARN"))
        return json.dumps({"Tags": tags_of(self.applicationautoscaling_backend, target.arn)})

    @action(ApplicationAutoScalingResponse)
    def tag_resource(self):
        target = target_by_arn(self.applicationautoscaling_backend, self._get_param("ResourceARN"))
        tags_of(self.applicationautoscaling_backend, target.arn).update(self._get_param("Tags") or {})
        return json.dumps({})

    @action(ApplicationAutoScalingResponse)
    def untag_resource(self):
        target = target_by_arn(self.applicationautoscaling_backend, self._get_param("ResourceARN"))
        for key in self._get_param("TagKeys") or []:
            tags_of(self.applicationautoscaling_backend, target.arn).pop(key, None)
        return json.dumps({})
