"""An endpoint's calls and errors of the last day, from CloudWatch.

CloudWatch is a minute or two behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from petbox.aws import session
from petbox.sagemaker.endpoint import names

NAMES = {
    "invocations": "Invocations",
    "refused": "Invocation4XXErrors",
    "failed": "Invocation5XXErrors",
}
HOURS = 24
MINUTES = 5  # of one count


@dataclass(frozen=True)
class Use:
    """Counts of the last day; `last` is the end of the last five minutes with a call."""

    invocations: int
    refused: int  # 4xx: the client's errors
    failed: int  # 5xx: the container's errors
    last: datetime | None

    def __str__(self) -> str:
        if self.last is None:
            return f"no calls in {HOURS} hours"
        return (
            f"{self.invocations} calls in {HOURS} hours, {self.refused} failed with 4xx, "
            f"{self.failed} with 5xx; the last one before {self.last:%Y-%m-%d %H:%M} UTC"
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
    sums = dict.fromkeys(NAMES, 0.0)
    last = None
    with session.calling(f"metrics of endpoint {name}"):
        pages = cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=end - timedelta(hours=HOURS), EndTime=end
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                sums[result["Id"]] += sum(result["Values"])
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    if result["Id"] == "invocations" and value > 0:
                        over = at + timedelta(minutes=MINUTES)
                        last = over if last is None else max(last, over)
    counts = {key: round(value) for key, value in sums.items()}
    return Use(last=last, **counts)
