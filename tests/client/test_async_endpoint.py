"""`petbox detect --async-endpoint`, with moto's S3 and its queue of results."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from support.aws import rejection
from support.endpoint_aws import UP, AwsProxy, Done, aws_proxy, done, failed, petbox
from support.peer import Response, golden

BUCKET = "pets-bucket"
ANSWERS = f"s3://{BUCKET}/answers"
CALL = "POST /endpoints/pets/async-invocations"
FETCH = "GET /sagemaker-output-*/response.json"
GOOD = {"data": golden("answer_detect.json").decode()}
BAD = {"is_failure": True, "data": '{"error": "image 0 of the request\\n is broken"}'}
NOT_YET = Response(404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>")


@pytest.fixture(scope="module")
def account() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        done(petbox(server.env, "endpoint", "up", "pets", *UP, "--async", ANSWERS))
        done(petbox(server.env, "endpoint", "up", "light", *UP, "--serverless", "4096,5"))
        yield server


@pytest.fixture
def aws(account: AwsProxy, tmp_path: Path) -> AwsProxy:
    """With an empty cache and images that no other test has sent."""
    account.calls.clear()
    account.instead.clear()
    account.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return account


@pytest.fixture
def album(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "Bärbels Fotos"
    folder.mkdir()
    shade = zlib.crc32(request.node.name.encode()) % 2**24
    for n in range(3):
        Image.new("RGB", (30 + n, 20), shade).save(folder / f"{n}.png")
    return folder


def answers(aws: AwsProxy, *results: dict[str, Any]) -> None:
    url = f"{aws.url}/moto-api/static/sagemaker/async-endpoint-results"
    requests.post(url, json={"results": results}, timeout=60).raise_for_status()


def detect(aws: AwsProxy, *words: str | Path) -> Done:
    return petbox(aws.env, "detect", "--async-endpoint", "pets", "--parallel", "1", *words)


@pytest.mark.parametrize("command", ["detect", "label"])
def test_a_synchronous_endpoint_is_called(
    aws: AwsProxy, album: Path, tmp_path: Path, command: str
) -> None:
    response = json.loads(golden("answer_detect.json"))
    aws.instead["POST /endpoints/light/invocations"] = lambda _: response
    to = ("-o", tmp_path / "found")
    done(petbox(aws.env, command, album, "--endpoint", "light", *to))
    assert len(list((tmp_path / "found").iterdir())) == 3


def keys(aws: AwsProxy) -> list[str]:
    found = aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="answers/")
    return [one["Key"] for one in found.get("Contents", ())]


def test_a_folder_is_detected_and_drawn(aws: AwsProxy, album: Path, tmp_path: Path) -> None:
    answers(aws, GOOD, GOOD, GOOD)
    result = done(detect(aws, album, "--json", "-o", tmp_path / "drawn"))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["picture"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert [line["width"] for line in lines] == [30, 31, 32]
    assert lines[0]["detections"][0]["label"] == "Abyssinian"
    assert len(list((tmp_path / "drawn").iterdir())) == 3
    assert "send: 3/3" in result.stderr and "detect: 3/3" in result.stderr
    assert keys(aws) == []  # the requests are deleted
    assert not list((tmp_path / "cache/petbox/calls").iterdir())


def test_a_folder_in_s3_is_detected(aws: AwsProxy, album: Path) -> None:
    s3 = aws.client("s3")
    for name in ("photos/0.png", "photos/more/1.png"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=(album / Path(name).name).read_bytes())
    s3.put_object(Bucket=BUCKET, Key="photos/notes.txt", Body=b"")
    answers(aws, GOOD, GOOD)
    result = done(detect(aws, f"s3://{BUCKET}/photos/", "--csv", "--min-score", "0.9"))
    names = [line.split(",")[0] for line in result.stdout.splitlines()[1:]]
    assert names == [f"s3://{BUCKET}/photos/0.png", f"s3://{BUCKET}/photos/more/1.png"]
    assert "no image under this address" in failed(detect(aws, f"s3://{BUCKET}/none/"))
    assert "a folder ends in /" in failed(detect(aws, f"s3://{BUCKET}/photos"))


def test_failures_are_named_and_only_they_are_called_again(aws: AwsProxy, album: Path) -> None:
    (album / "3.png").write_bytes(b"not an image")
    answers(aws, GOOD, BAD, GOOD)
    result = detect(aws, album)
    assert result.returncode == 1 and result.stdout.count("Abyssinian") == 2
    unread, broken, last = [one for one in result.stderr.splitlines() if "error" in one]
    assert f"{album}/3.png: cannot be decoded" in unread + broken
    assert f"{album}/1.png: endpoint pets failed: image 0 of the request is broken" in (
        unread + broken
    )
    assert last == "error: 2 of 4 images failed; see the errors above"
    (album / "3.png").unlink()
    aws.calls.clear()
    again = detect(aws, album)  # moto has the same response for the same request
    assert "resuming: 2 of 3 images were sent by an earlier run" in again.stderr
    assert len(aws.requests(CALL)) == 1


def test_an_interrupted_run_resumes(aws: AwsProxy, album: Path) -> None:
    answers(aws, GOOD, GOOD, GOOD)
    denied = rejection("AccessDeniedException", "not allowed")
    aws.instead[CALL] = lambda _: None if len(aws.requests(CALL)) < 3 else denied
    assert "endpoint pets: AccessDenied" in failed(detect(aws, album))
    aws.instead.clear()
    aws.calls.clear()
    result = done(detect(aws, album))
    assert "resuming: 2 of 3" in result.stderr and result.stdout.count("Abyssinian") == 3
    assert len(aws.requests(CALL)) == 1
    assert keys(aws) == []
    aws.calls.clear()
    done(detect(aws, album))  # a finished one starts anew
    assert len(aws.requests(CALL)) == 3


def test_responses_are_waited_for(aws: AwsProxy, album: Path) -> None:
    answers(aws, GOOD, GOOD, GOOD)
    aws.instead[FETCH] = lambda _: NOT_YET if len(aws.names("GET /sagemaker-output")) < 9 else None
    assert done(detect(aws, album)).stdout.count("Abyssinian") == 3


def test_a_response_that_never_comes_fails_its_image(aws: AwsProxy, album: Path) -> None:
    answers(aws, GOOD, GOOD, GOOD)
    aws.instead[FETCH] = lambda _: NOT_YET
    result = detect(aws, album, "--wait", "0.001")
    line = next(one for one in result.stderr.splitlines() if "error" in one)
    assert line == (
        f"error: {album}/0.png: no response from endpoint pets in 0.001 min; the same command "
        "looks for it again; failures are not reported: petbox endpoint up pets --async-errors"
    )
    assert len(keys(aws)) == 3  # they may still be in the queue
    aws.instead.clear()
    aws.calls.clear()
    assert done(detect(aws, album)).stdout.count("Abyssinian") == 3
    assert not aws.requests(CALL)


def test_what_cannot_work_is_rejected_before_anything_is_sent(aws: AwsProxy, album: Path) -> None:
    sync = petbox(aws.env, "detect", album, "--async-endpoint", "light")
    assert "endpoint light: is not asynchronous; use --endpoint light" in failed(sync)
    none = petbox(aws.env, "detect", album, "--async-endpoint", "none")
    assert "Could not find endpoint" in failed(none)
    (album / "clip.mp4").touch()
    assert "is a video" in failed(detect(aws, album / "clip.mp4"))
    denied = Response(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    aws.instead[FETCH] = lambda _: denied
    assert "without s3:ListBucket" in failed(detect(aws, album))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--async-endpoint", "x", "--endpoint", "y"), "--endpoint and --async-endpoint exclude"),
        (("--async-endpoint", "x", "--fit"), "--fit and --limit are not for --async-endpoint"),
        (("--wait", "1"), "--wait requires --async-endpoint"),
        (("--async-endpoint", "x", "--wait", "0"), "argument --wait: 0 is not between"),
    ],
)
def test_invalid_options_are_wrong_usage(words: tuple[str, ...], expected: str) -> None:
    result = petbox({}, "detect", "cat.jpg", *words)
    assert result.returncode == 2 and expected in result.stderr
