"""`petbox endpoint status`, `list`, `logs` and `invoke` as commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.aws import REGION, no_credentials, rejection, settings
from support.endpoint_aws import IMAGE, UP, AwsProxy, done, failed, petbox
from support.peer import Request, Response, classic_detector, golden, peer
from support.serving import front

from petbox.cli.main import main
from petbox.sagemaker.endpoint import alarms

pytestmark = pytest.mark.usefixtures("forgotten")
NOW = int(time.time() * 1000)
GONE = rejection("ValidationException", 'Could not find endpoint "arn".')


@pytest.fixture(scope="module")
def aws(aws: AwsProxy) -> AwsProxy:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="pets-bucket")
    s3.put_object(Bucket="pets-bucket", Key="model.tar.gz", Body=b"")
    data = ("--model-data", "s3://pets-bucket/model.tar.gz")
    more = ("--autoscale", "1..4", "--target", "70", "--capture", "s3://pets-bucket/seen")
    done(petbox(aws.env, "endpoint", "up", "pets", *UP, *data, *more, "--ttl", "2h"))
    done(petbox(aws.env, "endpoint", "up", "light", *UP, "--serverless", "4096,5"))
    return aws


def status(aws: AwsProxy, name: str) -> dict[str, str]:
    lines = done(petbox(aws.env, "endpoint", "status", name)).stdout.splitlines()
    return {line[:14].strip(): line[14:].strip() for line in lines}


# Status


def test_status_shows_instances_use_and_expiry(aws: AwsProxy) -> None:
    cloudwatch = aws.client("cloudwatch")
    called = datetime.now(timezone.utc) - timedelta(hours=3)
    dimensions = [
        {"Name": "EndpointName", "Value": "pets"},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]
    for metric, values in {
        "Invocations": {called: 7, called - timedelta(hours=2): 5, called - timedelta(days=2): 9},
        "Invocation4XXErrors": {called: 3},
        "Invocation5XXErrors": {called: 1},
    }.items():
        data = [
            {"MetricName": metric, "Dimensions": dimensions, "Timestamp": at, "Value": value}
            for at, value in values.items()
        ]
        cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=data)
    facts = status(aws, "pets")
    assert facts["status"] == "InService"
    assert facts["region"] == REGION
    assert facts["runs on"] == "1 of ml.m5.xlarge"
    assert facts["image"] == IMAGE
    assert facts["model"] == "s3://pets-bucket/model.tar.gz"
    assert facts["scaling"] == "1..4, to 70 calls a minute for each instance"
    assert facts["captured"] == "100 % to s3://pets-bucket/seen"
    assert facts["ends"].endswith("UTC")
    assert facts["use"].startswith(
        "12 calls in 24 hours, 3 failed with 4xx, 1 with 5xx; the last one before "
    )
    last = datetime.strptime(facts["use"][-20:], "%Y-%m-%d %H:%M UTC").replace(tzinfo=timezone.utc)
    assert abs(last - called) <= timedelta(minutes=6)
    price = "0.23 USD an hour (1 x 0.23, AWS Price List), scaled 0.23 to 0.92; 0."
    assert facts["price"].startswith(price) and facts["price"].endswith(" until it expires")


def test_status_during_an_update_shows_both_configurations(aws: AwsProxy) -> None:
    def describe(response: dict[str, Any]) -> dict[str, Any]:
        variant = {**response["ProductionVariants"][0], "DesiredInstanceCount": 3}
        return {
            **response,
            "EndpointStatus": "Updating",
            "ProductionVariants": [variant],
            "PendingDeploymentSummary": {"EndpointConfigName": "pets-next"},
        }

    aws.amended["DescribeEndpoint"] = describe
    facts = status(aws, "pets")
    assert facts["status"] == "Updating"
    assert facts["runs on"] == "1 of ml.m5.xlarge, 3 desired"
    assert facts["on its way to"] == "pets-next"


def test_status_of_a_serverless_endpoint_without_expiry(aws: AwsProxy) -> None:
    facts = status(aws, "light")
    assert facts["runs on"] == "serverless, 4096 MB, 5 calls at once"
    assert facts["ends"] == "no expiry"
    assert facts["use"] == "no calls in 24 hours"


def test_status_works_without_permission_for_metrics(aws: AwsProxy) -> None:
    aws.instead["GetMetricData"] = lambda _: rejection("AccessDeniedException", "not yours", 403)
    assert status(aws, "light")["use"].startswith("unknown (metrics of endpoint light: ")


def test_status_as_json_has_plain_keys_and_types(aws: AwsProxy) -> None:
    def facts(name: str) -> dict[str, Any]:
        text = done(petbox(aws.env, "endpoint", "status", name, "--json")).stdout
        found: dict[str, Any] = json.loads(text)
        assert all(re.fullmatch("[a-z_0-9]+", key) for key in found)
        return found

    pets, light = facts("pets"), facts("light")
    assert pets.keys() == light.keys()
    (variant,) = pets["variants"]
    assert variant["instance_type"] == "ml.m5.xlarge" and variant["instances"] == 1
    assert pets["scaling"] == {"min": 1, "max": 4, "target": 70.0}
    assert (pets["image"], pets["model_data"]) == (IMAGE, "s3://pets-bucket/model.tar.gz")
    expires = datetime.fromisoformat(pets["expires"])
    assert timedelta(0) < expires - datetime.now(timezone.utc) <= timedelta(hours=2)
    assert (light["endpoint"], light["status"], light["expires"]) == ("light", "InService", None)
    assert (light["variants"][0]["memory_mb"], light["variants"][0]["instances"]) == (4096, None)
    assert (pets["price"]["hour"], light["price"]) == (0.23, None)
    assert light["last_24_hours"]["invocations"] == 0
    aws.instead["GetMetricData"] = lambda _: rejection("AccessDeniedException", "not yours", 403)
    assert facts("light")["last_24_hours"] is None


def test_status_of_a_deleted_endpoint_lists_remaining_parts(aws: AwsProxy) -> None:
    line = failed(petbox(aws.env, "endpoint", "status", "none"))
    assert "not found in this account and region; see: petbox endpoint list" in line
    aws.instead["DescribeEndpoint"] = lambda _: GONE  # as its --ttl leaves it
    line = failed(petbox(aws.env, "endpoint", "status", "pets"))
    assert "remaining: pets-" in line and "petbox endpoint down pets" in line


# List


def test_list_finds_all_that_petbox_made(aws: AwsProxy) -> None:
    result = done(petbox(aws.env, "endpoint", "list"))
    light, pets = (line.split("\t") for line in result.stdout.splitlines())
    assert light == ["light", "InService", "serverless, 4096 MB, 5 calls at once", "no expiry"]
    assert pets[:3] == ["pets", "InService", "1 of ml.m5.xlarge"]
    assert pets[3].startswith("expires 20") and pets[4:] == ["0.23 USD an hour"]
    assert result.stderr == f"2 endpoints made by petbox in {REGION}\n"


def test_list_shows_remaining_parts_of_a_deleted_endpoint(aws: AwsProxy) -> None:
    aws.amended["ListEndpoints"] = lambda _: {"Endpoints": []}
    cloudwatch = aws.client("cloudwatch")
    alarm, *_ = alarms.requests("gone", 2000, None)
    cloudwatch.put_metric_alarm(**alarm)
    theirs = {"AlarmName": "petbox-theirs", "AlarmDescription": "not made by petbox"}
    cloudwatch.put_metric_alarm(**{**alarm, **theirs})
    result = done(petbox(aws.env, "endpoint", "list", "--json"))
    cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"], "petbox-theirs"])
    rows = {row["endpoint"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows.keys() == {"gone", "light", "pets"}
    assert rows["gone"]["parts"] == ["alarms"]
    assert rows["pets"]["status"] is None
    kinds = [part.split()[0] for part in rows["pets"]["parts"]]
    assert kinds == ["configuration", "model", "schedule", "scaling"]
    assert "delete them: petbox endpoint down" in result.stderr


def test_list_works_without_permission_for_schedules(aws: AwsProxy) -> None:
    denied = rejection("AccessDeniedException", "not yours", status=403)
    aws.instead["ListSchedules"] = lambda _: denied
    result = done(petbox(aws.env, "endpoint", "list"))
    assert "continuing without the schedules" in result.stderr
    assert len(result.stdout.splitlines()) == 2


# Logs


def write_log(aws: AwsProxy, name: str, stream: str, *texts: str, at: int = NOW) -> None:
    logs = aws.client("logs")
    group = f"/aws/sagemaker/Endpoints/{name}"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        logs.create_log_group(logGroupName=group)
    known = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]
    if not known:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [{"timestamp": at + 10 * n, "message": f"{text}\n"} for n, text in enumerate(texts)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def test_logs_are_the_last_lines_of_all_instances_in_order_of_time(aws: AwsProxy) -> None:
    write_log(aws, "pets", "AllTraffic/i-1", "one", "three", "five")
    write_log(aws, "pets", "AllTraffic/i-2", "two", "four", at=NOW + 5)
    result = done(petbox(aws.env, "endpoint", "logs", "pets", "--lines", "4"))
    assert result.stdout.splitlines() == [
        "i-2 | two",
        "i-1 | three",
        "i-2 | four",
        "i-1 | five",
    ]


def test_logs_are_followed_until_the_endpoint_is_gone(aws: AwsProxy) -> None:
    write_log(aws, "light", "AllTraffic/one", "before")
    polls: list[int] = []

    def describe(_: dict[str, Any]) -> Any:
        polls.append(1)
        if len(polls) == 1:
            return None
        if len(polls) == 2:
            return rejection("ThrottlingException", "Rate exceeded")
        write_log(aws, "light", "AllTraffic/one", "last words", at=int(time.time() * 1000))
        return GONE

    aws.instead["DescribeEndpoint"] = describe
    result = done(petbox(aws.env, "endpoint", "logs", "light", "--follow", "--every", "0.1"))
    assert result.stdout.splitlines() == ["before", "last words"]
    assert result.stderr.splitlines()[-1] == "light is gone"


def test_no_log_and_no_endpoint_is_an_error(aws: AwsProxy) -> None:
    line = failed(petbox(aws.env, "endpoint", "logs", "none"))
    assert "not found in this account and region, and neither is its log" in line


# Invoke


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The container's gateway, before a server with TensorFlow Serving's recorded responses."""
    folder = tmp_path_factory.mktemp("front") / "run"
    with peer(classic_detector) as engine:
        port = urlsplit(engine.url).port
        assert port is not None
        with front(folder, port) as at:
            yield {
                **no_credentials(folder),
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{at}",
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_REGION": REGION,
            }


def test_an_image_and_a_request_are_sent_unchanged(local: dict[str, str], tmp_path: Path) -> None:
    image, request = tmp_path / "cat.JPG", tmp_path / "one.json"
    image.write_bytes(golden("picture.jpg"))
    request.write_bytes(golden("request_one.json"))
    for file in (image, request):
        result = done(petbox(local, "endpoint", "invoke", "toy", file))
        assert json.loads(result.stdout) == json.loads(golden("answer_one.json"))


def test_the_response_is_written_to_a_file(local: dict[str, str], tmp_path: Path) -> None:
    image, out = tmp_path / "cat.jpg", tmp_path / "found.json"
    image.write_bytes(golden("picture.jpg"))
    result = done(petbox(local, "endpoint", "invoke", "toy", image, "--out", out))
    assert result.stdout == f"{out}\n"
    assert out.read_bytes() == golden("answer_one.json")


def test_the_containers_error_is_reported(local: dict[str, str], tmp_path: Path) -> None:
    wrong, request = tmp_path / "cat.png", tmp_path / "detect.json"
    wrong.write_bytes(b"not an image")
    request.write_bytes(golden("request_detect.json"))
    line = failed(petbox(local, "endpoint", "invoke", "toy", wrong, "--content-type", "text/html"))
    assert "the container returned 415: " in line and "ModelError" not in line
    line = failed(petbox(local, "endpoint", "invoke", "toy", request))
    assert "the container returned 400: " in line and 'signature name: "' in line


def test_the_containers_error_is_extracted_from_sagemakers(aws: AwsProxy, tmp_path: Path) -> None:
    image = tmp_path / "cat.png"
    image.write_bytes(b"not an image")
    output = {
        "code": "ModelError",
        "Message": "Received client error (400) from primary with message ... See https://...",
        "OriginalStatusCode": 400,
        "OriginalMessage": json.dumps({"error": "image 0: not an image"}),
    }
    path = "POST /endpoints/pets/invocations"
    aws.instead[path] = lambda _: Response(424, json.dumps(output).encode())
    line = failed(petbox(aws.env, "endpoint", "invoke", "pets", image))
    assert line == "error: endpoint pets: the container returned 400: image 0: not an image"
    absent = {"code": "ValidationError", "Message": "Endpoint pets not found."}
    aws.instead[path] = lambda _: Response(400, json.dumps(absent).encode())
    line = failed(petbox(aws.env, "endpoint", "invoke", "pets", image))
    assert line == "error: endpoint pets: ValidationError: Endpoint pets not found"


def test_a_model_of_a_multi_model_endpoint_is_named(tmp_path: Path) -> None:
    image = tmp_path / "cat.png"
    image.write_bytes(b"an image")
    with peer(lambda _: Response(200, b"{}")) as server:
        words = ("endpoint", "invoke", "zoo", image, "--model", "beagle")
        done(petbox(settings(server.url), *words))
    headers = {name.lower(): value for name, value in server.requests[0].headers.items()}
    assert headers["x-amzn-sagemaker-target-model"] == "beagle.tar.gz"


def test_an_inference_component_is_named(tmp_path: Path) -> None:
    image = tmp_path / "cat.png"
    image.write_bytes(b"an image")

    def respond(asked: Request) -> Response:
        if "inference-component" in str(asked.headers).lower():
            return Response(200, b"{}")
        text = json.dumps({"Message": "Inference Component Name header is required for"}).encode()
        return Response(400, text, {"x-amzn-ErrorType": "ValidationError"})

    with peer(respond) as server:
        env = settings(server.url)
        done(petbox(env, "endpoint", "invoke", "pets", image))
        done(petbox(env, "endpoint", "invoke", "pets", image, "--component", "cats"))
    header = "x-amzn-sagemaker-inference-component"
    named = [{k.lower(): v for k, v in one.headers.items()}.get(header) for one in server.requests]
    assert named == [None, "pets", "cats"]


def test_a_file_in_s3_is_for_later(aws: AwsProxy) -> None:
    result = done(petbox(aws.env, "endpoint", "invoke", "pets", "s3://pets-bucket/cat.jpg"))
    assert result.stdout.startswith("s3://")
    assert "POST /endpoints/pets/async-invocations" in aws.names()


def test_an_invalid_file_is_rejected_before_the_call(aws: AwsProxy, tmp_path: Path) -> None:
    strange, large = tmp_path / "cat.xyz", tmp_path / "large.jpg"
    strange.write_bytes(b"?")
    large.touch()
    with large.open("r+b") as file:
        file.truncate(25 * 1024 * 1024 + 1)
    for file, expected in (
        (strange, "cat.xyz: unknown content type; pass --content-type"),
        (large, "large.jpg: has 26.2 MB, but SageMaker's limit is 25 MB"),
        (tmp_path / "none.jpg", "none.jpg: no such file"),
    ):
        assert expected in failed(petbox(aws.env, "endpoint", "invoke", "pets", file))
    assert not aws.calls


# Misuse


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status", "a_b"), "argument NAME: 'a_b' is not a valid SageMaker name"),
        (("down", "a_b"), "argument NAME: 'a_b' is not a valid SageMaker name"),
        (("logs", "pets", "--lines", "-1"), "argument --lines: -1 is not between 0"),
        (("logs", "pets", "--every", "0"), "argument --every: 0 is not between"),
        (("invoke", "pets", "s3://B/x"), "'s3://B/x' is not an S3 address"),
        (("invoke", "pets", "s3://b12/x.jpg", "--out", "x"), "--out requires a local file"),
        (("invoke", "pets", "s3://b12/x.jpg", "--model", "x"), "--model requires a local file"),
    ],
)
def test_invalid_options_are_rejected_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["endpoint", *words])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_help_imports_no_boto3() -> None:
    code = (
        "import sys; from petbox.cli.main import main\n"
        "for words in (['--help'], ['endpoint', 'up', '--help'], ['transform', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert not [name for name in sys.modules if name.startswith(('boto', 'tensorflow'))]\n"
    )
    checkout = str(Path(__file__).resolve().parents[2])
    settings: dict[str, Any] = {"cwd": checkout, "capture_output": True, "timeout": 60}
    ran = subprocess.run([sys.executable, "-c", code], **settings)
    assert ran.returncode == 0, ran.stderr
