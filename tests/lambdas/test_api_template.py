"""serverless/api.yaml: the HTTP API before a function."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.api_gateway import ApiGateway
from support.templates import NO_VALUE, Stack, of_kind, source


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


def test_the_function_responds_before_api_gateway_gives_up() -> None:
    function = of_kind("front", "AWS::Lambda::Function")["HttpFront"]
    assert int(function["Timeout"]) <= 29


POOL = {"UserPoolArn": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Ab1"}
CERTIFICATE = {"CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1"}
ACL = {"WebAclArn": "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/pets/1"}
SCHEMES = [
    ({"Auth": "api-key"}, "api_key"),
    ({"Auth": "iam"}, "sigv4"),
    ({"Auth": "cognito", **POOL}, "cognito"),
    ({"Auth": "none"}, None),
]


def api(given: dict[str, str]) -> Stack:
    """The stack of the API in one whose user sets these parameters."""
    return Stack("front", given).nested("Api")


@pytest.mark.parametrize(("given", "expected"), SCHEMES)
def test_auth_decides_who_may_call(
    document: dict[str, Any], given: dict[str, str], expected: str | None
) -> None:
    stack = api({**given, "CorsOrigins": "*"})
    resolved = stack.resolved(document)
    methods = resolved["paths"]["/detect"]
    chosen = [one for one in methods["post"]["security"] if "Ref" not in one]
    assert chosen == ([{expected: []}] if expected else [])
    assert "security" not in methods["options"], "a browser's preflight request has no key"
    schemes = {k: v for k, v in resolved["components"]["securitySchemes"].items() if "Ref" not in v}
    assert expected is None or expected in schemes
    assert ("cognito" in schemes) == (expected == "cognito"), "it needs the pool"
    keys = {"ApiKey", "UsagePlan", "UsagePlanKey"}
    assert stack.resources() & keys == (keys if expected == "api_key" else set())


@pytest.mark.parametrize(
    ("given", "allowed"), [({}, None), ({"CorsOrigins": "https://pets.example"}, "'*'")]
)
def test_a_browser_can_read_what_api_gateway_itself_responds(
    document: dict[str, Any], given: dict[str, str], allowed: str | None
) -> None:
    responses = api(given).resolved(document)["x-amazon-apigateway-gateway-responses"]
    assert responses.keys() == {"DEFAULT_4XX", "DEFAULT_5XX", "REQUEST_TOO_LARGE"}
    header = "gatewayresponse.header.Access-Control-Allow-Origin"
    for response in responses.values():
        assert response["responseParameters"].get(header) == allowed


def test_without_origins_a_preflight_request_calls_no_function(document: dict[str, Any]) -> None:
    """It needs no key, so anybody could call the function at the owner's cost."""
    assert api({}).resolved(document)["paths"]["/detect"]["options"] == NO_VALUE
    called: list[Any] = []
    gateway = ApiGateway(called.append, "k3y", {})
    status, headers, body = gateway.respond("OPTIONS", "/v1/detect", {}, b"")
    assert status == 403 and "error" in json.loads(body) and not called
    assert not {name for name in headers if name.startswith("Access-Control")}


@pytest.mark.parametrize("uploads", ["true", "false"])
def test_an_upload_is_advised_only_where_it_is_possible(
    document: dict[str, Any], uploads: str
) -> None:
    responses = document["x-amazon-apigateway-gateway-responses"]
    too_large = api({"LargeImages": uploads}).resolved(responses["REQUEST_TOO_LARGE"])
    advice = json.loads(too_large["responseTemplates"]["application/json"])["error"]
    assert "6 MB" in advice and ("upload=1" in advice) == (uploads == "true")


def test_the_key_has_the_quota_that_is_given() -> None:
    plan = of_kind("api", "AWS::ApiGateway::UsagePlan")["UsagePlan"]
    given = {"QuotaRequests": "1000", "QuotaPeriod": "DAY"}
    assert api(given).resolved(plan["Quota"]) == {
        "Limit": {"Ref": "QuotaRequests"},
        "Period": {"Ref": "QuotaPeriod"},
    }
    assert api({}).resolved(plan["Quota"]) == {"Ref": "AWS::NoValue"}


OPTIONAL = {"WebAcl", "OwnWebAcl", "GivenWebAcl", "Domain", "DomainMapping", "DomainRecord"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, set()),
        ({"RequestsPerAddress": "100"}, {"WebAcl", "OwnWebAcl"}),
        (ACL, {"GivenWebAcl"}),
        ({"DomainName": "a.example", **CERTIFICATE}, {"Domain", "DomainMapping"}),
        (
            {"DomainName": "a.example", **CERTIFICATE, "HostedZoneId": "Z1"},
            {"Domain", "DomainMapping", "DomainRecord"},
        ),
    ],
)
def test_a_web_acl_and_a_domain_are_created_if_they_are_given(
    given: dict[str, str], expected: set[str]
) -> None:
    stack = api(given)
    assert stack.resources() & OPTIONAL == expected
    assert not stack.dangling() and not stack.broken_rules()


def test_a_blocked_address_may_still_ask_whether_it_may_call() -> None:
    """Without a preflight request a browser could not read the 403."""
    (acl,) = of_kind("api", "AWS::WAFv2::WebACL").values()
    (rule,) = acl["Rules"]
    counted = rule["Statement"]["RateBasedStatement"]["ScopeDownStatement"]["ByteMatchStatement"]
    assert counted["SearchString"] == "POST" and counted["FieldToMatch"] == {"Method": {}}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"Auth": "cognito"}, "Auth=cognito needs UserPoolArn"),
        ({"DomainName": "a.example"}, "DomainName needs CertificateArn"),
        (
            ACL | {"RequestsPerAddress": "100"},
            "WebAclArn and RequestsPerAddress exclude each other",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_rejected_with_the_reason(
    given: dict[str, str], why: str
) -> None:
    (broken,) = api(given).broken_rules()
    assert broken.startswith(why)


@pytest.mark.parametrize(
    ("origins", "valid"),
    [
        ("", True),
        ("*", True),
        ("https://pets.example,http://localhost:8000", True),
        ("https://pets.example, https://b.example", False),
        ("https://pets.example/", False),
        ("pets.example", False),
    ],
)
def test_only_origins_are_taken_as_origins(origins: str, valid: bool) -> None:
    pattern = source("api")["Parameters"]["CorsOrigins"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, origins)) == valid
