"""Pictures as bytes into pixels, inside the graph: the header first, the pixels later.

Whatever a client sends becomes pixels, or is refused in one sentence that names the picture's
place in the request. What the header gives away is refused before memory is spent on it; what
only the decoder finds is caught, for its own words do not say which picture they are of.

Photos are not turned as their EXIF says, and what is transparent shows the colour under it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from petbox.export.decode import gif, headers
from petbox.export.decode.headers import BEGINNINGS, MOST_SCANS, MOST_TEXTS
from petbox.tf import tf

MOST_PIXELS = 40_000_000
LARGE_FILE = 2**19  # bytes of a JPEG worth decoding by two cores
HEAD = 2**18  # bytes in which it says how it is made
SCANS = b"\xff\xc2"  # begins that of a progressive one, whose pixels are done only in the last scan
MOST_ROWS = 32  # that a JPEG's colours share; cut between those, nothing changes

SOUND = ""  # otherwise it is what is wrong
BROKEN = "is broken or cut off; send the whole file"


def decode(index: Any, data: Any, most_pixels: int = MOST_PIXELS) -> Any:
    """uint8 [H,W,3] of the picture file in `data`; of a film its first frame."""
    header = headers.read(data)
    read = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "BMP": _bmp, "WebP": _webp}
    formats = [partial(read[name], data, header, most_pixels) for name in BEGINNINGS]
    kind = headers.kind(header)
    flaw, pixels = tf.switch_case(kind, [*formats, partial(_no_picture, data)])
    return refused(index, flaw, pixels)


def refused(index: Any, flaw: Any, result: Any) -> Any:
    """`result`, of which nothing more is done unless the picture has no flaw."""
    # The server passes this text on to the client.
    said = tf.strings.join(["picture ", tf.strings.as_string(index), " of the request ", flaw])
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(flaw, SOUND), [said])]):
        return tf.identity(result)


def caught(read: Callable[[Any], tuple[Any, Any]], data: Any, otherwise: tuple[Any, Any]) -> Any:
    """`read(data)`, or `otherwise` where something in it fails.

    A graph has no `except`. A dataset can leave out the elements that fail, though, and this one
    has but two. Every call sets up the whole of `read` anew, so it had better be small.
    """
    options = tf.data.Options()
    # They would take longer than the picture.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    tried = tf.data.Dataset.from_tensors(data).map(read).ignore_errors()
    fallback = tf.data.Dataset.from_tensors(otherwise)
    return tried.concatenate(fallback).take(1).with_options(options).get_single_element()


def _no_picture(data: Any) -> tuple[Any, Any]:
    *names, last = BEGINNINGS
    named = f"is not a {', '.join(names)} or {last} file"
    return tf.where(tf.strings.length(data) == 0, "is empty", named), _no_pixels()


def _jpeg(data: Any, _header: Any, most_pixels: int) -> tuple[Any, Any]:
    slow = headers.has_more(data, b"\xff\xda", MOST_SCANS)
    flaw = tf.where(slow, f"has more than {MOST_SCANS} scans; save it anew", SOUND)

    def by(decoder: Callable[[Any], Any]) -> tuple[Any, Any]:
        def read(data: Any) -> tuple[Any, Any]:
            # Where a JPEG has its size only the decoder knows, which may fail to find it.
            size = tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64)
            flaw = _oversized(size, most_pixels)
            return flaw, tf.cond(tf.equal(flaw, SOUND), lambda: decoder(data), _no_pixels)

        return _unless(flaw, read, data)

    large = tf.strings.length(data) >= LARGE_FILE
    in_one_pass = large & ~headers.has_more(tf.strings.substr(data, 0, HEAD), SCANS, 0)
    return tf.cond(in_one_pass, lambda: by(_by_halves), lambda: by(_plain))


def _png(data: Any, header: Any, most_pixels: int) -> tuple[Any, Any]:
    slow = [headers.has_more(data, kind, MOST_TEXTS) for kind in (b"zTXt", b"iTXt")]
    flaw = _first(
        tf.where(headers.starts_with_its_size(header), SOUND, BROKEN),
        _oversized(headers.png_size(header), most_pixels),
        tf.where(slow[0] | slow[1], f"holds more than {MOST_TEXTS} texts; save it anew", SOUND),
    )
    return _unless(flaw, _soundly(_plain), data)


def _gif(data: Any, _header: Any, most_pixels: int) -> tuple[Any, Any]:
    file, frame, corner, screen = gif.cut(data)
    whole = tf.maximum(screen, corner + frame)
    flaw = _first(
        tf.where(tf.reduce_all(frame > 0), SOUND, BROKEN),
        _oversized(tf.cast(whole, tf.int64), most_pixels),
    )
    edges = tf.pad(tf.stack([corner, whole - corner - frame], 1), [[0, 1], [0, 0]])
    return _unless(flaw, _soundly(lambda file: tf.pad(_plain(file), edges)), file)


def _bmp(data: Any, header: Any, most_pixels: int) -> tuple[Any, Any]:
    unread = "is a BMP with a palette or packed, which is not read; send it as PNG"
    flaw = _first(
        _oversized(headers.bmp_size(header), most_pixels),
        tf.where(headers.is_plain_bmp(header), SOUND, unread),
    )
    return _unless(flaw, _soundly(_plain), data)


def _webp(data: Any, header: Any, most_pixels: int) -> tuple[Any, Any]:
    # Before any other part the decoder takes the rest for pixels, and finds another size in them.
    parts = tf.constant([list(b"VP8 "), list(b"VP8L"), list(b"VP8X")], tf.int64)
    known = tf.reduce_any(tf.reduce_all(header[12:16] == parts, axis=1))
    flaw = _first(
        tf.where(known, SOUND, BROKEN),
        _oversized(headers.webp_size(header), most_pixels),
    )
    return _unless(flaw, _soundly(_without_alpha), headers.webp_with_alpha(data, header))


def _plain(data: Any) -> Any:
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def _by_halves(data: Any) -> Any:
    """Both at the same time; the lower one's decoder runs through the upper without its pixels."""
    height, width, _ = tf.unstack(tf.image.extract_jpeg_shape(data))
    cut = height * 3 // 5 // MOST_ROWS * MOST_ROWS

    def part(top: Any, rows: Any) -> Any:
        window = tf.stack([top, 0, rows, width])
        return tf.image.decode_and_crop_jpeg(data, window, channels=3)

    return tf.cond(
        cut > 0,
        lambda: tf.concat([part(0, cut), part(cut, height - cut)], 0),
        lambda: _plain(data),
    )


def _without_alpha(data: Any) -> Any:
    """Of a WebP, which TensorFlow decodes with its alpha or not at all."""
    return tf.io.decode_image(data, channels=0, expand_animations=False)[..., :3]


def _soundly(decoder: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
    return lambda data: (tf.constant(SOUND), tf.ensure_shape(decoder(data), [None, None, 3]))


def _unless(flaw: Any, read: Callable[[Any], tuple[Any, Any]], data: Any) -> tuple[Any, Any]:
    """What `read` says of the file and gives, unless it has a flaw already."""
    return tf.cond(
        tf.equal(flaw, SOUND),
        lambda: caught(read, data, (BROKEN, _no_pixels())),
        lambda: (flaw, _no_pixels()),
    )


def _oversized(size: Any, most_pixels: int) -> Any:
    """What is wrong with a height and a width, int64 [2]."""
    height, width = tf.unstack(size)
    seen = ["is ", tf.strings.as_string(width), "x", tf.strings.as_string(height)]
    many = tf.strings.join([*seen, f", more than the {most_pixels} pixels allowed; scale it down"])
    few = height <= most_pixels // tf.maximum(width, 1)  # a product might not fit the number
    return tf.where(tf.reduce_all(size > 0), tf.where(few, SOUND, many), "has no pixels")


def _first(*flaws: Any) -> Any:
    """The first that is one."""
    found = flaws[-1]
    for flaw in reversed(flaws[:-1]):
        found = tf.where(tf.equal(flaw, SOUND), found, flaw)
    return found


def _no_pixels() -> Any:
    return tf.zeros([0, 0, 3], tf.uint8)
