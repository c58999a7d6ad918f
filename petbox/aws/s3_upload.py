"""Uploads a file or folder to S3, to an address that contains the digest of its content.

So an upload is never mixed with older files and never changes while a job reads it. Files that are
there already are not sent again. Nothing in S3 is ever deleted.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.aws.names import S3Address
from petbox.aws.s3 import ByteCount, address_of, objects, put
from petbox.cli.program import say
from petbox.cli.progress import meter
from petbox.cli.sizes import MB, megabytes
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
    """Plans the upload of `source` to somewhere below the address `under`."""
    folder = source.is_dir()
    paths = sorted(visible_files(source)) if folder else [source]
    names = {path: path.relative_to(source).as_posix() if folder else path.name for path in paths}
    if not paths:
        raise DataError(f"{source}: the folder is empty; name one with something in it")
    size = sum(path.stat().st_size for path in paths)
    stem = re.sub(r"[^\w.-]+", "-", source.resolve().name, flags=re.ASCII)
    prefix = f"{under.rstrip('/')}/{stem}-{_digest(stem, names, size)}/"
    files = {str(address_of(prefix + name)): path for path, name in names.items()}
    return Upload(prefix if folder else prefix + names[source], files, size)


def visible_files(folder: Path) -> list[Path]:
    """All files but hidden ones, which are the system's or unfinished."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [p for p in paths if not any(x.startswith(".") for x in p.relative_to(folder).parts)]


def _digest(title: str, names: dict[Path, str], size: int) -> str:
    """A short digest of files' contents and names."""
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


def send(planned: Upload, s3: Any, sha256: str = "") -> None:
    """Uploads what is not there yet, with progress; `sha256` is that of a single file."""
    under = objects(s3, S3Address.parse(planned.address))
    remote = {str(one): item["Size"] for one, item in under}
    # An object appears only when it is complete, so comparing sizes is enough.
    missing = {to: p for to, p in planned.files.items() if remote.get(to) != p.stat().st_size}
    if not missing:
        say(f"{planned.address}: already uploaded")
        return
    present = planned.size - sum(path.stat().st_size for path in missing.values())
    say(f"uploading {planned}")
    with meter("upload", planned.size, present) as at:
        count = ByteCount(at, present)
        for address, path in missing.items():
            put(s3, path, S3Address.parse(address), count, sha256)
