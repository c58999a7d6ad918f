"""The request sent to a container: the user's own, or an image drawn here.

The drawn image is sent as TensorFlow Serving's predict JSON, which detectors that take image files
accept. Drawing it needs no library.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from petbox import wire
from petbox.errors import DataError
from petbox.serving.conform.contract import NotTried

JSON = "application/json"
HOST = b"Host: model.aws.local:8080\r\n"  # as SageMaker sends it


@dataclass(frozen=True)
class Payload:
    """A request that a healthy model accepts; `image` only if the model takes images."""

    body: bytes
    content_type: str
    image: bytes | None = None

    def json(self) -> bytes:
        if self.content_type.partition(";")[0].strip().lower() != JSON:
            raise NotTried("the given request is not JSON")
        return self.body

    def instances(self) -> list[object]:
        """The records of predict JSON."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if isinstance(found := json.loads(self.json())["instances"], list) and found:
                return found
        raise NotTried('the given request is not {"instances": [...]}')

    def known_image(self) -> bytes:
        if self.image is None:
            raise NotTried("with --request the model may not take images")
        return self.image

    def raw_request(self) -> bytes:
        head = f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        line = b"POST /invocations HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"
        return line + head.encode() + b"\r\n" + self.body


def payload(request: Path | None, content_type: str) -> Payload:
    if request is None:
        image = drawn(320, 240)
        return Payload(wire.request([image]), JSON, image)
    try:
        return Payload(request.read_bytes(), content_type)
    except OSError as error:
        raise DataError(f"{request}: cannot be read ({error.strerror}); name a file") from error


def drawn(width: int, height: int) -> bytes:
    """A small PNG with a color gradient, the same every time."""

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
