"""EXIF orientation: read from the header inside the graph, and by the same rules outside it."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.exporting import file, noise
from support.hostile_images import chunk

from petbox.images import exif
from petbox.litert import decode as litert_decode

OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
}
UPRIGHT = np.asarray(noise(48, 32))


@pytest.fixture(scope="module")
def decode() -> Callable[..., Any]:
    from petbox.export.decode import files
    from petbox.export.decode.orientation import turned
    from petbox.tf import as_written, tf

    spec = [tf.TensorSpec([], tf.string)]
    both = {
        follow: tf.function(
            as_written(lambda data, f=follow: turned(*files.stored(0, data, 10_000, f))), spec
        )
        for follow in (True, False)
    }
    return lambda data, follow=True: both[follow](tf.constant(data)).numpy()


@pytest.fixture(scope="module")
def in_graph() -> Callable[[bytes], int]:
    """The orientation as the graph reads it."""
    from petbox.export.decode import headers, orientation
    from petbox.tf import as_written, tf

    def read(data: Any) -> Any:
        return orientation.read(data, headers.read(data))

    graph = tf.function(as_written(read), [tf.TensorSpec([], tf.string)])
    return lambda data: int(graph(tf.constant(data)))


def block(
    value: int, order: str = "<", *, kind: int = 3, values: int = 1, tag: int = 0x0112, at: int = 8
) -> bytes:
    """An EXIF block with a camera's name before the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    name = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"cam\0")
    turn = struct.pack(order + "HHIHH", tag, kind, values, value, 0)
    return mark + struct.pack(order + "IH", at, 2) + name + turn + bytes(4)


def with_block(content: bytes, kind: str = "JPEG", pixels: Any = UPRIGHT) -> bytes:
    """A file of these pixels with that block, whatever is in it."""
    data = file(Image.fromarray(pixels), kind, **OPTIONS[kind])
    if kind == "JPEG":
        return data[:2] + segment(content) + data[2:]
    if kind == "PNG":
        return data[:-12] + chunk(b"eXIf", content) + data[-12:]  # after the pixels
    return file(Image.fromarray(pixels), kind, exif=content, **OPTIONS[kind])


def segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", 8 + len(content)) + b"Exif\0\0" + content


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(
    decode: Callable[..., Any], kind: str, orientation: int
) -> None:
    stored = exif.turned(UPRIGHT, {6: 8, 8: 6}.get(orientation, orientation))
    for order in "<>":
        data = with_block(block(orientation, order), kind, np.ascontiguousarray(stored))
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        for pixels in (decode(data), litert_decode.pixels(data, 10_000)):
            assert pixels.shape == UPRIGHT.shape
            assert np.abs(pixels - expected).max() <= (12 if kind == "JPEG" else 0)
        np.testing.assert_array_equal(decode(exif.as_stored(data)), decode(data, follow=False))
        assert decode(data, follow=False).shape == stored.shape
        assert np.abs(expected - UPRIGHT).mean() < 4, "turned back to what it was"


BROKEN = {
    "orientation 0": block(0),
    "orientation 9": block(9),
    "a LONG": block(6, kind=4),
    "two values": block(6, values=2),
    "another tag": block(6, tag=0x0113),
    "twice": block(6, tag=0x0112)[:10] + block(6)[22:34] * 2 + bytes(4),
    "cut off in an entry": block(6)[:30],
    "cut off in the header": block(6)[:6],
    "a directory in the header": block(6, at=0),
    "a directory outside": block(6, at=2**32 - 1),
    "a directory at the end": block(6, at=len(block(6))),
    "no byte order": b"XX*\0" + block(6)[4:],
    "nothing": b"",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", OPTIONS)
def test_a_broken_block_is_as_if_there_were_none(
    in_graph: Callable[[bytes], int], kind: str, name: str
) -> None:
    data = with_block(BROKEN[name], kind)
    assert in_graph(data) == exif.orientation(data) == 1
    assert exif.as_stored(data) == data


def test_blocks_elsewhere_do_not_count(in_graph: Callable[[bytes], int]) -> None:
    jpeg, six = with_block(b""), segment(block(6))
    second = jpeg + with_block(block(6))  # as phones append a depth map
    thumbnail = with_block(block(3) + with_block(block(6)))
    assert {in_graph(jpeg[:2] + b"\xff\xff" + six[1:] + jpeg[2:])} == {6}, "after padding"
    png = with_block(block(6), "PNG")
    text = chunk(b"tEXt", b"a\0eXIf")
    for data, expected in (
        (second, 1),
        (thumbnail, 3),
        (jpeg[:2] + six + six + jpeg[2:], 1),
        (jpeg[:2] + b"\xff\xe2\0\x08" + six[4:10] + six + jpeg[2:], 6),
        (png[:33] + text + png[33:], 6),
        (png[:33] + chunk(b"eXIf", block(3)) + png[33:], 1),
        (png[:33] + text * 16 + png[33:], 1),
    ):
        assert in_graph(data) == exif.orientation(data) == expected


def test_a_png_that_counts_as_stored_is_intact() -> None:
    data = exif.as_stored(with_block(block(6), "PNG"))
    at = data.index(b"eXIf")
    length = int.from_bytes(data[at - 4 : at], "big")
    checksum = int.from_bytes(data[at + 4 + length :][:4], "big")
    assert checksum == zlib.crc32(data[at : at + 4 + length])


def test_the_graph_reads_what_is_read_outside(in_graph: Callable[[bytes], int]) -> None:
    """Files mutated around their block: both agree, and as many are turned as are not."""
    rng, turned = random.Random(4), 0
    files = [
        with_block(block(orientation, order), kind)
        for kind in OPTIONS
        for orientation in range(2, 9)
        for order in "<>"
    ]
    for number in range(400):
        data = bytearray(rng.choice(files))
        at = max(data.find(b"II*\0"), data.find(b"MM\0*"))
        way = rng.choice(("bytes", "insert", "cut", "repeat"))
        if way == "bytes":
            place = min(len(data) - 1, at - 16 + rng.randrange(60))
            data[place] = rng.choice((0, 1, 3, 6, 8, 255, rng.randrange(256)))
        elif way == "insert":
            data[at - 10 : at - 10] = rng.choice((b"eXIf", b"EXIF", b"Exif\0\0", b"\xff\xe1\0\x10"))
        elif way == "cut":
            del data[rng.randrange(len(data)) :]
        else:
            place = rng.randrange(len(data))
            data[place:place] = data[max(0, at - 12) : at + 40]
        found = in_graph(bytes(data))
        assert found == exif.orientation(bytes(data)), f"{number}: {way}"
        turned += found != 1
    assert 100 < turned < 300
