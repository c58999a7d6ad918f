"""The expected SHA-256 of a file, and its size where known."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from petbox.cli.progress import meter
from petbox.cli.sizes import MB
from petbox.errors import DataError

ANY = "any"


@dataclass(frozen=True)
class Fingerprint:
    """`sha256` is in hexadecimal, or `any` to take the file as it comes.

    `otherwise` tells the user what to do about a file that differs.
    """

    sha256: str = ANY
    size: int | None = None
    otherwise: str = "get it from another place"

    def __post_init__(self) -> None:
        if self.sha256 != ANY and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise DataError(
                f"{self.sha256!r} is not a SHA-256: give the 64 digits that sha256sum prints, "
                f"or {ANY!r}"
            )

    @property
    def known(self) -> bool:
        return self.sha256 != ANY


def difference(path: Path, expected: Fingerprint) -> str | None:
    """How the file differs from the one expected, if it does."""
    size = path.stat().st_size
    if expected.size not in (None, size):
        return f"it has {size} bytes, not {expected.size}"
    if not expected.known:
        return None
    found = of_file(path)
    return None if found == expected.sha256 else f"its SHA-256 is {found}, not {expected.sha256}"


def of_file(path: Path) -> str:
    """The SHA-256 of the file."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file, meter(f"check {path.name.removesuffix('.part')}", size) as at:
        while chunk := file.read(MB):
            digest.update(chunk)
            at(file.tell())
    return digest.hexdigest()
