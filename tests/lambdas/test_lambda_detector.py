"""The detector in Lambda: the handler with TensorFlow, LiteRT's zip and the image, one table.

All of them poll Lambda's Runtime API for events, which are those of API Gateway, S3 and SQS; S3 and
SQS are moto's over HTTP. The models are tiny and real.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import requires
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from conftest import CHECKOUT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from support.aws import Aws, moto
from support.docker_engine import Engine
from support.hostile_archives import hostile
from support.lambda_detectors import image_running, tensorflow_running
from support.lambda_runtime import Function, event, running
from support.locks import packages
from support.peer import GOLDEN

from petbox.sagemaker.endpoint.package import pack

JPEG = (GOLDEN / "picture.jpg").read_bytes()
BUCKET = "pets"
# The tiny model's scores are low.
SETTINGS = {"MIN_SCORE": "0.01"}

Start = Callable[..., AbstractContextManager[Function]]  # a folder and settings


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def dead_letters(aws: Aws) -> str:
    url: str = aws.client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    return url


@pytest.fixture(scope="module", params=["tensorflow", "litert"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def start(kind: str, aws: Aws, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Starts the handler with a kind of detector in a folder, and with settings."""
    if kind == "tensorflow":
        run: Any = partial(tensorflow_running, request.getfixturevalue("installed"))
    else:
        run = partial(running, request.getfixturevalue("fronts"), "detector")

    def started(folder: Path, **env: str) -> AbstractContextManager[Function]:
        settings = {key: value for key, value in aws.env.items() if key.startswith("AWS_")}
        function: AbstractContextManager[Function] = run(folder, {**settings, **SETTINGS, **env})
        return function

    return started


@pytest.fixture(scope="module")
def model(kind: str, request: pytest.FixtureRequest) -> Path:
    name = "saved_model" if kind == "tensorflow" else "lite_model"
    found: Path = request.getfixturevalue(name)
    return found


@pytest.fixture(scope="module")
def call(
    start: Start, model: Path, dead_letters: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    folder = tmp_path_factory.mktemp("detector")
    with start(folder, MODEL=str(model), DEAD_LETTER_URL=dead_letters) as function:
        yield function


def post(body: bytes, kind: str = "image/jpeg", version: str = "v1", **more: Any) -> dict[str, Any]:
    sent = event(f"api_gateway_{version}")
    sent["headers"] |= {"Content-Type" if version == "v1" else "content-type": kind}
    return {**sent, "body": base64.b64encode(body).decode(), "isBase64Encoded": True, **more}


def arrives(aws: Aws, key: str, content: bytes = JPEG) -> dict[str, Any]:
    """Puts an object, and gives the record that S3 sends about it."""
    etag = aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)["ETag"].strip('"')
    (record,) = copy.deepcopy(event("s3_put")["Records"])
    record["s3"]["bucket"]["name"] = BUCKET
    record["s3"]["object"] |= {"key": quote_plus(key, safe="/"), "eTag": etag}
    found: dict[str, Any] = record
    return found


def of_queue(*records: dict[str, Any]) -> dict[str, Any]:
    sent = event("sqs")
    (one,) = sent["Records"]
    bodies = [json.dumps({"Records": [record]}) for record in records]
    return {"Records": [{**one, "messageId": f"m{n}", "body": b} for n, b in enumerate(bodies)]}


def result(aws: Aws, key: str) -> dict[str, Any]:
    there = aws.client("s3").get_object(Bucket=BUCKET, Key=f"results/{key}.json")
    found: dict[str, Any] = json.loads(there["Body"].read())
    return found


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_it_responds_to_api_gateway_as_the_front_does(call: Function, version: str) -> None:
    response = call(post(JPEG, version=version))
    assert response["statusCode"] == 200, response
    body = json.loads(response["body"])
    with Image.open(GOLDEN / "picture.jpg") as image:
        assert (body["width"], body["height"]) == image.size
    assert body["class"] == "Abyssinian"
    (one,) = body["detections"]
    assert one["score"] == body["confidence"] and len(one["box"]) == 4


def test_it_draws(call: Function) -> None:
    drawn = {"queryStringParameters": {"draw": "1"}}
    response = call(post(JPEG, **drawn, multiValueQueryStringParameters={"draw": ["1"]}))
    assert response["statusCode"] == 200 and response["isBase64Encoded"]
    with Image.open(io.BytesIO(base64.b64decode(response["body"]))) as image:
        assert image.format == "JPEG"


BROKEN = JPEG[:200] + b"\0" * 60 + JPEG[260:]


@pytest.mark.parametrize(
    ("status", "reason", "sent"),
    [
        (400, "cannot be decoded", post(b"not an image")),
        (415, "text/plain", post(JPEG, "text/plain")),
        (404, "no such path", post(JPEG, path="/other")),
    ],
)
def test_it_rejects_as_the_front_does(
    call: Function, status: int, reason: str, sent: dict[str, Any]
) -> None:
    response = call(sent)
    assert response["statusCode"] == status
    assert reason in json.loads(response["body"])["error"]


def test_an_image_that_only_the_model_rejects_is_reported_to_the_caller(call: Function) -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "PNG")
    whole = file.getvalue()
    broken = whole[:60] + b"\0" * 200 + whole[260:]  # its head and its end are sound
    response = call(post(broken, "image/png"))
    assert response["statusCode"] == 400, response
    assert json.loads(response["body"])["error"]
    assert call(post(JPEG))["statusCode"] == 200, "and continues"


def test_it_processes_what_arrives_in_s3(call: Function, aws: Aws, kind: str) -> None:
    key = f"in/{kind} cat.jpg"
    assert call({"Records": [arrives(aws, key)]}) is None
    found = result(aws, key)
    assert found["class"] == "Abyssinian" and found["picture"] == f"s3://{BUCKET}/{key}"


def test_it_processes_messages_one_by_one(
    call: Function, aws: Aws, kind: str, dead_letters: str
) -> None:
    keys = [f"in/{kind}-{n}.jpg" for n in range(3)]
    records = [arrives(aws, key, b"no" if n == 1 else JPEG) for n, key in enumerate(keys)]
    assert call(of_queue(*records)) == {"batchItemFailures": []}
    assert [("error" in result(aws, key)) for key in keys] == [False, True, False]
    sqs = aws.client("sqs")
    (letter,) = sqs.receive_message(QueueUrl=dead_letters)["Messages"]
    sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=letter["ReceiptHandle"])
    assert json.loads(letter["Body"])["Records"] == [records[1]]


def packed(aws: Aws, model: Path, key: str, folder: Path) -> str:
    """The model as an archive in S3; its SHA-256."""
    files = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*"))}
    archive = folder / "model.tar.gz"
    digest = pack({name: path for name, path in files.items() if path.is_file()}, archive)
    aws.client("s3").upload_file(str(archive), BUCKET, key)
    return digest


def test_a_model_in_s3_is_fetched_once(
    start: Start, aws: Aws, model: Path, kind: str, tmp_path: Path
) -> None:
    key = f"models/{kind}/model.tar.gz"
    digest = packed(aws, model, key, tmp_path)
    there = {"MODEL": f"s3://{BUCKET}/{key}", "MODEL_SHA256": digest, "TMPDIR": str(tmp_path)}
    with start(tmp_path / "first", **there) as function:
        statuses = [function(post(JPEG))["statusCode"] for _ in range(3)]
        # Without a dead-letter queue nothing of S3's is taken.
        response = function({"Records": [arrives(aws, "in/cat.jpg")]})
    assert statuses == [200] * 3
    assert "DEAD_LETTER_URL is not set" in response["errorMessage"]
    aws.client("s3").delete_object(Bucket=BUCKET, Key=key)
    if kind == "litert":  # which starts in a moment
        with start(tmp_path / "second", **there) as function:
            assert function(post(JPEG))["statusCode"] == 200


# What needs no model to be run, so one kind does


@pytest.fixture(scope="module")
def bare(installed: Path, aws: Aws) -> Start:
    settings = {key: value for key, value in aws.env.items() if key.startswith("AWS_")}
    return lambda folder, **env: tensorflow_running(installed, folder, {**settings, **env})


def assert_rejects(function: Function, reason: str) -> None:
    """It starts, logs the reason, and responds to each call."""
    assert f"the detector cannot be loaded: {reason}" in function.log()
    for _ in range(2):
        response = function(post(JPEG))
        assert response["statusCode"] == 502
        assert "does not respond" in json.loads(response["body"])["error"]


def test_a_model_with_another_hash_is_rejected(bare: Start, aws: Aws, tmp_path: Path) -> None:
    aws.client("s3").put_object(Bucket=BUCKET, Key="models/other", Body=b"other")
    there = {"MODEL": f"s3://{BUCKET}/models/other", "MODEL_SHA256": "0" * 64}
    with bare(tmp_path / "f", **there, TMPDIR=str(tmp_path)) as function:
        assert_rejects(function, f"s3://{BUCKET}/models/other: its SHA-256 is ")
        assert "nothing of it is used" in function.log()


def test_a_malicious_archive_is_rejected(bare: Start, aws: Aws, tmp_path: Path) -> None:
    body = hostile("../evil")
    aws.client("s3").put_object(Bucket=BUCKET, Key="models/evil", Body=body)
    digest = hashlib.sha256(body).hexdigest()
    there = {"MODEL": f"s3://{BUCKET}/models/evil", "MODEL_SHA256": digest}
    with bare(tmp_path / "f", **there, TMPDIR=str(tmp_path)) as function:
        assert_rejects(function, f"s3://{BUCKET}/models/evil: ")
        assert "leads out of the folder" in function.log()


def test_why_there_is_no_model_is_reported_in_the_dead_letter(
    bare: Start, aws: Aws, dead_letters: str, tmp_path: Path
) -> None:
    with bare(tmp_path / "f", DEAD_LETTER_URL=dead_letters) as function:
        assert_rejects(function, f"{tmp_path / 'f/task/model'}: no such folder")
        assert function({"Records": [arrives(aws, "in/unseen.jpg")]}) is None
    assert "no such folder" in result(aws, "in/unseen.jpg")["error"]
    sqs = aws.client("sqs")
    (letter,) = sqs.receive_message(QueueUrl=dead_letters, MessageAttributeNames=["reason"])[
        "Messages"
    ]
    sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=letter["ReceiptHandle"])
    assert "no such folder" in letter["MessageAttributes"]["reason"]["StringValue"]


# For `sam local invoke`


def test_the_event_and_the_environment_for_sam_are_accepted(
    start: Start, model: Path, kind: str, tmp_path: Path
) -> None:
    env = json.loads((CHECKOUT / "serverless/env.json").read_text())
    sent = json.loads((CHECKOUT / "serverless/event.json").read_text())
    settings = env["DetectorByZip"] if kind == "litert" else env["DetectorByImage"]
    if kind == "tensorflow":  # there is no image around it here
        settings |= {"MODEL": str(model)}
    with start(tmp_path / "f", **settings) as function:
        response = function(sent)
    assert response["statusCode"] == 200, response


# The image


def test_the_image_installs_nothing_that_the_detector_does_not_require() -> None:
    needed: set[str] = set()

    def add(requirement: Requirement) -> None:
        name = canonicalize_name(requirement.name)
        if name not in needed:
            needed.add(name)
            for need in map(Requirement, requires(name) or []):
                if need.marker is None or need.marker.evaluate({"extra": ""}):
                    add(need)

    for name in (
        "tensorflow",
        "aws-lambda-powertools",
        "boto3",
        "pillow",
        "pybase64",
        "python-multipart",
    ):
        add(Requirement(name))
    assert packages("detector_image") <= needed, "what none of them requires"


def test_the_image_works_with_the_model_in_it(
    engine: Engine, images: dict[str, str], aws: Aws, dead_letters: str, tmp_path: Path
) -> None:
    env = {**aws.env, **SETTINGS, "DEAD_LETTER_URL": dead_letters}
    with image_running(engine, images["whole"], tmp_path / "whole", env) as function:
        response = function(post(JPEG))
        assert response["statusCode"] == 200, response
        assert json.loads(response["body"])["class"] == "Abyssinian"
        assert function(post(b"not an image"))["statusCode"] == 400
        assert function(of_queue(arrives(aws, "in/image.jpg"))) == {"batchItemFailures": []}
    assert result(aws, "in/image.jpg")["class"] == "Abyssinian"


def test_the_bare_image_fetches_its_model(
    engine: Engine, images: dict[str, str], aws: Aws, saved_model: Path, tmp_path: Path
) -> None:
    digest = packed(aws, saved_model, "models/image.tar.gz", tmp_path)
    model = {"MODEL": f"s3://{BUCKET}/models/image.tar.gz", "MODEL_SHA256": digest}
    env = {**aws.env, **SETTINGS, **model}
    with image_running(engine, images["bare"], tmp_path / "bare", env) as function:
        assert [function(post(JPEG))["statusCode"] for _ in range(2)] == [200, 200]


def test_an_image_without_a_model_is_not_built(
    engine: Engine, images: dict[str, str], lambda_base: str, tmp_path: Path
) -> None:
    """The last line of the Dockerfile checks."""
    del images  # the layers before are there
    for name in (
        "serverless/detector.Dockerfile",
        "serverless/detector.py",
        "locks/detector_image.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "petbox", tmp_path / "petbox", symlinks=True, ignore=ignored)
    (tmp_path / "model/toy").mkdir(parents=True)
    (tmp_path / "model/toy/readme.txt").touch()
    words = ("--network=none", f"--build-arg=BASE={lambda_base}", "--file")
    done = engine(
        "build", *words, tmp_path / "serverless/detector.Dockerfile", tmp_path, check=False
    )
    assert done.returncode != 0
    assert "no model; found: readme.txt" in done.stdout + done.stderr
