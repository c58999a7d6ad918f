"""A picture's pixels made ready for the network, by numpy: scaled, normalised, padded.

The same arithmetic as `petbox.export.faster_rcnn.scaled`, which does it inside the graph. Pillow's
own scaling looks at more pixels than TensorFlow's; what a network learned from is TensorFlow's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from petbox.litert.bundle import LiteModel

Pixels = npt.NDArray[np.uint8]  # [H,W,3]
Values = npt.NDArray[np.float32]


def fitted(pixels: Pixels, model: LiteModel) -> tuple[Values, Values]:
    """The picture on its canvas [1,H,W,3], and what pixels of it are its two corners [1,4]."""
    size = np.array(pixels.shape[:2], np.float32)
    share = (np.array(model.canvas, np.float32) / size).min()
    # A picture of one row would vanish.
    height, width = np.maximum(np.round(size * share), np.float32(1))
    scaled = _scaled(pixels, int(height), int(width))
    scaled /= np.float32(255)
    scaled -= np.array(model.mean, np.float32)
    scaled /= np.array(model.deviation, np.float32)
    canvas = np.zeros((1, *model.padded, 3), np.float32)
    canvas[0, : scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas, np.array([[height, width, height, width]], np.float32)


def _scaled(pixels: Pixels, height: int, width: int) -> Values:
    """Between the four nearest pixels, as `tf.image.resize` does it unless told otherwise."""
    if pixels.shape[:2] == (height, width):
        return pixels.astype(np.float32)
    above, below, down = _between(pixels.shape[0], height)
    left, right, across = _between(pixels.shape[1], width)

    def rows(places: npt.NDArray[np.int64]) -> Values:
        some = pixels[places]
        start = some[:, left].astype(np.float32)
        start += (some[:, right] - start) * across[:, None]
        return start

    upper = rows(above)
    upper += (rows(below) - upper) * down[:, None, None]
    return upper


def _between(
    length: int, wanted: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Values]:
    """Of each place along a scaled edge: its neighbours on the edge, and how near the second is."""
    centres = np.arange(wanted, dtype=np.float32) + np.float32(0.5)
    places = centres * (np.float32(length) / np.float32(wanted)) - np.float32(0.5)
    first = np.floor(places)
    lower = np.maximum(first, 0).astype(np.int64)
    upper = np.minimum(np.ceil(places), length - 1).astype(np.int64)
    return lower, upper, places - first
