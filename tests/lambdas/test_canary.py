"""Canary: calls pass to new code step by step, and an alarm of the function takes them back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.templates import NESTED, Stack, of_kind, source, translated

TENTH = "Canary10Percent10Minutes"
FUNCTIONS = [
    ("front", "HttpFront", "HttpFrontAlarms"),
    ("front", "S3Front", "S3FrontAlarms"),
    ("detector", "DetectorByZip", "DetectorAlarms"),
]
CODEDEPLOY = "AWS::CodeDeploy::"


def resources(name: str, canary: str) -> dict[str, Any]:
    """Those that are deployed."""
    given = {"Canary": canary} if canary else {}
    there = Stack(name, given).resources()
    found = translated(name, canary or "none")["Resources"]
    return {logical: one for logical, one in found.items() if logical in there}


@pytest.mark.parametrize("name", ["front", "detector"])
def test_without_it_new_code_gets_all_calls_at_once(name: str) -> None:
    found = resources(name, "")
    assert not [one for one in found.values() if one["Type"].startswith(CODEDEPLOY)]
    assert not [one for one in found.values() if "UpdatePolicy" in one]
    assert not {alarms for _, _, alarms in FUNCTIONS} & found.keys()


@pytest.mark.parametrize("canary", [TENTH, "Linear10PercentEvery1Minute"])
@pytest.mark.parametrize(("name", "function", "alarms"), FUNCTIONS)
def test_codedeploy_moves_the_alias_and_watches_the_functions_alarms(
    name: str, function: str, alarms: str, canary: str
) -> None:
    found = resources(name, canary)
    stack = Stack(name, {"Canary": canary})
    group = stack.resolved(found[f"{function}DeploymentGroup"]["Properties"])
    how, values = group["DeploymentConfigName"]["Fn::Sub"]
    assert how.replace("${ConfigName}", values["ConfigName"]) == f"CodeDeployDefault.Lambda{canary}"
    watched = [one["Name"]["Fn::GetAtt"] for one in group["AlarmConfiguration"]["Alarms"]]
    assert watched == [[alarms, "Outputs.Fails"], [alarms, "Outputs.LogsErrors"]]
    assert group["AlarmConfiguration"]["Enabled"] and group["AutoRollbackConfiguration"]["Enabled"]
    alias = found[f"{function}Aliaslive"]
    moved_by = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"]
    assert moved_by == {"Ref": f"{function}DeploymentGroup"}
    given = of_kind(name, NESTED)[alarms]["Parameters"]
    assert given["FunctionName"] == {"Ref": function}
    log = of_kind(name, "AWS::Lambda::Function")[function]["LoggingConfig"]["LogGroup"]
    assert given["LogGroupName"] == log
    assert not stack.dangling() and not stack.broken_rules()


@pytest.mark.parametrize("canary", ["none", TENTH])
@pytest.mark.parametrize(
    ("name", "function"), [("front", "S3Front"), ("detector", "DetectorByZip")]
)
def test_the_queue_calls_the_alias_only_with_a_canary(
    name: str, function: str, canary: str
) -> None:
    (mapping,) = of_kind(name, "AWS::Lambda::EventSourceMapping").values()
    called = Stack(name, {"Canary": canary}).resolved(mapping["FunctionName"])
    assert called == {"Ref": function if canary == "none" else f"{function}Aliaslive"}


@pytest.mark.parametrize(
    ("name", "function"), [("front", "HttpFront"), ("detector", "DetectorByZip")]
)
def test_the_http_api_calls_the_alias(name: str, function: str) -> None:
    api = of_kind(name, NESTED)["Api"]["Parameters"]["FunctionArn"]
    assert Stack(name, {"Canary": TENTH}).resolved(api) == {"Ref": f"{function}Aliaslive"}


def test_an_image_has_no_canary() -> None:
    image = {"DetectorImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/detector:1"}
    (why,) = Stack("detector", {**image, "Canary": TENTH}).broken_rules()
    assert why == "Canary takes zips only; leave it out for an image"


@pytest.mark.parametrize("name", ["front", "detector"])
def test_each_way_is_one_of_codedeploys_and_enabled(name: str) -> None:
    template = source(name)
    ways = template["Parameters"]["Canary"]["AllowedValues"]
    enabled = {way: one["Enabled"] for way, one in template["Mappings"]["Canaries"].items()}
    assert enabled == {way: str(way != "none").lower() for way in ways}
    known = re.compile("Canary10Percent(5|10|15|30)Minutes|Linear10PercentEvery(1Minute|10Minutes)")
    assert all(known.fullmatch(way) for way in ways if way != "none")


def test_one_error_ends_a_canary() -> None:
    alarms = of_kind("canary", "AWS::CloudWatch::Alarm")
    for alarm in alarms.values():
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
        assert alarm["TreatMissingData"] == "notBreaching", "no calls are no errors"
    (lines,) = of_kind("canary", "AWS::Logs::MetricFilter").values()
    (metric,) = lines["MetricTransformations"]
    logged = alarms["LogsErrors"]
    assert logged["MetricName"] == metric["MetricName"] == {"Ref": "FunctionName"}
    assert logged["Namespace"] == metric["MetricNamespace"]
    assert lines["FilterPattern"] == '{ $.level = "ERROR" }', "as the functions write it"
