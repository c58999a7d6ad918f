"""The canvases of a network: the one it was trained on, and smaller parts of it.

An image is scaled to fit the canvas and lies in its upper left corner; the rest is padding. A part
that contains the image gives nearly the same result for less work. Not exactly: the network's
receptive field reaches into the padding, and it was trained with more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from petbox.tf import tf


class Canvas(NamedTuple):
    height: int
    width: int
    most: tuple[int, int]  # height and width of an image on it


def whole(height: int, width: int) -> Canvas:
    return Canvas(height, width, (height, width))


def fitting(height: int, width: int, stride: int) -> list[Canvas]:
    """Canvases for 4:3 images, landscape and portrait, and one for all; use the first that fits.

    Each leaves at least half a stride of padding: without, detections at the edge get worse.
    """

    def part(edge: int) -> int:
        return -(-(edge * 3 // 4 + stride // 2) // stride) * stride

    low, narrow = part(height), part(width)
    parts = []
    if low < height:
        parts.append(Canvas(low, width, (low - stride // 2, width)))
    if narrow < width:
        parts.append(Canvas(height, narrow, (height, narrow - stride // 2)))
    return [*parts, whole(height, width)]


def first_fitting(canvases: Sequence[Canvas], corners: Any) -> Any:
    """The index [N] of the first canvas that fits each image; the images' corners are [N,2]."""
    most = tf.constant([canvas.most for canvas in canvases], tf.float32)
    holds = tf.reduce_all(tf.round(corners)[:, None] <= most, axis=2)
    return tf.argmax(holds, axis=1, output_type=tf.int32)


def on_own_canvases(
    canvases: Sequence[Canvas], detect: Any, images: Any, corners: Any
) -> tuple[Any, ...]:
    """The result of `detect` for each image on its own canvas, in order.

    The canvas depends on the image alone, so the result does not depend on the batch.
    """
    choice = first_fitting(canvases, corners[:, :2])
    sizes = tf.constant([canvas[:2] for canvas in canvases])
    used = tf.unique(choice).y

    # A loop, so that the graph calls the network in one place: before the first response TensorFlow
    # processes everything below a call, again for each call.
    def on_next(step: Any, *found: Any) -> tuple[Any, ...]:
        rows = tf.where(choice == used[step])
        height, width = tf.unstack(sizes[used[step]])
        here = detect(tf.gather_nd(images, rows)[:, :height, :width], tf.gather_nd(corners, rows))
        both = zip(found, here, strict=True)
        return step + 1, *(tf.tensor_scatter_nd_update(whole, rows, part) for whole, part in both)

    count = tf.shape(images)[0]
    nothing = [tf.zeros([count, *one.shape[1:]], one.dtype) for one in detect.outputs]
    _, *found = tf.while_loop(
        lambda step, *_: step < tf.size(used), on_next, (0, *nothing), parallel_iterations=1
    )
    return tuple(found)


def padded(maps: Any, size: Sequence[int], missing: Any, value: float) -> Any:
    """[N,H,W,C] padded with `value` to `size`: `missing` [2] rows below and columns right."""
    edges = tf.pad(missing[:, None], [[1, 1], [1, 0]])
    padded = tf.pad(maps, edges, constant_values=value)
    return tf.ensure_shape(padded, [None, *size, maps.shape[3]])
