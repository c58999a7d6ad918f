"""The canvases that a network may look at: the one it learned on, and parts of it.

A picture is scaled to fit into the canvas and lies in its upper left corner; the rest is padding.
A part that holds the picture gives nearly the same answer for less work. Not quite: the network
sees a long way into the padding, and learned that there is more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from petbox.quiet_tensorflow import tf


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
    canvases: Sequence[Canvas], find: Sequence[Callable[..., Any]], images: Any, corners: Any
) -> tuple[Any, ...]:
    """What `find`, a function for each canvas, says of each picture on its canvas, in order.

    The canvas is a matter of the picture alone, so its answer is the same in any company.
    """
    choice = holding(canvases, corners[:, :2])
    rows = [tf.where(choice == place)[:, 0] for place in range(len(canvases))]

    def part(find: Any, canvas: Canvas, rows: Any) -> Any:
        def found() -> Any:
            shown = tf.gather(images, rows)[:, : canvas.height, : canvas.width]
            return find(shown, tf.gather(corners, rows))

        def nothing() -> Any:
            return tuple(tf.zeros([0, *one.shape[1:]], one.dtype) for one in find.outputs)

        return tf.cond(tf.size(rows) > 0, found, nothing)

    parts = [part(*each) for each in zip(find, canvases, rows, strict=True)]
    back = tf.math.invert_permutation(tf.cast(tf.concat(rows, 0), tf.int32))
    return tuple(tf.gather(tf.concat(one, 0), back) for one in zip(*parts, strict=True))
