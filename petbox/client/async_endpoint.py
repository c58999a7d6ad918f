"""Detects through an asynchronous SageMaker endpoint: uploads, invokes, waits, and fetches.

The requests are uploaded beside the endpoint's responses and deleted once they are answered. All
are queued before the first response is waited for, so that the endpoint scales by the whole queue.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petbox import wire
from petbox.aws import s3, session
from petbox.aws.names import S3Address
from petbox.cli.parallel import in_order
from petbox.cli.program import say
from petbox.client import transport
from petbox.client.call_journal import Called, Journal
from petbox.client.detections import Detections
from petbox.client.response_polling import Polling
from petbox.client.selection import selected
from petbox.client.sources import AT_ONCE, Reader
from petbox.errors import DataError, ServiceError, WireError
from petbox.images import drawn_copies
from petbox.images.photos import STDIN, Photo

REQUESTS = "petbox-requests"  # a folder in that of the endpoint's responses
SERVES = ("InService", "Updating", "SystemUpdating", "RollingBack")


@dataclass(frozen=True)
class Sent:
    photo: Photo  # without its file, unless that cannot be read again
    digest: str  # of the request
    called: Called
    earlier: bool  # by an interrupted run


class AsyncEndpoint:
    """`minutes` without any response make the remaining images fail.

    `copies` are the files for images with their boxes drawn, by the images' names.
    """

    def __init__(
        self,
        name: str,
        *,
        names: Mapping[int, str],
        min_score: float | None,
        parallel: int,
        minutes: float,
        copies: Mapping[str, Path],
    ) -> None:
        account = session.Account()
        self._s3, self._runtime = account.client("s3"), account.client("sagemaker-runtime")
        endpoint, output = _described(account, name)
        self.name, self._names, self._min_score = name, names, min_score
        self._workers, self._minutes, self._copies = min(parallel, AT_ONCE), minutes, copies
        self._reader = Reader(shrink=False, seconds=transport.SECONDS)
        self._requests = S3Address.parse(output["S3OutputPath"]).folder / REQUESTS
        self._reports_failures = "S3FailurePath" in output
        self._journal = Journal(
            endpoint["EndpointArn"], endpoint["EndpointConfigName"], str(self._requests)
        )

    def send(self, images: Sequence[str]) -> Generator[Sent | Detections, None, None]:
        """What was sent for each image, in order, or the error of one that cannot be read."""
        return in_order(self._send, images, self._workers, threading.Event())

    def _send(self, image: str) -> Sent | Detections:
        try:
            photo = self._reader.read(image)
        except DataError as error:
            return Detections(image, error=error)
        signature = "" if self._names else transport.DETECT
        body = wire.request([photo.encoded], signature=signature)
        digest = hashlib.sha256(body).hexdigest()
        earlier = self._journal.find(digest)
        called = earlier or self._call(self._request(digest), body)
        if not earlier:
            self._journal.add(digest, called)
        kept = photo if image == STDIN else replace(photo, encoded=b"")
        return Sent(kept, digest, called, earlier is not None)

    def _request(self, digest: str) -> S3Address:
        return S3Address(self._requests.bucket, f"{self._requests.key}{digest}.json")

    def _call(self, request: S3Address, body: bytes) -> Called:
        with session.calling(str(request)):
            self._s3.put_object(Bucket=request.bucket, Key=request.key, Body=body)
        with session.calling(f"endpoint {self.name}"):
            response = self._runtime.invoke_endpoint_async(
                EndpointName=self.name, InputLocation=str(request), ContentType="application/json"
            )
        return Called(response["OutputLocation"], response.get("FailureLocation"))

    def results(
        self, sent: Sequence[Sent | Detections], arrived: Callable[[], object]
    ) -> Generator[Detections, None, None]:
        """The detections of each image, in order; `arrived` is called for each as it comes."""
        done = {n: one for n, one in enumerate(sent) if isinstance(one, Detections)}
        waiting = {n: one for n, one in enumerate(sent) if isinstance(one, Sent)}
        if earlier := sum(one.earlier for one in waiting.values()):
            say(f"resuming: {earlier} of {len(sent)} images were sent by an earlier run")
        answered: set[str] = set()
        polling = Polling(waiting, self._result, self._workers, 60 * self._minutes)
        failed = False
        try:
            for n, one in enumerate(sent):
                if isinstance(one, Detections):
                    arrived()
                while n not in done:
                    came = polling.next()
                    answered |= {waiting[k].digest for k in came}
                    done |= came or {k: self._missing(left) for k, left in polling.waiting.items()}
                    for _ in came or polling.waiting:
                        arrived()
                failed = failed or done[n].error is not None
                yield done.pop(n)
        finally:
            self._delete_requests(answered)
        if not failed:
            self._journal.end()

    def _result(self, sent: Sent, late: bool) -> Detections | None:
        """None before there is a response."""
        name, called = sent.photo.name, sent.called
        try:
            if (body := self._fetched(called.output)) is not None:
                return self._detections(sent.photo, body)
            failure = self._fetched(called.failure) if late and called.failure else None
            if failure is None:
                return None
            text = wire.error(failure) or failure[:500].decode("utf-8", "replace")
            raise WireError(f"endpoint {self.name} failed: {_advised(text)}")
        except DataError as error:  # the image was removed meanwhile
            return Detections(name, error=error)
        except WireError as error:
            self._journal.forget(sent.digest)  # so that the same command calls again
            return Detections(name, error=WireError(f"{name}: {error}"))

    def _fetched(self, location: str) -> bytes | None:
        at = S3Address.parse_object(location)
        try:
            with session.calling(location, "NoSuchKey"):
                return bytes(self._s3.get_object(Bucket=at.bucket, Key=at.key)["Body"].read())
        except session.Rejected as error:
            if error.code != "AccessDenied":
                raise
            raise ServiceError(
                f"{error}; without s3:ListBucket, S3 also denies what is not there yet"
            ) from error
        return None

    def _detections(self, photo: Photo, response: bytes) -> Detections:
        predictions = wire.detections(response)
        if len(predictions) != 1:
            raise WireError(
                f"{photo.name}: got {len(predictions)} predictions for one image; is it a detector?"
            )
        if photo.name in self._copies:
            photo = photo if photo.encoded else self._reader.read(photo.name)
        found = selected(photo, predictions[0], self._names, self._min_score)
        if photo.name in self._copies:
            drawn_copies.save(found.draw(), self._copies[photo.name])
        return found.without_image()

    def _missing(self, sent: Sent) -> Detections:
        advice = "the same command looks for it again"
        if not self._reports_failures:
            advice += f"; failures are not reported: petbox endpoint up {self.name} --async-errors"
        text = f"{sent.photo.name}: no response from endpoint {self.name} in {self._minutes:g} min"
        return Detections(sent.photo.name, error=ServiceError(f"{text}; {advice}"))

    def _delete_requests(self, digests: Collection[str]) -> None:
        keys = [self._request(digest).key for digest in digests]
        try:
            s3.delete(self._s3, self._requests.bucket, keys)
        except session.CallFailed as error:
            say(f"{error}; the requests remain in {self._requests}")


def _described(account: session.Account, name: str) -> tuple[Any, Any]:
    """The endpoint, and where its responses go."""
    sagemaker = account.client("sagemaker")
    with session.calling(f"endpoint {name}"):
        endpoint = sagemaker.describe_endpoint(EndpointName=name)
        if endpoint["EndpointStatus"] not in SERVES:
            raise ServiceError(
                f"endpoint {name}: is {endpoint['EndpointStatus']}; "
                f"see: petbox endpoint status {name}"
            )
        config = sagemaker.describe_endpoint_config(
            EndpointConfigName=endpoint["EndpointConfigName"]
        )
    output = config.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    if "S3OutputPath" not in output:
        raise ServiceError(
            f"endpoint {name}: is not asynchronous; use --endpoint {name}, or deploy one: "
            "petbox endpoint up … --async s3://bucket/answers"
        )
    return endpoint, output


def _advised(text: str) -> str:
    text = " ".join(text.split())
    return f"{text}; pass --labels PATH" if transport.NO_DETECT in text else text
