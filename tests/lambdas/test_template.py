"""serverless/template.yaml: AWS would accept it, and it keeps what the docs promise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = CHECKOUT / "serverless" / "template.yaml"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """What CloudFormation gets to see, after SAM's transform."""
    from cfnlint.decode.cfn_yaml import load
    from samtranslator.translator.transform import transform

    template = json.loads(json.dumps(load(str(TEMPLATE))))
    for resource in template["Resources"].values():
        if "CodeUri" in resource["Properties"]:  # as `sam deploy` leaves it
            resource["Properties"]["CodeUri"] = "s3://bucket/front.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        plain: dict[str, Any] = transform(template, {}, NoPolicies())
    return plain


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"]
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


LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
XRAY = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
QUEUE = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"}
BUCKET = {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}


def statements(role: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each with the condition that it is under, if there is one."""
    found = []
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            if "Fn::If" in statement:
                condition, given, otherwise = statement["Fn::If"]
                assert otherwise == {"Ref": "AWS::NoValue"}
                found.append((condition, given))
            else:
                found.append(("", statement))
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_no_permission_is_given_on_everything(resources: dict[str, Any]) -> None:
    allowed: dict[str, set[str]] = {}
    arrivals = resources["ArrivalsPermissions"]["Properties"]
    roles = {"ArrivalsPermissions": {"Policies": [arrivals]}}
    for name, role in (roles | of_kind(resources, "AWS::IAM::Role")).items():
        assert "ManagedPolicyArns" not in role
        for condition, statement in statements(role):
            actions = listed(statement["Action"])
            assert "*" not in json.dumps(actions)
            if condition == "Traced":  # X-Ray knows no narrower resource
                assert set(actions) == XRAY
                continue
            for resource in listed(statement["Resource"]):
                assert resource != "*" and json.dumps(resource).count(":*") == 0
            allowed.setdefault(name, set()).update(actions)
    assert allowed == {
        "HttpFrontRole": {*LOGS, "sagemaker:InvokeEndpoint"},
        "S3FrontRole": {*LOGS, "sagemaker:InvokeEndpoint"},
        "DetectorRole": {*LOGS, "s3:GetObject", "s3:ListBucket", "kms:Decrypt"},
        "ArrivalsPermissions": {*BUCKET, *QUEUE},
        "ZooRole": {*LOGS, "s3:GetObject"},
    }
    (chosen,) = arrivals["Roles"]
    assert chosen["Fn::If"] == ["ByEndpoint", {"Ref": "S3FrontRole"}, {"Ref": "DetectorRole"}]
    wake = resources["ArrivalsWake"]
    assert wake["DependsOn"] == "ArrivalsPermissions", "Lambda checks them when it is created"


def test_the_detector_may_read_its_model_and_nothing_beside_it(resources: dict[str, Any]) -> None:
    role = resources["DetectorRole"]["Properties"]
    (model,) = [given for condition, given in statements(role) if condition == "ModelInS3"]
    assert model["Action"] == ["s3:GetObject", "s3:ListBucket"]
    key, bucket = model["Resource"]
    assert key["Fn::Sub"].endswith(":::${ModelBucket}/${ModelKey}")
    assert bucket["Fn::Sub"].endswith(":::${ModelBucket}")


KEY = {"ModelKmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd"}


@pytest.mark.parametrize(
    ("given", "allowed"),
    [({}, False), (KEY, False), ({"ModelBucket": "b"}, False), ({"ModelBucket": "b", **KEY}, True)],
)
def test_the_detector_may_use_the_key_that_is_named_for_its_model(
    template: dict[str, Any], given: dict[str, str], allowed: bool
) -> None:
    stack = Stack(template, {"DetectorZip": "true", **given})
    role = template["Resources"]["DetectorRole"]["Properties"]
    there = [one for condition, one in statements(role) if stack.holds(condition or None)]
    keys = [one["Resource"] for one in there if one["Action"] == "kms:Decrypt"]
    assert keys == ([{"Ref": "ModelKmsKeyArn"}] if allowed else [])


def test_buckets_outlive_their_stack_but_not_a_deployment_that_fails(
    resources: dict[str, Any],
) -> None:
    for name in ("Pictures", "ZooBucket"):
        assert resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resources[name]["UpdateReplacePolicy"] == "Retain"


def test_a_parameter_that_changes_the_api_is_deployed() -> None:
    """SAM hashes the document before parameters are put into it, so it must not rely on that."""
    from cfnlint.decode.cfn_yaml import load

    assert load(str(TEMPLATE))["Resources"]["HttpApi"]["Properties"]["AlwaysDeploy"] is True


def test_what_is_kept_is_encrypted_and_logs_end(resources: dict[str, Any]) -> None:
    for bucket in of_kind(resources, "AWS::S3::Bucket").values():
        assert bucket["BucketEncryption"]
        assert all(bucket["PublicAccessBlockConfiguration"].values())
    for queue in of_kind(resources, "AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"]
    for name, function in of_kind(resources, "AWS::Lambda::Function").items():
        group = function["LoggingConfig"]["LogGroup"]["Ref"]
        assert resources[group]["Properties"]["RetentionInDays"], name


def test_images_of_any_type_pass_api_gateway_unharmed(resources: dict[str, Any]) -> None:
    (api,) = of_kind(resources, "AWS::ApiGateway::RestApi").values()
    assert api["Body"]["x-amazon-apigateway-binary-media-types"] == ["*/*"]
    too_large = api["Body"]["x-amazon-apigateway-gateway-responses"]["REQUEST_TOO_LARGE"]
    message = json.loads(too_large["responseTemplates"]["application/json"])
    assert "6 MB" in message["error"]


def test_auth_decides_who_may_call(resources: dict[str, Any]) -> None:
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
    bucket = resources["Pictures"]["Properties"]
    (notification,) = bucket["NotificationConfiguration"]["QueueConfigurations"]
    (rule,) = notification["Filter"]["S3Key"]["Rules"]
    assert rule == {"Name": "prefix", "Value": {"Ref": "InputPrefix"}}


def test_the_function_gives_up_before_the_queue_does(resources: dict[str, Any]) -> None:
    """So that the reason is recorded; the queue has none."""
    functions = of_kind(resources, "AWS::Lambda::Function")
    queue = resources["Arrivals"]["Properties"]
    for name in ("S3Front", "DetectorByImage", "DetectorByZip"):
        tries = int(functions[name]["Environment"]["Variables"]["MOST_TRIES"])
        assert tries < int(queue["RedrivePolicy"]["maxReceiveCount"])
        assert int(queue["VisibilityTimeout"]) >= 6 * int(functions[name]["Timeout"])
    (mapping,) = of_kind(resources, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(functions["HttpFront"]["Timeout"]) <= 29  # as long as API Gateway waits


# What is deployed when

ENDPOINT = {"EndpointName": "pets"}
IMAGE = {"DetectorImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/detector:1"}
ZIP = {"DetectorZip": "true"}
ZOO = {"Zoo": "true"}
HTTP = {"HttpApi", "HttpApiMayCall", "ApiKey"}
S3 = {"Pictures", "Arrivals", "ArrivalsPermissions", "ArrivalsWake", "DeadLetters"}
OF_THE_ZOO = {"ZooFunction", "ZooRole", "ZooLog", "ZooApi", "ZooBucket", "ZooBucketPolicy"}
CHOSEN = [
    (ENDPOINT, {"HttpFront", "HttpFrontRole", "S3Front", "S3FrontRole", *HTTP, *S3}),
    (ENDPOINT | {"Ways": "http"}, {"HttpFront", "HttpFrontRole", *HTTP}),
    (ENDPOINT | {"Ways": "s3"}, {"S3Front", "S3FrontRole", *S3}),
    (IMAGE, {"DetectorByImage", "DetectorRole", *HTTP, *S3}),
    (
        IMAGE | {"Ways": "http", "Auth": "iam"},
        {"DetectorByImage", "DetectorRole", *HTTP - {"ApiKey"}},
    ),
    (ZIP | {"Ways": "s3"}, {"DetectorByZip", "DetectorRole", *S3}),
    (ZOO, OF_THE_ZOO),
    (ZOO | ENDPOINT | {"Ways": "http"}, {"HttpFront", "HttpFrontRole", *HTTP, *OF_THE_ZOO}),
]


@pytest.mark.parametrize(
    ("given", "expected"), CHOSEN, ids=["-".join(given) for given, _ in CHOSEN]
)
def test_parameters_choose_what_is_deployed(
    template: dict[str, Any], given: dict[str, str], expected: set[str]
) -> None:
    stack = Stack(template, given)
    assert not stack.broken_rules()
    there = stack.resources()
    known = set().union(*(resources for _, resources in CHOSEN))
    assert there & known == expected
    for name in there:
        for other in referred(stack.resolved(template["Resources"][name])):
            assert other in there or other not in template["Resources"], f"{name} needs {other}"
    for name, output in template["Outputs"].items():
        if stack.holds(output["Condition"]):
            assert (
                referred(stack.resolved(output["Value"])) & set(template["Resources"]) <= there
            ), name


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "nothing to deploy"),
        (ENDPOINT | IMAGE, "EndpointName and DetectorImage are both given"),
        (ENDPOINT | ZIP, "EndpointName and DetectorZip are both given"),
        (IMAGE | ZIP, "DetectorImage and DetectorZip are both given"),
    ],
)
def test_exclusive_parameters_are_rejected_with_the_reason(
    template: dict[str, Any], given: dict[str, str], why: str
) -> None:
    (broken,) = Stack(template, given).broken_rules()
    assert why in broken


class Stack:
    """As much of CloudFormation as decides what a template comes to."""

    def __init__(self, template: dict[str, Any], given: dict[str, str]) -> None:
        self._template = template
        defaults = {name: str(p["Default"]) for name, p in template["Parameters"].items()}
        self._values = {**defaults, **given}

    def holds(self, condition: str | None) -> bool:
        return condition is None or self._true(self._template["Conditions"][condition])

    def resources(self) -> set[str]:
        found = self._template["Resources"]
        return {name for name, one in found.items() if self.holds(one.get("Condition"))}

    def broken_rules(self) -> list[str]:
        rules = self._template["Rules"].values()
        claims = [claim for rule in rules for claim in rule["Assertions"]]
        return [claim["AssertDescription"] for claim in claims if not self._true(claim["Assert"])]

    def resolved(self, value: Any) -> Any:
        """The value with one branch of each If."""
        if isinstance(value, list):
            return [self.resolved(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value:
            condition, given, otherwise = value["Fn::If"]
            return self.resolved(given if self.holds(condition) else otherwise)
        return {name: self.resolved(one) for name, one in value.items()}

    def _true(self, expression: dict[str, Any]) -> bool:
        ((function, values),) = expression.items()
        if function == "Condition":
            return self.holds(values)
        if function == "Fn::Equals":
            one, other = (self._values[v["Ref"]] if isinstance(v, dict) else v for v in values)
            return bool(one == other)
        truths = [self._true(value) for value in values]
        return {"Fn::Not": not truths[0], "Fn::And": all(truths), "Fn::Or": any(truths)}[function]


def referred(value: Any) -> set[str]:
    """The names that a value refers to."""
    if isinstance(value, list):
        return set().union(*map(referred, value), set())
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, one in value.items():
        if key == "Ref":
            found.add(one)
        elif key == "Fn::GetAtt":
            found.add(one[0] if isinstance(one, list) else one.split(".")[0])
        elif key == "Fn::Sub":
            text, more = one if isinstance(one, list) else (one, {})
            found |= set(re.findall(r"\$\{(\w+)", text)) - more.keys() | referred(more)
        elif key == "DependsOn":
            found |= set(one if isinstance(one, list) else [one])
        else:
            found |= referred(one)
    return found


def test_sam_deploy_requires_no_repository_without_an_image(
    resources: dict[str, Any],
) -> None:
    """It requires one if a function's PackageType is the literal Image."""
    functions = of_kind(resources, "AWS::Lambda::Function").values()
    assert "Image" not in [function.get("PackageType") for function in functions]


# What the functions read


def test_every_setting_of_a_function_is_set_and_read(resources: dict[str, Any]) -> None:
    read: dict[str, set[str]] = {}
    for path in [*(CHECKOUT / "serverless").glob("*.py"), *(CHECKOUT / "petbox").rglob("*.py")]:
        found = re.findall(r'\bsettings\.\w+\(\s*"(\w+)"', path.read_text())
        read[f"{path.parent.name}.{path.stem}"] = set(found)
    http, s3 = read["lambdas.http_events"], read["lambdas.s3_events"]
    endpoint, model = read["lambdas.endpoint"], read["serverless.detector"]
    expected = {
        "HttpFront": http | endpoint,
        "S3Front": s3 | endpoint,
        "DetectorByImage": http | s3 | model,
        "DetectorByZip": http | s3 | model,
    }
    for name, settings in expected.items():
        variables = resources[name]["Properties"]["Environment"]["Variables"]
        assert set(variables) == settings, name


def test_the_environment_for_sam_local_is_of_the_template(resources: dict[str, Any]) -> None:
    env = json.loads((TEMPLATE.parent / "env.json").read_text())
    for name, variables in env.items():
        assert set(variables) <= set(resources[name]["Properties"]["Environment"]["Variables"])
