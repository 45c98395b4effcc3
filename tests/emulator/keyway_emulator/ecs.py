"""ECS: services keep what they were given, roll out at once, and are not made twice.

Restores, against moto 5.2.5:
- API_Service fields that moto drops: capacityProviderStrategy (launchType is then absent), deploymentConfiguration with its
  circuit breaker, enableExecuteCommand, healthCheckGracePeriodSeconds, enableECSManagedTags, placement fields,
  availabilityZoneRebalancing, serviceConnectConfiguration;
- a service reaches its steady state: runningCount is desiredCount and the primary deployment COMPLETED (moto stays at 0);
  a changed task definition or network makes a new deployment; taskDefinition is answered as a full ARN;
- ListServiceDeployments and DescribeServiceDeployments, UpdateClusterSettings (500 in moto);
- CreateService of an active name: the same request answers with the service (clientToken, API_CreateService), another is
  InvalidParameterException "Creation of service was not idempotent."; securityGroups may be left out (default group);
- ListTaskDefinitionFamilies heeds `status`: ACTIVE are families with an active revision, INACTIVE those without one
  (API_ListTaskDefinitionFamilies);
- ListServices and ListClusters leave out what is INACTIVE; DeleteCluster refuses with ClusterContainsServicesException;
- DescribeServices takes ten names (API_DescribeServices).
"""

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecs import models
from moto.ecs.exceptions import ECSException
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_api._internal import mock_random

from .patching import action, method, of_backend

KEPT = {
    "capacityProviderStrategy": "capacity_provider_strategy",
    "deploymentConfiguration": "deployment_configuration",
    "enableExecuteCommand": "enable_execute_command",
    "healthCheckGracePeriodSeconds": "health_check_grace_period_seconds",
    "enableECSManagedTags": "enable_ecs_managed_tags",
    "placementConstraints": "placement_constraints",
    "placementStrategy": "placement_strategy",
    "availabilityZoneRebalancing": "availability_zone_rebalancing",
    "serviceConnectConfiguration": "service_connect_configuration",
    "volumeConfigurations": "volume_configurations",
}
# API_DeploymentConfiguration: what a REPLICA service gets when nothing is said.
DEPLOYMENT_DEFAULTS = {
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
}


def refuse(code, message):
    return ECSException(code, message)


def settle(service) -> None:
    """The primary deployment as it is once everything runs."""
    service.running_count, service.pending_count = service.desired_count, 0
    for deployment in service.deployments:
        deployment.update(
            desiredCount=service.desired_count, runningCount=service.desired_count, pendingCount=0, failedTasks=0,
            rolloutState="COMPLETED", rolloutStateReason=f"ECS deployment {deployment['id']} completed.",
            taskDefinition=service.task_definition, networkConfiguration=service.network_configuration,
            launchType=service.launch_type, updatedAt=utcnow(),
        )
        if service.capacity_provider_strategy:
            deployment["capacityProviderStrategy"] = service.capacity_provider_strategy


def new_deployment(service) -> None:
    service.deployment_history.append(dict(service.deployments[0]))
    service.deployments[0].update(id=f"ecs-svc/{mock_random.randint(10**18, 10**19)}", createdAt=utcnow())


def install() -> None:
    backend = models.EC2ContainerServiceBackend
    _services(backend)
    _updates(backend)
    _lists_and_clusters(backend)
    _deployments()


def _services(backend) -> None:
    @method(models.Service)
    def _validate_network(original, self, network):
        vpc = network["awsvpcConfiguration"]
        if not vpc.get("securityGroups"):
            ec2 = models.ec2_backends[self._account_id][self.region_name]
            subnet = ec2.get_subnet(vpc["subnets"][0])
            vpc["securityGroups"] = [ec2.get_default_security_group(subnet.vpc_id).id]
        vpc.setdefault("assignPublicIp", "DISABLED")
        return original(self, network)

    @method(EC2ContainerServiceResponse)
    def create_service(original, self):
        cluster = self.ecs_backend._get_cluster(self._get_param("cluster", "default"))
        name = self._get_param("serviceName")
        request = repr(sorted((k, v) for k, v in dict(self._get_params()).items() if k not in ("clientToken", "tags")))
        requests = of_backend(self.ecs_backend, "_keyway_requests", dict)
        existing = self.ecs_backend.services.get(f"{cluster.name}:{name}")
        if existing and existing.status == "ACTIVE":
            if requests.get(existing.arn) == request:
                return ActionResult({"service": existing})
            raise refuse("InvalidParameterException", "Creation of service was not idempotent.")
        service = original(self).result["service"]
        for wire, attribute in KEPT.items():
            setattr(service, attribute, self._get_param(wire))
        service.enable_execute_command = bool(service.enable_execute_command)
        service.enable_ecs_managed_tags = bool(service.enable_ecs_managed_tags)
        service.deployment_configuration = {**DEPLOYMENT_DEFAULTS, **(service.deployment_configuration or {})}
        if service.load_balancers and service.health_check_grace_period_seconds is None:
            service.health_check_grace_period_seconds = 0
        if service.capacity_provider_strategy:
            for entry in service.capacity_provider_strategy:
                entry.setdefault("base", 0), entry.setdefault("weight", 0)
            service.launch_type = None
            service.platform_family = "Linux"
        if service.launch_type == "FARGATE" or service.capacity_provider_strategy:
            service.platform_version = service.platform_version or "LATEST"
        service.created_at = utcnow()
        service.deployment_history = []
        settle(service)
        requests[service.arn] = request
        cluster.active_services_count += 1
        return ActionResult({"service": service})

    @method(backend)
    def delete_service(original, self, cluster_name, service_name, force):
        was_active = self._get_service(cluster_name, service_name).status == "ACTIVE"
        service = original(self, cluster_name, service_name, force)
        service.running_count = service.desired_count = 0
        if was_active:
            self._get_cluster(cluster_name).active_services_count -= 1
        return service


def _updates(backend) -> None:
    @method(backend)
    def update_service(original, self, properties):
        service = self._get_service(properties.get("cluster", "default"), properties["service"])
        if service.status != "ACTIVE":
            raise refuse("ServiceNotActiveException", "Service was not ACTIVE.")
        rolls = properties.pop("force_new_deployment", False)
        if properties.get("task_definition"):
            properties["task_definition"] = self.describe_task_definition(properties["task_definition"]).arn
            rolls = rolls or properties["task_definition"] != service.task_definition
        for field in ("network_configuration", "capacity_provider_strategy", "platform_version", "load_balancers"):
            rolls = rolls or (properties.get(field) is not None and properties[field] != getattr(service, field, None))
        if properties.get("deployment_configuration"):
            properties["deployment_configuration"] = {
                **service.deployment_configuration,
                **properties["deployment_configuration"],
            }
        if properties.get("network_configuration"):
            properties["network_configuration"] = service._validate_network(properties["network_configuration"])
        # moto's own spelling of it, "enable_e_c_s_managed_tags", reaches no answer.
        for spelling in [k for k in properties if k.endswith("managed_tags")]:
            properties["enable_ecs_managed_tags"] = properties.pop(spelling)
        if properties.get("capacity_provider_strategy"):
            for entry in properties["capacity_provider_strategy"]:
                entry.setdefault("base", 0), entry.setdefault("weight", 0)
            service.launch_type = None
        updated = original(self, properties)
        if rolls and updated.deployments:
            new_deployment(updated)
        settle(updated)
        return updated


def _lists_and_clusters(backend) -> None:
    @method(EC2ContainerServiceResponse)
    def list_task_definition_families(original, self):
        listed, wanted = original(self).result["families"], self._get_param("status", "ALL")
        living = {
            family
            for family, revisions in self.ecs_backend.task_definitions.items()
            if any(revision.status == "ACTIVE" for revision in revisions.values())
        }
        fits = {"ALL": lambda _: True, "ACTIVE": living.__contains__, "INACTIVE": lambda family: family not in living}
        return ActionResult({"families": list(filter(fits[wanted], listed))})

    @method(backend)
    def list_services(original, self, *args, **kwargs):
        active = {service.arn for service in self.services.values() if service.status != "INACTIVE"}
        return [arn for arn in original(self, *args, **kwargs) if arn in active]

    @method(backend)
    def list_clusters(original, self):
        active = {cluster.arn for cluster in self.clusters.values() if cluster.status == "ACTIVE"}
        return [arn for arn in original(self) if arn in active]

    @method(backend)
    def describe_services(original, self, cluster_str, names):
        if len(names) > 10:
            raise refuse("InvalidParameterException", "Services cannot be more than 10.")
        return original(self, cluster_str, names)

    @method(backend)
    def delete_cluster(original, self, cluster_str):
        cluster = self._get_cluster(cluster_str)
        if any(s.cluster_arn == cluster.arn and s.status == "ACTIVE" for s in self.services.values()):
            raise refuse(
                "ClusterContainsServicesException",
                "The Cluster cannot be deleted while Services are active.",
            )
        return original(self, cluster_str)

    @method(backend)
    def create_cluster(original, self, cluster_name, *args, **kwargs):
        # API_CreateCluster of an ACTIVE name answers with the cluster that is there.
        existing = self.clusters.get(cluster_name)
        if existing and existing.status == "ACTIVE":
            return existing
        return original(self, cluster_name, *args, **kwargs)

    @action(EC2ContainerServiceResponse)
    def update_cluster_settings(self):
        cluster = self.ecs_backend._get_cluster(self._get_param("cluster"))
        given = {s["name"]: s["value"] for s in self._get_param("settings", [])}
        kept = {s["name"]: s["value"] for s in cluster.settings or []}
        cluster.settings = [{"name": k, "value": v} for k, v in {**kept, **given}.items()]
        return ActionResult({"cluster": cluster})


def _deployments() -> None:
    def described(service, deployment, status):
        return {
            "serviceDeploymentArn": f"{service.arn.replace(':service/', ':service-deployment/')}/{deployment['id'].split('/')[-1]}",
            "serviceArn": service.arn,
            "clusterArn": service.cluster_arn,
            "createdAt": deployment["createdAt"],
            "startedAt": deployment["createdAt"],
            "finishedAt": deployment["updatedAt"],
            "status": status,
            "deploymentConfiguration": service.deployment_configuration,
        }

    def all_of(backend):
        for service in backend.services.values():
            for deployment in [*service.deployments, *reversed(service.deployment_history)]:
                yield described(service, deployment, "SUCCESSFUL")

    @action(EC2ContainerServiceResponse)
    def list_service_deployments(self):
        wanted = self._get_param("service")
        found = [d for d in all_of(self.ecs_backend) if wanted in (d["serviceArn"], d["serviceArn"].split("/")[-1])]
        brief = ("serviceDeploymentArn", "serviceArn", "clusterArn", "createdAt", "startedAt", "finishedAt", "status")
        return ActionResult({"serviceDeployments": [{k: d[k] for k in brief} for d in found]})

    @action(EC2ContainerServiceResponse)
    def describe_service_deployments(self):
        known = {d["serviceDeploymentArn"]: d for d in all_of(self.ecs_backend)}
        wanted = self._get_param("serviceDeploymentArns", [])
        return ActionResult(
            {
                "serviceDeployments": [known[arn] for arn in wanted if arn in known],
                "failures": [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in known],
            }
        )
