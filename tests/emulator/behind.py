"""Makes API calls from a JSON list, for tests that change the account behind a program's back.

`python behind.py URL '[{"service": "ec2", "call": "describe_vpcs", "arguments": {}}]'` prints the answers as a JSON list.
It stops at the first error.
"""

import json
import sys

import boto3
from botocore.config import Config


def main(url: str, calls: str) -> None:
    answers = []
    for item in json.loads(calls):
        client = boto3.client(
            item["service"], endpoint_url=url, region_name="eu-central-1", aws_access_key_id="someone-else",
            aws_secret_access_key="test", config=Config(retries={"total_max_attempts": 1}),
        )
        answer = getattr(client, item["call"])(**item["arguments"])
        answer.pop("ResponseMetadata", None)
        answers.append(answer)
    print(json.dumps(answers, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
