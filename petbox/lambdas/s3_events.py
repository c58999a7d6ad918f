"""S3's events: an image that arrives under a prefix gets its results/KEY.json.

Events come directly or through an SQS queue. Records are independent: one that fails goes to the
dead-letter queue with its reason, without effect on the others. Failures that may be temporary are
retried as often as the queue allows. A repeated event writes one result: S3's conditional writes
see to it, even with several functions at work.
"""

from __future__ import annotations

import json
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from petbox.aws import session
from petbox.cli.sizes import MIB
from petbox.client import sources  # noqa: F401  # Pillow loads now, not with an image
from petbox.client.detector import Detector
from petbox.errors import DataError, PetboxError, ServiceError, WireError
from petbox.lambdas import results as lambdas_results
from petbox.lambdas import settings
from petbox.lambdas.results import Arrival, Results
from petbox.lambdas.summary import summary

MOST_BYTES = 100 * MIB  # of an image, which the function holds in memory
NAME_OF_REASON = "reason"
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
        self._most_tries = settings.number("MOST_TRIES", 3, 1, 1000)
        if self._output.startswith(self._input) or self._input.startswith(self._output):
            raise DataError(
                f"RESULTS_PREFIX={self._output} and INPUT_PREFIX={self._input}: neither may "
                "contain the other"
            )
        account = session.Account()
        self._s3, self._sqs = account.client("s3"), account.client("sqs")
        self._results = Results(self._s3, self._output)
        self._batches = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
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
            return process_partial_response(event, self._message, self._batches, context)
        self._process_all(records, last=True)  # S3 calls once, and nothing would retry
        return None

    def _message(self, record: SQSRecord) -> None:
        """One message: an event from S3. Raises what is to be retried."""
        last = int(record.attributes.approximate_receive_count or 1) >= self._most_tries
        records = _records(record.body)
        if records is None:
            self._give_up(record.body, "not an event from S3")
        else:
            self._process_all(records, last)

    def _process_all(self, records: list[dict[str, Any]], last: bool) -> None:
        """Processes each record, even if others fail; then raises the first error to retry."""
        errors = [error for one in records if (error := self._process(one, last)) is not None]
        if errors:
            raise errors[0]

    def _process(self, record: dict[str, Any], last: bool) -> Exception | None:
        """Writes the record's result, or gives it up; returns an error that may be temporary."""
        try:
            self._detect(Arrival.of(record))
        except Exception as error:
            if not isinstance(error, PetboxError):
                self._logger.exception("the function failed")
            if not last and not isinstance(error, (DataError, WireError)):
                self._logger.warning("will be retried: %s", error)
                return error
            try:
                self._fail(record, error)
            except PetboxError as failure:
                return failure
        return None

    def _detect(self, arrival: Arrival) -> None:
        if not arrival.key.startswith(self._input) or arrival.key.startswith(self._output):
            self._logger.info("%s: not under %s; skipped", arrival, self._input)
            return
        if arrival.key.endswith("/") or self._results.is_there(arrival):
            return  # a console's marker for a folder, or a repeated event
        encoded = lambdas_results.image(self._s3, arrival, MOST_BYTES)
        if encoded is None:
            self._logger.info("%s: has been replaced or removed meanwhile", arrival)
            return
        found = self._detector.detect(encoded, name=str(arrival), min_score=self._min_score)
        jpeg = found.jpeg() if self._draw else None
        if self._results.write(arrival, summary(found), jpeg):
            self._count("Pictures")

    def _fail(self, record: dict[str, Any], error: Exception) -> None:
        """Sends it to the dead-letter queue; then writes the reason as its result."""
        reason = " ".join(str(error).split()) or type(error).__name__
        self._give_up(json.dumps({"Records": [record]}), reason)
        try:
            self._results.write_failure(Arrival.of(record), reason)
        except PetboxError as failure:
            self._logger.warning("the reason is in the dead-letter queue only: %s", failure)

    def _give_up(self, body: str, reason: str) -> None:
        self._logger.error("given up: %s", reason)
        self._count("Failed")
        shown = "".join(letter if letter.isprintable() else "?" for letter in reason)
        attribute = {"DataType": "String", "StringValue": shown[:LONGEST_REASON]}
        try:
            with session.calling(self._dead_letters):
                self._sqs.send_message(
                    QueueUrl=self._dead_letters,
                    MessageBody=body,
                    MessageAttributes={NAME_OF_REASON: attribute},
                )
        except session.CallFailed as error:
            raise ServiceError(f"{error}; so this record stays in the queue: {reason}") from error

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, 1)


def _records(body: str) -> list[dict[str, Any]] | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    if isinstance(event, dict) and event.get("Event") == "s3:TestEvent":
        return []  # what S3 sends when the notification is set up
    records = event.get("Records") if isinstance(event, dict) else None
    return records if isinstance(records, list) and records else None
