"""Cuts a GIF after its first frame, inside the graph, without decoding it.

TensorFlow reads every frame of a GIF into memory before it returns the first, and it believes
each frame's own size, whatever the file's header states. After the cut, an animated image costs
only its first frame, whose size is known before it is decoded.
"""

from __future__ import annotations

from typing import Any

from petbox.tf import tf

SCREEN = 13  # bytes: signature, size, colors
DESCRIPTOR = 10  # bytes before a frame's own colors
# A usual file takes one step for each window; one made to be slow to read is rejected.
MOST_STEPS = 2_000
WINDOW = 2**16  # bytes that a step reads

# The reader's state: what comes next.
BLOCK, EXTENSION, IMAGE, END, INVALID = range(5)


def cut(data: Any) -> tuple[Any, Any, Any, Any]:
    """(file, frame [2], corner [2], screen [2]) of the GIF in `data`.

    The file contains only the first frame, its corner at 0, 0. The others are heights and widths,
    tops and lefts in pixels; the frame's are 0 if there is none.
    """
    content = tf.io.decode_raw(data, tf.uint8)
    size = tf.size(content)
    content = tf.pad(content, [[0, SCREEN + DESCRIPTOR]])  # the last bytes may announce more
    at = SCREEN + _colors(_byte(content, 10))
    _, at, _, image = tf.while_loop(
        lambda state, at, steps, _: (state < END) & (at < size) & (steps < MOST_STEPS),
        lambda state, at, steps, image: _step(content, state, at, steps, image),
        (tf.constant(BLOCK), at, tf.constant(0), tf.constant(0)),
        parallel_iterations=1,
    )
    found = (image > 0) & (at <= size)
    image = tf.where(found, image, 0)
    left, top, width, height = (_number(content, image + offset) for offset in (1, 3, 5, 7))
    frame = tf.where(found, tf.stack([height, width]), 0)
    screen = tf.stack([_number(content, 8), _number(content, 6)])
    head, tail = tf.strings.substr(data, 0, image + 1), image + 5
    body = tf.strings.substr(data, tf.minimum(tail, size), tf.maximum(at - tail, 0))
    file = tf.strings.join([head, b"\0\0\0\0", body, b";"])
    return file, frame, tf.stack([top, left]), screen


def _step(content: Any, state: Any, at: Any, steps: Any, image: Any) -> tuple[Any, Any, Any, Any]:
    """Past the start of a block, or past all following sub-blocks of the same length."""

    def block() -> tuple[Any, Any, Any]:
        is_image, is_extension = content[at] == ord(","), content[at] == ord("!")
        data = at + DESCRIPTOR + _colors(_byte(content, at + 9)) + 1  # and the code size
        next_ = tf.where(is_image, IMAGE, tf.where(is_extension, EXTENSION, INVALID))
        return next_, tf.where(is_image, data, at + 2), tf.where(is_image, at, image)

    def parts() -> tuple[Any, Any, Any]:
        length = _byte(content, at)
        differ = content[at : at + WINDOW : length + 1] != content[at]
        first = tf.argmax(tf.cast(differ, tf.uint8), output_type=tf.int32)
        alike = tf.where(tf.reduce_any(differ), first, tf.size(differ))
        last = length == 0
        closed = tf.where(state == IMAGE, END, BLOCK)
        return (
            tf.where(last, closed, state),
            at + tf.where(last, 1, alike * (length + 1)),
            image,
        )

    state, at, image = (tf.ensure_shape(n, []) for n in tf.cond(state == BLOCK, block, parts))
    return state, at, steps + 1, image


def _colors(flags: Any) -> Any:
    """The size in bytes of a color table, if there is one."""
    table = 3 * tf.bitwise.left_shift(2, tf.bitwise.bitwise_and(flags, 7))
    return tf.where(flags >= 128, table, 0)


def _number(content: Any, at: Any) -> Any:
    return _byte(content, at) + 256 * _byte(content, at + 1)


def _byte(content: Any, at: Any) -> Any:
    return tf.cast(content[at], tf.int32)
