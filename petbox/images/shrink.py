"""A smaller copy of an image, as a JPEG of at most so many bytes.

Its proportions stay, so boxes in fractions of the copy are boxes in fractions of the original. A
detector scales images down itself, so little is lost.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from petbox.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from petbox.images.photos import Photo

QUALITY = 90
SMALLEST = 32  # pixels of the shorter side, below which no detector finds anything


def shrink(photo: Photo, most: int) -> bytes:
    """A whole JPEG file of at most `most` bytes."""
    image = photo.decode()
    scale = 1.0
    while True:
        encoded = _jpeg(image, scale)
        if len(encoded) <= most:
            return encoded
        # A file grows a little slower than the area.
        scale *= min(0.9, 0.97 * math.sqrt(most / len(encoded)))
        if scale * min(image.size) < SMALLEST:
            raise DataError(
                f"{photo.name}: cannot be made to fit into {most} bytes; raise the limit"
            )


def _jpeg(image: Image, scale: float) -> bytes:
    if scale < 1:
        from PIL.Image import Resampling

        size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        image = image.resize(size, Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
