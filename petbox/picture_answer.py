"""What a serverless front does with one picture: has it looked at, and says what is in it.

Asks an endpoint, sends a smaller copy of what is over its limit, and draws. Where the picture
comes from and the answer goes to is for the fronts to know.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petbox import client, wire
from petbox.errors import ServiceError, WireError
from petbox.wire import Detection

if TYPE_CHECKING:
    from petbox.photos import Photo

MB = 1024 * 1024  # as SageMaker counts the size of requests


class PictureRefused(WireError):
    """The endpoint understood the request, and does not want this picture."""


def telling_refusals(ask: client.Ask) -> client.Ask:
    """`ask`, whose refusals can be told from answers that make no sense."""

    def asking(body: bytes) -> bytes:
        try:
            return ask(body)
        except WireError as error:
            raise PictureRefused(str(error)) from error

    return asking


@dataclass(frozen=True)
class Finder:
    """Finds what is in pictures, from any thread."""

    detector: client.Detector
    most: int  # bytes of a request

    def find(self, photo: Photo, min_score: float) -> list[Detection]:
        """The surest first, each with a name."""
        found = self.detector.detect(self._within_limit(photo))
        if not all(math.isfinite(number) for one in found for number in (one.score, *one.box)):
            raise ServiceError("the model answers NaN or Infinity, so it is broken; train it anew")
        sure = [one for one in found if one.score >= min_score]
        sure.sort(key=lambda one: -one.score)
        return [replace(one, name=one.name or f"class {one.label}") for one in sure]

    def _within_limit(self, photo: Photo) -> bytes:
        around = len(wire.request([b""], signature=client.DETECT))
        room = max(0, self.most - around) // 4 * 3  # base64 makes four of three
        if len(photo.encoded) <= room:
            return photo.encoded
        from petbox.fitting import fitted

        return fitted(photo, room)


def answer(photo: Photo, found: Sequence[Detection]) -> dict[str, Any]:
    """What is said of a picture: the best first, boxes in fractions of the upright picture."""
    best = found[0] if found else None
    return {
        "class": best.name if best else None,
        "confidence": best.score if best else None,
        "detections": [{"label": one.name, "score": one.score, "box": one.box} for one in found],
        "width": photo.width,
        "height": photo.height,
    }


def drawn(photo: Photo, found: Sequence[Detection]) -> bytes:
    """A JPEG of the picture with what was found in it."""
    from petbox.draw import drawn as draw

    file = io.BytesIO()
    draw(photo.seen(), found, {}).save(file, "JPEG", quality=90)
    return file.getvalue()
