"""serverless/api.yaml: the HTTP API before a function."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.templates import Stack, of_kind, source


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The API's OpenAPI document."""
    (api,) = of_kind("api", "AWS::ApiGateway::RestApi").values()
    body: dict[str, Any] = api["Body"]
    return body


def test_a_parameter_that_changes_the_api_is_deployed() -> None:
    """SAM hashes the document before parameters are put into it, so it must not rely on that."""
    assert source("api")["Resources"]["HttpApi"]["Properties"]["AlwaysDeploy"] is True


def test_images_of_any_type_pass_api_gateway_unharmed(document: dict[str, Any]) -> None:
    assert document["x-amazon-apigateway-binary-media-types"] == ["*/*"]
    too_large = document["x-amazon-apigateway-gateway-responses"]["REQUEST_TOO_LARGE"]
    message = json.loads(too_large["responseTemplates"]["application/json"])
    assert "6 MB" in message["error"]


def test_the_function_responds_before_api_gateway_gives_up() -> None:
    function = of_kind("front", "AWS::Lambda::Function")["HttpFront"]
    assert int(function["Timeout"]) <= 29


SCHEMES = [("api-key", [{"api_key": []}]), ("iam", [{"sigv4": []}]), ("none", [])]


@pytest.mark.parametrize(("auth", "expected"), SCHEMES)
def test_auth_decides_who_may_call(
    document: dict[str, Any], auth: str, expected: list[Any]
) -> None:
    stack = Stack("front", {"Auth": auth}).nested("Api")
    methods = document["paths"]["/detect"]
    chosen = [one for one in stack.resolved(methods["post"]["security"]) if "Ref" not in one]
    assert chosen == expected
    assert "security" not in methods["options"], "a browser's preflight request has no key"
    keys = {"ApiKey", "UsagePlan", "UsagePlanKey"}
    assert stack.resources() & keys == (keys if auth == "api-key" else set())
