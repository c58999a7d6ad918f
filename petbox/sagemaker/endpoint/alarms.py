"""CloudWatch's alarms of an endpoint, and the filter of its log that counts failed pings.

SageMaker has no metric of pings; the container logs each /ping that is not 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from petbox.sagemaker.endpoint import names, owned

KINDS = ("5xx", "latency", "ping")
ROLL_BACK = ("5xx", "latency")  # instances that start fail pings
PINGS = "petbox/pings"  # a namespace


def alarm_names(name: str) -> list[str]:
    return [f"{names.SCHEDULE}{name}-{kind}" for kind in KINDS]


def wake_alarm(name: str) -> str:
    """That of `petbox.sagemaker.endpoint.wake`, which is there without `--alarms`."""
    return f"{names.SCHEDULE}{name}-wake"


def requests(
    name: str, limit: int, topic: str | None, *, component: bool = False
) -> list[dict[str, Any]]:
    """PutMetricAlarm's, for a p99 latency over `limit` milliseconds."""
    of_endpoint = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": names.dimensions(name, component=component),
    }
    over = "GreaterThanThreshold"
    watched: dict[str, dict[str, Any]] = {
        "5xx": {
            **of_endpoint,
            "MetricName": "Invocation5XXErrors",
            "Statistic": "Sum",
            "Threshold": 0.0,
            "ComparisonOperator": over,
        },
        "latency": {
            **of_endpoint,
            "MetricName": "ModelLatency",
            "ExtendedStatistic": "p99",
            "Threshold": limit * 1000.0,  # microseconds
            "ComparisonOperator": over,
        },
        "ping": {
            "Namespace": PINGS,
            "MetricName": name,
            "Statistic": "Sum",
            "Threshold": 0.0,
            "ComparisonOperator": over,
        },
    }
    return [
        {
            "AlarmName": alarm,
            "AlarmDescription": owned.mark(name),
            **watched[kind],
            "Period": 60,
            "EvaluationPeriods": 3,
            "TreatMissingData": "notBreaching",
            "AlarmActions": [topic] if topic else [],
        }
        for kind, alarm in zip(KINDS, alarm_names(name), strict=True)
    ]


def endpoint_of(alarm: Mapping[str, Any]) -> str | None:
    """The endpoint that petbox made the alarm for."""
    name = str(alarm.get("AlarmDescription", "")).removeprefix(owned.mark(""))
    return name if owned.is_ours(alarm, name) else None


def ping_filter(name: str, *, component: bool = False) -> dict[str, Any]:
    """PutMetricFilter's."""
    return {
        **filter_identity(name, component=component),
        "filterPattern": '{ ($.path = "/ping") && ($.status != 200) }',
        "metricTransformations": [
            {"metricName": name, "metricNamespace": PINGS, "metricValue": "1"}
        ],
    }


def filter_identity(name: str, *, component: bool = False) -> dict[str, str]:
    """DeleteMetricFilter's request."""
    group = names.log_group(name, component=component)
    return {"logGroupName": group, "filterName": f"{names.SCHEDULE}{name}-ping"}


def ping_alarm(name: str) -> str:
    return f"{names.SCHEDULE}{name}-ping"


def limit_of(alarms: Mapping[str, Mapping[str, Any]], name: str) -> int | None:
    found = alarms.get(f"{names.SCHEDULE}{name}-latency")
    return None if found is None else round(found["Threshold"] / 1000)


def topic_of(alarms: Mapping[str, Mapping[str, Any]]) -> str | None:
    actions = [action for one in alarms.values() for action in one.get("AlarmActions", ())]
    return str(actions[0]) if actions else None


def rolling_back(name: str) -> list[str]:
    return [f"{names.SCHEDULE}{name}-{kind}" for kind in ROLL_BACK]
