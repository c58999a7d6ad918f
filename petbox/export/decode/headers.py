"""The format and the size in the first bytes of an image file, inside the graph.

Nothing here fails, whatever the bytes are: an invalid file has some size, and the decoder, which
comes next, rejects it.
"""

from __future__ import annotations

from typing import Any

from petbox.images.heic import BRANDS
from petbox.tf import tf

BYTES = 72  # of a header; a shorter file is padded with zeros
MOST_SCANS = 100  # of a JPEG; each takes few bytes and a pass over all pixels
MOST_TEXTS = 16  # of a PNG; each may unpack to 8 MB
FOURTEEN_BITS = 2**14


# The first bytes of each format; a space matches any byte.
SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": b"GIF8",
    "BMP": b"BM",
    "WebP": b"RIFF    WEBP",
}


def read(data: Any) -> Any:
    """The first bytes of the file, as int64 [BYTES]."""
    return tf.cast(tf.io.decode_raw(data, tf.uint8, fixed_length=BYTES), tf.int64)


def kind(header: Any) -> Any:
    """The index of the format in `SIGNATURES`, or their number if it is none of them."""
    longest = max(map(len, SIGNATURES.values()))
    rows = [list(signature.ljust(longest)) for signature in (*SIGNATURES.values(), b"")]
    alike = (header[:longest] == tf.constant(rows, tf.int64)) | (tf.constant(rows) == ord(" "))
    return tf.argmax(tf.reduce_all(alike, axis=1), output_type=tf.int32)  # the first that is


def png_size(header: Any) -> Any:
    return tf.stack([_big(header, 20), _big(header, 16)])


def starts_with_its_size(header: Any) -> Any:
    """Whether a PNG starts with its size. An unknown chunk might otherwise come first."""
    return tf.reduce_all(header[12:16] == tuple(b"IHDR"))


def bmp_size(header: Any) -> Any:
    return tf.stack([tf.abs(_signed(header, 22)), tf.abs(_signed(header, 18))])


def is_plain_bmp(header: Any) -> Any:
    """Whether it has 24 or 32 bits, as blue, green, red. TensorFlow reads others as gray."""
    bits, packing = _little(header, 28, 2), _little(header, 30, 4)
    masks = tf.stack([_little(header, at, 4) for at in (54, 58, 62)])
    usual = tf.reduce_all(masks == (0xFF0000, 0xFF00, 0xFF))
    plain = (packing == 0) & ((bits == 24) | (bits == 32))
    return (_little(header, 14, 4) >= 40) & (plain | ((packing == 3) & (bits == 32) & usual))


def webp_size(header: Any) -> Any:
    """The size of the whole canvas, which each of the three kinds of WebP stores differently."""
    lossless = _little(header, 21, 4)
    return tf.where(
        header[15] == ord("X"),
        tf.stack([1 + _little(header, 27, 3), 1 + _little(header, 24, 3)]),
        tf.where(
            header[15] == ord("L"),
            1 + tf.stack([lossless // FOURTEEN_BITS, lossless]) % FOURTEEN_BITS,
            tf.stack([_little(header, 28, 2), _little(header, 26, 2)]) % FOURTEEN_BITS,
        ),
    )


def webp_with_alpha(data: Any, header: Any) -> Any:
    """The file, with the alpha flag set if it is animated.

    Without the flag, TensorFlow 2.20 writes the four channels of an animated image's frame into a
    buffer for three: past its end.
    """
    flags = header[20]
    animated = (header[15] == ord("X")) & (flags // 2 % 2 == 1)
    opaque = animated & (flags // 16 % 2 == 0)

    def flagged() -> Any:
        changed = tf.gather(tf.constant([bytes([n]) for n in range(256)]), flags + 16)
        return tf.strings.join([tf.strings.substr(data, 0, 20), changed, _from(data, 21)])

    return tf.cond(opaque, flagged, lambda: data)


def _from(data: Any, at: int) -> Any:
    length = tf.strings.length(data)
    return tf.strings.substr(data, tf.minimum(at, length), length)


def is_heic(header: Any) -> Any:
    """As `petbox.images.heic.is_heic`."""
    brands = tf.constant([list(brand) for brand in BRANDS], tf.int64)
    named = tf.reduce_any(tf.reduce_all(header[8:12] == brands, axis=1))
    # Every four bytes of the first 64.
    fours = tf.stack([header[at : 61 + at] for at in range(4)], axis=1)
    avif = tf.reduce_any(tf.reduce_all(fours == tuple(b"avif"), axis=1))
    return tf.reduce_all(header[4:8] == tuple(b"ftyp")) & named & ~avif


def has_more(data: Any, mark: bytes, most: int) -> Any:
    """Whether `mark` occurs in the file more than `most` times."""
    parts = tf.raw_ops.StringSplitV2(input=[data], sep=mark, maxsplit=most + 1).shape[1]
    return parts > most + 1


def _big(header: Any, at: int) -> Any:
    return tf.reduce_sum(header[at : at + 4] * (2**24, 2**16, 2**8, 1))


def _little(header: Any, at: int, length: int) -> Any:
    return tf.reduce_sum(header[at : at + length] * [256**place for place in range(length)])


def _signed(header: Any, at: int) -> Any:
    number = _little(header, at, 4)
    return tf.where(number < 2**31, number, number - 2**32)
