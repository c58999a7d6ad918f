"""Files of one image as turned cameras store it, with the same pixels, and their detections."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL import Image
from support.spots import with_orientation

from petbox.images import exif
from petbox.wire import Box, Detection

KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
BLOCK = 8  # pixels; a JPEG of blocks of one color is the same, whichever way it is stored


def files(image: Image.Image, kind: str) -> list[bytes]:
    """The upright file and seven others, by their orientation."""
    small = image.resize((image.width // BLOCK, image.height // BLOCK))
    blocks = small.resize((small.width * BLOCK, small.height * BLOCK), Image.Resampling.NEAREST)
    found = [with_orientation(blocks, orientation, kind) for orientation in exif.ORIENTATIONS]
    assert [exif.orientation(one) for one in found] == [*exif.ORIENTATIONS]
    return found


def check_same(found: Sequence[Detection], expected: Sequence[Detection]) -> None:
    """The labels of both in their order, the scores, and boxes that overlap by 99 percent."""
    assert [one.label for one in found] == [one.label for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert overlap(one.box, other.box) >= 0.99


def overlap(one: Box, other: Box) -> float:
    """Intersection over union; of boxes without area, whether they are the same."""
    edges = list(zip(one, other, strict=True))
    both = _area((max(edges[0]), max(edges[1]), min(edges[2]), min(edges[3])))
    either = _area(one) + _area(other) - both
    return both / either if either else float(list(one) == pytest.approx(other, abs=1e-4))


def _area(box: Box) -> float:
    ymin, xmin, ymax, xmax = box
    return max(0.0, ymax - ymin) * max(0.0, xmax - xmin)
