"""An endpoint's calls and errors of the last day, from CloudWatch.

CloudWatch is a minute or two behind.
"""

from __future__ import annotations

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


def use(cloudwatch: Any, name: str, now: datetime) -> Use:
    end = now.astimezone(timezone.utc)
    dimensions = [
        {"Name": "EndpointName", "Value": name},
        {"Name": "VariantName", "Value": names.VARIANT},
    ]
    queries = [
        {
            "Id": key,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SageMaker",
                    "MetricName": metric,
                    "Dimensions": dimensions,
                },
                "Period": MINUTES * 60,
                "Stat": "Sum",
            },
        }
        for key, metric in NAMES.items()
    ]
    counts: dict[str, dict[datetime, float]] = {key: {} for key in NAMES}
    for result in every(
        cloudwatch,
        "get_metric_data",
        "MetricDataResults",
        f"metrics of endpoint {name}",
        MetricDataQueries=queries,
        StartTime=end - timedelta(hours=HOURS),
        EndTime=end,
    ):
        counts[result["Id"]].update(zip(result["Timestamps"], result["Values"], strict=True))
    calls = [at + timedelta(minutes=MINUTES) for at, n in counts["invocations"].items() if n > 0]
    sums = {key: round(sum(values.values())) for key, values in counts.items()}
    return Use(last=max(calls, default=None), **sums)
