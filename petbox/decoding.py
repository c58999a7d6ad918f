"""Pictures as bytes into pixels, inside the graph: the header first, the pixels later.

What a client sends is refused by what its header says, before memory is spent on it, and the
message names the picture's place in the request. What breaks off later is refused in the
decoder's own words.
"""

from __future__ import annotations

from typing import Any

from petbox.quiet_tensorflow import tf

MOST_PIXELS = 40_000_000
SHORTEST_HEADER = 26  # bytes; no whole picture of the four formats is shorter


def decode(index: Any, data: Any) -> Any:
    """uint8 [H,W,3] of the JPEG, PNG, GIF (its first frame) or BMP file in `data`."""
    data = _checked(
        data, tf.strings.length(data) >= SHORTEST_HEADER, index, "is empty or only a few bytes long"
    )
    jpeg = _starts(data, b"\xff\xd8\xff")
    png = _starts(data, b"\x89PNG\r\n\x1a\n")
    gif = _starts(data, b"GIF8")
    bmp = _starts(data, b"BM")
    data = _checked(data, jpeg | png | gif | bmp, index, "is not a JPEG, PNG, GIF or BMP file")
    size = tf.case(
        [
            (jpeg, lambda: tf.cast(tf.image.extract_jpeg_shape(data), tf.int64)[:2]),
            (png, lambda: _numbers(data, 16, tf.int32, little_endian=False)[::-1]),
            (gif, lambda: _numbers(data, 6, tf.uint16, little_endian=True)[::-1]),
        ],
        default=lambda: tf.abs(_numbers(data, 18, tf.int32, little_endian=True)[::-1]),
    )
    data = _checked(data, tf.reduce_all(size > 0), index, "has no pixels")
    few = size[0] <= MOST_PIXELS // tf.maximum(size[1], 1)
    data = _checked(
        data, few, index, f"has more than {MOST_PIXELS} pixels; its height and width:", size
    )
    pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
    pixels.set_shape([None, None, 3])
    return pixels


def _checked(data: Any, holds: Any, index: Any, reason: str, *details: Any) -> Any:
    """`data`, of which nothing more is done unless `holds`."""
    # The server passes this text on to the client.
    check = tf.debugging.Assert(holds, ["picture", index, "of the request", reason, *details])
    with tf.control_dependencies([check]):
        return tf.identity(data)


def _starts(data: Any, magic: bytes) -> Any:
    return tf.equal(tf.strings.substr(data, 0, len(magic)), magic)


def _numbers(data: Any, at: int, kind: Any, *, little_endian: bool) -> Any:
    """Two adjoining whole numbers of a header, as int64."""
    text = tf.strings.substr(data, at, 2 * kind.size)
    return tf.cast(tf.io.decode_raw(text, kind, little_endian=little_endian), tf.int64)
