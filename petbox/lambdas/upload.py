"""Uploads images to the bucket of the S3 function, and waits for their results.

Prints one line per detection, as `petbox detect` does, as results arrive.
Errors are printed to stderr. Exit code 1 if any image failed. It waits as long
as the bucket's queue still has messages, so also for images that are retried.

examples:
  petbox upload photos/ s3://bucket/in/
  petbox upload 'photos/**/*.jpg' s3://bucket/in/ --json
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from petbox.aws import names as aws_names
from petbox.aws import s3 as aws_s3
from petbox.aws import session
from petbox.aws.names import S3Address
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Checked, Value, between
from petbox.cli.parallel import in_order
from petbox.cli.program import say
from petbox.cli.progress import progress
from petbox.client.detections import Box, Detection, Detections
from petbox.client.output import tabbed_lines
from petbox.errors import DataError, ServiceError
from petbox.lambdas.arrivals import Patience
from petbox.lambdas.results import ABSENT, ETAG, FAILED, check_length, result_key

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two looks for the results
PREFIX = Value("S3", aws_names.check_s3)
RESULTS = Value("PREFIX", aws_names.matches("[^/].*/", "a prefix of keys", "results/"))
SECONDS = Value("S", between(0.01, 604_800))


@dataclass(frozen=True)
class UploadOptions(Checked):
    image: Annotated[tuple[str, ...], "an image, a folder of them, or a quoted pattern", POSITIONAL]
    to: Annotated[
        str, "the prefix that invokes the S3 function, as s3://bucket/in/", POSITIONAL, PREFIX
    ]
    results: Annotated[str, "prefix of the results' keys", RESULTS] = "results/"
    wait: Annotated[bool, "wait for the results"] = True
    patience: Annotated[
        float | None,
        "seconds to wait for the next result (default: as long as the queue retries)",
        SECONDS,
    ] = None
    parallel: Annotated[int, "images uploaded at once", Value("N", between(1, 64))] = 8
    json: Annotated[bool, "print each result as a line of JSON"] = False


@dataclass(frozen=True)
class _Sent:
    file: str
    key: str
    etag: str


def upload(options: UploadOptions) -> None:
    from petbox.images import photos  # not before: --help works without Pillow

    to = aws_s3.folder_at(options.to)
    for image in filter(photos.ADDRESS.match, options.image):
        raise DataError(f"{image}: an address; upload files of this machine")
    keys = _keys(photos.list_images(options.image), to, options.results)
    account = Account()
    sent = _send(account.client("s3"), keys, to, options.parallel)
    say(f"{len(sent)} images are in {to}")
    if options.wait:
        _print_results(account, sent, to, options)


def _keys(files: Sequence[str], to: S3Address, results: str) -> dict[str, str]:
    """The key of each file: its name under the prefix."""
    files_by_key: dict[str, str] = {}
    for file in files:
        if file == "-":
            raise DataError("-: stdin has no name to upload it under; name a file")
        key = aws_s3.address_of(f"{to}{Path(file).name}").key
        if not _is_utf8(key):
            raise DataError(f"{file!r}: the name is not UTF-8, as S3 requires; rename the file")
        if key in files_by_key:
            raise DataError(f"{file}: another image has the same name; upload them separately")
        check_length(results, key, file)
        files_by_key[key] = file
    return {file: key for key, file in files_by_key.items()}


def _is_utf8(name: str) -> bool:
    """Other bytes of a file's name are surrogates in Python."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _send(s3: Any, keys: dict[str, str], to: S3Address, parallel: int) -> list[_Sent]:
    def send(file: str) -> _Sent:
        try:
            content = Path(file).read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); check the path") from error
        with session.calling(f"s3://{to.bucket}/{keys[file]}"):
            put = s3.put_object(Bucket=to.bucket, Key=keys[file], Body=content)
        return _Sent(file, keys[file], put["ETag"].strip('"'))

    sent = []
    with progress("upload", len(keys)) as advance:
        for one in in_order(send, list(keys), parallel, threading.Event()):
            sent.append(one)
            advance(1, "")
    return sent


# Results


def _print_results(
    account: Account, sent: Sequence[_Sent], to: S3Address, options: UploadOptions
) -> None:
    failed = 0
    with progress("results", len(sent)) as advance:
        for one, result in _results(account, sent, to, options):
            if "error" in result:
                failed += 1
                say(f"error: {one.file}: {result['error']}")
            as_json = json.dumps({"file": one.file, **result}) + "\n"
            print(as_json if options.json else _lines(one, result), end="", flush=True)
            advance(1, "")
    if failed:
        raise DataError(f"{failed} of {len(sent)} images failed; see the errors above")


def _results(
    account: Account, sent: Sequence[_Sent], to: S3Address, options: UploadOptions
) -> Iterator[tuple[_Sent, dict[str, Any]]]:
    """Each image's result as it arrives: by its key, however many others have results there."""
    s3, patience = account.client("s3"), Patience(account, to, options.patience)
    pause = SHORTEST_PAUSE

    def read(one: _Sent) -> tuple[_Sent, dict[str, Any] | None]:
        key = result_key(options.results, one.key)
        return one, _read(s3, to.bucket, key, one)

    waiting = list(sent)
    while waiting:
        missing = []
        for one, result in in_order(read, waiting, options.parallel, threading.Event()):
            if result is None:
                missing.append(one)
            else:
                patience.renew()
                yield one, result
        if len(missing) < len(waiting):
            waiting, pause = missing, SHORTEST_PAUSE
            continue
        if why := patience.is_over():
            raise ServiceError(
                f"{len(waiting)} of {len(sent)} images have no result {why} "
                f"(as {waiting[0].file}); check that {to} invokes the S3 function, "
                "its log, and its dead-letter queue"
            )
        time.sleep(min(pause, options.patience or pause))
        pause = min(2 * pause, LONGEST_PAUSE)


def _read(s3: Any, bucket: str, key: str, sent: _Sent) -> dict[str, Any] | None:
    """The result at the key; None if there is none, or if it is of an older upload.

    An older success stands: the function does not process the same image again.
    """
    with session.calling(f"s3://{bucket}/{key}", *ABSENT):
        response = s3.get_object(Bucket=bucket, Key=key)
        body = response["Body"].read()
        metadata, written = response["Metadata"], response["LastModified"]
        if metadata.get(ETAG) != sent.etag:
            return None
        if FAILED in metadata and _arrived_after(s3, bucket, sent, written):
            return None
        result: dict[str, Any] = json.loads(body)
        return result
    return None


def _arrived_after(s3: Any, bucket: str, sent: _Sent, moment: datetime) -> bool:
    """Whether the image is newer, by S3's own clock; False if that may not be read."""
    with session.calling(f"s3://{bucket}/{sent.key}", "403", "404"):
        arrived: datetime = s3.head_object(Bucket=bucket, Key=sent.key)["LastModified"]
        return arrived > moment
    return False


def _lines(one: _Sent, result: dict[str, Any]) -> str:
    """As `petbox detect` prints it into a pipe."""
    detections = tuple(
        Detection(0, each["score"], Box(each["box"], 0, 0), each["label"])
        for each in result.get("detections", ())
    )
    return tabbed_lines(Detections(one.file, items=detections))
