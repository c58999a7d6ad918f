"""The S3 front: a picture that arrives under a prefix is looked at, and results/KEY.json written.

Takes S3's events, sent to it directly or through a queue of SQS. Each record stands for itself:
one that fails goes to the dead-letter queue with its reason, the others are not touched by that.
What may go better later is tried again as often as the queue allows. The same event twice writes
one result: S3's conditional writes see to it, whoever else is at it meanwhile.
"""

from __future__ import annotations

import json
import time
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from petbox import aws, client, lambda_settings, photos, picture_answer, picture_results, retrying
from petbox.errors import DataError, PetboxError, ServiceError, WireError
from petbox.picture_answer import MB, Finder
from petbox.picture_results import Arrival, Results

MOST_BYTES = 100 * MB  # of a picture, which the function holds in its memory
PATIENCE = 20.0  # seconds that a busy endpoint is waited for before the queue waits instead
NAME_OF_REASON = "reason"
LONGEST_REASON = 1000

logger = Logger(service="s3_front")
metrics = Metrics(namespace="petbox", service="s3_front")
batches = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)

INPUT = lambda_settings.text("INPUT_PREFIX", "in/")
RESULTS = lambda_settings.text("RESULTS_PREFIX", "results/")
MIN_SCORE = lambda_settings.number("MIN_SCORE", 0.5, 0, 1)
DRAW = lambda_settings.switch("DRAW")
DEAD_LETTERS = lambda_settings.needed("DEAD_LETTER_URL")
MOST_TRIES = lambda_settings.number("MOST_TRIES", 3, 1, 1000)
if RESULTS.startswith(INPUT) or INPUT.startswith(RESULTS):
    raise DataError(f"RESULTS_PREFIX={RESULTS} and INPUT_PREFIX={INPUT}: one lies in the other")

account = aws.Account()
s3, sqs = account.client("s3"), account.client("sqs")
finder = Finder(
    client.Detector(
        retrying.patient(
            client.at_endpoint(lambda_settings.needed("ENDPOINT_NAME")),
            time.sleep,
            patience=PATIENCE,
        )
    ),
    most=int(lambda_settings.number("REQUEST_MB", 25, 0.1, 25) * MB),
)
results = Results(s3, RESULTS)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> Any:
    records = event.get("Records") or []
    if any(record.get("eventSource") == "aws:sqs" for record in records):
        return process_partial_response(event, _message, batches, context)
    _settle_all(records, last=True)  # S3 calls once, and nobody would try one of them again
    return None


def _message(record: SQSRecord) -> None:
    """One message: an event of S3's. Raises what shall be tried again."""
    last = int(record.attributes.approximate_receive_count or 1) >= MOST_TRIES
    records = _records(record.body)
    if records is None:
        _give_up(record.body, "not an event of S3's")
    else:
        _settle_all(records, last)


def _records(body: str) -> list[dict[str, Any]] | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    if isinstance(event, dict) and event.get("Event") == "s3:TestEvent":
        return []  # what S3 sends when the notification is made
    records = event.get("Records") if isinstance(event, dict) else None
    return records if isinstance(records, list) and records else None


def _settle_all(records: list[dict[str, Any]], last: bool) -> None:
    """Each of them, whatever becomes of the others; then raises what is left to be done."""
    trouble = [error for one in records if (error := _settle(one, last)) is not None]
    if trouble:
        raise trouble[0]


def _settle(record: dict[str, Any], last: bool) -> Exception | None:
    """Does what a record asks for, or gives it up; what it returns may go better another time."""
    try:
        _look(Arrival.of(record))
    except Exception as error:
        if not isinstance(error, PetboxError):
            logger.exception("the front failed")
        if not last and not isinstance(error, (DataError, WireError)):
            logger.warning("to be tried again: %s", error)
            return error
        try:
            _fail(record, error)
        except PetboxError as trouble:
            return trouble
    return None


def _look(arrival: Arrival) -> None:
    if not arrival.key.startswith(INPUT) or arrival.key.startswith(RESULTS):
        logger.info("%s: not under %s, so passed over", arrival, INPUT)
        return
    if arrival.key.endswith("/") or results.is_there(arrival):
        return  # what consoles make for a folder; or an event that came twice
    encoded = picture_results.picture(s3, arrival, MOST_BYTES)
    if encoded is None:
        logger.info("%s: has been replaced or removed since", arrival)
        return
    photo = photos.photo(str(arrival), encoded, shrink=True)
    found = finder.find(photo, MIN_SCORE)
    jpeg = picture_answer.drawn(photo, found) if DRAW else None
    if results.write(arrival, picture_answer.answer(photo, found), jpeg):
        metrics.add_metric("Pictures", MetricUnit.Count, 1)


def _fail(record: dict[str, Any], error: Exception) -> None:
    """To the dead-letter queue first; then its result, for those who wait for it, says why."""
    reason = " ".join(str(error).split()) or type(error).__name__
    _give_up(json.dumps({"Records": [record]}), reason)
    try:
        results.write_failure(Arrival.of(record), reason)
    except PetboxError as trouble:
        logger.warning("the reason is in the dead-letter queue only: %s", trouble)


def _give_up(body: str, reason: str) -> None:
    logger.error("given up: %s", reason)
    metrics.add_metric("Failed", MetricUnit.Count, 1)
    shown = "".join(letter if letter.isprintable() else "?" for letter in reason)
    attribute = {"DataType": "String", "StringValue": shown[:LONGEST_REASON]}
    try:
        with aws.calling(DEAD_LETTERS):
            sqs.send_message(
                QueueUrl=DEAD_LETTERS,
                MessageBody=body,
                MessageAttributes={NAME_OF_REASON: attribute},
            )
    except aws.Trouble as error:
        raise ServiceError(f"{error}; so this one is kept: {reason}") from error
