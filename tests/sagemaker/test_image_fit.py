"""Which instance an image gets, and which `up` refuses before it changes anything."""

from __future__ import annotations

import json
import re

import pytest
from support.aws import rejection
from support.endpoint_aws import (
    CHECKOUT,
    IMAGE,
    ROLE,
    SOON,
    UP,
    AwsProxy,
    describe_image,
    done,
    failed,
    petbox,
    shown,
)
from support.peer import Response

from petbox.aws.image import DOCKER, LISTS, OCI

pytestmark = pytest.mark.usefixtures("forgotten")
GPU = "tensorflow/serving:2.20.0-gpu"


def instance_type(aws: AwsProxy, *words: str) -> str:
    steps = dict(shown(petbox(aws.env, "endpoint", "up", "fit", *UP, "--dry-run", *words)))
    (variant,) = steps["sagemaker.create_endpoint_config"]["ProductionVariants"]
    return str(variant["InstanceType"])


def test_the_default_instance_follows_the_image(aws: AwsProxy) -> None:
    assert instance_type(aws) == "ml.m5.xlarge"
    (asked,) = aws.requests("BatchGetImage")
    assert asked["registryId"] == "123456789012" and asked["repositoryName"] == "petbox"
    assert asked["imageIds"] == [{"imageDigest": IMAGE.split("@")[1]}]
    for base in (GPU, f"{GPU}@{IMAGE.split('@')[1]}"):
        describe_image(aws.instead, base=base)
        assert instance_type(aws) == "ml.g4dn.xlarge"
    assert instance_type(aws, "--instance-type", "ml.g5.xlarge") == "ml.g5.xlarge"
    describe_image(aws.instead, base="tensorflow/serving:2.20.0", architecture="arm64")
    assert instance_type(aws) == "ml.m6g.xlarge"
    describe_image(aws.instead, base="", env=("PATH=/bin", "CUDA_VERSION=12.4"))
    assert instance_type(aws) == "ml.g4dn.xlarge"


def test_the_readmes_first_push_and_up_fit(aws: AwsProxy) -> None:
    text = (CHECKOUT / "README.md").read_text()
    (push,) = re.findall(r"`(scripts/push_ecr\.sh --model model/toy.*?)`", text)
    (typed,) = re.findall(r"`petbox (endpoint up pets .*?)`", text)
    describe_image(aws.instead, base="tensorflow/serving:2.20.0" if "--cpu" in push else GPU)
    words = [{"URI": IMAGE, "ARN": ROLE}.get(word, word) for word in typed.split()]
    result = done(petbox(aws.env, *words, "--dry-run"))
    assert "instance_type: ml.m5.xlarge" in result.stderr and "GPU" not in result.stderr


@pytest.mark.parametrize(
    ("base", "architecture", "words", "expected"),
    [
        (GPU, "amd64", ("--instance-type", "ml.m5.xlarge"), "needs a GPU, and ml.m5.xlarge has no"),
        (GPU, "amd64", ("--instance-type", "ml.inf1.xlarge"), "needs a GPU, and ml.inf1.xlarge"),
        (GPU, "amd64", ("--serverless", "4096,5"), "needs a GPU, and a serverless endpoint has no"),
        (GPU, "amd64", ("--instance-type", "ml.c7g.xlarge"), "and ml.c7g.xlarge runs arm64"),
        (GPU, "amd64", ("--instance-type", "ml.g5g.xlarge"), "and ml.g5g.xlarge runs arm64"),
        ("", "arm64", ("--instance-type", "ml.g4dn.xlarge"), "ml.g4dn.xlarge runs amd64"),
        ("", "arm64", ("--serverless", "4096,5"), "a serverless endpoint runs amd64"),
    ],
)
def test_what_cannot_start_is_refused(
    aws: AwsProxy, base: str, architecture: str, words: tuple[str, ...], expected: str
) -> None:
    describe_image(aws.instead, base=base, architecture=architecture)
    line = failed(petbox(aws.env, "endpoint", "up", "fit", *UP, *words))
    assert line.startswith(f"error: {IMAGE}: ") and expected in line
    assert "scripts/push_ecr.sh" in line
    assert aws.changes() == []


def test_what_wastes_or_may_fail_is_warned_of(aws: AwsProxy) -> None:
    def said(*words: str) -> str:
        return done(petbox(aws.env, "endpoint", "up", "fit", *UP, "--dry-run", *words)).stderr

    assert f"{IMAGE}: " not in said()
    assert "the GPU of ml.g4dn.xlarge stays idle" in said("--instance-type", "ml.g4dn.xlarge")
    describe_image(aws.instead, base="", env=("CUDA_VERSION=12.4",))
    assert "has CUDA" in said("--instance-type", "ml.m5.xlarge")
    describe_image(aws.instead, media_type=OCI)
    assert f"has the media type {OCI}, which SageMaker may reject" in said()


def test_of_several_architectures_amd64_is_read(aws: AwsProxy) -> None:
    describe_image(aws.instead, base=GPU)
    digests = {"arm64": "a" * 64, "amd64": "b" * 64, "unknown": "c" * 64}
    index = {
        "mediaType": LISTS[1],
        "manifests": [
            {"digest": f"sha256:{digest}", "platform": {"architecture": architecture}}
            for architecture, digest in digests.items()
        ],
    }
    one = {"mediaType": DOCKER, "config": {"digest": f"sha256:{'1' * 64}"}}

    def image(request: dict[str, object]) -> dict[str, object]:
        inner = request["imageIds"] == [{"imageDigest": f"sha256:{'b' * 64}"}]
        manifest = json.dumps(one if inner else index)
        return {"images": [{"imageId": request["imageIds"][0], "imageManifest": manifest}]}  # type: ignore[index]

    aws.instead["BatchGetImage"] = image
    result = petbox(aws.env, "endpoint", "up", "fit", *UP, "--dry-run")
    assert "ml.g4dn.xlarge" in done(result).stdout
    assert LISTS[1] in result.stderr


def test_an_image_that_is_not_there_is_refused_and_a_hidden_one_is_taken(aws: AwsProxy) -> None:
    aws.instead["BatchGetImage"] = lambda _: {"images": [], "failures": []}
    line = failed(petbox(aws.env, "endpoint", "up", "fit", *UP))
    assert f"{IMAGE}: not in ECR; push it" in line and aws.changes() == []
    aws.instead["BatchGetImage"] = lambda _: rejection("RepositoryNotFoundException", "no petbox")
    assert f"{IMAGE}: not in ECR; push it" in failed(petbox(aws.env, "endpoint", "up", "fit", *UP))
    aws.instead.clear()
    done(petbox(aws.env, "endpoint", "up", "gone", *UP))
    aws.calls.clear()
    aws.instead["BatchGetImage"] = lambda _: {"images": [], "failures": []}
    update = ("endpoint", "up", "gone", *SOON, "--instance-type", "ml.m5.large")
    assert f"{IMAGE}: not in ECR; push it" in failed(petbox(aws.env, *update))
    assert aws.changes() == []
    tagged = done(petbox(aws.env, "endpoint", "up", "gone", *SOON, "--tag", "team=pets"))
    assert f"{IMAGE}: not in ECR; push it" in tagged.stderr, "no instance starts"
    aws.instead["BatchGetImage"] = lambda _: rejection("AccessDeniedException", "not allowed")
    result = done(petbox(aws.env, "endpoint", "up", "fit", *UP, "--dry-run"))
    assert "whether the image needs a GPU is unknown" in result.stderr


def test_an_archive_that_is_not_in_s3_is_refused_and_a_hidden_one_is_taken(aws: AwsProxy) -> None:
    data = ("--model-data", "s3://pets-bucket/model.tar.gz")
    up = ("endpoint", "up", "archived", *UP, *data)
    missing = f"error: {data[1]}: not in S3; upload it: petbox endpoint package MODEL"
    assert failed(petbox(aws.env, *up)).startswith(missing), "nor is there a bucket"
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="pets-bucket")
    aws.calls.clear()
    assert failed(petbox(aws.env, *up, "--dry-run")).startswith(missing)
    assert aws.changes() == []
    aws.instead["HEAD /pets-bucket/model.tar.gz"] = lambda _: Response(403, b"")
    hidden = done(petbox(aws.env, *up, "--dry-run"))
    assert "so whether it is there is unknown" in hidden.stderr
    aws.instead.clear()
    s3.put_object(Bucket="pets-bucket", Key="model.tar.gz", Body=b"")
    done(petbox(aws.env, *up))

    s3.delete_object(Bucket="pets-bucket", Key="model.tar.gz")
    aws.calls.clear()
    update = ("endpoint", "up", "archived", *SOON)
    assert failed(petbox(aws.env, *update, "--instance-type", "ml.m5.large")).startswith(missing)
    assert aws.changes() == []
    done(petbox(aws.env, *update, "--tag", "team=pets"))
