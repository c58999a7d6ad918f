"""`petbox endpoint watch`: the log and the metrics in one view."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.aws import rejection
from support.endpoint_aws import UP, AwsProxy, aws_proxy, done, failed, petbox

from petbox.sagemaker.endpoint.watch import _status_line

GONE = rejection("ValidationException", 'Could not find endpoint "arn".')
WATCH = ("endpoint", "watch", "pets", "--every", "0.1")


@pytest.fixture(scope="module")
def account() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        done(petbox(server.env, "endpoint", "up", "pets", *UP))
        yield server


@pytest.fixture
def aws(account: AwsProxy) -> AwsProxy:
    """The endpoint is in service, then updated, then gone."""
    account.calls.clear()
    account.instead.clear()
    polls: list[int] = []

    def describe(response: dict[str, Any]) -> dict[str, Any]:
        polls.append(1)
        return {**response, "EndpointStatus": "Updating"} if len(polls) > 2 else response

    account.amended["DescribeEndpoint"] = describe
    account.instead["DescribeEndpoint"] = lambda _: GONE if len(polls) > 3 else None
    return account


def log(aws: AwsProxy, text: str) -> None:
    logs, group = aws.client("logs"), "/aws/sagemaker/Endpoints/pets"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="AllTraffic/i-1")
    event = {"timestamp": int(time.time() * 1000), "message": text}
    logs.put_log_events(logGroupName=group, logStreamName="AllTraffic/i-1", logEvents=[event])


def put(aws: AwsProxy, namespace: str, name: str, value: float, *, of_variant: bool = True) -> None:
    dimensions = [{"Name": "EndpointName", "Value": "pets"}]
    if of_variant:
        dimensions.append({"Name": "VariantName", "Value": "AllTraffic"})
    data = {
        "MetricName": name,
        "Dimensions": dimensions,
        "Timestamp": datetime.now(timezone.utc) - timedelta(minutes=1),
        "Value": value,
    }
    aws.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])


def test_lines_and_numbers_are_in_one_view(aws: AwsProxy) -> None:
    log(aws, "ready")
    put(aws, "AWS/SageMaker", "Invocations", 120)
    put(aws, "AWS/SageMaker", "ModelLatency", 35_000)
    put(aws, "AWS/SageMaker", "ModelLatency", 45_000)
    put(aws, "AWS/SageMaker", "ApproximateBacklogSize", 7, of_variant=False)
    put(aws, "/aws/sagemaker/Endpoints", "CPUUtilization", 41)
    result = done(petbox(aws.env, *WATCH))
    first, numbers, changed = result.stdout.splitlines()
    assert first == "ready"
    assert "| InService, 1 of ml.m5.xlarge | 120 calls/min, model 40 ms, slowest 45" in numbers
    assert numbers.endswith("CPU 41 %, 7 queued")
    assert "| Updating, 1 of ml.m5.xlarge | 120 calls/min" in changed
    assert result.stderr == "pets is gone\n"


def test_without_permission_for_metrics_the_log_goes_on(aws: AwsProxy) -> None:
    aws.instead["GetMetricData"] = lambda _: rejection("AccessDeniedException", "not yours", 403)
    result = done(petbox(aws.env, *WATCH, "--lines", "0"))
    line = next(one for one in result.stdout.splitlines() if "UTC | " in one)
    assert "| InService, 1 of ml.m5.xlarge | no metrics (metrics of endpoint pets: Acc" in line
    assert "endpoint none: not found" in failed(petbox(aws.env, "endpoint", "watch", "none"))


def test_on_a_terminal_the_numbers_stay_below_the_log() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with redirect_stdout(Terminal()) as out, _status_line() as show:
        show("first numbers")
        print("a line of the log")
        show("second numbers")
    text = out.getvalue()
    assert text.index("first numbers") < text.index("a line of the log")
    assert text.index("a line of the log") < text.rindex("second numbers")
