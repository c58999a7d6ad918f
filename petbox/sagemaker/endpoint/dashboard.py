"""A CloudWatch dashboard of an endpoint: the numbers of `petbox endpoint watch`, over time.

A text in it says which endpoint petbox made it for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from petbox.sagemaker.endpoint import names, owned
from petbox.sagemaker.endpoint.metrics import Metric, dimensions, of_instances

WIDTH, HEIGHT = 12, 6  # of 24 columns


class Graph(NamedTuple):
    title: str
    metrics: Sequence[Metric]


CALLS = Graph(
    "Calls and errors",
    [Metric(name, "Sum") for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")],
)
LATENCY = Graph(
    "Latency in microseconds",
    [
        Metric("ModelLatency", "p50"),
        Metric("ModelLatency", "p99"),
        Metric("OverheadLatency", "p50"),
    ],
)
LOAD = Graph(
    "Utilization in percent",
    [of_instances(f"{what}Utilization") for what in ("CPU", "Memory", "GPU", "GPUMemory", "Disk")],
)
QUEUE = Graph("Queued calls", [Metric("ApproximateBacklogSize", "Maximum", of_variant=False)])
AT_ZERO = Graph("Calls without capacity", [Metric("NoCapacityInvocationFailures", "Sum")])


def request(name: str, region: str, *, component: bool, asynchronous: bool) -> dict[str, str]:
    """PutDashboard's."""
    graphs = [CALLS, LATENCY, LOAD]
    if component or asynchronous:
        graphs.append(AT_ZERO if component else QUEUE)
    text = {"markdown": owned.mark(name)}
    widgets: list[dict[str, Any]] = [
        {"type": "text", "x": 0, "y": 0, "width": 2 * WIDTH, "height": 1, "properties": text}
    ]
    for number, graph in enumerate(graphs):
        row, column = divmod(number, 2)
        place = {"x": WIDTH * column, "y": 1 + HEIGHT * row, "width": WIDTH, "height": HEIGHT}
        properties = {
            "title": graph.title,
            "region": region,
            "period": 60,
            "metrics": [_line(one, name, component=component) for one in graph.metrics],
        }
        widgets.append({"type": "metric", **place, "properties": properties})
    return {
        "DashboardName": names.dashboard(name),
        "DashboardBody": json.dumps({"widgets": widgets}),
    }


def _line(metric: Metric, name: str, *, component: bool) -> list[Any]:
    pairs = dimensions(metric, name, component=component)
    flat = [text for one in pairs for text in (one["Name"], one["Value"])]
    return [metric.namespace, metric.name, *flat, {"stat": metric.statistic}]
