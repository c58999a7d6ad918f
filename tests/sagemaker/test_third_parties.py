"""What only has a name that petbox would give: it is neither overwritten nor deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.endpoint_aws import ROLE, SOON, UP, AwsProxy, done, failed, petbox

pytestmark = pytest.mark.usefixtures("forgotten")
AT_ZERO = ("--async", "s3://pets-bucket/out", "--autoscale", "0..4", "--target", "2")


def theirs(aws: AwsProxy) -> dict[str, Any]:
    """Alarms, a dashboard and a schedule, as AWS describes them."""
    cloudwatch, scheduler = aws.client("cloudwatch"), aws.client("scheduler")
    found = {
        one["AlarmName"]: (one.get("AlarmDescription"), one["Threshold"], one["AlarmActions"])
        for one in cloudwatch.describe_alarms(AlarmNamePrefix="petbox-pets-")["MetricAlarms"]
    }
    found["schedule"] = scheduler.get_schedule(Name="petbox-pets")["Target"]["Input"]
    found["dashboard"] = cloudwatch.get_dashboard(DashboardName="petbox-pets")["DashboardBody"]
    return found


def make(aws: AwsProxy) -> None:
    cloudwatch = aws.client("cloudwatch")
    for kind in ("latency", "wake"):
        cloudwatch.put_metric_alarm(
            AlarmName=f"petbox-pets-{kind}",
            AlarmDescription="wakes the zoo keeper, not made by petbox for the endpoint pets",
            Namespace="zoo",
            MetricName="roars",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=17.0,
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=["arn:aws:sns:us-east-1:123456789012:keeper"],
        )
    cloudwatch.put_dashboard(DashboardName="petbox-pets", DashboardBody='{"widgets": []}')
    aws.client("scheduler").create_schedule(
        Name="petbox-pets",
        ScheduleExpression="cron(0 7 * * ? *)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint",
            "RoleArn": ROLE,
            "Input": json.dumps({"EndpointName": "another"}),
        },
    )


def test_alarms_a_dashboard_and_a_schedule_that_only_have_our_names(aws: AwsProxy) -> None:
    make(aws)
    before = theirs(aws)
    done(petbox(aws.env, "endpoint", "up", "pets", *UP))
    aws.calls.clear()
    for words, what in (
        (("--ttl", "2h"), "schedule petbox-pets"),
        (("--alarms", "900"), "alarm petbox-pets-latency"),
        (("--dashboard",), "dashboard petbox-pets"),
        (AT_ZERO, "alarm petbox-pets-wake"),
    ):
        line = failed(petbox(aws.env, "endpoint", "up", "pets", *UP, *words))
        assert line.startswith(f"error: {what}: exists, and petbox did not make it; delete it, or")
    assert aws.changes() == []
    status = json.loads(done(petbox(aws.env, "endpoint", "status", "pets", "--json")).stdout)
    assert (status["alarms"], status["dashboard"], status["expires"]) == ({}, None, None)
    (row,) = done(petbox(aws.env, "endpoint", "list")).stdout.splitlines()
    assert "no expiry" in row
    no = ("--no-ttl", "--no-alarms", "--no-dashboard", "--no-autoscale")
    done(petbox(aws.env, "endpoint", "up", "pets", *UP, *no))
    done(petbox(aws.env, "endpoint", "down", "pets", "--yes", *SOON))
    assert theirs(aws) == before
