"""Starts an asynchronous endpoint from no instances at its first queued call.

Target tracking cannot: its metric is per instance, and there is none. A step policy adds one when
CloudWatch's alarm for `HasBacklogWithoutCapacity` fires. AWS names the policy only when it is put,
so the alarm's request has a placeholder until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.alarms import MADE_FOR, wake_alarm
from petbox.sagemaker.endpoint.desired import Desired
from petbox.sagemaker.endpoint.steps import POLICY_ARN, Call

COOLDOWN = 300  # seconds; an instance needs minutes to start


def apply(desired: Desired, actual: Actual, *, released: bool) -> Iterator[Call]:
    """Sets both unless the alarm calls the policy that is there."""
    policy = next((p for p in actual.policies if p["PolicyName"] == names.WAKE), None)
    calls = (actual.wake or {}).get("AlarmActions")
    if not desired.wake or (policy and not released and calls == [policy.get("PolicyARN")]):
        return
    yield from both(desired.name)


def both(name: str) -> Iterator[Call]:
    step = {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}
    policy: dict[str, Any] = {
        **names.scaled(name),
        "PolicyName": names.WAKE,
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": COOLDOWN,
            "StepAdjustments": [step],
        },
    }
    what = f"policy {names.WAKE} of endpoint {name}"
    yield Call("application-autoscaling", "put_scaling_policy", policy, what)
    alarm = {
        "AlarmName": wake_alarm(name),
        "AlarmDescription": f"{MADE_FOR}{name}",
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [POLICY_ARN],
    }
    yield Call("cloudwatch", "put_metric_alarm", alarm, f"alarm {wake_alarm(name)}")


def remove(desired: Desired, actual: Actual, *, released: bool) -> Iterator[Call]:
    """If it is no longer desired; removing scaling removes its policy as well."""
    if desired.wake or not (desired.drop_scaling or desired.policy or actual.scaling is None):
        return
    there = any(policy["PolicyName"] == names.WAKE for policy in actual.policies)
    if there and not released and not desired.drop_scaling:
        request = {**names.scaled(desired.name), "PolicyName": names.WAKE}
        what = f"policy {names.WAKE} of endpoint {desired.name}"
        yield Call("application-autoscaling", "delete_scaling_policy", request, what)
    yield from delete_alarm(desired.name, actual)


def delete_alarm(name: str, actual: Actual) -> Iterator[Call]:
    if actual.wake is not None:
        alarm = wake_alarm(name)
        yield Call("cloudwatch", "delete_alarms", {"AlarmNames": [alarm]}, f"alarm {alarm}")
