"""Unpacks untrusted tar archives.

Only plain files and folders below the target are created, with our own permissions. `tarfile` only
reads: its extraction would also create links, devices and owners. Anything else in an archive is an
error that names the member.
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

ENDINGS = (".tar.gz", ".tgz", ".tar")
MOST_MEMBERS = 50_000  # Oxford-IIIT Pet has about half of that, with the files that macOS added
MOST_BYTES = 8_000 * MB  # unpacked; ten times Oxford-IIIT Pet
LARGEST_READ = MIB  # a header that needs more at once is an attack on our memory
REJECTED = "nothing of it is used; get it from another place"


def unpack(path: Path, folder: Path) -> int:
    """Unpacks the `.tar` or `.tar.gz` at `path` into `folder`; returns the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with _stream(path) as stream:
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
                for number, member in enumerate(archive, start=1):
                    if number > MOST_MEMBERS:
                        raise DataError(f"{path}: holds more than {MOST_MEMBERS} files; {REJECTED}")
                    count += _extracted(path, archive, member, folder)
            while stream.read(LARGEST_READ):  # gzip's own check comes after the last byte
                pass
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is not a complete archive ({error}); get it again") from error
    return count


def _extracted(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> bool:
    """Extracts `member`; returns whether it is a file."""
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
    """The path of `member`, relative to the target folder."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        trouble = "leads out of the folder"
    elif not (member.isdir() or member.isreg()) or member.issparse():
        trouble = "is neither a plain file nor a folder"
    elif not 0 <= member.size <= MOST_BYTES:
        trouble = f"has a stated size of {member.size} bytes"
    else:
        return name
    raise DataError(f"{path}: its member {member.name!r} {trouble}; {REJECTED}")


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
    """A file that is read forward only, with limits on each read and on the whole."""

    def __init__(self, path: Path, source: IO[bytes], on_read: Callable[[], None]) -> None:
        self._path, self._source, self._on_read = path, source, on_read
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise DataError(f"{self._path}: has a header of {megabytes(size)}; {REJECTED}")
        chunk = self._source.read(size)
        self._position += len(chunk)
        if self._position > MOST_BYTES:
            raise DataError(f"{self._path}: unpacks to over {megabytes(MOST_BYTES)}; {REJECTED}")
        self._on_read()
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
