"""Images decoded in the graph: read, or rejected by index."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from petbox.errors import InvalidImage
from petbox.litert import decode as litert_decode

HEIC = b"\0\0\0\x20ftypmif1\0\0\0\0mif1hevc" + bytes(40)


@pytest.fixture(scope="module")
def decode() -> Any:
    from petbox.export.decode import files as decode_files
    from petbox.tf import tf

    graph = tf.function(
        decode_files.decode,
        input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.string)],
    )
    return lambda data, index=0: graph(tf.constant(index), tf.constant(data)).numpy()


def rejection(decode: Any, data: bytes, index: int = 0) -> str:
    from petbox.tf import tf

    with pytest.raises(tf.errors.InvalidArgumentError) as rejected:
        decode(data, index)
    return str(rejected.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
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
        (b"", "is empty"),
        (b"\xff\xd8", "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"\xff\xd8\xff", "is corrupt or truncated; send the whole file"),
        (b"<html>this is a web page</html>", "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"RIFF\x20\0\0\0WAVEfmt " + bytes(40), "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (HEIC, "is a HEIC image, which is not supported; send it as JPEG"),
        (HEIC.replace(b"hevc", b"avif"), "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"\0\0\0\x18ftypisom", "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"BM" + bytes(60), "has no pixels"),
        (b"GIF89a" + bytes(40), "is corrupt or truncated; send the whole file"),
    ],
)
def test_an_invalid_image_is_rejected_by_its_index(decode: Any, data: bytes, reason: str) -> None:
    assert f"[image 7 of the request {reason}]" in rejection(decode, data, index=7)
    with pytest.raises(InvalidImage, match=f"^the image {reason}"):
        litert_decode.stored(data, 1000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_file_cut_off_anywhere_is_rejected(decode: Any, kind: str) -> None:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, format=kind)
    whole = file.getvalue()
    for share in (0.3, 0.6, 0.9):
        cut = whole[: int(len(whole) * share)]
        assert "[image 0 of the request is corrupt or truncated" in rejection(decode, cut)


def test_the_limit_is_the_models_own() -> None:
    from petbox.export.decode import files as decode_files
    from petbox.tf import tf

    file = io.BytesIO()
    Image.new("L", (100, 11)).save(file, format="PNG")
    assert decode_files.decode(0, file.getvalue(), most_pixels=1100).shape == (11, 100, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"100x11, more than the 1099 pixels"):
        decode_files.decode(0, file.getvalue(), most_pixels=1099)


def test_a_bomb_is_rejected_by_its_header(decode: Any) -> None:
    """4 GB of pixels in a file of a few hundred bytes: they are never decoded."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    assert "40000x40000, more than the 40000000 pixels allowed" in rejection(decode, png)


def test_a_webp_without_the_name_of_its_first_part_is_rejected(decode: Any) -> None:
    """The decoder reads 12000x12000; the header's usual place has a small size."""
    pixels = bytes.fromhex("2fdfeeb70b07d0842634a1ff8188e87f6400") + bytes(40)
    said = rejection(decode, b"RIFF" + struct.pack("<I", 4 + len(pixels)) + b"WEBP" + pixels)
    assert "[image 0 of the request is corrupt or truncated" in said


def test_a_gif_is_read_whole_however_long_it_is(decode: Any) -> None:
    """Longer than one step reads, in sub-blocks of one length and of many."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    noise = Image.fromarray(rng.integers(0, 255, (400, 500), np.uint8))
    noise.save(file, "GIF", save_all=True, append_images=[noise.rotate(90)])
    assert len(file.getvalue()) > 3 * 2**16
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert (decode(file.getvalue()) == expected).all()
