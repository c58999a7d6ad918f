"""An endpoint's metrics from CloudWatch: its calls and errors of the last day.

CloudWatch is a minute or two behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import every

NAMES = {
    "invocations": "Invocations",
    "client_errors": "Invocation4XXErrors",
    "server_errors": "Invocation5XXErrors",
}
HOURS = 24
MINUTES = 5  # of one count


@dataclass(frozen=True)
class Use:
    """Counts of the last day; `last` is the end of the last five minutes with a call."""

    invocations: int
    client_errors: int  # 4xx
    server_errors: int  # 5xx
    last: datetime | None

    def __str__(self) -> str:
        if self.last is None:
            return f"no calls in {HOURS} hours"
        return (
            f"{self.invocations} calls in {HOURS} hours, {self.client_errors} failed with 4xx, "
            f"{self.server_errors} with 5xx; the last one before {self.last:%Y-%m-%d %H:%M} UTC"
        )


@dataclass(frozen=True)
class Metric:
    name: str
    statistic: str
    namespace: str = "AWS/SageMaker"
    of_variant: bool = True  # or of the endpoint as a whole
    of_instances: bool = False  # also where a component has the calls


def of_instances(name: str) -> Metric:
    return Metric(name, "Average", "/aws/sagemaker/Endpoints", of_instances=True)


def read(
    cloudwatch: Any,
    endpoint: str,
    metrics: Mapping[str, Metric],
    start: datetime,
    end: datetime,
    minutes: int,
    *,
    component: bool = False,
) -> dict[str, dict[datetime, float]]:
    """The values of each metric by the time at which their so many minutes begin."""
    queries = [
        {
            "Id": key,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": dimensions(metric, endpoint, component=component),
                },
                "Period": minutes * 60,
                "Stat": metric.statistic,
            },
        }
        for key, metric in metrics.items()
    ]
    values: dict[str, dict[datetime, float]] = {key: {} for key in metrics}
    for result in every(
        cloudwatch,
        "get_metric_data",
        "MetricDataResults",
        f"metrics of endpoint {endpoint}",
        MetricDataQueries=queries,
        StartTime=start.astimezone(timezone.utc),
        EndTime=end.astimezone(timezone.utc),
    ):
        values[result["Id"]].update(zip(result["Timestamps"], result["Values"], strict=True))
    return values


def dimensions(metric: Metric, endpoint: str, *, component: bool) -> list[dict[str, str]]:
    if not metric.of_variant:
        return [{"Name": "EndpointName", "Value": endpoint}]
    return names.dimensions(endpoint, component=component and not metric.of_instances)


def use(cloudwatch: Any, name: str, now: datetime, *, component: bool = False) -> Use:
    metrics = {key: Metric(metric, "Sum") for key, metric in NAMES.items()}
    start = now - timedelta(hours=HOURS)
    counts = read(cloudwatch, name, metrics, start, now, MINUTES, component=component)
    calls = [at + timedelta(minutes=MINUTES) for at, n in counts["invocations"].items() if n > 0]
    sums = {key: round(sum(values.values())) for key, values in counts.items()}
    return Use(last=max(calls, default=None), **sums)
