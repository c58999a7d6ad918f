"""What deletes an endpoint at its expiry, and what is told if that fails."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.aws import REGION
from support.endpoint_aws import ROLE, UP, AwsProxy, done, petbox, shown

from petbox.aws.place import Place
from petbox.sagemaker.endpoint import expiry
from petbox.sagemaker.endpoint.names import EXPIRES
from petbox.sagemaker.setup.policies import Setup

pytestmark = pytest.mark.usefixtures("forgotten")
QUEUE = f"arn:aws:sqs:{REGION}:123456789012:not-deleted"
TTL = ("--ttl", "2h")


def target(aws: AwsProxy, *words: str, name: str = "old") -> dict[str, Any]:
    """Of the schedule that a dry run would create or update."""
    requests = dict(shown(petbox(aws.env, "endpoint", "up", name, *UP, "--dry-run", *words)))
    (found,) = (one for call, one in requests.items() if call.endswith("_schedule"))
    return dict(found["Target"])


def test_a_failed_delete_is_retried_for_a_day_and_then_told(aws: AwsProxy) -> None:
    found = target(aws, *TTL)
    assert found["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert "DeadLetterConfig" not in found

    done(petbox(aws.env, "endpoint", "up", "old", *UP, *TTL, "--ttl-dead-letters", QUEUE))
    assert target(aws, *TTL)["DeadLetterConfig"] == {"Arn": QUEUE}, "it is kept"
    assert "DeadLetterConfig" not in target(aws, *TTL, "--no-ttl-dead-letters")


def test_the_role_of_setup_that_deletes_is_the_default(aws: AwsProxy) -> None:
    roles = {kind: role.name for kind, role in Setup(PLACE, "my-pets", "bucket").roles.items()}
    beside = PLACE.role(roles["scheduler"])
    for role, expected in ((PLACE.role(roles["endpoint"]), beside), (PLACE.role("mine"),) * 2):
        assert target(aws, "--role", role, *TTL, name="new")["RoleArn"] == expected
    assert expiry.role_beside(ROLE) == ROLE
    for name in ("prod-endpoint-exec", "my-endpoint-of-us-east-1", "pets-endpoint-us-east-1b"):
        assert expiry.role_beside(PLACE.role(name)) == PLACE.role(name), name


PLACE = Place("aws-us-gov", "us-gov-west-1", "123456789012")


def test_setup_lets_that_role_write_to_the_queue(aws: AwsProxy) -> None:
    def statements(*words: str) -> str:
        return done(petbox(aws.env, "setup", "--dry-run", "--name", "new", *words)).stdout

    assert "sqs:SendMessage" not in statements()
    found = json.loads(statements("--dead-letters", QUEUE))
    policies = [one["request"]["PolicyDocument"] for one in found if "put_role" in one["call"]]
    may = [one for policy in policies for one in policy["Statement"] if "sqs" in str(one)]
    assert [(one["Action"], one["Resource"]) for one in may] == [(["sqs:SendMessage"], QUEUE)]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--ttl-dead-letters", QUEUE], "--ttl-dead-letters requires --ttl"),
        ([*TTL, "--ttl-dead-letters", f"{QUEUE}.fifo"], "is not the ARN of a standard queue"),
    ],
)
def test_a_queue_that_cannot_be_one_is_rejected(aws: AwsProxy, words: list[str], why: str) -> None:
    result = petbox(aws.env, "endpoint", "up", "old", *UP, *words)
    assert result.returncode == 2 and why in result.stderr
    assert not aws.calls


def test_list_warns_of_an_endpoint_past_its_time(aws: AwsProxy) -> None:
    done(petbox(aws.env, "endpoint", "up", "late", *UP, *TTL))
    listed = ("endpoint", "list")
    assert "should have been deleted" not in done(petbox(aws.env, *listed)).stderr

    ago = datetime.now(timezone.utc) - timedelta(hours=1)
    tags = [{"Key": key, "Value": text} for key, text in expiry.tag(ago).items()]
    sagemaker = aws.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName="late")["EndpointArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=tags)
    aws.client("scheduler").delete_schedule(Name="petbox-late")  # as it does itself
    result = done(petbox(aws.env, *listed, "--json"))
    assert f"late: should have been deleted at {ago:%Y-%m-%d %H:%M} UTC" in result.stderr
    rows = {row["endpoint"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows["late"]["overdue"] == f"{ago:%Y-%m-%d %H:%M} UTC"
    assert rows["old"]["overdue"] is None

    aws.amended["DescribeEndpoint"] = lambda found: found | {"EndpointStatus": "Deleting"}
    assert "should have been deleted" not in done(petbox(aws.env, *listed)).stderr
    aws.amended.clear()
    done(petbox(aws.env, "endpoint", "up", "late", "--no-ttl", "--yes"))
    found = {one["Key"] for one in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert EXPIRES not in found
