"""`--dashboard`: a CloudWatch dashboard that is made, kept as people arrange it, and deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.aws import REGION, rejection
from support.endpoint_aws import SOON, UP, AwsProxy, done, petbox
from support.endpoint_plans import desired_with, found, operations, requests, steps_of

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.plan import plan, removal
from petbox.sagemaker.endpoint.steps import IN_SERVICE

pytestmark = pytest.mark.usefixtures("forgotten")


def graphs(**flags: Any) -> dict[str, list[list[Any]]]:
    """The metrics of the dashboard by title."""
    (put,) = requests(plan(desired_with(dashboard=True, **flags), Actual()), "put_dashboard")
    assert put["DashboardName"] == "petbox-pets"
    _text, *widgets = json.loads(put["DashboardBody"])["widgets"]
    assert {one["properties"]["region"] for one in widgets} == {REGION}
    places = [(one["x"], one["y"]) for one in widgets]
    assert len(set(places)) == len(places)
    return {one["properties"]["title"]: one["properties"]["metrics"] for one in widgets}


OF_VARIANT = ["EndpointName", "pets", "VariantName", "AllTraffic"]


def test_it_shows_calls_latency_and_load() -> None:
    this = graphs()
    assert list(this) == ["Calls and errors", "Latency in microseconds", "Utilization in percent"]
    assert this["Calls and errors"][0] == [
        "AWS/SageMaker",
        "Invocations",
        *OF_VARIANT,
        {"stat": "Sum"},
    ]
    assert this["Utilization in percent"][0][0] == "/aws/sagemaker/Endpoints"
    queue = graphs(async_="s3://pets-bucket/out")["Queued calls"]
    assert queue[0][2:4] == ["EndpointName", "pets"]


def test_an_inference_component_has_the_calls_and_the_instances_the_load() -> None:
    this = graphs(component="2048,2", autoscale="0..4", target=5.0)
    for title in ("Calls and errors", "Calls without capacity"):
        assert this[title][0][2:4] == ["InferenceComponentName", "pets"]
    assert this["Utilization in percent"][0][2:6] == OF_VARIANT


def test_one_that_exists_stays_as_it_is_arranged() -> None:
    actual = found(desired_with(dashboard=True))
    body = json.loads((actual.dashboard or {})["DashboardBody"])
    del body["widgets"][-1]
    arranged = {"DashboardName": "petbox-pets", "DashboardBody": json.dumps(body, indent=1)}
    actual = replace(actual, dashboard=arranged)
    assert steps_of(actual) == steps_of(actual, dashboard=True) == []
    steps = operations(steps_of(actual, env=("A=b",), dashboard=False))
    assert steps.index(IN_SERVICE) < steps.index("delete_dashboards")
    assert requests(removal("pets", actual), "delete_dashboards") == [
        {"DashboardNames": ["petbox-pets"]}
    ]


def test_a_third_party_dashboard_is_left_alone() -> None:
    actual = found(desired_with(), third_party=frozenset({"dashboard petbox-pets"}))
    assert steps_of(actual) == steps_of(actual, dashboard=False) == []
    assert "delete_dashboards" not in operations(removal("pets", actual))
    with pytest.raises(ServiceError, match="dashboard petbox-pets: exists, and petbox did not"):
        steps_of(actual, dashboard=True)


def test_it_is_made_listed_and_deleted(aws: AwsProxy) -> None:
    done(petbox(aws.env, "endpoint", "up", "seen", *UP, "--dashboard"))
    assert aws.changes()[-1] == "PutDashboard"
    cloudwatch = aws.client("cloudwatch")
    body = cloudwatch.get_dashboard(DashboardName="petbox-seen")["DashboardBody"]
    assert "made by petbox for the endpoint seen" in body
    aws.calls.clear()
    done(petbox(aws.env, "endpoint", "up", "seen", *UP))
    assert aws.changes() == []
    assert "petbox-seen" in done(petbox(aws.env, "endpoint", "status", "seen")).stdout
    facts = json.loads(done(petbox(aws.env, "endpoint", "status", "seen", "--json")).stdout)
    assert facts["dashboard"] == "petbox-seen"

    aws.client("sagemaker").delete_endpoint(EndpointName="seen")
    cloudwatch.put_dashboard(DashboardName="petbox-theirs", DashboardBody='{"widgets": []}')
    listed = done(petbox(aws.env, "endpoint", "list")).stdout
    assert "dashboard" in listed and "theirs" not in listed
    done(petbox(aws.env, "endpoint", "down", "seen", "--yes", *SOON))
    left = cloudwatch.list_dashboards()["DashboardEntries"]
    assert [one["DashboardName"] for one in left] == ["petbox-theirs"]


def test_without_permission_there_is_one_warning(aws: AwsProxy) -> None:
    aws.instead["GetDashboard"] = lambda _: rejection("AccessDenied", "not yours", 403)
    result = done(petbox(aws.env, "endpoint", "up", "unseen", *UP))
    assert result.stderr.count("assuming that there is none") == 1
    done(petbox(aws.env, "endpoint", "down", "unseen", "--yes", *SOON))
