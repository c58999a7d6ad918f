"""`petbox upload` against moto's S3; the S3 front's part is played where a test needs it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import permissions
from support.aws import REGION, Aws, moto
from support.endpoint_aws import petbox
from support.lambda_runtime import event, running
from support.peer import GOLDEN, named_detector, peer

from petbox.aws import session
from petbox.aws.names import S3Address
from petbox.errors import DataError
from petbox.lambdas import arrivals
from petbox.lambdas import upload as upload_command
from petbox.lambdas.upload import UploadOptions

JPEG = (GOLDEN / "picture.jpg").read_bytes()
MD5 = hashlib.md5(JPEG).hexdigest()  # the ETag of an object that S3 encrypts with its own key


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as aws:
        yield aws


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a cat.jpg", "b.jpg"):
        (folder / name).write_bytes(JPEG)
    (folder / "notes.txt").write_text("not an image, and not uploaded")
    return folder


def upload(aws: Aws, *words: str | Path) -> subprocess.CompletedProcess[str]:
    typed = ["upload", *map(str, words)]
    return subprocess.run(
        [sys.executable, "-m", "petbox", *typed],
        env={**os.environ, **aws.env, **permissions.begin(typed, aws.env)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def bucket(aws: Aws, name: str) -> Any:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=name)
    return s3


def test_a_folder_is_uploaded_and_nothing_else_of_it(aws: Aws, photos: Path) -> None:
    s3 = bucket(aws, "folder")
    done = upload(aws, photos, "s3://folder/in/", "--no-wait")
    assert done.returncode == 0, done.stderr
    there = s3.list_objects_v2(Bucket="folder")["Contents"]
    assert [item["Key"] for item in there] == ["in/a cat.jpg", "in/b.jpg"]
    assert s3.get_object(Bucket="folder", Key="in/b.jpg")["Body"].read() == JPEG
    assert "2/2" in done.stderr and not done.stdout


def test_results_of_the_front_are_waited_for_and_printed(
    aws: Aws, photos: Path, fronts: dict[str, Path], tmp_path: Path
) -> None:
    s3 = bucket(aws, "waited")
    (photos / "broken.jpg").write_bytes(b"not an image")
    queue = aws.client("sqs").create_queue(QueueName="waited-dead")["QueueUrl"]
    with (
        peer(named_detector) as endpoint,
        running(
            fronts,
            "s3_front",
            tmp_path / "front",
            {
                **aws.env,
                "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint.url,
                "ENDPOINT_NAME": "pets",
                "DEAD_LETTER_URL": queue,
            },
        ) as front,
    ):
        over = threading.Event()

        def play_s3() -> None:
            known: set[str] = set()
            while not over.wait(0.1):
                for item in s3.list_objects_v2(Bucket="waited", Prefix="in/").get("Contents", ()):
                    if item["Key"] not in known:
                        known.add(item["Key"])
                        (record,) = event("s3_put")["Records"]
                        record["s3"]["bucket"]["name"] = "waited"
                        tag = item["ETag"].strip('"')
                        record["s3"]["object"] |= {"key": item["Key"], "eTag": tag}
                        front({"Records": [record]})

        thread = threading.Thread(target=play_s3)
        thread.start()
        try:
            done = upload(aws, photos, "s3://waited/in/", "--patience", "60", "--json")
        finally:
            over.set()
            thread.join()
    results = {Path(line["file"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(results) == {"a cat.jpg", "b.jpg", "broken.jpg"}
    assert results["b.jpg"]["class"] == "Abyssinian"
    assert "cannot be decoded" in results["broken.jpg"]["error"]
    assert done.returncode == 1
    assert "1 of 3 images failed" in done.stderr


def test_a_result_that_never_comes_is_reported_and_one_of_an_older_image_is_none(
    aws: Aws, photos: Path
) -> None:
    s3 = bucket(aws, "never")
    for name in ("done.jpg", "c\x01.jpg"):  # no XML can name the latter, so no error of S3 does
        (photos / name).write_bytes(JPEG)

    def result(name: str, **metadata: str) -> Any:
        key, metadata = f"results/in/{name}.json", {f"arrival-{k}": metadata[k] for k in metadata}
        put = s3.put_object(Bucket="never", Key=key, Body=b"{}", Metadata=metadata)
        return put["ResponseMetadata"]["HTTPHeaders"]["date"]

    result("b.jpg", etag="another")
    result("done.jpg", etag=MD5)
    failed = result("a cat.jpg", etag=MD5, failed="true")
    while s3.list_buckets()["ResponseMetadata"]["HTTPHeaders"]["date"] == failed:
        pass  # S3's clock has seconds only
    done = upload(aws, photos, "s3://never/in/", "--patience", "0.2", "--json")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert Path(json.loads(line)["file"]).name == "done.jpg"
    assert "3 of 4 images have no result" in done.stderr


@pytest.fixture
def watched(
    aws: Aws, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[S3Address, str]:
    """A prefix of a bucket that notifies a queue, and the queue's address."""
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    name = f"watched-{abs(hash(request.node.name)) % 10**12}"
    s3, sqs = bucket(aws, name), aws.client("sqs")
    redrive = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:123456789012:{name}-dead"}
    sqs.create_queue(QueueName=f"{name}-dead")
    attributes = {
        "VisibilityTimeout": "600",
        "RedrivePolicy": json.dumps({**redrive, "maxReceiveCount": 3}),
    }
    url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:123456789012:{name}"
    rules = [{"Name": "prefix", "Value": "in/"}]
    s3.put_bucket_notification_configuration(
        Bucket=name,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": rules}},
                }
            ]
        },
    )
    sqs.purge_queue(QueueUrl=url)  # of S3's test event
    return S3Address(name, "in/"), url


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of patience, to be set."""
    clock = [0.0]
    monkeypatch.setattr(arrivals, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def test_patience_lasts_while_the_queue_has_messages(
    aws: Aws, watched: tuple[S3Address, str], now: list[float]
) -> None:
    to, url = watched
    patience = arrivals.Patience(session.Account(), to, None)
    aws.client("s3").put_object(Bucket=to.bucket, Key="in/a.jpg", Body=JPEG)
    now[0] = 301.0
    assert not patience.is_over(), "it is in the queue"
    (message,) = aws.client("sqs").receive_message(QueueUrl=url)["Messages"]
    now[0] = 602.0
    assert not patience.is_over(), "it is being processed"
    now[0] = 1801.0
    assert patience.is_over() == "after 1800 s", "three times 600 s: it cannot be there any longer"
    patience.renew()
    aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    now[0] += 299.0
    assert not patience.is_over(), "the next notification may be late"
    now[0] += 2.0
    assert patience.is_over() == "after 301 s, and the queue is empty"


def test_patience_that_is_given_asks_no_queue(
    watched: tuple[S3Address, str], now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    to, _ = watched
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    patience = arrivals.Patience(session.Account(), to, 5.0)
    now[0] = 5.1
    assert patience.is_over() == "after 5 s"


@pytest.mark.parametrize("prefix", ["out/", "i"])
def test_a_prefix_that_no_queue_is_notified_of_is_reported(
    watched: tuple[S3Address, str], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to, _ = watched
    arrivals.Patience(session.Account(), S3Address(to.bucket, prefix), None)
    assert "notifies no queue of new images" in capsys.readouterr().err


def test_an_upload_finds_the_queue_of_its_prefix(
    aws: Aws, watched: tuple[S3Address, str], photos: Path
) -> None:
    to, _ = watched
    result = {"Key": "results/in/b.jpg.json", "Metadata": {"arrival-etag": MD5}}
    aws.client("s3").put_object(Bucket=to.bucket, Body=b"{}", **result)
    sent = petbox(aws.env, "upload", photos / "b.jpg", str(to))
    assert sent.returncode == 0 and "queue" not in sent.stderr, sent.stderr


def test_without_permission_to_see_the_queue_forty_minutes_are_waited(
    aws: Aws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    arrivals.Patience(session.Account(), S3Address("nobodys-bucket", "in/"), None)
    said = capsys.readouterr().err
    assert "NoSuchBucket" in said and "waiting 2400 s for each result" in said


def test_what_cannot_be_uploaded_is_reported(aws: Aws, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(JPEG)
    assert "another image has the same name" in upload(aws, photos, other, "s3://folder/in/").stderr
    assert "NoSuchBucket" in upload(aws, photos, "s3://nobodys-bucket/in/").stderr
    misused = upload(aws, photos, "folder/in")
    assert misused.returncode != 0 and "not an S3 address" in misused.stderr


def test_names_that_can_have_no_result_are_rejected_before_anything_is_uploaded(
    photos: Path,
) -> None:
    def rejected(image: Path | str, to: str = "s3://folder/in/") -> str:
        with pytest.raises(DataError) as error:
            upload_command.upload(UploadOptions((str(image),), to))
        return str(error.value)

    long = rejected(photos, f"s3://folder/{'ü' * 504}/")
    assert "a cat.jpg: the key of its result would have 1031 bytes" in long
    name = os.fsdecode(os.fsencode(photos) + b"/\xff.jpg")
    Path(name).write_bytes(JPEG)
    assert "\\udcff.jpg': the name is not UTF-8" in rejected(name)
    assert "in/b.jpg: an address; upload files of this machine" in rejected("s3://folder/in/b.jpg")
    with pytest.raises(ValueError, match="write it like results/"):
        UploadOptions((str(photos),), "s3://folder/in/", results="results")
