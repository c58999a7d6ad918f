"""S3's events: an image that arrives under a prefix gets its results/KEY.json.

Events come directly or through an SQS queue, whose messages are processed in parallel. Records are
independent: one that fails goes to the dead-letter queue with its reason, without effect on the
others. Failures that may be temporary are retried with exponential backoff, by the time that the
queue hides the message. A repeated event writes one result: S3's conditional writes see to it, even
with several functions at work.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
from contextlib import nullcontext
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from petbox.aws import session
from petbox.cli.sizes import MIB
from petbox.client import sources  # noqa: F401  # Pillow loads now, not with an image
from petbox.client.detector import Detector
from petbox.errors import DataError, InvalidImage, PetboxError, ServiceError, WireError
from petbox.images import heic
from petbox.lambdas import results as lambdas_results
from petbox.lambdas import settings
from petbox.lambdas.results import Arrival, Results
from petbox.lambdas.summary import summary

MOST_BYTES = 100 * MIB  # of an image, which the function holds in memory
LARGE = 10 * MIB  # larger images, and drawings, are in memory one at a time
LONGEST_PAUSE = 900.0  # seconds before the next attempt
REASON = "reason"  # of a dead letter: in its body, and an attribute
LONGEST_REASON = 1000


class S3Events:
    """The handler of a function that S3 or its queue calls."""

    def __init__(self, service: str, detector: Detector) -> None:
        self._detector = detector
        self._min_score = settings.optional_number("MIN_SCORE", 0, 1)
        self._input = settings.text("INPUT_PREFIX", "in/")
        self._output = settings.text("RESULTS_PREFIX", "results/")
        self._draw = settings.switch("DRAW")
        self._dead_letters = settings.needed("DEAD_LETTER_URL")
        self._arrivals = settings.text("ARRIVALS_URL")
        self._most_tries = settings.number("MOST_TRIES", 8, 1, 1000)
        self._first_pause = settings.number("RETRY_SECONDS", 15, 0, LONGEST_PAUSE)
        if self._output.startswith(self._input) or self._input.startswith(self._output):
            raise DataError(
                f"RESULTS_PREFIX={self._output} and INPUT_PREFIX={self._input}: neither may "
                "contain the other"
            )
        account = session.Account()
        self._s3, self._sqs = account.client("s3"), account.client("sqs")
        self._results = Results(self._s3, self._output)
        self._batches = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
        self._alone, self._counting = threading.Lock(), threading.Lock()
        self._logger = Logger(service=service)
        self._metrics = Metrics(namespace="petbox", service=service)
        self._handle_logged = self._logger.inject_lambda_context(
            self._metrics.log_metrics(self._handle)
        )

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        return self._handle_logged(event, context)

    def _handle(self, event: dict[str, Any], context: Any) -> Any:
        records = event.get("Records") or []
        if any(record.get("eventSource") == "aws:sqs" for record in records):
            return async_process_partial_response(event, self._in_a_thread, self._batches, context)
        self._process_all({"Records": records}, last=True)  # S3 calls once: nothing would retry
        return None

    async def _in_a_thread(self, record: SQSRecord) -> None:
        await asyncio.to_thread(self._message, record)

    def _message(self, record: SQSRecord) -> None:
        """One message: an event from S3. Raises what is to be retried."""
        attempt = int(record.attributes.approximate_receive_count or 1)
        event = _event(record.body)
        try:
            if event is None:
                self._give_up(record.body, "not an event from S3", fault=False)
            else:
                self._process_all(event, last=attempt >= self._most_tries)
        except Exception:
            self._hide(record.receipt_handle, attempt)
            raise

    def _hide(self, receipt: str, attempt: int) -> None:
        """Lets the queue deliver the message again after a pause that doubles each time."""
        if not self._arrivals:
            return  # then it is retried after the queue's own timeout
        pause = min(LONGEST_PAUSE, self._first_pause * 2.0 ** min(attempt - 1, 16))
        try:
            with session.calling(self._arrivals):
                self._sqs.change_message_visibility(
                    QueueUrl=self._arrivals,
                    ReceiptHandle=receipt,
                    VisibilityTimeout=math.ceil(random.uniform(0.5, 1) * pause),
                )
        except session.CallFailed as error:
            self._logger.warning("retried only after the queue's own timeout: %s", error)

    def _process_all(self, event: dict[str, Any], last: bool) -> None:
        """Processes each record, even if others fail; then raises the first error to retry."""
        back = REASON in event
        errors = [self._process(one, last, back) for one in event["Records"]]
        for error in errors:
            if error is not None:
                raise error

    def _process(self, record: dict[str, Any], last: bool, back: bool) -> Exception | None:
        """Writes the record's result, or gives it up; returns an error that may be temporary."""
        try:
            self._detect(Arrival.of(record, back))
        except Exception as error:
            if not isinstance(error, PetboxError):
                self._logger.exception("the function failed")
            if not last and not isinstance(error, (DataError, WireError)):
                self._logger.warning("will be retried: %s", error)
                return error
            try:
                self._fail(record, error, back)
            except PetboxError as failure:
                return failure
        return None

    def _detect(self, arrival: Arrival) -> None:
        if not arrival.key.startswith(self._input) or arrival.key.startswith(self._output):
            self._logger.info("%s: not under %s; skipped", arrival, self._input)
            return
        if arrival.key.endswith("/"):
            return  # a console's marker for a folder
        self._results.check(arrival)
        if self._results.is_there(arrival):
            return  # a repeated event
        with self._alone if arrival.size > LARGE else nullcontext():
            encoded = lambdas_results.image(self._s3, arrival, MOST_BYTES)
            if encoded is None:
                self._logger.info("%s: has been replaced or removed meanwhile", arrival)
                return
            heic.reject(str(arrival), encoded)
            found = self._detector.detect(encoded, name=str(arrival), min_score=self._min_score)
        jpeg = None
        if self._draw:
            with self._alone:
                jpeg = found.jpeg()
        if self._results.write(arrival, summary(found), jpeg):
            self._count("Pictures")

    def _fail(self, record: dict[str, Any], error: Exception, back: bool) -> None:
        """Sends it to the dead-letter queue; then writes the reason as its result."""
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        fault = not isinstance(error, (DataError, InvalidImage))
        self._give_up(json.dumps({"Records": [record], REASON: reason}), reason, fault=fault)
        try:
            arrival = Arrival.of(record, back)
            self._results.check(arrival)
        except DataError:
            return  # about no object, or there can be no result: nobody waits for one
        self._results.write_failure(arrival, reason)

    def _give_up(self, body: str, reason: str, *, fault: bool) -> None:
        # Errors end a canary (serverless/canary.yaml), which an invalid image must not do.
        (self._logger.error if fault else self._logger.warning)("given up: %s", reason)
        self._count("Failed")
        shown = "".join(letter if letter.isprintable() else "?" for letter in reason)
        attribute = {"DataType": "String", "StringValue": shown}
        try:
            with session.calling(self._dead_letters):
                self._sqs.send_message(
                    QueueUrl=self._dead_letters,
                    MessageBody=body,
                    MessageAttributes={REASON: attribute},
                )
        except session.CallFailed as error:
            raise ServiceError(f"{error}; so this record stays in the queue: {reason}") from error

    def _count(self, name: str) -> None:
        with self._counting:
            self._metrics.add_metric(name, MetricUnit.Count, 1)


def _event(body: str) -> dict[str, Any] | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    if event.get("Event") == "s3:TestEvent":
        return {"Records": []}  # what S3 sends when the notification is set up
    records = event.get("Records")
    return event if isinstance(records, list) and records else None
