"""What every test of the emulator stands on: one running server for the process, clients, one VPC per test.

Asked through boto3, as any tool would ask. Nothing here imports keyway_emulator: the tests see what is on the wire.
"""

import atexit
import itertools
import json
import subprocess
import sys
import unittest
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT, REGION = "123456789012", "eu-central-1"
NUMBERS = itertools.count(1)


def start():
    server = subprocess.Popen(
        [sys.executable, "-B", str(Path(__file__).parent / "serve.py"), "--port", "0", "--until-stdin-closes"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )

    def stop():
        server.stdin.close()
        server.wait(timeout=10)
        server.stdout.close()

    atexit.register(stop)
    return json.loads(server.stdout.readline())["url"]


URL = start()


def client(service):
    return boto3.client(
        service, endpoint_url=URL, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )


def inventory():
    with urllib.request.urlopen(f"{URL}/_keyway/inventory") as answer:
        return json.load(answer)


def spec(kind, address):
    return [{"ResourceType": kind, "Tags": [{"Key": "address", "Value": address}]}]


TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]})


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.ec2, self.elb, self.waf, self.ecs = client("ec2"), client("elbv2"), client("wafv2"), client("ecs")
        self.n = next(NUMBERS)
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    @contextmanager
    def refused(self, *codes):
        with self.assertRaises(ClientError) as caught:
            yield
        self.assertIn(caught.exception.response["Error"]["Code"], codes, caught.exception)

    def subnet(self, third, zone="a"):
        made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{third}.0/24", AvailabilityZone=f"{REGION}{zone}")
        return made["Subnet"]["SubnetId"]

    def group(self, name):
        return self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]

    def balancer(self, name, subnets, **more):
        made = self.elb.create_load_balancer(Name=f"{name}-{self.n}", Subnets=subnets, **more)
        return made["LoadBalancers"][0]["LoadBalancerArn"]

    def target_group(self, name, **more):
        made = self.elb.create_target_group(
            Name=f"{name}-{self.n}", Protocol="HTTP", Port=80, VpcId=self.vpc, TargetType="ip", **more
        )
        return made["TargetGroups"][0]["TargetGroupArn"]
