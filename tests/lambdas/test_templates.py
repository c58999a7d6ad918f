"""The templates of serverless/: AWS would accept them, and they keep what the docs promise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.templates import NESTED, SERVERLESS, Stack, of_kind, source, translated

from petbox.lambdas.arrivals import WITHOUT_QUEUE

CHECKOUT = SERVERLESS.parent
TEMPLATES = sorted(path.stem for path in SERVERLESS.glob("*.yaml"))
QUEUED = {"front": "S3Front", "detector": "DetectorByZip"}  # the functions before arrivals.yaml

LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
XRAY = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
VPC = {"ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"}
VPC |= {"ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"}
EVERYWHERE = {"Traced": XRAY, "InVpc": VPC}  # which know no narrower resource, by condition
QUEUE = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"}
QUEUE |= {"sqs:ChangeMessageVisibility"}
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


def test_no_permission_is_given_on_everything() -> None:
    allowed: dict[str, set[str]] = {}
    roles: dict[str, Any] = {}
    for template in TEMPLATES:
        roles |= of_kind(template, "AWS::IAM::Role")
        for name, policy in of_kind(template, "AWS::IAM::Policy").items():
            roles[name] = {"Policies": [policy]}
    for name, role in roles.items():
        assert "ManagedPolicyArns" not in role
        for condition, statement in statements(role):
            actions = listed(statement["Action"])
            assert "*" not in json.dumps(actions)
            if condition in EVERYWHERE:
                assert set(actions) == EVERYWHERE[condition]
                continue
            for resource in listed(statement["Resource"]):
                assert resource != "*" and json.dumps(resource).count(":*") == 0
            allowed.setdefault(name, set()).update(actions)
    assert allowed == {
        "HttpFrontRole": {*LOGS, "sagemaker:InvokeEndpoint"},
        "S3FrontRole": {*LOGS, "sagemaker:InvokeEndpoint"},
        "DetectorRole": {*LOGS, "s3:GetObject", "s3:ListBucket", "kms:Decrypt"},
        "ArrivalsPermissions": {*BUCKET, *QUEUE, "kms:Decrypt", "kms:GenerateDataKey"},
        "UploadsPermissions": {"s3:GetObject", "s3:PutObject"},
        "ZooRole": {*LOGS, "s3:GetObject"},
    }


@pytest.mark.parametrize("role", ["HttpFrontRole", "S3FrontRole"])
@pytest.mark.parametrize(
    ("given", "component"), [({}, "EndpointName"), ({"ComponentName": "cats"}, "ComponentName")]
)
def test_a_front_may_call_one_endpoint_and_one_component(
    role: str, given: dict[str, str], component: str
) -> None:
    may = statements(of_kind("front", "AWS::IAM::Role")[role])
    (call,) = [one for _, one in may if one["Action"] == "sagemaker:InvokeEndpoint"]
    endpoint, (text, values) = (one["Fn::Sub"] for one in call["Resource"])
    assert endpoint.endswith(":endpoint/${EndpointName}")
    assert text.endswith(":inference-component/${Component}")
    stack = Stack("front", {"EndpointName": "pets", **given})
    assert stack.resolved(values) == {"Component": {"Ref": component}}


@pytest.mark.parametrize("name", ["EndpointName", "ComponentName"])
def test_names_for_iam_are_in_lower_case(name: str) -> None:
    """SageMaker's ARNs are, whatever the name is."""
    pattern = source("front")["Parameters"][name]["AllowedPattern"]
    taken = ["pets", "pets-2", "2"]
    rejected = ["Pets", "petS", "pets-", "-pets", "p_ts", "pets " + 60 * "x"]
    assert [text for text in taken + rejected if re.fullmatch(pattern, text)] == taken


def test_an_endpoint_is_called_by_its_name_as_it_was_created() -> None:
    for function in of_kind("front", "AWS::Lambda::Function").values():
        name = function["Environment"]["Variables"]["ENDPOINT_NAME"]
        given = {"EndpointName": "pets"}
        assert Stack("front", given).resolved(name) == {"Ref": "EndpointName"}
        given["EndpointNameAsCreated"] = "Pets"
        assert Stack("front", given).resolved(name) == {"Ref": "EndpointNameAsCreated"}


def arrivals() -> dict[str, Any]:
    found: dict[str, Any] = translated("arrivals")["Resources"]
    return found


def test_the_detector_may_read_its_model_and_nothing_beside_it() -> None:
    role = of_kind("detector", "AWS::IAM::Role")["DetectorRole"]
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
    given: dict[str, str], allowed: bool
) -> None:
    stack = Stack("detector", given)
    role = of_kind("detector", "AWS::IAM::Role")["DetectorRole"]
    there = [one for condition, one in statements(role) if stack.holds(condition or None)]
    keys = [one["Resource"] for one in there if one["Action"] == "kms:Decrypt"]
    assert keys == ([{"Ref": "ModelKmsKeyArn"}] if allowed else [])


def test_buckets_outlive_their_stack_but_not_a_deployment_that_fails() -> None:
    for bucket in (arrivals()["Pictures"], translated("zoo")["Resources"]["ZooBucket"]):
        assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
        assert bucket["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_kept_is_encrypted_and_logs_end(name: str) -> None:
    for bucket in of_kind(name, "AWS::S3::Bucket").values():
        assert bucket["BucketEncryption"]
        assert all(bucket["PublicAccessBlockConfiguration"].values())
    for queue in of_kind(name, "AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"]
    for function, properties in of_kind(name, "AWS::Lambda::Function").items():
        group = of_kind(name, "AWS::Logs::LogGroup")[properties["LoggingConfig"]["LogGroup"]["Ref"]]
        assert group["RetentionInDays"], function


# The queue


def test_results_never_trigger_the_function() -> None:
    bucket = arrivals()["Pictures"]["Properties"]
    (notification,) = bucket["NotificationConfiguration"]["QueueConfigurations"]
    (rule,) = notification["Filter"]["S3Key"]["Rules"]
    assert rule == {"Name": "prefix", "Value": {"Ref": "InputPrefix"}}


@pytest.mark.parametrize("name", QUEUED)
def test_the_function_gives_up_before_the_queue_does(name: str) -> None:
    """So that the reason is recorded; the queue has none."""
    function = of_kind(name, "AWS::Lambda::Function")[QUEUED[name]]
    queue = arrivals()["Arrivals"]["Properties"]
    tries = int(function["Environment"]["Variables"]["MOST_TRIES"])
    assert tries < int(queue["RedrivePolicy"]["maxReceiveCount"])
    assert int(queue["VisibilityTimeout"]) >= 6 * int(function["Timeout"])
    after_a_crash = int(queue["VisibilityTimeout"]) + int(function["Timeout"])
    assert after_a_crash < WITHOUT_QUEUE, "petbox upload gives up before the retry has its result"
    (mapping,) = of_kind(name, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize("name", QUEUED)
def test_the_functions_role_may_use_the_queue_before_it_is_connected(name: str) -> None:
    """Lambda checks that when it creates the mapping."""
    (mapping,) = of_kind(name, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["Arrivals", "Outputs.QueueArn"]}
    function = of_kind(name, "AWS::Lambda::Function")[QUEUED[name]]
    given = of_kind(name, NESTED)["Arrivals"]["Parameters"]
    assert given["RoleName"] == {"Ref": function["Role"]["Fn::GetAtt"][0]}
    assert arrivals()["ArrivalsPermissions"]["Properties"]["Roles"] == [{"Ref": "RoleName"}]


# What is deployed when

HTTP, S3 = {"Ways": "http"}, {"Ways": "s3"}
IMAGE = {"DetectorImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/detector:1"}
OVER_HTTP, OVER_S3 = {"HttpFront", "HttpFrontRole", "Api"}, {"S3Front", "S3FrontRole", "Arrivals"}
CHOSEN: list[tuple[str, dict[str, str], set[str]]] = [
    ("front", {}, {*OVER_HTTP, *OVER_S3, "ArrivalsWake"}),
    ("front", HTTP, OVER_HTTP),
    ("front", S3, {*OVER_S3, "ArrivalsWake"}),
    ("detector", IMAGE, {"DetectorByImage", "DetectorRole", "Api", "Arrivals", "ArrivalsWake"}),
    ("detector", IMAGE | HTTP, {"DetectorByImage", "DetectorRole", "Api"}),
    ("detector", S3, {"DetectorByZip", "DetectorRole", "Arrivals", "ArrivalsWake"}),
    ("zoo", {}, {"ZooFunction", "ZooRole", "ZooLog", "ZooApi", "ZooBucket", "ZooBucketPolicy"}),
]


@pytest.mark.parametrize(
    ("name", "given", "expected"), CHOSEN, ids=[f"{name}-{'-'.join(g)}" for name, g, _ in CHOSEN]
)
def test_parameters_choose_what_is_deployed(
    name: str, given: dict[str, str], expected: set[str]
) -> None:
    stack = Stack(name, given)
    known = set().union(*(resources for _, _, resources in CHOSEN))
    assert stack.resources() & known == expected
    assert not stack.dangling()
    for nested in stack.resources() & of_kind(name, NESTED).keys():
        assert not stack.nested(nested).dangling()


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_stack_gives_to_a_stack_in_it_is_known_there(name: str) -> None:
    """With the same default and the same rules, so that an error is reported before it is late."""
    for logical, nested in of_kind(name, NESTED).items():
        inner = source(Path(nested["TemplateURL"]).stem)
        assert nested["Parameters"].keys() == inner["Parameters"].keys(), logical
        for parameter in nested["Parameters"].keys() & source(name)["Parameters"].keys():
            assert source(name)["Parameters"][parameter] == inner["Parameters"][parameter]
        used = re.findall(rf'"{logical}", "Outputs\.(\w+)"', json.dumps(source(name)))
        assert set(used) <= inner["Outputs"].keys() and used


def test_sam_deploy_requires_no_repository_without_an_image() -> None:
    """It requires one if a function's PackageType is the literal Image."""
    functions = of_kind("detector", "AWS::Lambda::Function").values()
    assert "Image" not in [function.get("PackageType") for function in functions]


def test_both_paths_of_the_zoo_reach_its_function() -> None:
    (api,) = of_kind("zoo", "AWS::ApiGatewayV2::Api").values()
    paths = api["Body"]["paths"]
    assert paths.keys() == {"/zoo", "/"}
    assert paths["/zoo"] == paths["/"]


@pytest.mark.parametrize("name", ["front", "detector"])
def test_only_scores_that_the_functions_take_are_taken(name: str) -> None:
    pattern = source(name)["Parameters"]["MinScore"]["AllowedPattern"]
    taken = ["", "0", "0.", "0.05", ".5", "1", "1.", "1.00"]
    rejected = ["1.5", "1.01", "01", "2", "10", "-0.1", ".", "1e-3", "half"]
    assert [text for text in taken + rejected if re.fullmatch(pattern, text)] == taken


# What the functions read


def test_every_setting_of_a_function_is_set_and_read() -> None:
    read: dict[str, set[str]] = {}
    for path in [*SERVERLESS.glob("*.py"), *(CHECKOUT / "petbox").rglob("*.py")]:
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
    functions = {**of_kind("front", "AWS::Lambda::Function")}
    functions |= of_kind("detector", "AWS::Lambda::Function")
    for name, settings in expected.items():
        assert set(functions[name]["Environment"]["Variables"]) == settings, name


def test_the_environment_for_sam_local_is_of_the_templates() -> None:
    env = json.loads((SERVERLESS / "env.json").read_text())
    functions = {**of_kind("front", "AWS::Lambda::Function")}
    functions |= of_kind("detector", "AWS::Lambda::Function")
    for name, variables in env.items():
        assert set(variables) <= set(functions[name]["Environment"]["Variables"])
