"""A picture made to fit into so many bytes: as a JPEG, and smaller until it does.

Its proportions stay, so boxes in fractions of it are boxes in fractions of the original. A
detector scales pictures down itself, so that little is lost.
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


def fitted(photo: Photo, most: int) -> bytes:
    """The whole of a JPEG file of at most so many bytes."""
    picture = photo.seen()
    share = 1.0
    while True:
        encoded = _jpeg(picture, share)
        if len(encoded) <= most:
            return encoded
        # A file grows a little slower than the area.
        share *= min(0.9, 0.97 * math.sqrt(most / len(encoded)))
        if share * min(picture.size) < SMALLEST:
            raise DataError(
                f"{photo.name}: cannot be made to fit into {most} bytes; give a larger --limit"
            )


def _jpeg(picture: Image, share: float) -> bytes:
    if share < 1:
        from PIL.Image import Resampling

        size = (max(1, round(share * picture.width)), max(1, round(share * picture.height)))
        picture = picture.resize(size, Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
