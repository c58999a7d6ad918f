"""What is tried: an image, the request put to it, and how long it may take to start."""

from __future__ import annotations

from dataclasses import dataclass

from petbox.serving.conform.payload import Payload
from petbox.serving.docker import Image, Wanted


@dataclass(frozen=True)
class Trial:
    """An image, what it is asked, and how long it may take to start."""

    wanted: Wanted
    image: Image
    payload: Payload
    limit: float
    engine: str | None = None
