"""Checks a transform job's input in S3: all files must be of one kind that the container reads.

Batch Transform sends every object whose key begins with the address, and a single one that the
container rejects fails the job, perhaps after hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from petbox.aws.names import S3Address
from petbox.aws.s3 import objects
from petbox.cli.sizes import megabytes
from petbox.errors import DataError
from petbox.sagemaker.endpoint.invoke import KINDS, MOST_BYTES

LINES = "application/jsonlines"
MIXED = "image/jpeg"  # the container detects the format itself


@dataclass(frozen=True)
class Input:
    kind: str  # the content type of all
    files: int
    size: int

    def __str__(self) -> str:
        return f"{self.files} file{'s' * (self.files != 1)}, {megabytes(self.size)}, {self.kind}"


def describe(s3: Any, source: str) -> Input:
    """What is at `source`; raises if a job with it would fail."""
    kinds: dict[str, S3Address] = {}  # by kind, a file of it
    files = size = 0
    for address, item in objects(s3, S3Address.parse(source)):
        if address.key.endswith("/"):
            continue  # the console's marker of an empty folder; it has no content
        kind = KINDS.get(PurePosixPath(address.key).suffix.lower())
        if kind is None:
            raise DataError(
                f"{address}: not an image, .jsonl or .json file, and would fail the job; "
                "move it, or name a folder without it"
            )
        if item["Size"] > MOST_BYTES and kind != LINES:
            raise DataError(
                f"{address}: has {megabytes(item['Size'])}, but the limit is 25 MB; make it smaller"
            )
        kinds.setdefault("image" if kind.startswith("image/") else kind, address)
        files, size = files + 1, size + item["Size"]
        last = kind
    if not files:
        raise DataError(f"{source}: no objects; upload images: aws s3 sync DIR {source}")
    if len(kinds) > 1:
        one, other, *_ = kinds.values()
        raise DataError(
            f"{one} and {other}: of different kinds; a job takes one kind, so make two folders"
        )
    return Input(MIXED if "image" in kinds else last, files, size)


def count(s3: Any, address: str) -> int:
    return sum(1 for _ in objects(s3, S3Address.parse(address)))
