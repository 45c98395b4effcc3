"""ECS services and their scaling: AWS's behaviour, asked of the emulator."""

from case import Case, client


class Services(Case):
    def setUp(self):
        super().setUp()
        self.cluster = self.ecs.create_cluster(clusterName=f"c{self.n}", settings=[{"name": "containerInsights", "value": "enabled"}])["cluster"]["clusterName"]
        self.family = f"f{self.n}"
        self.first = self.register()
        self.network = {"awsvpcConfiguration": {"subnets": [self.subnet(1)]}}

    def register(self):
        made = self.ecs.register_task_definition(
            family=self.family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "app", "image": "app:1", "essential": True}],
        )
        return made["taskDefinition"]["taskDefinitionArn"]

    def service(self, **more):
        request = {
            "cluster": self.cluster, "serviceName": "app", "taskDefinition": self.family, "desiredCount": 2,
            "networkConfiguration": self.network,
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
            "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True, "rollback": True}, "maximumPercent": 200, "minimumHealthyPercent": 100},
            "enableExecuteCommand": True, "healthCheckGracePeriodSeconds": 30, **more,
        }
        return self.ecs.create_service(**request)["service"]

    def described(self):
        return self.ecs.describe_services(cluster=self.cluster, services=["app"], include=["TAGS"])["services"][0]

    def test_a_service_keeps_what_it_was_given_and_is_steady(self):
        self.service(tags=[{"key": "address", "value": "x"}])
        found = self.described()
        self.assertEqual(found["capacityProviderStrategy"], [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}])
        self.assertNotIn("launchType", found)
        self.assertTrue(found["deploymentConfiguration"]["deploymentCircuitBreaker"]["rollback"])
        self.assertTrue(found["enableExecuteCommand"])
        self.assertEqual(found["healthCheckGracePeriodSeconds"], 30)
        self.assertEqual((found["runningCount"], found["pendingCount"]), (2, 0))
        self.assertEqual(found["deployments"][0]["rolloutState"], "COMPLETED")
        self.assertEqual(found["taskDefinition"], self.first)
        self.assertTrue(found["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"])

    def test_a_family_without_a_living_revision_is_told_apart(self):
        def listed(**more):
            return self.family in self.ecs.list_task_definition_families(familyPrefix=self.family, **more)["families"]

        self.assertEqual((listed(), listed(status="ACTIVE"), listed(status="INACTIVE")), (True, True, False))
        self.ecs.deregister_task_definition(taskDefinition=self.first)
        self.assertEqual((listed(), listed(status="ACTIVE"), listed(status="INACTIVE")), (True, False, True))

    def test_an_update_rolls_out(self):
        service = self.service()
        second = self.register()
        self.ecs.update_service(cluster=self.cluster, service="app", taskDefinition=self.family, desiredCount=3, healthCheckGracePeriodSeconds=60)
        found = self.described()
        self.assertEqual((found["taskDefinition"], found["runningCount"], found["healthCheckGracePeriodSeconds"]), (second, 3, 60))
        self.assertEqual(found["deployments"][0]["taskDefinition"], second)
        listed = self.ecs.list_service_deployments(service=service["serviceArn"], cluster=self.cluster)["serviceDeployments"]
        self.assertEqual([d["status"] for d in listed], ["SUCCESSFUL", "SUCCESSFUL"])
        told = self.ecs.describe_service_deployments(serviceDeploymentArns=[listed[0]["serviceDeploymentArn"]])
        self.assertEqual(told["serviceDeployments"][0]["serviceArn"], service["serviceArn"])

    def test_a_service_is_made_once(self):
        first = self.service(clientToken="t1")
        self.assertEqual(self.service(clientToken="t1")["serviceArn"], first["serviceArn"])
        with self.refused("InvalidParameterException"):
            self.service(desiredCount=5)
        with self.refused("ClusterContainsServicesException"):
            self.ecs.delete_cluster(cluster=self.cluster)
        self.ecs.delete_service(cluster=self.cluster, service="app", force=True)
        self.assertEqual(self.ecs.list_services(cluster=self.cluster)["serviceArns"], [])
        self.assertEqual(self.described()["status"], "INACTIVE")
        self.service(desiredCount=5)
        self.ecs.delete_service(cluster=self.cluster, service="app", force=True)
        self.ecs.delete_cluster(cluster=self.cluster)
        self.assertNotIn(self.cluster, [arn.split("/")[-1] for arn in self.ecs.list_clusters()["clusterArns"]])

    def test_cluster_settings(self):
        self.ecs.update_cluster_settings(cluster=self.cluster, settings=[{"name": "containerInsights", "value": "disabled"}])
        found = self.ecs.describe_clusters(clusters=[self.cluster], include=["SETTINGS"])["clusters"][0]
        self.assertEqual(found["settings"], [{"name": "containerInsights", "value": "disabled"}])

    def test_scaling_tags_and_the_end_of_a_target(self):
        self.service()
        scaling = client("application-autoscaling")
        key = {"ServiceNamespace": "ecs", "ResourceId": f"service/{self.cluster}/app", "ScalableDimension": "ecs:service:DesiredCount"}
        arn = scaling.register_scalable_target(**key, MinCapacity=1, MaxCapacity=4, Tags={"address": "scale"})["ScalableTargetARN"]
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"address": "scale"})
        scaling.tag_resource(ResourceARN=arn, Tags={"more": "1"})
        scaling.untag_resource(ResourceARN=arn, TagKeys=["address"])
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"more": "1"})
        body = {"TargetValue": 50.0, "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}
        scaling.put_scaling_policy(**key, PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=body)
        scaling.deregister_scalable_target(**key)
        self.assertEqual(scaling.describe_scaling_policies(ServiceNamespace="ecs", ResourceId=key["ResourceId"])["ScalingPolicies"], [])
        with self.refused("ObjectNotFoundException"):
            scaling.deregister_scalable_target(**key)
        with self.refused("ObjectNotFoundException"):
            scaling.put_scaling_policy(**key, PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=body)
