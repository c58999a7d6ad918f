"""`petbox transform` as a command: its requests to SageMaker, and how a job is followed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from typing import Any

import pytest
from support.aws import REGION, in_turn, rejection
from support.endpoint_aws import (
    IMAGE,
    ROLE,
    SOON,
    UP,
    AwsProxy,
    command,
    describe_image,
    done,
    failed,
    petbox,
    shown,
)

from petbox.cli.main import main
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.transform.options import TransformOptions
from petbox.sagemaker.transform.request import plan

pytestmark = pytest.mark.usefixtures("forgotten")
BUCKET = "pets-bucket"
MODEL = ("--image", IMAGE, "--role", ROLE)
OUT = f"s3://{BUCKET}/found"
LOG_GROUP = "/aws/sagemaker/TransformJobs"


@pytest.fixture(scope="module")
def aws(aws: AwsProxy) -> AwsProxy:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for key, size in {
        "photos/": 0,  # as the console makes an empty folder
        "photos/cat.jpg": 1000,
        "photos/more/dog.PNG": 2000,
        "lines/one.jsonl": 3000,
        "mixed/cat.jpg": 1,
        "mixed/one.jsonl": 1,
        "notes/cat.jpg": 1,
        "notes/readme.txt": 1,
        "model.tar.gz": 1,
    }.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x" * size)
    aws.client("logs").create_log_group(logGroupName=LOG_GROUP)
    return aws


def transform(aws: AwsProxy, *words: str) -> subprocess.CompletedProcess[str]:
    return petbox(aws.env, "transform", *words, *SOON)


def photos(aws: AwsProxy, *words: str) -> subprocess.CompletedProcess[str]:
    return transform(aws, f"s3://{BUCKET}/photos/", f"{OUT}/", *words)


def test_a_job_on_a_folder_of_images_is_followed_to_its_end(aws: AwsProxy) -> None:
    logs = aws.client("logs")
    stream = "job-1/i-0123"
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": "serving"}
    logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=[event])
    for name in ("cat.jpg.out", "more/dog.PNG.out"):
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"found/{name}", Body=b"{}")
    aws.calls.clear()
    statuses = ["InProgress", "InProgress"]
    aws.amended["DescribeTransformJob"] = lambda response: (
        {**response, "TransformJobStatus": statuses.pop()} if statuses else response
    )
    result = done(photos(aws, *MODEL, "--name", "job-1", "--tag", "team=pets"))
    assert result.stdout == f"{OUT}\n"
    lines = result.stderr.splitlines()
    assert lines[0] == f"s3://{BUCKET}/photos/: 2 files, 0.0 MB, image/jpeg"
    assert re.fullmatch("creating model job-1-transform-[0-9a-f]{10}", lines[1])
    assert lines[2:6] == [
        "creating transform job job-1",
        "[InProgress] job-1",
        "serving",
        "[Completed] job-1",
    ]
    assert lines[-1] == f"2 files are in {OUT}/"
    # The model is for this job alone.
    assert aws.changes() == ["CreateModel", "CreateTransformJob", "DeleteModel"]
    (job,) = aws.requests("CreateTransformJob")
    (model,) = aws.requests("CreateModel")
    assert job == {
        "TransformJobName": "job-1",
        "ModelName": model["ModelName"],
        "TransformInput": {
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://{BUCKET}/photos/",
                }
            },
            "ContentType": "image/jpeg",
            "SplitType": "None",
        },
        "TransformOutput": {"S3OutputPath": OUT, "AssembleWith": "None"},
        "TransformResources": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        "Tags": [{"Key": "team", "Value": "pets"}],
    }


def test_with_json_the_result_is_one_object(aws: AwsProxy) -> None:
    result = json.loads(done(photos(aws, *MODEL, "--name", "job-json", "--json")).stdout)
    assert (result["job"], result["status"], result["output"]) == ("job-json", "Completed", OUT)
    assert isinstance(result["files"], int)
    followed = done(transform(aws, "--follow", "job-json", "--json"))
    assert json.loads(followed.stdout) == result


def test_json_lines_are_split_and_put_together_again(aws: AwsProxy) -> None:
    words = (f"s3://{BUCKET}/lines", OUT, *MODEL, "--concurrency", "3", "--dry-run")
    (_, job) = (request for _, request in shown(transform(aws, *words)))
    assert job["TransformInput"]["ContentType"] == "application/jsonlines"
    assert job["TransformInput"]["SplitType"] == "Line"
    assert job["TransformOutput"] == {
        "S3OutputPath": OUT,
        "AssembleWith": "Line",
        "Accept": "application/jsonlines",
    }
    assert job["MaxConcurrentTransforms"] == 3
    assert re.fullmatch(r"petbox-\d{8}-\d{6}", job["TransformJobName"])
    assert aws.changes() == []


def test_the_instance_follows_the_image(aws: AwsProxy) -> None:
    describe_image(aws.instead, base="tensorflow/serving:2.20.0-gpu")
    steps = dict(shown(photos(aws, *MODEL, "--dry-run")))
    resources = steps["sagemaker.create_transform_job"]["TransformResources"]
    assert resources["InstanceType"] == "ml.g4dn.xlarge"
    line = failed(photos(aws, *MODEL, "--instance-type", "ml.m5.xlarge"))
    assert "needs a GPU, and ml.m5.xlarge has none" in line and aws.changes() == []


def test_an_endpoints_model_is_used_and_kept(aws: AwsProxy) -> None:
    done(petbox(aws.env, "endpoint", "up", "pets", *UP, "--instance-type", "ml.m5.large"))
    (model,) = (one["ModelName"] for one in aws.requests("CreateModel"))
    aws.calls.clear()
    done(photos(aws, "--endpoint", "pets", "--name", "pets"))
    assert aws.changes() == ["CreateTransformJob"]
    (job,) = aws.requests("CreateTransformJob")
    assert job["ModelName"] == model
    assert job["TransformResources"]["InstanceType"] == "ml.m5.large"
    assert "endpoint none: not found" in failed(photos(aws, "--endpoint", "none"))


def test_the_model_of_an_inference_component_is_used(aws: AwsProxy) -> None:
    words = ("--component", "2048,2", "--autoscale", "0..4", "--target", "5")
    done(petbox(aws.env, "endpoint", "up", "idle", *UP, *words))
    (model,) = (one["ModelName"] for one in aws.requests("CreateModel"))
    done(photos(aws, "--endpoint", "idle", "--name", "of-a-component"))
    (job,) = aws.requests("CreateTransformJob")
    assert job["ModelName"] == model
    assert job["TransformResources"]["InstanceType"] == "ml.m5.xlarge"

    component = aws.components.by_name["idle"]
    image = {"SpecifiedImage": IMAGE}
    data, environment = f"s3://{BUCKET}/model.tar.gz", {"A": "b"}
    container = {"DeployedImage": image, "ArtifactUrl": data, "Environment": environment}
    component.request["Specification"] = {"Container": container}
    aws.calls.clear()
    done(photos(aws, "--endpoint", "idle", "--name", "of-an-image"))
    (made,) = aws.requests("CreateModel")
    assert made["PrimaryContainer"] == {
        "Image": IMAGE,
        "ModelDataUrl": data,
        "Environment": environment,
    }
    assert made["ExecutionRoleArn"] == ROLE
    assert aws.changes()[-1] == "DeleteModel"
    aws.components.by_name["other"] = component
    line = failed(photos(aws, "--endpoint", "idle"))
    assert "endpoint idle: has 2 inference components (idle, other), and a transform job" in line
    aws.components.by_name.clear()
    assert "has 0 inference components (none)" in failed(photos(aws, "--endpoint", "idle"))


def test_every_request_is_as_aws_wants_it() -> None:
    import boto3
    from botocore.validate import ParamValidator

    client = boto3.client("sagemaker", region_name=REGION)
    options = TransformOptions(
        f"s3://{BUCKET}/photos",
        OUT,
        image=IMAGE,
        role=ROLE,
        model_data=f"s3://{BUCKET}/model.tar.gz",
        env=("A=b",),
        subnet=("subnet-1",),
        security_group=("sg-1",),
        accept="image/jpeg",
        concurrency=4,
        tag=("team=pets",),
    )
    for call in plan(options, "a" * 42, "image/jpeg", None):
        operation = client.meta.method_to_api_mapping[call.operation]
        shape = client.meta.service_model.operation_model(operation).input_shape
        report = ParamValidator().validate(call.request, shape)
        assert not report.has_errors(), report.generate_report()


def test_input_that_would_fail_the_job_is_rejected_first(aws: AwsProxy) -> None:
    for folder, expected in {
        "notes": f"s3://{BUCKET}/notes/readme.txt: not an image, .jsonl or .json file",
        "mixed": f"s3://{BUCKET}/mixed/cat.jpg and s3://{BUCKET}/mixed/one.jsonl: of different",
        "empty": f"s3://{BUCKET}/empty/: no objects; upload images",
    }.items():
        line = failed(transform(aws, f"s3://{BUCKET}/{folder}/", OUT, *MODEL))
        assert line.startswith(f"error: {expected}")
    assert aws.changes() == []


def test_the_role_is_that_of_setup_and_the_archive_is_looked_for(aws: AwsProxy) -> None:
    assert "petbox setup has not run" in failed(photos(aws, "--image", IMAGE))
    role = f"petbox-endpoint-{REGION}"
    tags = [{"Key": names.OWNER, "Value": "setup"}]
    aws.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}", Tags=tags)
    aws.calls.clear()
    lost = ("--model-data", f"s3://{BUCKET}/lost/model.tar.gz")
    line = failed(photos(aws, "--image", IMAGE, *lost))
    assert f"error: {lost[1]}: not in S3; upload it: petbox endpoint package" in line
    assert aws.changes() == []
    calls = dict(shown(photos(aws, "--image", IMAGE, "--dry-run")))
    assert calls["sagemaker.create_model"]["ExecutionRoleArn"].endswith(f":role/{role}")


def test_a_job_that_cannot_be_created_leaves_no_model(aws: AwsProxy) -> None:
    aws.instead["CreateTransformJob"] = lambda _: rejection("ResourceLimitExceeded", "limit is 0")
    line = failed(photos(aws, *MODEL, "--name", "job-none"))
    assert "ResourceLimitExceeded: limit is 0" in line and "Service Quotas" in line
    assert aws.changes() == ["CreateModel", "CreateTransformJob", "DeleteModel"]


def test_a_name_is_used_only_once(aws: AwsProxy) -> None:
    done(photos(aws, *MODEL, "--name", "job-once"))
    line = failed(photos(aws, *MODEL, "--name", "job-once"))
    assert "exists already (Completed); follow it: petbox transform --follow job-once" in line


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("Failed", "ClientError: See job\n logs.", "failed: ClientError: See job logs"),
        ("Stopped", "", "was stopped"),
    ],
)
def test_a_failed_job_is_reported(aws: AwsProxy, status: str, reason: str, expected: str) -> None:
    name = f"job-{status.lower()}"
    aws.amended["DescribeTransformJob"] = lambda response: {
        **response,
        "TransformJobStatus": status,
        "FailureReason": reason,
    }
    line = failed(photos(aws, *MODEL, "--name", name))
    assert line == f"error: transform job {name}: {expected}"
    assert "DeleteModel" in aws.changes()


def test_without_permission_for_the_log_the_job_is_followed(aws: AwsProxy) -> None:
    aws.instead["DescribeLogStreams"] = lambda _: rejection("AccessDeniedException", "not yours")
    result = done(photos(aws, *MODEL, "--name", "job-deaf"))
    assert result.stderr.count("continuing without the log") == 1


def test_ctrl_c_leaves_the_job_running_and_reports_it(aws: AwsProxy) -> None:
    aws.amended["DescribeTransformJob"] = lambda response: {
        **response,
        "TransformJobStatus": "InProgress",
    }
    words = ("transform", f"s3://{BUCKET}/photos/", OUT, *MODEL, "--name", "job-long", *SOON)
    with subprocess.Popen(
        **command(aws.env, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("[InProgress]"):
                break
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=30)
    assert (running.returncode, output) == (130, "")
    assert errors == (
        "interrupted here; the job continues; follow it: petbox transform --follow job-long, "
        "stop it: petbox transform --stop job-long\n"
    )
    assert "DeleteModel" not in aws.changes()
    aws.amended.clear()
    assert done(transform(aws, "--follow", "job-long")).stdout == f"{OUT}\n"
    assert "DeleteModel" in aws.changes()


def test_a_running_job_is_stopped(aws: AwsProxy) -> None:
    described: dict[str, Any] = {"TransformJobName": "job-1", "TransformJobStatus": "InProgress"}
    aws.instead["DescribeTransformJob"] = in_turn(described)
    aws.instead["StopTransformJob"] = lambda _: {}  # moto has no response to it
    assert "stopping job-1" in done(transform(aws, "--stop", "job-1")).stderr
    assert aws.requests("StopTransformJob") == [{"TransformJobName": "job-1"}]
    aws.instead["DescribeTransformJob"] = in_turn({**described, "TransformJobStatus": "Completed"})
    assert "has ended already" in done(transform(aws, "--stop", "job-1")).stderr
    text = "Could not find requested job with name: none"
    aws.instead["DescribeTransformJob"] = lambda _: rejection("ValidationException", text)
    for verb in ("--stop", "--follow"):
        assert "not found in this account and region" in failed(transform(aws, verb, "none"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "the following arguments are required: SOURCE, DESTINATION"),
        (("s3://b12/in", "s3://b12/out"), "give --endpoint, or the model by --image"),
        (("in", "s3://b12/out", *MODEL), "argument SOURCE: 'in' is not an S3 address"),
        (("s3://b12/in", "s3://b12/in/out", *MODEL), "DESTINATION is inside SOURCE"),
        (("s3://b12/in/", "s3://b12/in", *MODEL), "DESTINATION is inside SOURCE"),
        (("s3://b12/a", "s3://b12/b", "--endpoint", "x", *MODEL), "--endpoint and --image exclude"),
        (
            ("s3://b12/a", "s3://b12/b", *MODEL, "--name", "a" * 43),
            "has 43 characters; the maximum is 42",
        ),
        (("--follow", "x", "--stop", "x"), "--follow and --stop exclude each other"),
        (("s3://b12/a", "s3://b12/b", "--follow", "x"), "--follow and SOURCE exclude each other"),
    ],
)
def test_invalid_options_are_rejected_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transform", *words])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
