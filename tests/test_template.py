"""serverless/template.yaml: that AWS would take it, and that it keeps to what docs promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TEMPLATE = CHECKOUT / "serverless" / "template.yaml"


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    """The resources that CloudFormation gets to see, after SAM's transform."""
    from cfnlint.decode.cfn_yaml import load
    from samtranslator.translator.transform import transform

    template = json.loads(json.dumps(load(str(TEMPLATE))))
    for resource in template["Resources"].values():
        if "CodeUri" in resource["Properties"]:  # as `sam deploy` leaves it
            resource["Properties"]["CodeUri"] = "s3://bucket/front.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        plain = transform(template, {}, NoPolicies())
    found: dict[str, Any] = plain["Resources"]
    return found


class NoPolicies:
    """AWS's own policies by name, which the template does without."""

    def load(self) -> dict[str, str]:
        return {}


def of_kind(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == kind
    }


def test_cfn_lint_has_nothing_to_say() -> None:
    code = "import sys; from cfnlint.runner import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(TEMPLATE)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_permission_is_given_on_everything(resources: dict[str, Any]) -> None:
    roles = of_kind(resources, "AWS::IAM::Role")
    assert set(roles) == {"HttpFrontRole", "S3FrontRole"}
    allowed: dict[str, set[str]] = {}
    for name, role in roles.items():
        assert "ManagedPolicyArns" not in role
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                places = statement["Resource"]
                assert "*" not in json.dumps(actions)
                for place in places if isinstance(places, list) else [places]:
                    assert place != "*" and json.dumps(place).count(":*") == 0
                allowed.setdefault(name, set()).update(
                    actions if isinstance(actions, list) else [actions]
                )
    assert allowed == {
        "HttpFrontRole": {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "sagemaker:InvokeEndpoint",
        },
        "S3FrontRole": {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sagemaker:InvokeEndpoint",
            "s3:GetObject",
            "s3:PutObject",
            "s3:ListBucket",
            "sqs:SendMessage",
        },
    }


def test_what_is_kept_is_encrypted_and_logs_end(resources: dict[str, Any]) -> None:
    for bucket in of_kind(resources, "AWS::S3::Bucket").values():
        assert bucket["BucketEncryption"]
        assert all(bucket["PublicAccessBlockConfiguration"].values())
    for queue in of_kind(resources, "AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"]
    for name, function in of_kind(resources, "AWS::Lambda::Function").items():
        group = function["LoggingConfig"]["LogGroup"]["Ref"]
        assert resources[group]["Properties"]["RetentionInDays"], name


def test_pictures_of_any_type_pass_api_gateway_unharmed(resources: dict[str, Any]) -> None:
    (api,) = of_kind(resources, "AWS::ApiGateway::RestApi").values()
    assert api["Body"]["x-amazon-apigateway-binary-media-types"] == ["*/*"]
    too_large = api["Body"]["x-amazon-apigateway-gateway-responses"]["REQUEST_TOO_LARGE"]
    said = json.loads(too_large["responseTemplates"]["application/json"])
    assert "6 MB" in said["error"]


def test_who_may_ask_depends_on_auth(resources: dict[str, Any]) -> None:
    (api,) = of_kind(resources, "AWS::ApiGateway::RestApi").values()
    methods = api["Body"]["paths"]["/detect"]
    (choice,) = methods["post"]["security"]
    condition, with_key, otherwise = choice["Fn::If"]
    assert (condition, with_key) == ("WithApiKey", {"api_key": []})
    assert otherwise["Fn::If"][:2] == ["WithIam", {"sigv4": []}]
    assert "security" not in methods["options"]
    for kind in ("ApiKey", "UsagePlan", "UsagePlanKey"):
        assert resources[kind]["Condition"] == "WithApiKey"


def test_results_never_trigger_the_function(resources: dict[str, Any]) -> None:
    (bucket,) = of_kind(resources, "AWS::S3::Bucket").values()
    (notification,) = bucket["NotificationConfiguration"]["QueueConfigurations"]
    (rule,) = notification["Filter"]["S3Key"]["Rules"]
    assert rule == {"Name": "prefix", "Value": {"Ref": "InputPrefix"}}


def test_the_function_gives_up_before_the_queue_does(resources: dict[str, Any]) -> None:
    """So that the reason is told; the queue knows none."""
    functions = of_kind(resources, "AWS::Lambda::Function")
    function = functions["S3Front"]
    queue = resources["Arrivals"]["Properties"]
    tries = int(function["Environment"]["Variables"]["MOST_TRIES"])
    assert tries < int(queue["RedrivePolicy"]["maxReceiveCount"])
    assert int(queue["VisibilityTimeout"]) >= 6 * int(function["Timeout"])
    (mapping,) = of_kind(resources, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(functions["HttpFront"]["Timeout"]) <= 29  # as long as API Gateway waits


def test_every_setting_of_a_front_is_set_and_read() -> None:
    text = TEMPLATE.read_text()
    for front in ("http_front", "s3_front"):
        source = (CHECKOUT / "serverless" / f"{front}.py").read_text()
        for line in source.splitlines():
            if "lambda_settings." in line:
                name = line.split("lambda_settings.")[1].split('"')[1]
                assert f"{name}:" in text, f"{front}.py reads {name}"
