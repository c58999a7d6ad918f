"""What a serverless function does with one picture: has it looked at, and says what is in it.

Sends a smaller copy of what is too large for the detector, and draws. Who the detector is, where
the picture comes from and the answer goes to is for others to know.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petbox.errors import ServiceError
from petbox.wire import Detection, Engine

if TYPE_CHECKING:
    from petbox.images.photos import Photo

MB = 1024 * 1024  # as AWS counts the size of requests


@dataclass(frozen=True)
class Finder:
    """Finds what is in pictures."""

    detector: Engine
    room: int | None = None  # bytes of a picture that the detector takes; None: any

    def find(self, photo: Photo, min_score: float) -> list[Detection]:
        """The surest first, each with a name."""
        found = self.detector.detect(self._within_limit(photo))
        if not all(math.isfinite(number) for one in found for number in (one.score, *one.box)):
            raise ServiceError("the model answers NaN or Infinity, so it is broken; train it anew")
        sure = [one for one in found if one.score >= min_score]
        sure.sort(key=lambda one: -one.score)
        return [replace(one, name=one.name or f"class {one.label}") for one in sure]

    def _within_limit(self, photo: Photo) -> bytes:
        if self.room is None or len(photo.encoded) <= self.room:
            return photo.encoded
        from petbox.images.shrink import fitted

        return fitted(photo, self.room)


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
    from petbox.images.draw import drawn as draw

    file = io.BytesIO()
    draw(photo.seen(), found, {}).save(file, "JPEG", quality=90)
    return file.getvalue()
