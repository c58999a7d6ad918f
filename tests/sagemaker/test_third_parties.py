"""What only has a name that petbox would give: it is neither overwritten nor deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.endpoint_aws import IMAGE, ROLE, SOON, UP, AwsProxy, done, failed, petbox
from support.endpoint_plans import desired_with, found, operations, requests, steps_of

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.plan import removal

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


# What somebody changed by other means


def test_alarms_that_somebody_changed_stay_until_a_flag_names_them() -> None:
    actual = found(desired_with(alarms=900))
    mine = ["arn:aws:sns:us-east-1:123456789012:mine"]
    changed = {**actual.alarms["petbox-pets-5xx"], "Threshold": 10.0, "AlarmActions": mine}
    actual = replace(actual, alarms={**actual.alarms, "petbox-pets-5xx": changed})
    assert steps_of(actual) == []
    assert "put_metric_alarm" not in operations(steps_of(actual, env=("A=b",)))
    put = requests(steps_of(actual, alarms=900), "put_metric_alarm")
    assert "petbox-pets-5xx" in [one["AlarmName"] for one in put]
    without = {kind: dict(actual.alarms) for kind in ("5xx", "latency")}
    for kind, left in without.items():
        del left[f"petbox-pets-{kind}"]
    (again,) = requests(steps_of(replace(actual, alarms=without["5xx"])), "put_metric_alarm")
    assert again["AlarmName"] == "petbox-pets-5xx"
    assert steps_of(replace(actual, alarms=without["latency"])) == []


def test_a_policy_keeps_its_cooldown_when_scaling_comes_back() -> None:
    actual = found(desired_with(autoscale="1..4", target=70.0))
    (policy,) = actual.policies
    tracking = {**policy["TargetTrackingScalingPolicyConfiguration"], "ScaleInCooldown": 900}
    changed = {**policy, "TargetTrackingScalingPolicyConfiguration": tracking}
    steps = steps_of(replace(actual, policies=(changed,)), instance_type="ml.g5.xlarge")
    assert requests(steps, "put_scaling_policy") == [changed]
    steps = steps_of(
        replace(actual, policies=(changed,)), instance_type="ml.g5.xlarge", target=50.0
    )
    (put,) = requests(steps, "put_scaling_policy")
    assert put["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 50.0


def test_a_policy_that_an_alarm_calls_is_not_replaced_by_one_with_another_arn() -> None:
    actual = found(desired_with(autoscale="1..4", target=70.0))
    step = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [{"ScalingAdjustment": 1}]}
    policy = {
        **names.scaled("pets"),
        "PolicyName": "rush",
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": step,
        "Alarms": [{"AlarmName": "busy", "AlarmARN": "arn:alarm"}],
    }
    actual = replace(actual, policies=(*actual.policies, policy))
    with pytest.raises(ServiceError, match="alarm busy calls the scaling policy rush by an ARN"):
        steps_of(actual, instance_type="ml.g5.xlarge")
    assert "deregister_scalable_target" not in operations(steps_of(actual, env=("A=b",)))


def second_variant(config: dict[str, Any]) -> dict[str, Any]:
    (one,) = config["ProductionVariants"]
    return {**config, "ProductionVariants": [one, {**one, "VariantName": "B"}]}


@pytest.mark.parametrize(
    ("config", "container", "what"),
    [
        (second_variant, {}, "2 ProductionVariants"),
        (
            lambda one: {**one, "ShadowProductionVariants": one["ProductionVariants"]},
            {},
            "ShadowProductionVariants",
        ),
        (dict, {"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/"}}}, "ModelDataSource"),
        (dict, {"ImageConfig": {"RepositoryAccessMode": "Vpc"}}, "ImageConfig"),
    ],
)
def test_what_an_update_would_lose_stops_it(config: Any, container: Any, what: str) -> None:
    actual = found(desired_with())
    model = dict(actual.last_model or {})
    model["PrimaryContainer"] = {**model["PrimaryContainer"], **container}
    last = config(dict(actual.last or {}))
    actual = replace(actual, config=last, last=last, model=model, last_model=model)
    with pytest.raises(ServiceError, match=f"has what petbox cannot keep: its {what}; change"):
        steps_of(actual, env=("A=b",))
    assert "delete_endpoint" in operations(removal("pets", actual))


def test_a_pipeline_of_models_stops_an_update() -> None:
    actual = found(desired_with())
    model = {"ModelName": "pipeline", "Containers": [{"Image": IMAGE}, {"Image": IMAGE}]}
    with pytest.raises(ServiceError, match="cannot keep: its Containers"):
        steps_of(replace(actual, model=model, last_model=model), env=("A=b",))
