"""Decodes image files inside the graph: the header first, then the pixels.

A client's bytes become pixels, or are rejected with one sentence that names the image's index in
the request. The header is checked before memory is spent; errors of the decoder are caught,
because they do not name the image.

Images are turned upright as their EXIF says, and transparent pixels keep their color.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from petbox.export.decode import gif, headers, orientation
from petbox.export.decode.headers import MOST_SCANS, MOST_TEXTS, SIGNATURES
from petbox.images.exif import UPRIGHT
from petbox.images.heic import NOT_SUPPORTED
from petbox.images.limits import HALVED, MOST_PIXELS, most_of_jpeg
from petbox.tf import tf

LARGE_FILE = 2**19  # bytes of a JPEG worth decoding by two cores
HEAD = 2**18  # bytes that contain its frame header
SCANS = b"\xff\xc2"  # frame header of a progressive JPEG, whose pixels need all of its scans
MOST_ROWS = 32  # that share color values in a JPEG; a cut between those changes no pixel

VALID = ""  # otherwise, what is wrong
CORRUPT = "is corrupt or truncated; send the whole file"


def decode(index: Any, data: Any, most_pixels: int = MOST_PIXELS) -> Any:
    """uint8 [H,W,3] of the image file in `data`, upright."""
    return orientation.turned(*stored(index, data, most_pixels))


def stored(index: Any, data: Any, most_pixels: int, exif: bool = True) -> tuple[Any, Any]:
    """uint8 [H,W,3] as they are stored, of an animated image its first frame; the orientation.

    Without `exif` the image counts as upright.
    """
    header = headers.read(data)
    read = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "BMP": _bmp, "WebP": _webp}
    formats = [partial(read[name], data, header, most_pixels) for name in SIGNATURES]
    kind = headers.kind(header)
    problem, pixels = tf.switch_case(kind, [*formats, partial(_unknown, data, header)])
    pixels = checked(index, problem, pixels)
    return pixels, orientation.read(data, header) if exif else tf.constant(UPRIGHT)


def checked(index: Any, problem: Any, result: Any) -> Any:
    """`result`, if nothing is wrong with the image; otherwise the graph fails."""
    # The server passes this text on to the client.
    sentence = tf.strings.join(["image ", tf.strings.as_string(index), " of the request ", problem])
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, VALID), [sentence])]):
        return tf.identity(result)


def try_or(read: Callable[[Any], tuple[Any, Any]], data: Any, otherwise: tuple[Any, Any]) -> Any:
    """`read(data)`, or `otherwise` if an op in it fails.

    A graph has no `except`, but a dataset can skip elements that fail, and this one has two.
    Every call sets up all of `read` again, so it should be small.
    """
    options = tf.data.Options()
    # They would take longer than decoding.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    tried = tf.data.Dataset.from_tensors(data).map(read).ignore_errors()
    fallback = tf.data.Dataset.from_tensors(otherwise)
    return tried.concatenate(fallback).take(1).with_options(options).get_single_element()


def _unknown(data: Any, header: Any) -> tuple[Any, Any]:
    *names, last = SIGNATURES
    named = f"is not a {', '.join(names)} or {last} file"
    problem = tf.where(headers.is_heic(header), NOT_SUPPORTED, named)
    return tf.where(tf.strings.length(data) == 0, "is empty", problem), _no_pixels()


def _jpeg(data: Any, _header: Any, most_pixels: int) -> tuple[Any, Any]:
    slow = headers.has_more(data, b"\xff\xda", MOST_SCANS)
    problem = tf.where(slow, f"has more than {MOST_SCANS} scans; save it again", VALID)

    def by(decoder: Callable[[Any], Any]) -> tuple[Any, Any]:
        def read(data: Any) -> tuple[Any, Any]:
            # Only the decoder can locate the size in a JPEG, and it may fail.
            size = tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64)
            most = tf.where(_in_one_pass(data), most_of_jpeg(most_pixels), most_pixels)
            problem = _oversized(size, most)
            many = size[0] * size[1] > most_pixels
            decoders = [lambda: decoder(data), lambda: _halved(data), _no_pixels]
            choice = tf.where(tf.equal(problem, VALID), tf.cast(many, tf.int32), 2)
            return problem, tf.switch_case(choice, decoders)

        return _if_valid(problem, read, data)

    by_halves = (tf.strings.length(data) >= LARGE_FILE) & _in_one_pass(data)
    return tf.cond(by_halves, lambda: by(_by_halves), lambda: by(_plain))


def _in_one_pass(jpeg: Any) -> Any:
    return ~headers.has_more(tf.strings.substr(jpeg, 0, HEAD), SCANS, 0)


def _png(data: Any, header: Any, most_pixels: int) -> tuple[Any, Any]:
    slow = [headers.has_more(data, kind, MOST_TEXTS) for kind in (b"zTXt", b"iTXt")]
    problem = _first(
        tf.where(headers.starts_with_its_size(header), VALID, CORRUPT),
        _oversized(headers.png_size(header), most_pixels),
        tf.where(
            slow[0] | slow[1], f"contains more than {MOST_TEXTS} text chunks; save it again", VALID
        ),
    )
    return _if_valid(problem, _with_problem(_plain), data)


def _gif(data: Any, _header: Any, most_pixels: int) -> tuple[Any, Any]:
    file, frame, corner, screen = gif.cut(data)
    whole = tf.maximum(screen, corner + frame)
    problem = _first(
        tf.where(tf.reduce_all(frame > 0), VALID, CORRUPT),
        _oversized(tf.cast(whole, tf.int64), most_pixels),
    )
    edges = tf.pad(tf.stack([corner, whole - corner - frame], 1), [[0, 1], [0, 0]])
    return _if_valid(problem, _with_problem(lambda file: tf.pad(_plain(file), edges)), file)


def _bmp(data: Any, header: Any, most_pixels: int) -> tuple[Any, Any]:
    unsupported = "is a BMP with a palette or compression, which is not supported; send it as PNG"
    problem = _first(
        _oversized(headers.bmp_size(header), most_pixels),
        tf.where(headers.is_plain_bmp(header), VALID, unsupported),
    )
    return _if_valid(problem, _with_problem(_plain), data)


def _webp(data: Any, header: Any, most_pixels: int) -> tuple[Any, Any]:
    # With an unknown chunk first, the decoder reads the rest as pixels, with another size.
    kinds = tf.constant([list(b"VP8 "), list(b"VP8L"), list(b"VP8X")], tf.int64)
    known = tf.reduce_any(tf.reduce_all(header[12:16] == kinds, axis=1))
    problem = _first(
        tf.where(known, VALID, CORRUPT),
        _oversized(headers.webp_size(header), most_pixels),
    )
    return _if_valid(problem, _with_problem(_without_alpha), headers.webp_with_alpha(data, header))


def _plain(data: Any) -> Any:
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def _halved(jpeg: Any) -> Any:
    return tf.io.decode_jpeg(jpeg, channels=3, ratio=HALVED)


def _by_halves(data: Any) -> Any:
    """Decodes both parts in parallel; the lower one's decoder skips the pixels of the upper."""
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
    """Decodes a WebP, which TensorFlow does only with its alpha channel."""
    return tf.io.decode_image(data, channels=0, expand_animations=False)[..., :3]


def _with_problem(decoder: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
    return lambda data: (tf.constant(VALID), tf.ensure_shape(decoder(data), [None, None, 3]))


def _if_valid(problem: Any, read: Callable[[Any], tuple[Any, Any]], data: Any) -> tuple[Any, Any]:
    """The problem and pixels from `read`, if the file has no problem yet."""
    return tf.cond(
        tf.equal(problem, VALID),
        lambda: try_or(read, data, (CORRUPT, _no_pixels())),
        lambda: (problem, _no_pixels()),
    )


def _oversized(size: Any, most_pixels: Any) -> Any:
    """The problem with a height and a width, int64 [2]."""
    height, width = tf.unstack(size)
    actual = ["is ", tf.strings.as_string(width), "x", tf.strings.as_string(height)]
    allowed = [", more than the ", tf.strings.as_string(most_pixels), " pixels allowed"]
    many = tf.strings.join([*actual, *allowed, "; scale it down"])
    most_pixels = tf.cast(most_pixels, tf.int64)
    few = height <= most_pixels // tf.maximum(width, 1)  # a product might overflow
    return tf.where(tf.reduce_all(size > 0), tf.where(few, VALID, many), "has no pixels")


def _first(*problems: Any) -> Any:
    found = problems[-1]
    for problem in reversed(problems[:-1]):
        found = tf.where(tf.equal(problem, VALID), found, problem)
    return found


def _no_pixels() -> Any:
    return tf.zeros([0, 0, 3], tf.uint8)
