"""Prepares an image's pixels for the network with numpy: scales, normalizes, pads.

The same arithmetic as `petbox.export.trained.scaled`, which does it inside the graph. Not with
Pillow, whose filters differ from TensorFlow's, which the network was trained with.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from petbox.images import exif
from petbox.litert.bundle import LiteModel

Pixels = npt.NDArray[np.uint8]  # [H,W,3]
Values = npt.NDArray[np.float32]


def fitted(
    pixels: Pixels, model: LiteModel, orientation: int = exif.UPRIGHT
) -> tuple[Values, Values]:
    """The image upright on its canvas [1,H,W,3], and the pixels of its two corners [1,4]."""
    # Turned after scaling: in a view of turned pixels, rows are columns, which takes four times as
    # long.
    order = -1 if orientation in exif.SIDEWAYS else 1
    size = np.array(pixels.shape[:2][::order], np.float32)
    share = (np.array(model.canvas, np.float32) / size).min()
    # An image of one row would vanish.
    height, width = np.maximum(np.round(size * share), np.float32(1))
    fits = [int(height), int(width)][::order]
    scaled: Values = exif.turned(_scaled(pixels, *fits), orientation)
    scaled /= np.float32(255)
    scaled -= np.array(model.mean, np.float32)
    scaled /= np.array(model.deviation, np.float32)
    canvas = np.zeros((1, *model.padded, 3), np.float32)
    canvas[0, : scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas, np.array([[height, width, height, width]], np.float32)


def _scaled(pixels: Pixels, height: int, width: int) -> Values:
    """As `petbox.training.resize`: averaged from half the size down, and otherwise bilinear."""
    if pixels.shape[:2] == (height, width):
        return pixels.astype(np.float32)
    if pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width:
        return _averaged(pixels, height, width)
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


def _averaged(pixels: Pixels, height: int, width: int) -> Values:
    """The average over each area, as `tf.image.resize` with the method area.

    A few rows at a time, because the image as floats takes four times its memory.
    """
    rows = np.empty((height, *pixels.shape[1:]), np.float32)
    for at, (part, weights) in enumerate(_areas(pixels.shape[0], height)):
        some = pixels[part].reshape(len(weights), -1).astype(np.float32)
        rows[at] = (weights @ some).reshape(rows.shape[1:])
    scaled = np.empty((height, width, pixels.shape[2]), np.float32)
    for at, (part, weights) in enumerate(_areas(pixels.shape[1], width)):
        scaled[:, at] = np.einsum("hwc,w->hc", rows[:, part], weights)
    return scaled


def _areas(length: int, scaled_length: int) -> Iterator[tuple[slice, Values]]:
    """For each position along a scaled edge: the pixels in its area, and their weights."""
    scale = np.float32(length) / np.float32(scaled_length)
    for at in range(scaled_length):
        begin, end = np.float32(at) * scale, np.float32(at + 1) * scale
        first, last = int(np.floor(begin)), min(int(np.ceil(end)), length)
        places = np.arange(first, last, dtype=np.float32)
        covered = np.minimum(places + np.float32(1), end) - np.maximum(places, begin)
        yield slice(first, last), covered / scale


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
