"""Uploads images to the bucket that the S3 front watches, and waits for results.

Prints one line per detection, as `petbox detect` does, as results arrive.
Errors are printed to stderr. Exit code 1 if any image failed.

examples:
  petbox upload photos/ s3://bucket/in/
  petbox upload 'photos/**/*.jpg' s3://bucket/in/ --json
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from petbox.aws import names as aws_names
from petbox.aws import s3 as aws_s3
from petbox.aws import session
from petbox.aws.s3 import Address
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL
from petbox.cli.parallel import in_order
from petbox.cli.program import say
from petbox.cli.progress import progress
from petbox.client.output import Found, tabbed_lines
from petbox.errors import DataError, ServiceError
from petbox.lambdas.results import ETAG, result_key
from petbox.wire import Detection

SECONDS_BETWEEN_LOOKS = 2.0
MOST_PARALLEL = 64


@dataclass(frozen=True)
class UploadOptions:
    image: Annotated[
        tuple[str, ...], "a picture, a folder of them, or a quoted pattern", POSITIONAL
    ]
    to: Annotated[str, "where the S3 front looks for pictures, as s3://bucket/in/", POSITIONAL]
    results: Annotated[str, "what the keys of its results begin with", "PREFIX"] = "results/"
    wait: Annotated[bool, "wait for the results"] = True
    patience: Annotated[float, "seconds to wait without any new result", "S"] = 600.0
    parallel: Annotated[int, "pictures under way at once", "N"] = 8
    json: Annotated[bool, "print each result as the line of JSON that it is"] = False

    def __post_init__(self) -> None:
        aws_names.check_s3(self.to)
        if not 1 <= self.parallel <= MOST_PARALLEL:
            raise ValueError(
                f"argument --parallel: {self.parallel} is not from 1 to {MOST_PARALLEL}"
            )
        if not self.patience > 0:
            raise ValueError(f"argument --patience: {self.patience:g} is not a time in seconds")


@dataclass(frozen=True)
class _Sent:
    file: str
    key: str
    etag: str


def upload(options: UploadOptions) -> None:
    from petbox.images import photos  # not sooner: Pillow may be missing, and --help needs none

    to = aws_s3.address(options.to)
    keys = _keys(photos.find(options.image), to)
    s3 = Account().client("s3")
    sent = _send(s3, keys, to, options.parallel)
    say(f"{len(sent)} pictures are in {to}")
    if options.wait:
        _tell_results(s3, sent, to, options)


def _keys(files: Sequence[str], to: Address) -> dict[str, str]:
    """Each file's key, by its own name."""
    keys: dict[str, str] = {}
    for file in files:
        if file == "-":
            raise DataError("-: stdin has no name to be kept under; name a file")
        key = to.prefix + Path(file).name
        if key in keys.values():
            raise DataError(f"{file}: a second picture of this name; upload them apart")
        keys[file] = key
    return keys


def _send(s3: Any, keys: dict[str, str], to: Address, parallel: int) -> list[_Sent]:
    def send(file: str) -> _Sent:
        try:
            content = Path(file).read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        with session.calling(f"s3://{to.bucket}/{keys[file]}"):
            put = s3.put_object(Bucket=to.bucket, Key=keys[file], Body=content)
        return _Sent(file, keys[file], put["ETag"].strip('"'))

    sent = []
    with progress("upload", len(keys)) as advance:
        for one in in_order(send, list(keys), parallel, threading.Event()):
            sent.append(one)
            advance(1, "")
    return sent


# What becomes of them


def _tell_results(s3: Any, sent: Sequence[_Sent], to: Address, options: UploadOptions) -> None:
    show = _as_json if options.json else _as_lines
    failed = 0
    with progress("results", len(sent)) as advance:
        for one, result in _results(s3, sent, to, options):
            if "error" in result:
                failed += 1
                say(f"error: {one.file}: {result['error']}")
            show(one, result)
            advance(1, "")
    if failed:
        raise DataError(f"{failed} of {len(sent)} pictures failed; the lines above say why")


def _results(
    s3: Any, sent: Sequence[_Sent], to: Address, options: UploadOptions
) -> Iterator[tuple[_Sent, dict[str, Any]]]:
    """Each picture's result, as they come. One of an older picture of the same key is none."""
    awaited = {result_key(options.results, one.key): one for one in sent}
    seen: dict[str, str] = {}
    until = time.monotonic() + options.patience
    while awaited:
        for key, etag in _listed(s3, Address(to.bucket, options.results + to.prefix)):
            if key not in awaited or seen.get(key) == etag:
                continue
            seen[key] = etag
            result = _read(s3, to.bucket, key, awaited[key].etag)
            if result is not None:
                yield awaited.pop(key), result
                until = time.monotonic() + options.patience
        if awaited and time.monotonic() > until:
            raise ServiceError(
                f"{len(awaited)} of {len(sent)} pictures have no result after "
                f"{options.patience:g} s, as {next(iter(awaited.values())).file}; is {to} what the "
                "S3 front watches? Its log and its dead-letter queue may say more"
            )
        if awaited:
            time.sleep(min(SECONDS_BETWEEN_LOOKS, options.patience))


def _listed(s3: Any, place: Address) -> Iterator[tuple[str, str]]:
    """Keys and ETags of what is there."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
    with session.calling(str(place)):
        for page in pages:
            for item in page.get("Contents", ()):
                yield item["Key"], item["ETag"]


def _read(s3: Any, bucket: str, key: str, etag: str) -> dict[str, Any] | None:
    with session.calling(f"s3://{bucket}/{key}"):
        there = s3.get_object(Bucket=bucket, Key=key)
        body = there["Body"].read()
    if there["Metadata"].get(ETAG) != etag:
        return None
    result: dict[str, Any] = json.loads(body)
    return result


Show = Callable[[_Sent, dict[str, Any]], None]


def _as_json(one: _Sent, result: dict[str, Any]) -> None:
    print(json.dumps({"file": one.file, **result}), flush=True)


def _as_lines(one: _Sent, result: dict[str, Any]) -> None:
    """As `petbox detect` prints them into a pipe."""
    detections = tuple(
        Detection(0, each["score"], tuple(each["box"]), each["label"])
        for each in result.get("detections", ())
    )
    print(tabbed_lines(Found(one.file, detections=detections)), end="", flush=True)
