"""Turns an image upright as its EXIF block says, inside the graph.

The rules are those of `petbox.images.exif`: a broken or ambiguous block is as if there were none.
Nothing here fails, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from petbox.export.decode import headers
from petbox.export.decode.headers import has_more
from petbox.images.exif import (
    BIG,
    FLAGS,
    HAS_EXIF,
    HEAD,
    IN_JPEG,
    LITTLE,
    MIRRORED_COLUMNS,
    MIRRORED_ROWS,
    MOST_BYTES,
    MOST_NAMES,
    MOST_SEGMENTS,
    ORIENTATIONS,
    SHORT,
    SIDEWAYS,
    TAG,
    UPRIGHT,
)
from petbox.tf import tf

SEGMENT = 14  # bytes of a JPEG's segment that tell whether it is a block
AFTER_NAME = 14  # bytes of a WebP's chunk that do
LAST = (0xDA, 0xD9, 0xD8, 0x00)  # markers of a JPEG that end the segments before its pixels


def read(data: Any, header: Any) -> Any:
    """The orientation, int32, of the image file in `data`."""
    readers = {
        "JPEG": lambda: _of_jpeg(data),
        "PNG": lambda: _of_png(data),
        "WebP": lambda: _of_webp(data, header),
    }
    by_kind = [readers.get(name, _no_blocks) for name in (*headers.SIGNATURES, "")]
    return _in_only_block(data, *tf.switch_case(headers.kind(header), by_kind))


def turned(pixels: Any, orientation: Any) -> Any:
    """The pixels [H,W,3], upright."""

    def turn() -> Any:
        swapped = tf.cond(
            is_sideways(orientation), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels
        )
        mirrored = [_is_one_of(orientation, some) for some in (MIRRORED_COLUMNS, MIRRORED_ROWS)]
        return tf.reverse(swapped, tf.where(tf.stack(mirrored))[:, 0])

    upright = tf.cond(tf.equal(orientation, UPRIGHT), lambda: pixels, turn)
    return tf.ensure_shape(upright, [None, None, 3])


# The EXIF blocks of a file: where each starts and ends, and whether it is a known one.
Blocks = Any  # three tensors


def _no_blocks() -> Blocks:
    return tf.zeros([0], tf.int64), tf.zeros([0], tf.int64), tf.zeros([0], tf.bool)


def _of_jpeg(data: Any) -> Blocks:
    there = has_more(tf.strings.substr(data, 0, HEAD), IN_JPEG, 0)
    return tf.cond(there, lambda: _in_segments(data), _no_blocks)


def _of_png(data: Any) -> Blocks:
    """By the chunk eXIf, which may come after the pixels."""

    def read() -> Blocks:
        start, before, after = _chunks(data, b"eXIf")
        long = tf.strings.length(before)
        length = _number(_bytes(before, tf.maximum(long - 4, 0), 4), little=False)
        length = tf.where(long >= 4, length, tf.cast(tf.strings.length(data), tf.int64))
        return start, start + length, _is_known(_bytes(after, 0, 4))

    return tf.cond(has_more(data, b"eXIf", 0), read, _no_blocks)


def _of_webp(data: Any, header: Any) -> Blocks:
    """By the chunk EXIF, which comes after the pixels."""
    extended = tf.reduce_all(header[12:16] == tuple(b"VP8X"))
    flagged = extended & (header[FLAGS] // HAS_EXIF % 2 == 1)

    def read() -> Blocks:
        name_end, _, after = _chunks(data, b"EXIF")
        head = _bytes(after, 0, AFTER_NAME)
        end = name_end + 4 + _number(head[:, :4], little=True)
        # Some programs write both names.
        twice = tf.reduce_all(head[:, 4:10] == tuple(IN_JPEG), axis=1)
        start = name_end + 4 + 6 * tf.cast(twice, tf.int64)
        known = _is_known(tf.where(twice[:, None], head[:, 10:14], head[:, 4:8]))
        return start, end, known

    return tf.cond(flagged, read, _no_blocks)


def is_sideways(orientation: Any) -> Any:
    """Whether turning swaps height and width."""
    return _is_one_of(orientation, SIDEWAYS)


def _is_one_of(orientation: Any, some: Iterable[int]) -> Any:
    return tf.reduce_any(tf.equal(orientation, tuple(some)))


def _in_segments(data: Any) -> Blocks:
    """The last EXIF block of a JPEG, known if it is the only one."""
    size = tf.strings.length(data)

    def step(at: Any, start: Any, end: Any, found: Any) -> tuple[Any, Any, Any, Any]:
        segment = _bytes(data, at, SEGMENT)
        mark, kind = segment[0], segment[1]
        padding = kind == 0xFF
        length = tf.cast(_number(segment[2:4], little=False), tf.int32)
        is_last = tf.reduce_any(kind == LAST) | (~padding & (length < 2)) | (mark != 0xFF)
        next_ = tf.where(is_last, size, at + tf.where(padding, 1, 2 + length))
        named = tf.reduce_all(segment[4:10] == tuple(IN_JPEG)) & _is_known(segment[10:14])
        is_block = ~is_last & ~padding & (kind == 0xE1) & named & (next_ <= size)
        start, end = tf.where(is_block, at + 10, start), tf.where(is_block, next_, end)
        return next_, start, end, found + tf.cast(is_block, tf.int32)

    _, start, end, found = tf.while_loop(
        lambda at, *_: at < size,
        step,
        (2, 0, 0, 0),
        maximum_iterations=MOST_SEGMENTS,
        parallel_iterations=1,
    )
    start, end = tf.cast(start, tf.int64), tf.cast(end, tf.int64)
    return start[None], end[None], (found == 1)[None]


def _chunks(data: Any, name: bytes) -> tuple[Any, Any, Any]:
    """For each `name` in the file: where it ends, and what is before and after it."""
    pieces = tf.raw_ops.StringSplitV2(input=[data], sep=name, maxsplit=MOST_NAMES + 1).values
    pieces = tf.cond(tf.size(pieces) > MOST_NAMES + 1, lambda: pieces[:1], lambda: pieces)
    ends = tf.cumsum(tf.strings.length(pieces) + len(name))
    return tf.cast(ends[:-1], tf.int64), pieces[:-1], pieces[1:]


def _in_only_block(data: Any, start: Any, end: Any, known: Any) -> Any:
    """The orientation in the only known block, each of which starts and ends somewhere."""
    known &= end <= tf.cast(tf.strings.length(data), tf.int64)
    only = tf.reduce_sum(tf.cast(known, tf.int32)) == 1
    start, end = (tf.reduce_sum(tf.where(known, at, 0)) for at in (start, end))
    length = tf.minimum(end - start, MOST_BYTES)

    def read() -> Any:
        return _in_block(tf.strings.substr(data, start, length))

    return tf.cond(only & (length >= 8), read, lambda: tf.constant(UPRIGHT))


def _in_block(block: Any) -> Any:
    size = tf.cast(tf.strings.length(block), tf.int64)
    head = _bytes(block, 0, 8)
    little = head[0] == LITTLE[0]
    directory = _number(head[4:], little)
    count = _number(_bytes(block, tf.minimum(directory, size), 2), little)
    first = directory + 2
    intact = (directory >= 8) & (first + 12 * count <= size)
    entries = tf.strings.substr(block, tf.where(intact, first, 0), tf.where(intact, 12 * count, 0))
    rows = tf.reshape(tf.cast(tf.io.decode_raw(entries, tf.uint8), tf.int64), [-1, 12])
    rows = tf.boolean_mask(rows, _number(rows[:, :2], little) == TAG)
    kind, values, value = (_number(rows[:, a:b], little) for a, b in ((2, 4), (4, 8), (8, 10)))
    valid = (kind == SHORT) & (values == 1)
    valid &= (value >= ORIENTATIONS[0]) & (value <= ORIENTATIONS[-1])
    # A sum, because it has no entry to take the value of when there is none.
    valid = (tf.size(value) == 1) & tf.reduce_all(valid)
    return tf.where(valid, tf.cast(tf.reduce_sum(value), tf.int32), UPRIGHT)


def _is_known(bytes_: Any) -> Any:
    """Whether these are the first four bytes of a block."""
    both = (tf.reduce_all(bytes_ == tuple(mark), axis=-1) for mark in (LITTLE, BIG))
    return tf.logical_or(*both)


def _bytes(text: Any, at: Any, length: int) -> Any:
    """Some bytes, int64, with zeros after the end."""
    part = tf.strings.substr(text, at, tf.zeros_like(at) + length)
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=length), tf.int64)


def _number(bytes_: Any, little: Any) -> Any:
    """The number that the last axis of `bytes_` is, in either order."""
    places = [256**place for place in range(bytes_.shape[-1])]
    orders = tf.constant([places[::-1], places], tf.int64)
    return tf.reduce_sum(bytes_ * orders[tf.cast(little, tf.int32)], axis=-1)
