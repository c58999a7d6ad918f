"""Copies folders between S3 and this machine, and mirrors one to S3 while it is written to.

For containers whose platform does not do it, such as ECS tasks; SageMaker copies channels itself.
TensorFlow's list of checkpoints (`checkpoint`) is sent after the files it names and deleted before
them, so that training can resume from S3 at any moment. Only `Mirror` deletes objects, and only
those that it sent.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from petbox.aws import session
from petbox.aws.names import S3Address
from petbox.cli.program import say
from petbox.cli.progress import meter
from petbox.cli.sizes import megabytes
from petbox.errors import DataError, PetboxError

LIST = "checkpoint"  # TensorFlow's file that lists the checkpoints
SECONDS_BETWEEN_POLLS = 1.0
AT_A_TIME = 1000  # objects that one request deletes
CHANGED = (-1, -1)  # no size and time of any file


def address_of(text: str) -> S3Address:
    try:
        return S3Address.parse(text)
    except ValueError as error:
        raise DataError(str(error)) from error


def folder_at(text: str) -> S3Address:
    return address_of(text).folder


def objects(s3: Any, address: S3Address) -> Iterator[tuple[S3Address, Mapping[str, Any]]]:
    """All objects whose keys begin with the address's, with their Size and ETag."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=address.bucket, Prefix=address.key)
    with session.calling(str(address)):
        for page in pages:
            for item in page.get("Contents", ()):
                yield S3Address(address.bucket, item["Key"]), item


def is_there(s3: Any, address: S3Address) -> bool:
    """Whether there is such an object; without permission to see it, it counts as there."""
    try:
        with session.calling(str(address)):
            s3.head_object(Bucket=address.bucket, Key=address.key)
    except session.Rejected as error:
        if error.code in ("404", "NoSuchBucket", "NoSuchKey"):
            return False
        say(f"{error}; so whether it is there is unknown")
    return True


def fetch(source: S3Address, folder: Path) -> int:
    """Fetches the files under `source`, or the one file at it; returns how many there are.

    Skips files that are in `folder` in full size, so that an interrupted fetch resumes.
    """
    s3 = session.Account().client("s3")
    remote = dict(_files_under(s3, source))
    if not remote and source.key:  # perhaps the address of one file
        parent, _, name = source.key.rstrip("/").rpartition("/")
        source = S3Address(source.bucket, f"{parent}/" if parent else "")
        remote = {key: size for key, size in _files_under(s3, source, name) if key == name}
    missing = {key: size for key, size in remote.items() if _size(_inside(folder, key)) != size}
    if not missing:
        return len(remote)
    total = sum(missing.values())
    say(f"fetching {source}: {len(missing)} files, {megabytes(total)}")
    with meter("fetch", total) as at:
        count = ByteCount(at)
        for key in missing:
            path = _inside(folder, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with session.calling(f"{source}{key}"):
                # boto3 writes to a temporary name beside it and renames
                s3.download_file(source.bucket, source.key + key, str(path), Callback=count)
    return len(remote)


def send(folder: Path, target: S3Address) -> None:
    s3 = session.Account().client("s3")
    files = sorted(_files(folder))
    total = sum(path.stat().st_size for path in files)
    say(f"sending {folder} to {target}: {len(files)} files, {megabytes(total)}")
    with meter("send", total) as at:
        count = ByteCount(at)
        for path in files:
            key = target.key + path.relative_to(folder).as_posix()
            put(s3, path, S3Address(target.bucket, key), count)


@contextlib.contextmanager
def mirrored(folder: Path, target: S3Address) -> Iterator[None]:
    """Sends changes in `folder` whenever a checkpoint is complete, and once more at the end."""
    mirror = Mirror(folder, target)
    leave = threading.Event()

    def follow() -> None:
        seen = mirror.lists()
        while not leave.wait(SECONDS_BETWEEN_POLLS):
            if (now := mirror.lists()) != seen:
                try:
                    mirror.update()
                    seen = now
                except PetboxError as error:  # the network may be back at the next poll
                    say(f"checkpoints not sent yet: {error}")

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        leave.set()
        follower.join()
        mirror.update()


class Mirror:
    """Keeps a folder in S3 like one on this machine; other objects there are left alone."""

    def __init__(self, folder: Path, target: S3Address) -> None:
        self._folder, self._target = folder, target
        self._s3 = session.Account().client("s3")
        remote = dict(_files_under(self._s3, target))  # fetched from there
        # Sizes and times, by name. A list's size does not show a change, so it is sent again.
        self._sent = {
            name: mark if remote[name] == mark[0] and Path(name).name != LIST else CHANGED
            for name, mark in self._marks().items()
            if name in remote
        }

    def lists(self) -> dict[str, tuple[int, int]]:
        """The lists of checkpoints and their times; TensorFlow writes each after its files."""
        return {name: mark for name, mark in self._marks().items() if Path(name).name == LIST}

    def update(self) -> None:
        """Sends new and changed files, then deletes the objects of files that are gone."""
        marks = self._marks()
        changed = [name for name, mark in marks.items() if self._sent.get(name) != mark]
        for name in sorted(changed, key=_lists_last):
            try:
                to = S3Address(self._target.bucket, self._target.key + name)
                put(self._s3, self._folder / name, to)
            except FileNotFoundError:  # an old checkpoint that has just been removed
                continue
            self._sent[name] = marks[name]
        gone = sorted(self._sent.keys() - marks.keys(), key=_lists_last, reverse=True)
        delete(self._s3, self._target.bucket, [self._target.key + name for name in gone])
        self._sent = {name: mark for name, mark in self._sent.items() if name in marks}

    def _marks(self) -> dict[str, tuple[int, int]]:
        marks = {}
        for path in _files(self._folder):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                marks[path.relative_to(self._folder).as_posix()] = stat.st_size, stat.st_mtime_ns
        return marks


class ByteCount:
    """Called by boto3's threads with the bytes that each has moved."""

    def __init__(self, at: Callable[[int], None], done: int = 0) -> None:
        self._at, self._done, self._lock = at, done, threading.Lock()

    def __call__(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._at(self._done)


def put(
    s3: Any, path: Path, to: S3Address, count: ByteCount | None = None, sha256: str = ""
) -> None:
    """With `sha256`, S3 computes, checks and keeps one as well, which the Lambda functions read."""
    extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": sha256}} if sha256 else {}
    with session.calling(str(to)), path.open("rb") as file:
        s3.upload_fileobj(file, to.bucket, to.key, Callback=count, ExtraArgs=extra)


def delete(s3: Any, bucket: str, keys: Sequence[str]) -> None:
    for start in range(0, len(keys), AT_A_TIME):
        some = [{"Key": key} for key in keys[start : start + AT_A_TIME]]
        with session.calling(f"s3://{bucket}"):
            s3.delete_objects(Bucket=bucket, Delete={"Objects": some})


def _files_under(s3: Any, folder: S3Address, name: str = "") -> Iterator[tuple[str, int]]:
    """The files in `folder` whose names begin with `name`, and their sizes."""
    for one, item in objects(s3, S3Address(folder.bucket, folder.key + name)):
        if not one.key.endswith("/"):  # the console's marker of an empty folder
            yield one.key.removeprefix(folder.key), item["Size"]


def _inside(folder: Path, key: str) -> Path:
    """The path of a key's file, which is always inside `folder`."""
    if key.startswith("/") or ".." in key.split("/"):
        raise DataError(f"{key}: the object's key leaves its folder; rename it in S3")
    return folder / key


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _files(folder: Path) -> Iterator[Path]:
    """All files but those being written under a temporary name."""
    for path in folder.rglob("*"):
        if path.is_file() and ".partial-" not in path.relative_to(folder).as_posix():
            yield path


def _lists_last(name: str) -> tuple[bool, str]:
    return Path(name).name == LIST, name
