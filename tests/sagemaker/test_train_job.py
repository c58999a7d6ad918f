"""`petbox train-job` as a command: its requests to SageMaker, and how a job is followed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.aws import REGION, Aws, Recorded, in_turn, moto, no_credentials, recorded, rejection
from support.endpoint_aws import ROLE, SOON, Done, command, done, failed, petbox

from petbox.aws.s3_upload import upload
from petbox.data import labels
from petbox.data.records import RecordsInfo, shard_paths, write_info
from petbox.sagemaker.train_job.request import TrainJobOptions, plan
from petbox.training.log_lines import METRICS

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/petbox-train:1"
OUTPUT = "s3://pets-bucket/jobs"
WORDS = {"--image": IMAGE, "--role": ROLE, "--data": "s3://pets-bucket/in", "--output": OUTPUT}
REQUIRED = tuple(word for pair in WORDS.items() for word in pair)
NOW = int(time.time() * 1000) - 60_000  # CloudWatch takes no old lines


def train_job(env: dict[str, str], *words: str | Path) -> Done:
    return petbox(env, "train-job", *words)


def in_a_process(env: dict[str, str], *words: str | Path) -> Done:
    typed = command(env, "train-job", *words)
    return subprocess.run(**typed, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket="pets-bucket")
        yield server


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """No credentials, no region, and no server."""
    return {**no_credentials(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of records, as far as `petbox train-job` reads it."""
    folder = tmp_path / "my records"
    folder.mkdir()
    (folder / labels.FILE_NAME).write_text('item {\n  id: 1\n  name: "cat"\n}\n')
    counts = {"train": 2, "test": 1}
    for split, count in counts.items():
        for path in shard_paths(folder, split, count):
            path.write_bytes(path.name.encode() * 1000)
    write_info(folder, RecordsInfo("toy", 1, {1: "cat"}, {"train": 2}, counts, {}, {}))
    return folder


# The request


def validate(request: dict[str, Any]) -> None:
    """By botocore's own model of the service."""
    import botocore.session
    from botocore.validate import ParamValidator

    service = botocore.session.get_session().get_service_model("sagemaker")
    shape = service.operation_model("CreateTrainingJob").input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()


def planned(
    *words: str, env: dict[str, str], run: Callable[..., Done] = train_job, **changed: str
) -> dict[str, Any]:
    given = {**WORDS, **{f"--{k}": v for k, v in changed.items()}}
    pairs = (word for pair in given.items() for word in pair)
    request: dict[str, Any] = json.loads(done(run(env, *pairs, *words, "--dry-run")).stdout)
    validate(request)
    return request


def test_a_dry_run_prints_the_request_without_an_account_or_a_network(
    nowhere: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "boto3.py").write_text("raise ModuleNotFoundError(name='boto3')")
    env = {**nowhere, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(CHECKOUT)])}
    flags = ("--hyperparameter=steps=20", "--hyperparameter=set=a=b")
    request = planned("--name", "pets-1", *flags, env=env, run=in_a_process)
    assert request == {
        "TrainingJobName": "pets-1",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": k, "Regex": v} for k, v in METRICS.items()],
        },
        "HyperParameters": {"steps": "20", "set": "a=b"},
        "InputDataConfig": [
            {
                "ChannelName": "training",
                "InputMode": "File",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": "s3://pets-bucket/in/",  # `in` alone would take `in-old/` as well
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": OUTPUT},
        "ResourceConfig": {
            "InstanceType": "ml.g4dn.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        "EnableManagedSpotTraining": False,
    }


def test_a_job_without_a_name_is_named_by_the_time(nowhere: dict[str, str]) -> None:
    name = planned(env=nowhere)["TrainingJobName"]
    assert re.fullmatch(r"petbox-\d{8}-\d{6}", name)


def test_every_option_is_in_the_request(nowhere: dict[str, str]) -> None:
    words = "--instance-type ml.m5.2xlarge --instance-count 3 --volume-gb 7 --max-hours 1.5"
    more = "--tag team=pets --tag cost=42 --subnet subnet-1 --subnet subnet-2 --security-group sg-1"
    kept = "--checkpoints s3://pets-bucket/kept --init s3://pets-bucket/weights.h5"
    request = planned(*f"{words} {more} {kept}".split(), env=nowhere)
    assert request["ResourceConfig"] == {
        "InstanceType": "ml.m5.2xlarge",
        "InstanceCount": 3,
        "VolumeSizeInGB": 7,
    }
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 5400}
    assert request["Tags"] == [{"Key": "team", "Value": "pets"}, {"Key": "cost", "Value": "42"}]
    assert request["VpcConfig"] == {
        "Subnets": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert request["CheckpointConfig"] == {
        "S3Uri": "s3://pets-bucket/kept",
        "LocalPath": "/opt/ml/checkpoints",
    }
    init = request["InputDataConfig"][1]
    assert init["ChannelName"] == "init"
    assert init["DataSource"]["S3DataSource"]["S3Uri"] == "s3://pets-bucket/weights.h5"


def test_spot_training_always_keeps_checkpoints_and_has_time_to_wait() -> None:
    options = TrainJobOptions(IMAGE, "s3://pets-bucket/in", f"{OUTPUT}/", ROLE, spot=True)
    request = plan(options, "pets-2", "s3://pets-bucket/in")
    validate(request)
    assert request["EnableManagedSpotTraining"] is True
    assert request["CheckpointConfig"]["S3Uri"] == f"{OUTPUT}/pets-2/checkpoints/"
    stopping = request["StoppingCondition"]
    assert stopping == {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 2 * 86400}


# Invalid options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--image", IMAGE), "are required: --data, --output, --role"),
        (
            (*REQUIRED, "--name", "my_job"),
            "argument --name: 'my_job' is not a valid SageMaker name",
        ),
        ((*REQUIRED, "--name", "a-"), "argument --name: 'a-' is not a valid SageMaker name"),
        ((*REQUIRED, "--name", "a" * 64), "has 64 characters; the maximum is 63"),
        ((*REQUIRED, "--image", "petbox-train:1"), "argument --image: 'petbox-train:1' is not an"),
        (
            (*REQUIRED, "--role", "SageMaker"),
            "argument --role: 'SageMaker' is not the ARN of a role",
        ),
        ((*REQUIRED, "--output", "out/"), "argument --output: 'out/' is not an S3 address"),
        ((*REQUIRED, "--output", "s3://B/x"), "argument --output: 's3://B/x' is not an S3"),
        ((*REQUIRED, "--data", "https://b/x"), "argument --data: 'https://b/x' is not an S3"),
        ((*REQUIRED, "--checkpoints", "kept"), "argument --checkpoints: 'kept' is not an S3"),
        ((*REQUIRED, "--instance-type", "g5.xlarge"), "write it like ml.g5.xlarge"),
        ((*REQUIRED, "--instance-count", "0"), "argument --instance-count: 0 is less than 1"),
        ((*REQUIRED, "--max-hours", "0"), "argument --max-hours: 0 is not between a minute"),
        ((*REQUIRED, "--max-hours", "nan"), "argument --max-hours: nan is not between a minute"),
        ((*REQUIRED, "--max-hours", "673"), "argument --max-hours: 673 is not between a minute"),
        ((*REQUIRED, "--max-wait-hours", "30"), "requires --spot"),
        ((*REQUIRED, "--spot", "--max-wait-hours", "23"), "includes the training"),
        ((*REQUIRED, "--hyperparameter", "steps"), "'steps' is not of the form KEY=VALUE"),
        (
            (*REQUIRED, "--hyperparameter=a=1", "--hyperparameter=a=2"),
            "argument --hyperparameter: 'a' is given",
        ),
        ((*REQUIRED, "--hyperparameter", f"a={'b' * 2501}"), "values of 2500"),
        ((*REQUIRED, *(f"--hyperparameter={n}=1" for n in range(101))), "101 are given"),
        ((*REQUIRED, "--tag", "aws:x=1"), "begins with aws:"),
        ((*REQUIRED, "--tag", "a=<b>"), "argument --tag: a=<b>: only letters"),
        ((*REQUIRED, "--subnet", "subnet-1"), "require each other"),
        ((*REQUIRED, "--subnet", "1", "--security-group", "sg-1"), "argument --subnet: '1' is not"),
        ((*REQUIRED, "--every", "0"), "argument --every: 0 is not between"),
        ((*REQUIRED, "--detach", "--dry-run"), "exclude each other"),
        ((*REQUIRED, "--follow", "pets-1"), "--follow and --image exclude each other"),
        (("--follow", "pets-1", "--stop", "pets-1"), "--follow and --stop exclude each other"),
        (("--follow", "pets-1", "--dry-run"), "nothing to show"),
        (("--stop", "pets_1"), "argument --stop: 'pets_1' is not a valid SageMaker name"),
    ],
)
def test_invalid_options_are_rejected_with_exit_code_2(
    nowhere: dict[str, str], words: tuple[str, ...], expected: str
) -> None:
    result = train_job(nowhere, *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert expected in result.stderr.splitlines()[-1]


def test_a_folder_without_records_is_not_uploaded(nowhere: dict[str, str], tmp_path: Path) -> None:
    result = train_job(nowhere, *REQUIRED, "--data", tmp_path)
    assert f"{tmp_path}: no records" in failed(result)
    result = train_job(nowhere, *REQUIRED, "--init", tmp_path / "none.h5")
    assert "none.h5: no such file or directory" in failed(result)


# With an account: moto's


def put_log(aws: Aws, stream: str, *texts: str, at: int = 0) -> None:
    logs = aws.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [{"timestamp": NOW + at + 10 * n, "message": t} for n, t in enumerate(texts)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def test_a_job_is_started_and_followed_to_its_model(aws: Aws) -> None:
    put_log(aws, "pets-a/algo-1-1700000000", "train: 20/40 loss 1.2", "train: 40/40 loss 0.9")
    put_log(aws, "pets-ab/algo-1-1700000000", "of another job")
    result = train_job(aws.env, *REQUIRED, "--name", "pets-a", *SOON)
    assert (result.returncode, result.stdout) == (0, f"{OUTPUT}/pets-a/output/model.tar.gz\n")
    assert result.stderr.splitlines() == [
        "starting pets-a on 1 of ml.g4dn.xlarge",
        "[Starting] Preparing the instances for training",
        "train: 20/40 loss 1.2",
        "train: 40/40 loss 0.9",
        "train:progress 100",
    ]
    made = aws.client("sagemaker").describe_training_job(TrainingJobName="pets-a")
    assert made["RoleArn"] == ROLE
    assert made["InputDataConfig"][0]["ChannelName"] == "training"


def test_with_json_the_result_is_one_object(aws: Aws) -> None:
    put_log(aws, "pets-json/algo-1-1700000000", "train: 40/40 loss 0.9")
    detached = train_job(aws.env, *REQUIRED, "--name", "pets-json", "--detach", "--json")
    assert json.loads(detached.stdout) == {"job": "pets-json", "status": "InProgress"}
    followed = train_job(aws.env, "--follow", "pets-json", "--json", *SOON)
    result = json.loads(followed.stdout)
    assert result["model"] == f"{OUTPUT}/pets-json/output/model.tar.gz"
    assert (result["job"], result["status"]) == ("pets-json", "Completed")
    assert result["metrics"] == {"train:progress": 100.0}
    assert {"training_seconds", "billable_seconds"} <= result.keys()


def test_lines_of_several_hosts_have_the_hosts_name(aws: Aws) -> None:
    put_log(aws, "pets-hosts/algo-1-1700000000", "one", "three")
    put_log(aws, "pets-hosts/algo-2-1700000000", "two", "four", at=5)
    result = train_job(aws.env, *REQUIRED, "--name", "pets-hosts", "--instance-count", "2", *SOON)
    lines = [line for line in result.stderr.splitlines() if "|" in line]
    assert lines == ["algo-1 | one", "algo-2 | two", "algo-1 | three", "algo-2 | four"]


def test_a_name_is_used_only_once(aws: Aws) -> None:
    words = (*REQUIRED, "--name", "pets-once", "--detach")
    result = train_job(aws.env, *words)
    assert (result.returncode, result.stdout) == (0, "pets-once\n")
    assert "petbox train-job --follow pets-once" in result.stderr
    assert failed(train_job(aws.env, *words)) == (
        "error: training job pets-once: exists already (Completed); "
        "follow it: petbox train-job --follow pets-once, or choose another --name"
    )
    result = train_job(aws.env, "--follow", "pets-once", *SOON)
    assert result.stdout == f"{OUTPUT}/pets-once/output/model.tar.gz\n"


def test_a_finished_job_is_not_stopped(aws: Aws) -> None:
    train_job(aws.env, *REQUIRED, "--name", "pets-over", "--detach")
    result = train_job(aws.env, "--stop", "pets-over")
    assert (result.returncode, result.stdout) == (0, "")
    assert "has ended already (Completed)" in result.stderr
    assert "not found in this account and region" in failed(
        train_job(aws.env, "--stop", "pets-none")
    )
    assert "not found in this account and region" in failed(
        train_job(aws.env, "--follow", "pets-none")
    )


def test_a_folder_is_uploaded_once_under_a_name_made_of_its_content(aws: Aws, data: Path) -> None:
    (data / ".DS_Store").write_bytes(b"the system's")
    weights = data.parent / "weights.h5"
    weights.write_bytes(b"weights" * 1000)
    local = (*REQUIRED, "--data", data, "--init", weights)

    dry = train_job(aws.env, *local, "--dry-run")
    training, init = json.loads(dry.stdout)["InputDataConfig"]
    address = training["DataSource"]["S3DataSource"]["S3Uri"]
    assert re.fullmatch(rf"{OUTPUT}/data/my-records-[0-9a-f]{{12}}/", address)
    assert f"would upload 5 files, 0.1 MB, to {address}" in dry.stderr
    s3 = aws.client("s3")
    assert not keys(s3, address)

    first = train_job(aws.env, *local, "--name", "pets-local-1", "--detach")
    assert first.returncode == 0, first.stderr
    assert f"uploading 5 files, 0.1 MB, to {address}" in first.stderr
    prefix = address.removeprefix("s3://pets-bucket/")
    assert keys(s3, address) == [
        f"{prefix}{name}" for name in sorted(p.name for p in data.iterdir() if p.name[0] != ".")
    ]
    shard = next(shard_paths(data, "train", 2))
    stored = s3.get_object(Bucket="pets-bucket", Key=prefix + shard.name)["Body"].read()
    assert stored == shard.read_bytes()
    made = aws.client("sagemaker").describe_training_job(TrainingJobName="pets-local-1")
    assert made["InputDataConfig"][0] == training
    at = init["DataSource"]["S3DataSource"]["S3Uri"]
    assert re.fullmatch(rf"{OUTPUT}/init/weights.h5-[0-9a-f]{{12}}/weights.h5", at)
    assert keys(s3, at) == [at.removeprefix("s3://pets-bucket/")]

    s3.delete_object(Bucket="pets-bucket", Key=prefix + shard.name)  # as if it had broken off
    again = train_job(aws.env, *local, "--name", "pets-local-2", "--detach")
    assert f"uploading 5 files, 0.1 MB, to {address}" in again.stderr
    assert f"{at}: already uploaded" in again.stderr
    third = train_job(aws.env, *local, "--name", "pets-local-3", "--detach")
    assert f"{address}: already uploaded" in third.stderr


def keys(s3: Any, address: str) -> list[str]:
    prefix = address.removeprefix("s3://pets-bucket/")
    found = s3.list_objects_v2(Bucket="pets-bucket", Prefix=prefix)
    return [one["Key"] for one in found.get("Contents", ())]


def test_another_content_goes_to_another_address(tmp_path: Path) -> None:
    def address(name: str, content: bytes) -> str:
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / name).write_bytes(content)
        return upload(tmp_path, OUTPUT).address

    assert address("a", b"1") == address("a", b"1")
    assert len({address("a", b"1"), address("a", b"2"), address("b", b"1")}) == 3


def test_a_bucket_that_is_not_there_is_named(aws: Aws, data: Path) -> None:
    words = (*REQUIRED, "--data", data, "--output", "s3://no-such-bucket/x", "--name", "pets-b")
    line = failed(train_job(aws.env, *words))
    assert line.startswith("error: s3://no-such-bucket/x/data/my-records-")
    assert "NoSuchBucket" in line and "create it, or choose another" in line


def test_what_aws_would_reject_is_reported_before_the_upload(aws: Aws, data: Path) -> None:
    subnets = [word for n in range(17) for word in ("--subnet", f"subnet-{n}")]
    words = (*REQUIRED, "--data", data, "--output", "s3://no-such-bucket/x", *subnets)
    line = failed(train_job(aws.env, *words, "--security-group", "sg-1", "--name", "pets-17"))
    assert "training job pets-17: VpcConfig.Subnets: has 17 entries, and the maximum is 16" in line


# Without one


def test_no_credentials_is_one_line(nowhere: dict[str, str]) -> None:
    result = train_job({**nowhere, "AWS_REGION": REGION}, *REQUIRED, "--name", "pets-1")
    assert "no AWS credentials; log in" in failed(result)
    assert result.stderr.count("\n") == 1


def test_no_region_is_one_line(nowhere: dict[str, str]) -> None:
    line = failed(train_job(nowhere, "--follow", "pets-1"))
    assert line == "error: AWS: no AWS region is set; set AWS_REGION, for example to us-east-1"


def test_a_profile_that_is_not_there_is_one_line(nowhere: dict[str, str]) -> None:
    env = {**nowhere, "AWS_PROFILE": "absent", "AWS_REGION": REGION}
    assert "(absent) could not be found" in failed(train_job(env, "--follow", "pets-1"))


def test_an_image_in_another_region_is_rejected_before_any_call() -> None:
    with recorded() as aws:
        result = train_job({**aws.env, "AWS_REGION": "eu-west-1"}, *REQUIRED)
        assert f"{IMAGE}: the image is in us-east-1, but the region is eu-west-1" in failed(result)
        assert not aws.calls


def test_an_unreachable_server_gives_one_line(nowhere: dict[str, str], aws: Aws) -> None:
    env = {**aws.env, "AWS_ENDPOINT_URL": nowhere["AWS_ENDPOINT_URL"]}
    line = failed(train_job(env, "--stop", "pets-1"))
    assert "Could not connect to the endpoint URL" in line
    assert "check the network and the region" in line


def test_a_denied_call_reports_awss_message_with_advice() -> None:
    with recorded() as aws:
        line = failed(train_job(aws.env, *REQUIRED, "--name", "pets-1"))
    assert line == (
        "error: training job pets-1: AccessDeniedException: not allowed to call "
        "DescribeTrainingJob; ask the account's administrator to allow it, or set AWS_PROFILE to "
        "another"
    )


# What moto does not simulate: jobs that take time, fail or are stopped


def job(status: str, *steps: str, **more: Any) -> dict[str, Any]:
    transitions = [
        {"Status": step.split(":")[0], "StartTime": 1.7e9, "StatusMessage": step.split(":")[1]}
        for step in steps
    ]
    return {
        "TrainingJobName": "pets-1",
        "TrainingJobStatus": status,
        "SecondaryStatus": steps[-1].split(":")[0] if steps else status,
        "SecondaryStatusTransitions": transitions,
        "ModelArtifacts": {"S3ModelArtifacts": f"{OUTPUT}/pets-1/output/model.tar.gz"},
        **more,
    }


def one_stream(_: dict[str, Any]) -> dict[str, Any]:
    return {"logStreams": [{"logStreamName": "pets-1/algo-1-1700000000"}]}


def pages(*texts: str) -> Any:
    """A log with one more line at each poll, or with "" as long as before."""

    def get_log_events(request: dict[str, Any]) -> dict[str, Any]:
        at = int(request.get("nextToken", "f/0").removeprefix("f/"))
        here = texts[at : at + 1]
        events = [{"timestamp": at, "message": text, "ingestionTime": at} for text in here if text]
        return {"events": events, "nextForwardToken": f"f/{min(at + 1, len(texts))}"}

    return get_log_events


def follow(aws: Recorded) -> Done:
    return train_job(aws.env, "--follow", "pets-1", *SOON)


def test_each_status_and_log_line_of_a_running_job_is_printed_once() -> None:
    steps = ("Starting:Launching", "Downloading:Downloading the data", "Training:In progress")
    with recorded(
        DescribeTrainingJob=in_turn(
            job("InProgress", "Starting:Launching"),
            job("InProgress", *steps[:2]),
            job("InProgress", *steps[:2]),
            rejection("ThrottlingException", "Rate exceeded"),
            job("InProgress", *steps),
            job(
                "Completed",
                *steps,
                "Completed:Done",
                TrainingTimeInSeconds=200,
                BillableTimeInSeconds=50,
                FinalMetricDataList=[
                    {"MetricName": "train:loss", "Value": 0.53, "Timestamp": 1.7e9},
                    {"MetricName": "validation:mAP50", "Value": 0.71234, "Timestamp": 1.7e9},
                ],
            ),
        ),
        DescribeLogStreams=in_turn(
            rejection("ResourceNotFoundException", "The specified log group does not exist."),
            {"logStreams": []},
            one_stream({}),
        ),
        GetLogEvents=pages("first", "", "second", "third"),
    ) as aws:
        result = follow(aws)
    assert (result.returncode, result.stdout) == (0, f"{OUTPUT}/pets-1/output/model.tar.gz\n")
    lines = result.stderr.splitlines()
    (throttled,) = (line for line in lines if "Rate exceeded" in line)
    assert throttled.endswith("try again later; retrying")
    assert [line for line in lines if line.startswith("[")] == [
        "[Starting] Launching",
        "[Downloading] Downloading the data",
        "[Training] In progress",
        "[Completed] Done",
    ]
    assert [line for line in lines if line in ("first", "second", "third")] == [
        "first",
        "second",
        "third",
    ]
    assert lines[-2:] == [
        "train:loss 0.53, validation:mAP50 0.7123",
        "trained for 200 s, 50 s are billed, 75% saved by --spot",
    ]


def test_log_lines_after_the_end_are_printed() -> None:
    polls: list[float] = []

    def later(_: dict[str, Any]) -> dict[str, Any]:
        polls.append(time.monotonic())
        return one_stream({}) if polls[-1] - polls[0] >= 0.09 else {"logStreams": []}

    with recorded(
        DescribeTrainingJob=in_turn(job("Failed", FailureReason="AlgorithmError: no\nrecords.")),
        DescribeLogStreams=later,
        GetLogEvents=pages("error: /opt/ml/input/data/training: no records"),
    ) as aws:
        result = follow(aws)
    assert failed(result) == "error: training job pets-1: failed: AlgorithmError: no records"
    assert result.stderr.splitlines()[-2] == "error: /opt/ml/input/data/training: no records"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (job("Stopped"), "training job pets-1: was stopped"),
        (job("Stopped", "MaxRuntimeExceeded:"), "stopped at its time limit (--max-hours)"),
        (
            job("Stopped", "MaxWaitTimeExceeded:"),
            "no instances were available in time (--max-wait-hours)",
        ),
        (
            job("Stopped", CheckpointConfig={"S3Uri": "s3://pets-bucket/kept"}),
            "resumes from its checkpoints with --checkpoints s3://pets-bucket/kept",
        ),
    ],
)
def test_a_job_that_was_stopped_is_a_failure_with_its_reason(
    last: dict[str, Any], expected: str
) -> None:
    with recorded(
        DescribeTrainingJob=in_turn(last),
        DescribeLogStreams=in_turn({"logStreams": []}),
    ) as aws:
        assert expected in failed(follow(aws))


def test_without_permission_for_the_log_metrics_are_printed() -> None:
    def at(loss: float) -> list[dict[str, Any]]:
        return [{"MetricName": "train:loss", "Value": loss, "Timestamp": 1.7e9}]

    with recorded(
        DescribeTrainingJob=in_turn(
            job("InProgress"),
            job("InProgress", FinalMetricDataList=at(2.5)),
            job("InProgress", FinalMetricDataList=at(2.5)),
            job("InProgress", FinalMetricDataList=at(1.5)),
            job("Completed"),
        )
    ) as aws:
        result = follow(aws)
    assert result.returncode == 0
    assert result.stderr.count("not allowed to call DescribeLogStreams") == 1
    assert "continuing without the log" in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("train:loss")] == [
        "train:loss 2.5",
        "train:loss 1.5",
    ]


def test_a_log_that_breaks_off_loses_no_line() -> None:
    def streams(_: dict[str, Any]) -> dict[str, Any]:
        return {"logStreams": [{"logStreamName": f"pets-1/algo-{n}-17"} for n in (1, 2)]}

    polls = 0

    def get_log_events(request: dict[str, Any]) -> Any:
        nonlocal polls
        polls += "algo-2" in request["logStreamName"]
        if "algo-2" in request["logStreamName"] and polls == 1:
            return rejection("ServiceUnavailable", "busy", status=503)
        return pages(f"from {request['logStreamName'][7:13]}")(request)

    with recorded(
        DescribeTrainingJob=in_turn(job("InProgress"), job("InProgress"), job("Completed")),
        DescribeLogStreams=streams,
        GetLogEvents=get_log_events,
    ) as aws:
        result = follow(aws)
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if "|" in line] == [
        "algo-1 | from algo-1",
        "algo-2 | from algo-2",
    ]


def test_expired_credentials_report_that_the_job_continues() -> None:
    with recorded(
        DescribeTrainingJob=in_turn(
            job("InProgress"), rejection("ExpiredTokenException", "The token is expired.")
        ),
        DescribeLogStreams=in_turn({"logStreams": []}),
    ) as aws:
        line = failed(follow(aws))
    assert "ExpiredTokenException: The token is expired; log in again" in line
    assert line.endswith("; the job itself continues: petbox train-job --follow pets-1")


def test_ctrl_c_leaves_the_job_running_and_reports_it() -> None:
    with recorded(
        DescribeTrainingJob=in_turn(job("InProgress", "Training:In progress")),
        DescribeLogStreams=in_turn({"logStreams": []}),
    ) as aws:
        running = subprocess.Popen(
            **command(aws.env, "train-job", "--follow", "pets-1", *SOON),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with running:
            assert running.stderr is not None
            assert running.stderr.readline() == "[Training] In progress\n"
            running.send_signal(signal.SIGINT)
            output, errors = running.communicate(timeout=30)
        assert (running.returncode, output) == (130, "")
        assert errors == (
            "interrupted here; the job continues; follow it: petbox train-job --follow pets-1, "
            "stop it: petbox train-job --stop pets-1\n"
        )
        assert "StopTrainingJob" not in aws.names()


def test_a_running_job_is_stopped() -> None:
    with recorded(
        DescribeTrainingJob=in_turn(job("InProgress")), StopTrainingJob=lambda _: {}
    ) as aws:
        dry = train_job(aws.env, "--stop", "pets-1", "--dry-run")
        assert json.loads(dry.stdout) == {"TrainingJobName": "pets-1"}
        assert not aws.calls
        result = train_job(aws.env, "--stop", "pets-1")
        assert (result.returncode, result.stdout) == (0, "")
        assert aws.calls[-1] == ("StopTrainingJob", {"TrainingJobName": "pets-1"})


def test_a_name_created_meanwhile_is_reported() -> None:
    with recorded(
        DescribeTrainingJob=in_turn(
            rejection("ValidationException", "Requested resource not found")
        ),
        CreateTrainingJob=in_turn(
            rejection("ResourceInUse", "Training job names must be unique within an AWS account")
        ),
    ) as aws:
        line = failed(train_job(aws.env, *REQUIRED, "--name", "pets-1"))
    assert "training job pets-1: exists already" in line
    assert "petbox train-job --follow pets-1" in line
