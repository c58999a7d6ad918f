"""A model.tar.gz in S3: fetched once, and used only if its SHA-256 is the expected one.

Expected is the SHA-256 given at deployment, or else the one that S3 keeps of an object uploaded
with it, in one piece or in parts. Without either, the archive is not used.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.aws import session
from petbox.aws.names import S3Address
from petbox.cli.program import say
from petbox.cli.sizes import MIB, megabytes
from petbox.data.fetch import archives
from petbox.errors import DataError, ModelError
from petbox.outputs import product, remove

CHUNK = MIB
MODEL, ARCHIVE = "model", "model.tar.gz"  # within the folder of one archive
UNUSED = "nothing of it is used"
# S3's own: base64 of the digest, and of how many parts' digests it is the digest.
CHECKSUM = re.compile(r"([A-Za-z0-9+/]{43}=)(?:-(\d+))?")


@dataclass(frozen=True)
class Digest:
    """A SHA-256 of the archive, or the SHA-256 of the SHA-256s of its parts."""

    value: bytes
    part: int = 0  # bytes of each but the last; 0: of the whole

    def __str__(self) -> str:
        return self.value.hex()


def fetched(address: str, sha256: str, into: Path) -> Path:
    """The folder in `into` with the contents of the archive at `address`."""
    try:
        at = S3Address.parse_object(address)
    except ValueError as error:
        raise ModelError(str(error)) from error
    given = _given(sha256)
    if given is not None and (folder := _folder(into, given)).is_dir():
        return folder  # from an earlier start in this container
    s3 = session.Account().client("s3")
    with session.calling(address):
        response = s3.get_object(Bucket=at.bucket, Key=at.key, ChecksumMode="ENABLED")
        expected = given or _kept(s3, at, response)
    folder = _folder(into, expected)
    if not folder.is_dir():
        _fetch(address, response, expected, folder)
    return folder


def _folder(into: Path, digest: Digest) -> Path:
    return into / f"petbox-model-{digest}" / MODEL


def _given(sha256: str) -> Digest | None:
    if not sha256:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ModelError(f"{sha256[:80]!r}: no SHA-256, which has 64 digits of 0-9 and a-f")
    return Digest(bytes.fromhex(sha256))


def _kept(s3: Any, address: S3Address, response: Any) -> Digest:
    """The SHA-256 that S3 has of the object."""
    found = CHECKSUM.fullmatch(response.get("ChecksumSHA256", ""))
    if not found:
        raise ModelError(
            f"{address}: S3 has no SHA-256 of it, and none is given; {UNUSED}. Give its sha256sum, "
            "or upload it with: aws s3 cp --checksum-algorithm SHA256"
        )
    part = 0
    if found[2]:
        first = s3.head_object(
            Bucket=address.bucket, Key=address.key, PartNumber=1, IfMatch=response["ETag"]
        )
        part = int(first["ContentLength"])
    return Digest(base64.b64decode(found[1]), part)


def _fetch(address: str, response: Any, expected: Digest, folder: Path) -> None:
    """Into a temporary folder, which the next start removes if this one is interrupted."""
    try:
        with product(folder.parent) as partial:
            remove(partial)  # from an earlier process with the same id
            partial.mkdir()
            download(address, response, expected, partial / ARCHIVE)
            archives.unpack(partial / ARCHIVE, partial / folder.name)
            remove(partial / ARCHIVE)
    except DataError as error:  # about the model, not about an image
        raise ModelError(f"{address}: {error}") from error


def download(address: str, response: Any, expected: Digest, archive: Path) -> None:
    """Writes S3's response to `archive`; raises if its digest is not the expected one."""
    say(f"fetching {address}: {megabytes(response['ContentLength'])}")
    actual = _Digests(expected.part)
    try:
        with archive.open("wb") as file:
            for chunk in _chunks(address, response):
                actual.take(chunk)
                file.write(chunk)
    except OSError as error:
        raise ModelError(
            f"{archive}: cannot be written ({error.strerror}); give the function more "
            "ephemeral storage"
        ) from error
    if actual.digest() != expected.value:
        raise ModelError(
            f"{address}: its SHA-256 is {actual.digest().hex()}, expected {expected}; {UNUSED}"
        )


def _chunks(address: str, response: Any) -> Iterator[bytes]:
    """Separate from writing, because botocore's timeouts are OSErrors too."""
    with session.calling(address):
        yield from response["Body"].iter_chunks(CHUNK)


class _Digests:
    """SHA-256 of all chunks, or of the digests of parts of so many bytes."""

    def __init__(self, part: int) -> None:
        self._part, self._left = part, part
        self._current, self._parts = hashlib.sha256(), hashlib.sha256()

    def take(self, chunk: bytes) -> None:
        while self._part and len(chunk) > self._left:
            head, chunk = chunk[: self._left], chunk[self._left :]
            self._current.update(head)
            self._parts.update(self._current.digest())
            self._current, self._left = hashlib.sha256(), self._part
        self._current.update(chunk)
        self._left -= len(chunk)

    def digest(self) -> bytes:
        if not self._part:
            return self._current.digest()
        whole = self._parts.copy()
        whole.update(self._current.digest())
        return whole.digest()
