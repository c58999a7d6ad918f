"""The S3 front from its real zip; S3 and SQS are moto's over HTTP, the endpoint is a peer."""

from __future__ import annotations

import copy
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from PIL import Image
from support import soak
from support.aws import Aws, moto
from support.lambda_runtime import Function, event, running
from support.peer import GOLDEN, Peer, Request, Response, named_detector, peer

JPEG = (GOLDEN / "picture.jpg").read_bytes()


@dataclass
class Shop:
    """A bucket, a dead-letter queue, an endpoint, and the front that knows them."""

    aws: Aws
    bucket: str
    dead_letters: str
    endpoint: Peer
    fronts: dict[str, Path]
    folder: Path
    sequence: int = 0

    def __post_init__(self) -> None:
        self.s3, self.sqs = self.aws.client("s3"), self.aws.client("sqs")

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **self.aws.env,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.endpoint.url,
            "ENDPOINT_NAME": "pets",
            "DEAD_LETTER_URL": self.dead_letters,
            **more,
        }

    def front(self, name: str = "front", **more: str) -> Any:
        return running(self.fronts, "s3_front", self.folder / name, self.environment(**more))

    def arrives(self, key: str, content: bytes = JPEG) -> dict[str, Any]:
        """Puts an object, and gives the record that S3 sends about it."""
        etag = self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)["ETag"].strip('"')
        return self.record(key, etag, len(content))

    def record(self, key: str, etag: str, size: int = 1) -> dict[str, Any]:
        self.sequence += 1
        (record,) = copy.deepcopy(event("s3_put")["Records"])
        record["s3"]["bucket"] |= {"name": self.bucket, "arn": f"arn:aws:s3:::{self.bucket}"}
        record["s3"]["object"] = {
            "key": quote_plus(key, safe="/"),
            "size": size,
            "eTag": etag,
            "sequencer": f"{0x0055AED6DCD90281E5 + self.sequence:018X}",
        }
        found: dict[str, Any] = record
        return found

    def keys(self, prefix: str = "results/") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def result(self, key: str) -> dict[str, Any]:
        body = self.s3.get_object(Bucket=self.bucket, Key=f"results/{key}.json")["Body"].read()
        found: dict[str, Any] = json.loads(body)
        return found

    def given_up(self) -> list[tuple[str, Any]]:
        """The dead letters, each with its reason; they are taken out."""
        found = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.dead_letters, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                found.append(
                    (message["MessageAttributes"]["reason"]["StringValue"], message["Body"])
                )
                self.sqs.delete_message(
                    QueueUrl=self.dead_letters, ReceiptHandle=message["ReceiptHandle"]
                )
        return found


def messages(*bodies: str, count: int = 1) -> dict[str, Any]:
    """What Lambda hands over of a queue."""
    sent = event("sqs")
    (one,) = sent["Records"]
    records = []
    for n, body in enumerate(bodies):
        record = copy.deepcopy(one) | {"messageId": f"message-{n}", "body": body}
        record["attributes"]["ApproximateReceiveCount"] = str(count)
        records.append(record)
    return {"Records": records}


def of(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": records})


def kept(response: Any) -> list[str]:
    return [one["itemIdentifier"] for one in response["batchItemFailures"]]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as aws:
        yield aws


@pytest.fixture
def shop(
    aws: Aws, fronts: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Shop]:
    bucket = f"pets-{abs(hash(request.node.name)) % 10**12}"
    aws.client("s3").create_bucket(Bucket=bucket)
    queue = aws.client("sqs").create_queue(QueueName=f"{bucket}-dead")["QueueUrl"]
    with peer(getattr(request, "param", named_detector)) as endpoint:
        yield Shop(aws, bucket, queue, endpoint, fronts, tmp_path)


@pytest.fixture
def front(shop: Shop) -> Iterator[Function]:
    with shop.front() as function:
        yield function


def test_an_image_gets_its_result(shop: Shop, front: Function) -> None:
    assert front({"Records": [shop.arrives("in/cat.jpg")]}) is None
    assert shop.keys() == ["results/in/cat.jpg.json"]
    result = shop.result("in/cat.jpg")
    assert result["picture"] == f"s3://{shop.bucket}/in/cat.jpg"
    assert result["class"] == "Abyssinian" and result["confidence"] == 0.987654328
    assert [one["label"] for one in result["detections"]] == ["Abyssinian", "yorkshire_terrier"]
    with Image.open(io.BytesIO(JPEG)) as image:
        assert (result["width"], result["height"]) == image.size
    assert not shop.given_up()


def test_keys_are_understood_as_s3_writes_them(shop: Shop, front: Function) -> None:
    keys = ["in/my cat+dog.jpg", "in/Käthe 100%.jpg", "in/a/b=c&d.jpg", "in/猫.jpg"]
    front({"Records": [shop.arrives(key) for key in keys]})
    assert set(shop.keys()) == {f"results/{key}.json" for key in keys}


def test_every_record_is_handled_and_a_bad_one_harms_no_other(shop: Shop, front: Function) -> None:
    records = [
        shop.arrives("in/1.jpg"),
        shop.arrives("in/broken.jpg", b"not an image"),
        shop.arrives("in/2.jpg"),
    ]
    front({"Records": records})
    assert "detections" in shop.result("in/1.jpg") and "detections" in shop.result("in/2.jpg")
    ((reason, body),) = shop.given_up()
    assert "in/broken.jpg: cannot be decoded" in reason
    assert json.loads(body) == {"Records": [records[1]]}
    assert shop.result("in/broken.jpg")["error"] == reason


def test_a_batch_of_messages_is_handled_message_by_message(shop: Shop, front: Function) -> None:
    response = front(
        messages(
            of(shop.arrives("in/1.jpg"), shop.arrives("in/2.jpg")),
            of(shop.arrives("in/broken.jpg", b"no")),
            json.dumps(event("s3_test")),
            "nonsense",
            of(shop.arrives("in/3.jpg")),
        )
    )
    assert kept(response) == []
    assert len(shop.keys()) == 4
    reasons = sorted(reason for reason, _ in shop.given_up())
    assert len(reasons) == 2
    assert reasons[0] == "not an event from S3" and "cannot be decoded" in reasons[1]


@pytest.mark.parametrize("shop", [lambda _: Response(502, b"<html>")], indirect=True, ids=["down"])
def test_a_failure_that_may_be_temporary_is_retried_until_the_last_attempt(
    shop: Shop, front: Function
) -> None:
    event = shop.arrives("in/cat.jpg")
    for count in (1, 2):
        assert kept(front(messages(of(event), count=count))) == ["message-0"]
        assert not shop.given_up() and not shop.keys()
    assert kept(front(messages(of(event), count=3))) == []
    ((reason, body),) = shop.given_up()
    assert "responded 502" in reason and json.loads(body) == {"Records": [event]}
    assert shop.result("in/cat.jpg")["error"] == reason


def busy_at_first() -> Callable[[Request], Response]:
    left = iter([Response(429, b'{"error": "too many"}')])
    return lambda asked: next(left, None) or named_detector(asked)


@pytest.mark.parametrize("shop", [busy_at_first()], indirect=True, ids=["busy"])
def test_a_busy_endpoint_is_retried_before_the_queue_is(shop: Shop, front: Function) -> None:
    assert kept(front(messages(of(shop.arrives("in/cat.jpg"))))) == []
    assert len(shop.endpoint.requests) == 2
    assert shop.result("in/cat.jpg")["class"] == "Abyssinian"


def test_a_failed_image_is_processed_when_it_arrives_again(shop: Shop) -> None:
    record = shop.arrives("in/cat.jpg")
    down, shop.endpoint = shop.endpoint, shop.endpoint
    with peer(lambda _: Response(502, b"<html>")) as broken:
        shop.endpoint = broken
        with shop.front("broken") as front:
            front({"Records": [record]})
    assert "error" in shop.result("in/cat.jpg")
    ((_, body),) = shop.given_up()
    shop.endpoint = down
    with shop.front("fixed") as front:
        assert kept(front(messages(body))) == []
    assert shop.result("in/cat.jpg")["class"] == "Abyssinian"


def test_only_the_failed_messages_are_retried(shop: Shop) -> None:
    """The endpoint fails once, at the second image."""
    turn: list[int] = []

    def at_second(asked: Request) -> Response:
        turn.append(1)
        return Response(502, b"<html>") if len(turn) == 2 else named_detector(asked)

    body = of(shop.arrives("in/1.jpg"), shop.arrives("in/2.jpg"))
    with peer(at_second) as endpoint:
        shop.endpoint = endpoint
        with shop.front() as front:
            assert kept(front(messages(body))) == ["message-0"]
            assert kept(front(messages(body, count=2))) == []
    assert len(turn) == 3 and len(shop.keys()) == 2


def test_the_same_event_twice_writes_one_result(shop: Shop, front: Function) -> None:
    record = shop.arrives("in/cat.jpg")
    first = front(messages(of(record), of(record)))
    written = shop.s3.head_object(Bucket=shop.bucket, Key="results/in/cat.jpg.json")
    front({"Records": [record]})
    again = shop.s3.head_object(Bucket=shop.bucket, Key="results/in/cat.jpg.json")
    assert kept(first) == [] and len(shop.endpoint.requests) == 1
    assert again["LastModified"] == written["LastModified"]


def test_two_at_the_same_event_at_once_write_one_result(shop: Shop) -> None:
    """The endpoint responds once both have sent the image."""
    together = threading.Barrier(2)

    def both(asked: Request) -> Response:
        together.wait(30)
        return named_detector(asked)

    shop.s3.put_bucket_versioning(Bucket=shop.bucket, VersioningConfiguration={"Status": "Enabled"})
    sent = {"Records": [shop.arrives("in/cat.jpg")]}
    with peer(both) as endpoint:
        shop.endpoint = endpoint
        with shop.front("a") as a, shop.front("b") as b:
            threads = [threading.Thread(target=one, args=(sent,)) for one in (a, b)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    versions = shop.s3.list_object_versions(Bucket=shop.bucket, Prefix="results/")["Versions"]
    assert len(endpoint.requests) == 2 and len(versions) == 1


def test_a_replaced_image_gets_the_newer_images_result(shop: Shop, front: Function) -> None:
    old = shop.arrives("in/cat.jpg")
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")
    new = shop.arrives("in/cat.jpg", file.getvalue())
    front({"Records": [old]})
    assert not shop.keys()
    front({"Records": [new, old]})
    assert shop.result("in/cat.jpg")["width"] == 30
    front({"Records": [shop.arrives("in/cat.jpg")]})
    assert shop.result("in/cat.jpg")["width"] == 24


def test_results_and_what_lies_elsewhere_trigger_nothing(shop: Shop, front: Function) -> None:
    records = [shop.arrives(key) for key in ("results/in/cat.jpg.jpg", "elsewhere.jpg", "in/a/")]
    front({"Records": records})
    assert shop.keys() == ["results/in/cat.jpg.jpg"]
    assert not shop.endpoint.requests and not shop.given_up()


def test_an_image_that_is_gone_is_skipped(shop: Shop, front: Function) -> None:
    front({"Records": [shop.record("in/gone.jpg", "d41d8cd98f00b204e9800998ecf8427e")]})
    assert not shop.keys() and not shop.given_up()


def test_the_drawn_image_is_written_on_request(shop: Shop) -> None:
    with shop.front(DRAW="true") as front:
        front({"Records": [shop.arrives("in/cat.jpg")]})
    assert shop.keys() == ["results/in/cat.jpg.jpg", "results/in/cat.jpg.json"]
    drawn = shop.s3.get_object(Bucket=shop.bucket, Key="results/in/cat.jpg.jpg")
    assert drawn["ContentType"] == "image/jpeg"
    with Image.open(io.BytesIO(drawn["Body"].read())) as image:
        assert image.format == "JPEG"


def test_without_a_dead_letter_queue_nothing_is_dropped(shop: Shop) -> None:
    gone = shop.dead_letters + "-gone"
    with shop.front(DEAD_LETTER_URL=gone) as front:
        record = shop.arrives("in/broken.jpg", b"no")
        assert kept(front(messages(of(record), of(shop.arrives("in/cat.jpg")), count=3))) == [
            "message-0"
        ]
        good = shop.arrives("in/dog.jpg")
        assert "errorType" in front({"Records": [record, good]})
    assert {"results/in/cat.jpg.json", "results/in/dog.jpg.json"} <= set(shop.keys())


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEAD_LETTER_URL", ""), ("RESULTS_PREFIX", "in/results/"), ("DRAW", "perhaps")],
)
def test_an_invalid_setting_stops_the_start_naming_it(shop: Shop, name: str, value: str) -> None:
    with pytest.raises(AssertionError, match=name), shop.front(**{name: value}):
        pass


@pytest.mark.soak
def test_many_events_in_parallel_processes_lose_nothing(shop: Shop) -> None:
    """Every tenth is sent twice, to two processes, and every fiftieth is not an image."""
    keys = [f"in/{n:04}.jpg" for n in range(soak.count(150, 1000))]
    bad = set(keys[::50])
    records = [shop.arrives(key, b"no" if key in bad else JPEG) for key in keys]
    bodies = [of(record) for record in records]
    again = bodies[5::10]
    batches = [sent[at : at + 10] for sent in (bodies, again) for at in range(0, len(sent), 10)]
    lock, failures = threading.Lock(), []

    def work(front: Function, mine: list[list[str]]) -> None:
        for batch in mine:
            response = kept(front(messages(*batch)))
            with lock:
                failures.extend(response)

    with shop.front("0") as a, shop.front("1") as b, shop.front("2") as c:
        threads = [
            threading.Thread(target=work, args=(front, batches[n::3]))
            for n, front in enumerate((a, b, c))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert set(shop.keys()) == {f"results/{key}.json" for key in keys}
    errors = Counter("cannot be decoded" in reason for reason, _ in shop.given_up())
    assert errors == {True: len(bad)}
