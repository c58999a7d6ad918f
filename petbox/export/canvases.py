"""The canvases that a network may look at: the one it learned on, and parts of it.

A picture is scaled to fit into the canvas and lies in its upper left corner; the rest is padding.
A part that holds the picture gives nearly the same answer for less work. Not quite: the network
sees a long way into the padding, and learned that there is more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from petbox.tf import tf


class Canvas(NamedTuple):
    height: int
    width: int
    most: tuple[int, int]  # height and width of a picture on it


def whole(height: int, width: int) -> Canvas:
    return Canvas(height, width, (height, width))


def fitting(height: int, width: int, stride: int) -> list[Canvas]:
    """For photos of 4:3 lying and standing, and for all others: the first that holds one will do.

    They leave half a stride of padding at least: with none, detections at the edge suffer.
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


def holding(canvases: Sequence[Canvas], corners: Any) -> Any:
    """The place of the first canvas that holds each picture [N]; their corners are [N,2]."""
    most = tf.constant([canvas.most for canvas in canvases], tf.float32)
    holds = tf.reduce_all(tf.round(corners)[:, None] <= most, axis=2)
    return tf.argmax(holds, axis=1, output_type=tf.int32)


def each_on_its_own(
    canvases: Sequence[Canvas], find: Any, images: Any, corners: Any
) -> tuple[Any, ...]:
    """What `find` says of each picture on its canvas, in order.

    The canvas is a matter of the picture alone, so its answer is the same in any company.
    """
    choice = holding(canvases, corners[:, :2])
    sizes = tf.constant([canvas[:2] for canvas in canvases])
    used = tf.unique(choice).y

    # A loop, so that the graph calls the network in one place: TensorFlow looks through all that a
    # call leads to, for each call anew, before the first answer.
    def on_next(step: Any, *found: Any) -> tuple[Any, ...]:
        rows = tf.where(choice == used[step])
        height, width = tf.unstack(sizes[used[step]])
        here = find(tf.gather_nd(images, rows)[:, :height, :width], tf.gather_nd(corners, rows))
        both = zip(found, here, strict=True)
        return step + 1, *(tf.tensor_scatter_nd_update(whole, rows, part) for whole, part in both)

    count = tf.shape(images)[0]
    nothing = [tf.zeros([count, *one.shape[1:]], one.dtype) for one in find.outputs]
    _, *found = tf.while_loop(
        lambda step, *_: step < tf.size(used), on_next, (0, *nothing), parallel_iterations=1
    )
    return tuple(found)


def filled(maps: Any, size: Sequence[int], missing: Any, value: float) -> Any:
    """[N,H,W,C] as large as `size`, of which [2] are `missing`: `value` below and to the right."""
    edges = tf.pad(missing[:, None], [[1, 1], [1, 0]])
    filled = tf.pad(maps, edges, constant_values=value)
    return tf.ensure_shape(filled, [None, *size, maps.shape[3]])
