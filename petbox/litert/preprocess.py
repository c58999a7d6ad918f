"""Prepares an image's pixels for the network with numpy: scales, normalizes, pads.

The same arithmetic as `petbox.export.faster_rcnn.scaled`, which does it inside the graph. Not with
Pillow, whose scaling uses more pixels than TensorFlow's, which the network was trained with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from petbox.litert.bundle import LiteModel

Pixels = npt.NDArray[np.uint8]  # [H,W,3]
Values = npt.NDArray[np.float32]


def fitted(pixels: Pixels, model: LiteModel) -> tuple[Values, Values]:
    """The image on its canvas [1,H,W,3], and the pixels of its two corners [1,4]."""
    size = np.array(pixels.shape[:2], np.float32)
    share = (np.array(model.canvas, np.float32) / size).min()
    # An image of one row would vanish.
    height, width = np.maximum(np.round(size * share), np.float32(1))
    scaled = _scaled(pixels, int(height), int(width))
    scaled /= np.float32(255)
    scaled -= np.array(model.mean, np.float32)
    scaled /= np.array(model.deviation, np.float32)
    canvas = np.zeros((1, *model.padded, 3), np.float32)
    canvas[0, : scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas, np.array([[height, width, height, width]], np.float32)


def _scaled(pixels: Pixels, height: int, width: int) -> Values:
    """Bilinear scaling, as the default of `tf.image.resize`."""
    if pixels.shape[:2] == (height, width):
        return pixels.astype(np.float32)
    above, below, down = _between(pixels.shape[0], height)
    left, right, across = _between(pixels.shape[1], width)

    def rows(positions: npt.NDArray[np.int64]) -> Values:
        some = pixels[positions]
        start = some[:, left].astype(np.float32)
        start += (some[:, right] - start) * across[:, None]
        return start

    upper = rows(above)
    upper += (rows(below) - upper) * down[:, None, None]
    return upper


def _between(
    length: int, scaled_length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Values]:
    """For each position along a scaled edge: its two neighbors, and the weight of the second."""
    centers = np.arange(scaled_length, dtype=np.float32) + np.float32(0.5)
    positions = centers * (np.float32(length) / np.float32(scaled_length)) - np.float32(0.5)
    first = np.floor(positions)
    lower = np.maximum(first, 0).astype(np.int64)
    upper = np.minimum(np.ceil(positions), length - 1).astype(np.int64)
    return lower, upper, positions - first
