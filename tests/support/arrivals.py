"""Images that arrive in S3 by the thousand: moto's S3 and SQS, and the S3 front in processes.

`Arrivals` has the bucket, its queues and Lambda's side of them, which deletes the messages that a
container does not report as failed. Things go wrong as they do on AWS: S3, SQS and the endpoint
throttle, the endpoint fails, messages come twice, images are broken or replaced, and a container is
killed with a batch in its hands.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.aws import REGION, Aws, moto, rejection
from support.lambda_runtime import LONG, ContainerDied, Function, event, running
from support.peer import GOLDEN, Peer, Request, Response, named_detector, peer

from petbox.lambdas.results import Arrival

JPEG = (GOLDEN / "picture.jpg").read_bytes()
BATCH = 5  # as in the template
TRIES = 8
AHEAD = 200  # messages that wait in the queue: moto searches all of them each time
AGAIN = "-again"  # of messages that SQS delivers twice at once
NAMES = ("cat", "my cat", "cat+dog", "Käthe 100%", "a/b=c&d", "猫")
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class Trouble:
    """What goes wrong: every so many times, or never with 0."""

    throttled_by_aws: int = 50  # calls of the function to S3 and SQS
    throttled: int = 20  # requests to the endpoint
    failing: int = 30
    twice: int = 10  # messages
    broken: int = 20  # images
    empty: int = 25
    replaced: int = 15
    killed: int = 20  # containers: once, at this request to the endpoint


NONE = Trouble(0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Report:
    images: int
    seconds: float
    latencies: list[float]  # from an image's upload to the end of the last batch it was in, sorted
    happened: Counter[str]

    def quantile(self, part: float) -> float:
        return self.latencies[int(len(self.latencies) * part)]

    def __str__(self) -> str:
        happened = ", ".join(f"{count} {name}" for name, count in sorted(self.happened.items()))
        return (
            f"{self.images} images in {self.seconds:.1f} s, {self.images / self.seconds:.1f} per "
            f"second, p50 {self.quantile(0.5):.2f} s, p99 {self.quantile(0.99):.2f} s; {happened}"
        )


@dataclass
class Arrivals:
    """A bucket that notifies a queue, with a dead-letter queue, and what is put into it."""

    aws: Aws
    name: str
    trouble: Trouble
    hidden: int = 30  # seconds until a message comes again that nobody deleted
    happened: Counter[str] = field(default_factory=Counter)
    expected: dict[str, bool] = field(default_factory=dict)  # by key, whether it can be decoded
    replaced: set[str] = field(default_factory=set)
    put: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    latencies: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.s3, self.sqs = self.aws.client("s3"), self.aws.client("sqs")
        self.s3.create_bucket(Bucket=self.name)
        # So that a result that is written twice has two versions.
        self.s3.put_bucket_versioning(
            Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
        )
        self.dead_letters = self._queue(f"{self.name}-dead")
        arn = f"arn:aws:sqs:{REGION}:123456789012:{self.name}"
        redrive = {"deadLetterTargetArn": f"{arn}-dead", "maxReceiveCount": TRIES + 2}
        self.queue = self._queue(
            self.name, VisibilityTimeout=str(self.hidden), RedrivePolicy=json.dumps(redrive)
        )
        notification = {
            "QueueArn": arn,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
        }
        self.s3.put_bucket_notification_configuration(
            Bucket=self.name, NotificationConfiguration={"QueueConfigurations": [notification]}
        )

    def _queue(self, name: str, **attributes: str) -> str:
        url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def happens(self, what: str) -> bool:
        """Whether it goes wrong this time."""
        every = getattr(self.trouble, what)
        with self._lock:
            self._turns[what] += 1
            occurs = bool(every) and self._turns[what] % every == 0
            self.happened[what] += occurs
        return occurs

    # Images

    def upload(self, numbers: range) -> None:
        """Puts so many images, and a console's marker of a folder."""
        self.s3.put_object(Bucket=self.name, Key="in/folder/", Body=b"")
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(self._put, numbers):
                pass

    def _put(self, number: int) -> None:
        key = f"in/{number:05} {NAMES[number % len(NAMES)]}.jpg"
        body = b"" if self.happens("empty") else b"no image" if self.happens("broken") else JPEG
        self.expected[key] = body == JPEG
        contents = [body]
        if body == JPEG and self.happens("replaced"):
            self.replaced.add(key)
            contents = [b"an older one", body]
        for content in contents:
            with self._lock:
                order = len(self.put)
                self.put[key, hashlib.md5(content).hexdigest()] = order, time.monotonic()
            self.s3.put_object(Bucket=self.name, Key=key, Body=content)

    # Lambda's side of the queue

    def left(self) -> int:
        """The messages that the queue still has, visible or not."""
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["All"])
        kinds = ("", "NotVisible", "Delayed")
        return sum(int(found["Attributes"][f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)

    def batch(self) -> dict[str, Any]:
        """The next messages, as Lambda hands them over; some come again at once, and once more."""
        found = self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=BATCH, AttributeNames=["All"]
        )
        (one,) = event("sqs")["Records"]
        records = []
        for message in found.get("Messages", ()):
            record = {
                **copy.deepcopy(one),
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": self._in_order(message["Body"]),
                "attributes": message["Attributes"],
            }
            records.append(record)
            if message["Attributes"]["ApproximateReceiveCount"] == "1" and self.happens("twice"):
                records.append(record | {"messageId": message["MessageId"] + AGAIN})
                self.sqs.send_message(QueueUrl=self.queue, MessageBody=message["Body"])
        return {"Records": records}

    def _in_order(self, body: str) -> str:
        """With the order of an object's versions, which moto leaves out."""
        event = json.loads(body)
        for record in event.get("Records", ()):
            arrival = Arrival.of(record)
            order, _ = self.put.get((arrival.key, arrival.etag), (0, 0))
            record["s3"]["object"]["sequencer"] = f"{order:018X}"
        return json.dumps(event)

    def settle(self, batch: dict[str, Any], response: dict[str, Any]) -> None:
        """Deletes the messages that have been processed."""
        failed = {one["itemIdentifier"] for one in response["batchItemFailures"]}
        sent = [one for one in batch["Records"] if not one["messageId"].endswith(AGAIN)]
        done = [one for one in sent if one["messageId"] not in failed]
        with self._lock:
            self.happened["retried"] += len(failed)
        if done:
            entries = [
                {"Id": one["messageId"], "ReceiptHandle": one["receiptHandle"]} for one in done
            ]
            self.sqs.delete_message_batch(QueueUrl=self.queue, Entries=entries)
        for one in done:
            for record in json.loads(one["body"]).get("Records", ()):
                arrival = Arrival.of(record)
                if since := self.put.get((arrival.key, arrival.etag)):
                    self.latencies[arrival.key] = time.monotonic() - since[1]

    # What came of it

    def results(self) -> dict[str, list[dict[str, Any]]]:
        """Every version of each result, by the image's key; the newest first."""
        found: dict[str, list[dict[str, Any]]] = {}
        pages = self.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix="results/"
        )
        for one in itertools.chain.from_iterable(page.get("Versions", ()) for page in pages):
            body = self.s3.get_object(Bucket=self.name, Key=one["Key"], VersionId=one["VersionId"])[
                "Body"
            ].read()
            key = one["Key"].removeprefix("results/").removesuffix(".json")
            found.setdefault(key, []).append(json.loads(body))
        return found

    def given_up(self) -> set[str]:
        """The keys of the dead letters. Deletes them: of many, moto takes long to give some."""
        keys = set()
        while found := self.sqs.receive_message(QueueUrl=self.dead_letters, MaxNumberOfMessages=10):
            if "Messages" not in found:
                break
            for message in found["Messages"]:
                keys |= {Arrival.of(one).key for one in json.loads(message["Body"])["Records"]}
                receipt = message["ReceiptHandle"]
                self.sqs.delete_message(QueueUrl=self.dead_letters, ReceiptHandle=receipt)
        return keys


@contextmanager
def arrivals(name: str, trouble: Trouble, hidden: int) -> Iterator[Arrivals]:
    """In a moto that throttles the function, but not the test.

    One request at a time: of a message that arrives while another is deleted moto keeps nothing.
    """
    made: list[Arrivals] = []
    lock = threading.Lock()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # of a line for each request

    def throttling(app: Any) -> Any:
        def respond(environ: dict[str, Any], start: Any) -> Any:
            of_petbox = "petbox/" in environ.get("HTTP_USER_AGENT", "")
            if not of_petbox or not made[0].happens("throttled_by_aws"):
                with lock:
                    return app(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = b"" if environ["REQUEST_METHOD"] == "HEAD" else SLOW_DOWN
            start("503 Slow Down", [("Content-Length", str(len(body)))])
            return [body]

        return respond

    with moto(throttling) as aws:
        made.append(Arrivals(aws, name, trouble, hidden))
        yield made[0]


@dataclass
class Fleet:
    """Containers of the S3 front before an endpoint, each a process that works on batches."""

    arrivals: Arrivals
    fronts: Mapping[str, Path]
    folder: Path
    endpoint_seconds: float  # what the model takes for an image

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._busy: list[Function] = []  # the oldest batch first

    def work(self, count: int, processes: int) -> Report:
        """Uploads so many images, and processes them until the queue is empty."""
        assert self.fronts["s3_front"], "is unpacked here, and not by each thread"
        started = threading.Barrier(processes + 1, timeout=LONG)
        with peer(self._endpoint) as endpoint, ThreadPoolExecutor(processes) as pool:
            containers = [
                pool.submit(self._container, endpoint, str(number), started)
                for number in range(processes)
            ]
            try:
                started.wait()
                begin = time.monotonic()
                for first in range(0, count, AHEAD):
                    self.arrivals.upload(range(first, min(first + AHEAD, count)))
                    self._wait_until(AHEAD, containers)
                self._wait_until(0, containers)
                seconds = time.monotonic() - begin
            finally:
                self._over.set()
                for one in containers:
                    one.result()
        latencies = sorted(self.arrivals.latencies.values())
        return Report(count, seconds, latencies, self.arrivals.happened)

    def _wait_until(self, left: int, containers: Sequence[Future[None]]) -> None:
        """Until the queue has no more messages than these, or a container has failed."""
        # Counted twice, because a message may become visible while moto counts.
        while self.arrivals.left() > left or self.arrivals.left() > left:
            if any(one.done() for one in containers):
                return
            time.sleep(0.2)

    def _endpoint(self, request: Request) -> Response:
        if not self.arrivals.happened["killed"] and self.arrivals.happens("killed"):
            self._busy[0].kill()
        if self.arrivals.happens("throttled"):
            return rejection("ThrottlingException", "Rate exceeded")
        if self.arrivals.happens("failing"):
            return Response(502, b"<html>")
        time.sleep(self.endpoint_seconds)
        return named_detector(request)

    def _container(self, endpoint: Peer, name: str, started: threading.Barrier) -> None:
        """Takes batches until it is over; a new process takes the place of a killed one."""
        env = {
            **self.arrivals.aws.env,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint.url,
            "ENDPOINT_NAME": "pets",
            "ARRIVALS_URL": self.arrivals.queue,
            "DEAD_LETTER_URL": self.arrivals.dead_letters,
            "MOST_TRIES": str(TRIES),
            "RETRY_SECONDS": "1",
        }
        try:
            with running(self.fronts, "s3_front", self.folder / name, env) as function:
                if not name.endswith(AGAIN):
                    started.wait()
                self._batches(function)
        except ContainerDied:
            self._container(endpoint, name + AGAIN, started)
        except BaseException:
            started.abort()
            raise

    def _batches(self, function: Function) -> None:
        while not self._over.is_set():
            batch = self.arrivals.batch()
            if not batch["Records"]:
                self._over.wait(0.05)
                continue
            self._busy.append(function)
            try:
                response = function(batch)
            finally:
                self._busy.remove(function)
            self.arrivals.settle(batch, response)
