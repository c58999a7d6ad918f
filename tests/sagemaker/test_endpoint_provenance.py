"""What an endpoint was made from: training job, model, image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.aws import rejection
from support.endpoint_aws import IMAGE, ROLE, UP, AwsProxy, aws_proxy, done, petbox, shown

BUCKET = "pets-bucket"
JOB = "petbox-20261130"
OF_JOB = f"s3://{BUCKET}/jobs/{JOB}/output/model.tar.gz"
COPIED = f"s3://{BUCKET}/copies/{JOB}/output/model.tar.gz"
PACKED = f"s3://{BUCKET}/models/toy/model.tar.gz"
SHA256 = "ab" * 32
DIGEST = IMAGE.split("@")[1]


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=PACKED.split("/", 3)[3], Metadata={"sha256": SHA256})
        for address in (OF_JOB, COPIED):
            s3.put_object(Bucket=BUCKET, Key=address.split("/", 3)[3])
        server.client("sagemaker").create_training_job(
            TrainingJobName=JOB,
            AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            RoleArn=ROLE,
            OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/jobs"},
            ResourceConfig={
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        done(petbox(server.env, "endpoint", "up", "pets", *UP, "--model-data", OF_JOB))
        yield server


def planned(aws: AwsProxy, name: str, *words: str) -> dict[str, Any]:
    steps = shown(petbox(aws.env, "endpoint", "up", name, *words, "--dry-run"))
    return {name.partition(".")[2]: request for name, request in steps}


def of_petbox(tags: list[dict[str, str]]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in tags if one["Key"] != "petbox:made-for"}


def test_a_job_s_model_is_traced_to_the_endpoint(aws: AwsProxy) -> None:
    (created,) = aws.requests("CreateEndpoint")
    assert of_petbox(created["Tags"]) == {"petbox:training-job": JOB}
    assert of_petbox(aws.requests("CreateModel")[0]["Tags"]) == {"petbox:training-job": JOB}
    text = done(petbox(aws.env, "endpoint", "status", "pets")).stdout
    (line,) = (one for one in text.splitlines() if one.startswith("made from"))
    assert line.endswith(f"  training job {JOB} -> image {DIGEST} -> endpoint pets")
    found = json.loads(done(petbox(aws.env, "endpoint", "status", "pets", "--json")).stdout)
    assert found["provenance"] == {
        "training_job": JOB,
        "model_sha256": None,
        "image_digest": DIGEST,
    }
    aws.calls.clear()
    assert planned(aws, "pets") == {}  # nor is it looked up again
    assert "DescribeTrainingJob" not in aws.names()


def test_another_model_has_another_origin(aws: AwsProxy) -> None:
    steps = planned(aws, "pets", "--model-data", PACKED)
    assert of_petbox(steps["add_tags"]["Tags"]) == {"petbox:model-sha256": SHA256}
    assert steps["delete_tags"]["TagKeys"] == ["petbox:training-job"]


def test_an_origin_that_nobody_confirms_is_not_noted(aws: AwsProxy) -> None:
    steps = planned(aws, "other", *UP, "--model-data", COPIED)
    assert of_petbox(steps["create_endpoint"]["Tags"]) == {}
    denied = rejection("AccessDeniedException", "no", 403)
    aws.instead["HEAD *"] = aws.instead["DescribeTrainingJob"] = lambda _: denied
    for data in (OF_JOB, PACKED):
        steps = planned(aws, "other", *UP, "--model-data", data)
        assert of_petbox(steps["create_endpoint"]["Tags"]) == {}
    aws.instead.clear()
