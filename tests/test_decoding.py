"""Pictures decoded in the graph: read, or refused by their place."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def decode() -> Any:
    from petbox import decoding
    from petbox.quiet_tensorflow import tf

    graph = tf.function(
        decoding.decode,
        input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.string)],
    )
    return lambda data, index=0: graph(tf.constant(index), tf.constant(data)).numpy()


def refusal(decode: Any, data: bytes, index: int = 0) -> str:
    from petbox.quiet_tensorflow import tf

    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        decode(data, index)
    return str(refused.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (7, 300)])
def test_each_format_is_read_whole(decode: Any, kind: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 60, 20)).save(file, format=kind)
    pixels = decode(file.getvalue())
    assert pixels.shape == (size[1], size[0], 3)
    assert abs(pixels[0, 0].astype(int) - (200, 60, 20)).max() <= 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty or only a few bytes long"),
        (b"\xff\xd8\xff", "is empty or only a few bytes long"),
        (b"<html>this is a web page, not a picture</html>", "is not a JPEG, PNG, GIF or BMP file"),
        (b"GIF89a" + bytes(40), "has no pixels"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_place(decode: Any, data: bytes, reason: str) -> None:
    assert f"[picture] [7] [of the request] [{reason}]" in refusal(decode, data, index=7)


def test_a_bomb_is_refused_by_its_header(decode: Any) -> None:
    """4 GB of pixels in a file of some hundred bytes: the pixels are never asked for."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    assert "more than 40000000 pixels" in refusal(decode, png)


def test_odd_files_are_read_or_refused(decode: Any, data: Path) -> None:
    expected = json.loads((data / "odd_images" / "expected.json").read_text())
    read = 0
    for name, about in expected.items():
        file = (data / "odd_images" / name).read_bytes()
        wanted = about["tf_decode_image_c3"]
        if isinstance(wanted, str) or about["pil_format"] == "WEBP":
            refusal(decode, file)
        else:
            assert list(decode(file).shape) == wanted, name
            read += 1
    assert read > 20
