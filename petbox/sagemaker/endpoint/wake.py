"""Starts an asynchronous endpoint from no instances, or an inference component from no copies.

Target tracking cannot: its metric is per instance or copy, and there is none. A step policy adds
one when CloudWatch's alarm fires: for queued calls, or for those that a component rejects. AWS
names the policy only when it is put, so the alarm's request has a placeholder until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petbox.sagemaker.endpoint import names, owned
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.alarms import wake_alarm
from petbox.sagemaker.endpoint.desired import Desired
from petbox.sagemaker.endpoint.steps import POLICY_ARN, Call

COOLDOWN = 300  # seconds; an instance needs minutes to start
COMPONENT_COOLDOWN = 900  # its clients go on calling meanwhile, and one copy is to start


def apply(desired: Desired, actual: Actual, *, released: bool) -> Iterator[Call]:
    """Sets both unless the alarm calls the policy that is there."""
    policy = next((p for p in actual.policies if p["PolicyName"] == names.WAKE), None)
    calls = (actual.wake or {}).get("AlarmActions")
    if not desired.wake or (policy and not released and calls == [policy.get("PolicyARN")]):
        return
    yield from both(desired.name, component=desired.of_component)


def both(name: str, *, component: bool = False) -> Iterator[Call]:
    what = f"policy {names.WAKE} of endpoint {name}"
    request = policy_request(name, component=component)
    yield Call("application-autoscaling", "put_scaling_policy", request, what)
    alarm = alarm_request(name, component=component)
    yield Call("cloudwatch", "put_metric_alarm", alarm, f"alarm {wake_alarm(name)}")


def policy_request(name: str, *, component: bool) -> dict[str, Any]:
    step = {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}
    return {
        **names.scaled(name, component=component),
        "PolicyName": names.WAKE,
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": COMPONENT_COOLDOWN if component else COOLDOWN,
            "StepAdjustments": [step],
        },
    }


def alarm_request(name: str, *, component: bool) -> dict[str, Any]:
    watched: dict[str, Any] = {
        "MetricName": "HasBacklogWithoutCapacity",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
        "EvaluationPeriods": 2,
    }
    if component:  # a single call may be all there is
        watched = {
            "MetricName": "NoCapacityInvocationFailures",
            "Dimensions": names.dimensions(name, component=True),
            "Statistic": "Sum",
            "EvaluationPeriods": 1,
        }
    return {
        "AlarmName": wake_alarm(name),
        "AlarmDescription": owned.mark(name),
        "Namespace": "AWS/SageMaker",
        **watched,
        "Period": 60,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [POLICY_ARN],
    }


def remove(desired: Desired, actual: Actual, *, released: bool) -> Iterator[Call]:
    """If it is no longer desired; removing scaling removes its policy as well."""
    if desired.wake or not (desired.drop_scaling or desired.policy or actual.scaling is None):
        return
    there = any(policy["PolicyName"] == names.WAKE for policy in actual.policies)
    if there and not released and not desired.drop_scaling:
        request = {
            **names.scaled(desired.name, component=desired.of_component),
            "PolicyName": names.WAKE,
        }
        what = f"policy {names.WAKE} of endpoint {desired.name}"
        yield Call("application-autoscaling", "delete_scaling_policy", request, what)
    yield from delete_alarm(desired.name, actual)


def delete_alarm(name: str, actual: Actual) -> Iterator[Call]:
    if actual.wake is not None:
        alarm = wake_alarm(name)
        yield Call("cloudwatch", "delete_alarms", {"AlarmNames": [alarm]}, f"alarm {alarm}")
