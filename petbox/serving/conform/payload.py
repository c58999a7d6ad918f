"""What a container is asked: the caller's own request, or a picture drawn here.

The drawn picture goes as TensorFlow Serving's predict JSON, which a detector that takes picture
files answers. No library is needed to draw it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from petbox import wire
from petbox.errors import DataError

JSON = "application/json"


@dataclass(frozen=True)
class Payload:
    """A request that a healthy model answers; `picture` where the model takes pictures."""

    body: bytes
    kind: str
    picture: bytes | None = None

    @property
    def is_json(self) -> bool:
        return self.kind.partition(";")[0].strip().lower() == JSON


def payload(request: Path | None, kind: str) -> Payload:
    if request is None:
        picture = drawn(320, 240)
        return Payload(wire.request([picture]), JSON, picture)
    try:
        return Payload(request.read_bytes(), kind)
    except OSError as error:
        raise DataError(f"{request}: cannot be read ({error.strerror}); name a file") from error


def drawn(width: int, height: int) -> bytes:
    """A small PNG of soft colours, the same every time."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return len(data).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // width, y * 255 // height, 128)) for x in range(width))
        for y in range(height)
    )
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
