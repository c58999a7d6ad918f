"""Draws boxes on an image inside the graph: rectangles in the colors of their classes.

TensorFlow's own op takes the image as floats and draws lines of one pixel; this sets only the
pixels that change. Names and scores are not written: a graph has no fonts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from petbox.images.draw import color
from petbox.tf import tf

QUALITY = 90


def palette(labels: Iterable[int]) -> Any:
    """The colors uint8 [C,3] of the classes up to the highest of `labels`."""
    return tf.constant([color(label) for label in range(max(labels) + 1)], tf.uint8)


def drawn(pixels: Any, boxes: Any, colors: Any) -> Any:
    """`pixels` [H,W,3] with `boxes` [n,4] in `colors` [n,3], the first one on top."""
    last = tf.shape(pixels)[:2] - 1
    width = tf.maximum(2, tf.cast(tf.round(tf.reduce_min(last + 1) / 130), tf.int32))
    corners = tf.cast(tf.round(boxes * tf.cast(tf.tile(last, [2]), tf.float32)), tf.int32)

    def one(left: Any, pixels: Any) -> tuple[Any, Any]:
        points = _outline(corners[left - 1], width)
        color = tf.broadcast_to(colors[left - 1], [tf.shape(points)[0], 3])
        return left - 1, tf.tensor_scatter_nd_update(pixels, points, color)

    shapes = (tf.TensorShape([]), tf.TensorShape([None, None, 3]))
    return tf.while_loop(
        lambda left, _: left > 0,
        one,
        (tf.shape(boxes)[0], pixels),
        shape_invariants=shapes,
        parallel_iterations=1,
    )[1]


def _outline(corners: Any, width: Any) -> Any:
    """The pixels [p,2] of a rectangle's four lines, which lie inside it."""
    top, left = tf.unstack(corners[:2])
    bottom, right = tf.unstack(
        tf.maximum(corners[2:], corners[:2])
    )  # third-party boxes may be inverted
    high, wide = tf.minimum(width, bottom - top + 1), tf.minimum(width, right - left + 1)
    sides = (
        (top, top + high, left, right + 1),
        (bottom - high + 1, bottom + 1, left, right + 1),
        (top, bottom + 1, left, left + wide),
        (top, bottom + 1, right - wide + 1, right + 1),
    )
    return tf.concat([_rectangle(*side) for side in sides], 0)


def _rectangle(top: Any, bottom: Any, left: Any, right: Any) -> Any:
    rows, columns = tf.meshgrid(tf.range(top, bottom), tf.range(left, right), indexing="ij")
    return tf.stack([tf.reshape(rows, [-1]), tf.reshape(columns, [-1])], axis=1)


def jpeg(pixels: Any) -> Any:
    return tf.io.encode_jpeg(pixels, "rgb", quality=QUALITY)
