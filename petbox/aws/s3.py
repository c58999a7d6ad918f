"""Folders in S3 and here: fetched, sent, and kept alike while somebody writes.

For a container that nobody else fetches and sends for, as on ECS; SageMaker does it by itself.
A checkpoint's list (`checkpoint`) is sent after what it names and removed before it, so that what
lies in S3 can be gone on with at any moment. Only `Mirror` removes anything from S3, and only what
was sent from its folder.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.aws import names as aws_names
from petbox.aws import session
from petbox.cli.program import say
from petbox.cli.progress import megabytes, meter
from petbox.errors import DataError, PetboxError

SCHEME = "s3://"
LIST = "checkpoint"  # TensorFlow's name for the file that says which checkpoints there are
SECONDS_BETWEEN_LOOKS = 1.0
AT_A_TIME = 1000  # objects that one request removes


@dataclass(frozen=True)
class Address:
    """A prefix in a bucket, as a folder is a prefix of its files."""

    bucket: str
    prefix: str  # empty, or ending in /

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def __truediv__(self, name: str) -> Address:
        return Address(self.bucket, f"{self.prefix}{name}/")


def is_address(text: str) -> bool:
    return text.startswith(SCHEME)


def address(text: str) -> Address:
    try:
        aws_names.check_s3(text)
    except ValueError as error:
        raise DataError(str(error)) from error
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return Address(bucket, f"{prefix}/" if prefix else "")


def fetch(source: Address, folder: Path) -> int:
    """Fetches the files under `source`, or the one at it, into `folder`; how many there are.

    A file that is here in its full size is not fetched again, so that a broken fetch goes on.
    """
    s3 = session.Account().client("s3")
    there = dict(_listed(s3, source))
    if not there and source.prefix:  # perhaps the address of one file
        folders, _, name = source.prefix.rstrip("/").rpartition("/")
        source = Address(source.bucket, f"{folders}/" if folders else "")
        there = {key: size for key, size in _listed(s3, source, name) if key == name}
    missing = {key: size for key, size in there.items() if _size(_inside(folder, key)) != size}
    if not missing:
        return len(there)
    total = sum(missing.values())
    say(f"fetching {source}: {len(missing)} files, {megabytes(total)}")
    with meter("fetch", total) as at:
        count = _Count(at)
        for key in missing:
            path = _inside(folder, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with session.calling(f"{source}{key}"):
                # boto3 writes under another name beside it and renames
                s3.download_file(source.bucket, source.prefix + key, str(path), Callback=count)
    return len(there)


def send(folder: Path, target: Address) -> None:
    """Sends all files in `folder`."""
    s3 = session.Account().client("s3")
    files = sorted(_files(folder))
    total = sum(path.stat().st_size for path in files)
    say(f"sending {folder} to {target}: {len(files)} files, {megabytes(total)}")
    with meter("send", total) as at:
        count = _Count(at)
        for path in files:
            _send(s3, path, folder, target, count)


@contextlib.contextmanager
def mirrored(folder: Path, target: Address) -> Iterator[None]:
    """Sends what changes in `folder`: when a checkpoint is finished, and once more at the end."""
    mirror = Mirror(folder, target)
    leave = threading.Event()

    def follow() -> None:
        seen = mirror.lists()
        while not leave.wait(SECONDS_BETWEEN_LOOKS):
            if (now := mirror.lists()) != seen:
                try:
                    mirror.update()
                    seen = now
                except PetboxError as error:  # the network may be back by the next look
                    say(f"checkpoints are not sent yet: {error}")

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        leave.set()
        follower.join()
        mirror.update()


class Mirror:
    """A folder here, and its like in S3, where files of others are left alone."""

    def __init__(self, folder: Path, target: Address) -> None:
        self._folder, self._target = folder, target
        self._s3 = session.Account().client("s3")
        there = dict(_listed(self._s3, target))  # an earlier job's, fetched from there
        self._sent = {  # sizes and times, by name
            name: mark
            for name, mark in self._marks().items()
            if there.get(name) == mark[0] and Path(name).name != LIST
        }

    def lists(self) -> dict[str, tuple[int, int]]:
        """The lists of checkpoints and when they were written; each is written last."""
        return {name: mark for name, mark in self._marks().items() if Path(name).name == LIST}

    def update(self) -> None:
        """Sends what is new or changed, then removes what is here no more."""
        marks = self._marks()
        changed = [name for name, mark in marks.items() if self._sent.get(name) != mark]
        for name in sorted(changed, key=_lists_last):
            try:
                _send(self._s3, self._folder / name, self._folder, self._target)
            except FileNotFoundError:  # an old checkpoint that has just been removed
                continue
            self._sent[name] = marks[name]
        gone = sorted(self._sent.keys() - marks.keys(), key=_lists_last, reverse=True)
        for start in range(0, len(gone), AT_A_TIME):
            keys = [{"Key": self._target.prefix + k} for k in gone[start : start + AT_A_TIME]]
            with session.calling(str(self._target)):
                self._s3.delete_objects(Bucket=self._target.bucket, Delete={"Objects": keys})
        self._sent = {name: mark for name, mark in self._sent.items() if name in marks}

    def _marks(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in _files(self._folder):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found[path.relative_to(self._folder).as_posix()] = stat.st_size, stat.st_mtime_ns
        return found


class _Count:
    """Called by boto3's threads with the bytes that each has moved."""

    def __init__(self, at: Any) -> None:
        self._at, self._done, self._lock = at, 0, threading.Lock()

    def __call__(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._at(self._done)


def _send(s3: Any, path: Path, folder: Path, target: Address, count: _Count | None = None) -> None:
    key = target.prefix + path.relative_to(folder).as_posix()
    with session.calling(f"{SCHEME}{target.bucket}/{key}"), path.open("rb") as file:
        s3.upload_fileobj(file, target.bucket, key, Callback=count)


def _listed(s3: Any, place: Address, name: str = "") -> Iterator[tuple[str, int]]:
    """The files under `place` whose names there begin with `name`, and their sizes."""
    list_objects = s3.get_paginator("list_objects_v2")
    pages = list_objects.paginate(Bucket=place.bucket, Prefix=place.prefix + name)
    with session.calling(str(place)):
        for page in pages:
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # what consoles make for an empty folder
                    yield item["Key"].removeprefix(place.prefix), item["Size"]


def _inside(folder: Path, key: str) -> Path:
    """Where a key's file goes, which is nowhere but in `folder`."""
    if key.startswith("/") or ".." in key.split("/"):
        raise DataError(f"{key}: an object whose name leads out of its folder; rename it in S3")
    return folder / key


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _files(folder: Path) -> Iterator[Path]:
    """All but what is being written under a temporary name."""
    for path in folder.rglob("*"):
        if path.is_file() and ".partial-" not in path.relative_to(folder).as_posix():
            yield path


def _lists_last(name: str) -> tuple[bool, str]:
    return Path(name).name == LIST, name
