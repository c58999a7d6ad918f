"""The queue that S3 notifies of arriving images, and how long to wait for results because of it."""

from __future__ import annotations

import json
import time
from typing import Any

from petbox.aws import session
from petbox.aws.names import S3Address
from petbox.cli.program import say

# Seconds: longer than any pause between two attempts at an image (1800 s after a crash) and the
# attempt itself (at most 300 s).
WITHOUT_QUEUE = 2400.0
EMPTY = 300.0  # seconds without a message: S3's notifications may be minutes late, counts one
COUNTS = tuple(f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed"))


class Queue:
    """An SQS queue."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url

    def longest(self) -> float:
        """Seconds that a message can stay in it, if the function crashes each time."""
        found = self._attributes("VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy")
        kept = float(found["MessageRetentionPeriod"])
        redrive = json.loads(found.get("RedrivePolicy", "{}"))
        receives = int(redrive.get("maxReceiveCount", 0))
        return min(kept, receives * float(found["VisibilityTimeout"])) if receives else kept

    def is_empty(self) -> bool:
        """Whether no message waits, is being processed, or is waiting for a retry."""
        return not any(int(count) for count in self._attributes(*COUNTS).values())

    def _attributes(self, *names: str) -> dict[str, str]:
        with session.calling(self._url):
            found = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        attributes: dict[str, str] = found["Attributes"]
        return attributes


def queue_of(account: session.Account, to: S3Address) -> Queue | None:
    """The queue that is notified of new objects under the prefix `to`; None without one."""
    with session.calling(f"s3://{to.bucket}"):
        found = account.client("s3").get_bucket_notification_configuration(Bucket=to.bucket)
    for one in found.get("QueueConfigurations", ()):
        created = any(event.startswith("s3:ObjectCreated:") for event in one["Events"])
        rules = one.get("Filter", {}).get("Key", {}).get("FilterRules", ())
        prefixes = [rule["Value"] for rule in rules if rule["Name"].lower() == "prefix"]
        if created and all(to.key.startswith(prefix) for prefix in prefixes):
            *_, owner, name = one["QueueArn"].split(":")
            sqs = account.client("sqs")
            with session.calling(one["QueueArn"]):
                at = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)
            return Queue(sqs, at["QueueUrl"])
    return None


class Patience:
    """How long to wait for the next result: so many seconds, or as long as the queue tries."""

    def __init__(self, account: session.Account, to: S3Address, seconds: float | None) -> None:
        self._queue: Queue | None = None
        self._seconds = seconds or WITHOUT_QUEUE
        if seconds is None:
            try:
                self._queue = queue_of(account, to)
                if self._queue is not None:
                    self._seconds = self._queue.longest()
                else:
                    say(f"{to}: the bucket notifies no queue of new images; check the prefix")
            except session.CallFailed as error:
                say(f"{error}; waiting {WITHOUT_QUEUE:g} s for each result, unlike the queue")
        self.renew()

    def renew(self) -> None:
        """A result has arrived."""
        self._since = self._looked = time.monotonic()

    def is_over(self) -> str:
        """Why there is nothing more to wait for; empty while there is."""
        now = time.monotonic()
        if now - self._since > self._seconds:
            return f"after {self._seconds:g} s"
        if self._queue is None or now - self._looked < EMPTY:
            return ""
        self._looked = now
        empty = self._queue.is_empty()
        return f"after {now - self._since:.0f} s, and the queue is empty" if empty else ""
