"""Tar archives, unpacked without trusting them.

Plain files and folders below the target are all that is ever made, with our own permissions;
`tarfile` only reads, and its extraction, which would also make links, devices and owners, is not
used. Whatever an honest archive of images does not hold stops the unpacking by name.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from petbox.cli.progress import meter
from petbox.cli.sizes import MB, MIB, megabytes
from petbox.errors import DataError

MOST_MEMBERS = 50_000  # Oxford-IIIT Pet has about half of that, with what macOS left in it
MOST_BYTES = 8_000 * MB  # unpacked; ten times Oxford-IIIT Pet
LARGEST_READ = MIB  # more at once is a header that wants our memory
REFUSED = "nothing of it is used; get it from another place"


def unpack(path: Path, folder: Path) -> int:
    """Unpacks the `.tar` or `.tar.gz` at `path` below `folder`; the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with _stream(path) as stream, _reading(path):
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
            for number, member in enumerate(archive, start=1):
                if number > MOST_MEMBERS:
                    raise DataError(f"{path}: holds more than {MOST_MEMBERS} files; {REFUSED}")
                count += _one(path, archive, member, folder)
        while stream.read(LARGEST_READ):  # gzip's own check comes after the last byte
            pass
    return count


def _one(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> bool:
    """Whether `member` was a file."""
    target = folder / _safe_name(path, member)
    try:
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        source = archive.extractfile(member)
        assert source is not None, "a regular file"
        with target.open("wb") as file:
            shutil.copyfileobj(source, file, LARGEST_READ >> 4)
        return True
    except (zlib.error, gzip.BadGzipFile):
        raise
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error}) while unpacking {path}; "
            "fix that, and the same command continues"
        ) from error


def _safe_name(path: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Where `member` goes, seen from the target folder."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        trouble = "leads out of the folder"
    elif not (member.isdir() or member.isreg()) or member.issparse():
        trouble = "is neither a plain file nor a folder"
    elif not 0 <= member.size <= MOST_BYTES:
        trouble = f"is said to have {member.size} bytes"
    else:
        return name
    raise DataError(f"{path}: its member {member.name!r} {trouble}; {REFUSED}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is no whole archive ({error}); get it again") from error


# Reading


@contextmanager
def _stream(path: Path) -> Iterator[_Forward]:
    with path.open("rb") as raw, meter(f"unpack {path.name}", path.stat().st_size) as at:
        start = raw.read(262 + 5)
        raw.seek(0)
        plain: IO[bytes]
        if start.startswith(b"\x1f\x8b"):
            plain = cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
        elif start[257:262] == b"ustar":
            plain = raw
        else:
            raise DataError(f"{path}: neither a .tar.gz nor a .tar; get it again")
        yield _Forward(path, plain, lambda: at(raw.tell()))
        at(path.stat().st_size)


class _Forward(io.RawIOBase):
    """Reads on and on, but not without end and not much at once."""

    def __init__(self, path: Path, source: IO[bytes], heard: Callable[[], None]) -> None:
        self._path, self._source, self._heard = path, source, heard
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise DataError(f"{self._path}: has a header of {megabytes(size)}; {REFUSED}")
        chunk = self._source.read(size)
        self._position += len(chunk)
        if self._position > MOST_BYTES:
            raise DataError(f"{self._path}: unpacks to over {megabytes(MOST_BYTES)}; {REFUSED}")
        self._heard()
        return chunk

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or position < self._position:
            raise tarfile.ReadError("its members overlap")
        while self._position < position:
            if not self.read(min(LARGEST_READ, position - self._position)):
                break
        return self._position
