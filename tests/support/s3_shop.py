"""A bucket, a dead-letter queue and an endpoint, and the S3 front between them in a process.

The front is its real zip; S3 and SQS are moto's over HTTP, the endpoint is a peer.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from support.aws import Aws, moto
from support.lambda_runtime import Function, event, running
from support.peer import GOLDEN, Peer, named_detector, peer

JPEG = (GOLDEN / "picture.jpg").read_bytes()


@dataclass
class Shop:
    """All of it; `arrives` puts an image into the bucket."""

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

    def keep_versions(self) -> None:
        self.s3.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    def versions(self) -> int:
        """Of all results."""
        found = self.s3.list_object_versions(Bucket=self.bucket, Prefix="results/")
        return len(found["Versions"])

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


@pytest.fixture(scope="session")
def shop_aws() -> Iterator[Aws]:
    with moto() as aws:
        yield aws


@pytest.fixture
def shop(
    shop_aws: Aws, fronts: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Shop]:
    bucket = f"pets-{abs(hash(request.node.name)) % 10**12}"
    shop_aws.client("s3").create_bucket(Bucket=bucket)
    queue = shop_aws.client("sqs").create_queue(QueueName=f"{bucket}-dead")["QueueUrl"]
    with peer(getattr(request, "param", named_detector)) as endpoint:
        yield Shop(shop_aws, bucket, queue, endpoint, fronts, tmp_path)


@pytest.fixture
def front(shop: Shop) -> Iterator[Function]:
    with shop.front() as function:
        yield function
