"""A local file or folder in S3, at an address named by its content.

So what lies there is whole, unmixed with older files and never changed under a job that reads it;
files that are there already are not sent again. Nothing in S3 is ever deleted.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.aws import session
from petbox.cli.program import say
from petbox.cli.progress import MB, megabytes, meter
from petbox.errors import DataError


@dataclass(frozen=True)
class Upload:
    """Files, and where they go."""

    address: str  # s3://bucket/key of a file, s3://bucket/prefix/ of a folder
    files: dict[str, Path]  # by their own s3://bucket/key
    size: int

    def __str__(self) -> str:
        count = f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        return f"{count}, {megabytes(self.size)}, to {self.address}"


def upload(source: Path, under: str) -> Upload:
    """What is to be done for `source` to be in S3 somewhere below the address `under`."""
    folder = source.is_dir()
    paths = sorted(_files(source)) if folder else [source]
    names = {path: path.relative_to(source).as_posix() if folder else path.name for path in paths}
    if not paths:
        raise DataError(f"{source}: the folder is empty; name one with something in it")
    size = sum(path.stat().st_size for path in paths)
    stem = re.sub(r"[^\w.-]+", "-", source.resolve().name, flags=re.ASCII)
    prefix = f"{under.rstrip('/')}/{stem}-{_digest(stem, names, size)}/"
    files = {prefix + name: path for path, name in names.items()}
    return Upload(prefix if folder else prefix + names[source], files, size)


def _files(folder: Path) -> list[Path]:
    """All but hidden ones, which are the system's or unfinished."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [p for p in found if not any(x.startswith(".") for x in p.relative_to(folder).parts)]


def _digest(title: str, names: dict[Path, str], size: int) -> str:
    """A short word for the content of files and their names."""
    whole = hashlib.sha256()
    done = 0
    with meter(f"read {title}", size) as at:
        for path, name in names.items():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(MB):
                    digest.update(chunk)
                    at(done := done + len(chunk))
            whole.update(f"{digest.hexdigest()} {name}\n".encode())
    return whole.hexdigest()[:12]


def send(planned: Upload, s3: Any) -> None:
    """Uploads what is not there yet, with progress."""
    bucket, prefix = _bucket_and_key(planned.address)
    with session.calling(planned.address):
        there: dict[str, int] = {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            there |= {f"s3://{bucket}/{o['Key']}": o["Size"] for o in page.get("Contents", ())}
    # An object appears when it is whole, so that the size tells enough.
    missing = {to: p for to, p in planned.files.items() if there.get(to) != p.stat().st_size}
    if not missing:
        say(f"{planned.address}: is there already")
        return
    present = planned.size - sum(path.stat().st_size for path in missing.values())
    say(f"uploading {planned}")
    with meter("upload", planned.size, present) as at:
        sent, lock = present, threading.Lock()

        def count(size: int) -> None:  # called by boto3's threads
            nonlocal sent
            with lock:
                sent += size
                at(sent)

        for to, path in missing.items():
            with session.calling(to), path.open("rb") as file:
                s3.upload_fileobj(file, *_bucket_and_key(to), Callback=count)


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key
