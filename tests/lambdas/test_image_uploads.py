"""Images over Lambda's limit: the function from its real zip, moto's S3, and an upload between."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from support.api_gateway import api_gateway
from support.aws import Aws, moto, settings
from support.command_line import IMAGE, petbox
from support.lambda_runtime import Function, event, running
from support.peer import GOLDEN, named_detector, peer
from support.templates import Stack, of_kind

from petbox.lambdas.image_uploads import ImageUploads

JPEG = (GOLDEN / "picture.jpg").read_bytes()
BUCKET = "uploads-of-pets"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as aws:
        aws.client("s3").create_bucket(Bucket=BUCKET)
        yield aws


@pytest.fixture(scope="module")
def call(
    fronts: dict[str, Path], aws: Aws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    with peer(named_detector) as endpoint:
        env = {**settings(endpoint.url), "AWS_ENDPOINT_URL_S3": aws.url}
        env |= {"ENDPOINT_NAME": "pets", "UPLOADS_BUCKET": BUCKET}
        with running(fronts, "http_front", tmp_path_factory.mktemp("uploads"), env) as function:
            yield function


def posted(call: Function, body: dict[str, str] | None = None, query: str = "") -> tuple[int, Any]:
    """Status and content of the response to a JSON body."""
    sent = event("api_gateway_v1")
    sent["headers"]["Content-Type"] = "application/json"
    name, _, value = query.partition("=")
    sent["queryStringParameters"] = {name: value} if query else None
    sent["multiValueQueryStringParameters"] = {name: [value]} if query else None
    sent |= {"body": json.dumps(body) if body else None, "isBase64Encoded": False}
    response = call(sent)
    return response["statusCode"], json.loads(response["body"])


def test_what_is_uploaded_with_the_form_is_detected_in(call: Function) -> None:
    status, form = posted(call, query="upload=1")
    assert status == 200, form
    files = {"file": ("cat.jpg", JPEG, "image/jpeg")}
    done = requests.post(form["url"], form["fields"], files=files, timeout=30)
    assert done.status_code == 204, done.text
    status, found = posted(call, {"upload": form["upload"]})
    assert status == 200 and found["class"] == "Abyssinian"


def test_petbox_detect_calls_the_api_and_uploads_what_is_large(
    call: Function, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    noise = random.Random(0).randbytes(1400 * 1200 * 3)  # 5 MB, which no format makes small
    Image.frombytes("RGB", (1400, 1200), noise).save(large, compress_level=0)
    with api_gateway(call, "k3y") as gateway:
        words = ("--url", gateway.url, "--header", "x-api-key: k3y", "--csv")
        done = petbox("detect", IMAGE, large, *words)
    assert done.returncode == 0, done.stderr
    rows = [line.split(",")[:5] for line in done.stdout.decode().splitlines()[1:]]
    assert [[*row[:3], row[4]] for row in rows] == [
        [IMAGE, "24", "16", "1"],
        [IMAGE, "24", "16", "37"],
        [str(large), "1400", "1200", "1"],
        [str(large), "1400", "1200", "37"],
    ]


def test_the_form_is_for_one_object_of_a_limited_size(call: Function) -> None:
    """S3 checks the policy; moto does not."""
    from base64 import b64decode

    (_, form), (_, other) = (posted(call, query="upload=1") for _ in range(2))
    assert form["upload"] != other["upload"]
    policy = json.loads(b64decode(form["fields"]["policy"]))
    assert {"bucket": BUCKET} in policy["conditions"]
    assert {"key": form["upload"]} in policy["conditions"]
    assert ["content-length-range", 1, 20_000_000] in policy["conditions"]


def test_a_form_names_the_bucket_in_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 redirects from its global address, which ends a browser's preflight request."""
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    form = ImageUploads(BUCKET, 20_000_000).form()
    assert form["url"] == f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/"
    assert form["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


@pytest.mark.parametrize(
    ("upload", "why"),
    [
        ("uploads/" + "0" * 32, "nothing was uploaded, or a day ago"),
        ("results/secret.json", "not one of this API"),
        ("uploads/../secret", "not one of this API"),
        ("", "not one of this API"),
    ],
)
def test_other_objects_are_not_read(call: Function, aws: Aws, upload: str, why: str) -> None:
    aws.client("s3").put_object(Bucket=BUCKET, Key="results/secret.json", Body=JPEG)
    status, error = posted(call, {"upload": upload})
    assert status == 400 and why in error["error"]


def test_an_upload_over_the_limit_is_not_read(call: Function, aws: Aws) -> None:
    key = "uploads/" + "f" * 32
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=bytes(20_000_001))
    status, error = posted(call, {"upload": key})
    assert status == 400 and "has more than 20.0 MB" in error["error"]


def test_without_a_bucket_there_are_no_uploads(fronts: dict[str, Path], tmp_path: Path) -> None:
    env = {**settings("http://127.0.0.1:9"), "ENDPOINT_NAME": "pets"}
    with running(fronts, "http_front", tmp_path, env) as call:
        for body, query in ((None, "upload=1"), ({"upload": "uploads/" + "0" * 32}, "")):
            status, error = posted(call, body, query)
            assert status == 400 and "takes no uploads" in error["error"]


# The template


@pytest.mark.parametrize("name", ["front", "detector"])
@pytest.mark.parametrize(
    ("given", "there"),
    [
        ({}, False),
        ({"LargeImages": "true"}, True),
        ({"LargeImages": "true", "Ways": "s3"}, False),
    ],
)
def test_the_bucket_is_there_by_parameter(name: str, given: dict[str, str], there: bool) -> None:
    stack = Stack(name, given)
    assert ("Uploads" in stack.resources()) == there
    assert not stack.dangling()
    if there:
        assert not stack.nested("Uploads").dangling()


def test_uploads_are_private_and_expire_and_only_allowed_pages_make_them() -> None:
    (bucket,) = of_kind("uploads", "AWS::S3::Bucket").values()
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule == {"Status": "Enabled", "ExpirationInDays": 1}
    given = {"LargeImages": "true", "CorsOrigins": "https://pets.example"}
    (cors,) = Stack("front", given).nested("Uploads").resolved(bucket["CorsConfiguration"]).values()
    assert cors[0]["AllowedMethods"] == ["POST"]
    assert cors[0]["AllowedOrigins"] == {"Fn::Split": [",", {"Ref": "CorsOrigins"}]}
    without = Stack("front", {"LargeImages": "true"}).nested("Uploads")
    assert without.resolved(bucket["CorsConfiguration"]) == {"Ref": "AWS::NoValue"}
