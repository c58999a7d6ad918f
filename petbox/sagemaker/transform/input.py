"""What lies in S3 for a transform job to ask about: files of one kind, or a refusal by name.

Batch Transform sends every object whose key begins with the address, and one that the container
does not understand fails the job when hours may have gone by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from petbox.aws.names import S3Address
from petbox.aws.s3 import objects
from petbox.cli.progress import megabytes
from petbox.errors import DataError
from petbox.sagemaker.endpoint.invoke import KINDS, MOST_BYTES

LINES = "application/jsonlines"
MIXED = "image/jpeg"  # the model looks at the picture itself


@dataclass(frozen=True)
class Input:
    kind: str  # the content type of all
    files: int
    size: int

    def __str__(self) -> str:
        return f"{self.files} file{'s' * (self.files != 1)}, {megabytes(self.size)}, {self.kind}"


def look(s3: Any, source: str) -> Input:
    """What is at `source`; raises for what no job should be given."""
    kinds: dict[str, S3Address] = {}  # by kind, a file of it
    files = size = 0
    for address, bytes_ in objects(s3, S3Address.parse(source)):
        if address.key.endswith("/"):
            continue  # the console's marker of an empty folder; it has no content
        kind = KINDS.get(PurePosixPath(address.key).suffix.lower())
        if kind is None:
            raise DataError(
                f"{address}: neither a picture nor .jsonl nor .json, and would fail the job; "
                "move it elsewhere, or name a folder without it"
            )
        if bytes_ > MOST_BYTES and kind != LINES:
            raise DataError(f"{address}: has {megabytes(bytes_)}, and 25 MB are the most")
        kinds.setdefault("image" if kind.startswith("image/") else kind, address)
        files, size = files + 1, size + bytes_
        last = kind
    if not files:
        raise DataError(f"{source}: nothing is there; upload pictures: aws s3 sync DIR {source}")
    if len(kinds) > 1:
        one, other, *_ = kinds.values()
        raise DataError(f"{one} and {other}: of different kinds; a job takes one, make two folders")
    return Input(MIXED if "image" in kinds else last, files, size)


def count(s3: Any, address: str) -> int:
    return sum(1 for _ in objects(s3, S3Address.parse(address)))
