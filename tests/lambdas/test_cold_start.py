"""ColdStart: what a function before the HTTP API is deployed with, and what the API calls."""

from __future__ import annotations

from typing import Any

import pytest
from support.templates import Stack, of_kind, translated

IMAGE = {"DetectorImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/detector:1"}
FUNCTIONS = [("front", {}, "HttpFront"), ("detector", {"StorageMegabytes": "512"}, "DetectorByZip")]


def called(stack: Stack, name: str) -> Any:
    """What the API calls."""
    return stack.resolved(translated(name)["Resources"]["Api"]["Properties"]["Parameters"])[
        "FunctionArn"
    ]


def alias(stack: Stack, name: str, logical: str) -> Any:
    return stack.resolved(translated(name)["Resources"][logical]["Properties"])


def snapshots(stack: Stack, name: str, function: str) -> Any:
    return stack.resolved(of_kind(name, "AWS::Lambda::Function")[function]["SnapStart"]["ApplyOn"])


@pytest.mark.parametrize(("name", "given", "function"), FUNCTIONS)
def test_without_it_the_newest_code_and_settings_are_called(
    name: str, given: dict[str, str], function: str
) -> None:
    stack = Stack(name, given)
    assert called(stack, name) == {"Fn::GetAtt": [function, "Arn"]}
    assert snapshots(stack, name, function) == "None"


@pytest.mark.parametrize(("name", "given", "function"), FUNCTIONS)
@pytest.mark.parametrize("way", ["snapstart", "provisioned"])
def test_snapshots_and_provisioned_containers_exclude_each_other(
    name: str, given: dict[str, str], function: str, way: str
) -> None:
    stack = Stack(name, {**given, "ColdStart": way})
    live = f"{function}Aliaslive"
    assert called(stack, name) == {"Ref": live} and not stack.broken_rules()
    assert snapshots(stack, name, function) == (
        "PublishedVersions" if way == "snapstart" else "None"
    )
    kept = alias(stack, name, live)["ProvisionedConcurrencyConfig"]
    number = {"ProvisionedConcurrentExecutions": {"Ref": "ProvisionedConcurrency"}}
    assert kept == (number if way == "provisioned" else {"Ref": "AWS::NoValue"})


def test_an_image_has_provisioned_containers_only() -> None:
    stack = Stack("detector", IMAGE)
    assert called(stack, "detector") == {"Fn::GetAtt": ["DetectorByImage", "Arn"]}
    assert "ImageAlias" not in stack.resources()
    kept = Stack("detector", IMAGE | {"ColdStart": "provisioned"})
    assert called(kept, "detector") == {"Ref": "ImageAlias"} and not kept.dangling()
    assert alias(kept, "detector", "ImageAlias")["ProvisionedConcurrencyConfig"]
    (why,) = Stack(
        "detector", IMAGE | {"ColdStart": "snapstart", "StorageMegabytes": "512"}
    ).broken_rules()
    assert why == "SnapStart takes zips only; set ColdStart=provisioned for an image"


def test_without_the_http_api_nothing_is_kept_that_nobody_calls() -> None:
    only_s3 = {"Ways": "s3", "StorageMegabytes": "512"}
    kept = Stack("detector", only_s3 | {"ColdStart": "provisioned"})
    properties = alias(kept, "detector", "DetectorByZipAliaslive")
    assert properties["ProvisionedConcurrencyConfig"] == {"Ref": "AWS::NoValue"}
    image = Stack("detector", only_s3 | IMAGE | {"ColdStart": "provisioned"})
    assert not image.resources() & {"ImageVersion", "ImageAlias"} and not image.dangling()
    snapped = Stack("detector", only_s3 | {"ColdStart": "snapstart"})
    assert snapshots(snapped, "detector", "DetectorByZip") == "None"


def test_snapstart_is_rejected_with_more_storage_than_it_takes() -> None:
    (why,) = Stack("detector", {"ColdStart": "snapstart"}).broken_rules()
    assert why == "SnapStart takes no more than 512 MB of /tmp; set StorageMegabytes=512"


@pytest.mark.parametrize("name", ["front", "detector"])
def test_another_release_publishes_another_version(name: str) -> None:
    """Of a function that has changed: of others Lambda publishes none, and the deployment fails."""
    versions = of_kind(name, "AWS::Lambda::Version").values()
    assert versions
    for version in versions:
        assert "Release" in str(version["Description"])
        function = of_kind(name, "AWS::Lambda::Function")[version["FunctionName"]["Ref"]]
        assert "${Release}" in function["Description"]["Fn::Sub"]
