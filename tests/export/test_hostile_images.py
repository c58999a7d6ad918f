"""Malicious and damaged files: pixels or one clear sentence, with limited memory.

A seeded fuzzer flips bits, truncates, swaps headers and splices files; the graph of exported
models decodes each of its two thousand files.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from support import soak
from support.exporting import file, noise
from support.hostile_images import bombs, chunk, gif, memory, mutated, originals, png, spent

SEED, MUTATED = 20_260_000, soak.count(400, 2_000)
SENTENCE = re.compile(r"assertion failed: \[image 3 of the request (is|has|contains) [^\[\]]+\]")
MB = 2**20


@pytest.fixture(scope="module")
def decode() -> Any:
    """The pixels of a file, or the error that a client gets."""
    from petbox.export.decode import files as decode_files
    from petbox.tf import tf

    specs = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.string)]
    graph = tf.function(decode_files.decode, input_signature=specs, autograph=False)

    def decode(data: bytes) -> Any:
        try:
            return graph(tf.constant(3), tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError as error:
            return error.message

    return decode


# Large files, of which two cores decode a half each


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"subsampling": 2, "restart_marker_rows": 3}),
        ("RGB", {"subsampling": 2, "progressive": True}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_a_large_jpeg_has_the_pixels_it_has_when_read_in_one_piece(
    mode: str, options: dict[str, Any], decode: Any
) -> None:
    from petbox.export.decode.files import LARGE_FILE
    from petbox.tf import tf

    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 255, (1117, 1031, 3), np.uint8)
    data = file(Image.fromarray(pixels).convert(mode), quality=97, **options)
    assert len(data) > LARGE_FILE
    np.testing.assert_array_equal(decode(data), tf.io.decode_image(data, channels=3))
    for broken in (data[: len(data) // 4], data[: len(data) * 9 // 10]):
        assert SENTENCE.search(decode(broken))


def test_a_small_image_in_a_large_jpeg_is_read(decode: Any) -> None:
    from petbox.export.decode.files import LARGE_FILE

    small = file(noise(20, 30))
    notes = b"\xff\xe5\xff\xff" + bytes(65533)
    large = small[:2] + notes * (LARGE_FILE // len(notes) + 1) + small[2:]
    np.testing.assert_array_equal(decode(large), decode(small))


# Bombs


@pytest.mark.parametrize(("data", "message"), [pytest.param(d, t, id=n) for n, d, t in bombs()])
def test_a_bomb_is_rejected_before_memory_is_spent_on_it(
    decode: Any, data: bytes, message: str
) -> None:
    decode(data[:100])  # not the whole: what it took might be kept, and not requested again
    result, bytes_ = spent(decode, data)
    assert SENTENCE.search(result), result
    assert message in result
    assert bytes_ < 20 * MB


def test_a_phones_photo_of_64_megapixels_costs_less_than_40_in_other_formats(
    decode: Any,
) -> None:
    from petbox.litert import decode as litert_decode

    small = np.asarray(noise(64, 64))
    tile = np.tile(small, (100, 156, 1))  # 9984x6400, so 63.9 megapixels
    photo = file(Image.fromarray(tile), quality=90)
    progressive = file(Image.fromarray(tile[:, : 64 * 100]), progressive=True)
    del tile
    decode(file(noise(2000, 1500), quality=90))  # what is set up once does not count
    pixels, bytes_ = spent(decode, photo)
    assert pixels.shape == (3200, 4992, 3)
    assert bytes_ < 120 * MB, "40 megapixels take that much when decoded"
    lite, bytes_ = spent(lambda data: litert_decode.pixels(data, 40_000_000), photo)
    assert lite.shape == pixels.shape and bytes_ < 120 * MB
    assert np.abs(lite[::50, ::50].astype(int) - pixels[::50, ::50]).max() < 12
    expected = small.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(pixels[:32, :32] - expected).mean() < 4
    assert "is 6400x6400, more than the 40000000 pixels allowed" in decode(progressive)


def test_a_film_costs_no_more_than_its_first_frame(decode: Any) -> None:
    frames = [Image.new("L", (4000, 2500), 20 * shade) for shade in range(1, 13)]
    animated = file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    still = file(frames[0], "GIF")
    decode(still)
    alone, bytes_alone = spent(decode, still)
    first, bytes_ = spent(decode, animated)
    assert first.shape == (2500, 4000, 3)
    assert (first == alone).all()
    assert bytes_ < bytes_alone + 80 * MB, "each of twelve frames takes 10 MB to unpack"


def test_images_that_take_long_are_rejected(decode: Any) -> None:
    texts = [chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1000))) for _ in range(17)]
    assert "contains more than 16 text chunks" in decode(png(2, 2, bytes(6), *texts))
    assert decode(png(2, 2, bytes(6), *texts[:16])).shape == (2, 2, 3)
    jpeg = file(noise(64, 64), progressive=True)
    at = jpeg.rindex(b"\xff\xc4", 0, jpeg.rindex(b"\xff\xda"))
    scan, end = jpeg[at:-2], jpeg[-2:]
    assert "has more than 100 scans" in decode(jpeg[:-2] + scan * 100 + end)


def test_a_size_that_is_not_where_the_decoder_looks_is_rejected(decode: Any) -> None:
    """An unknown chunk first, with a small size in it at the header's place."""
    small = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    whole = png(4, 4, bytes(20))
    assert "is corrupt or truncated" in decode(whole[:8] + chunk(b"abCd", small) + whole[8:])


def test_a_gif_of_countless_blocks_is_given_up(decode: Any) -> None:
    still = file(noise(16, 16).quantize(8), "GIF")
    at = still.index(b",", 13 + 3 * 2 ** ((still[10] & 7) + 1))
    comment = b"!\xfe" + b"\x01a\x02bb" * 3_000 + b"\0"
    assert "is corrupt or truncated" in decode(still[:at] + comment + still[at:])
    comment = b"!\xfe" + b"\x01a" * 30_000 + b"\0"
    assert decode(still[:at] + comment + still[at:]).shape == (16, 16, 3)


def test_a_webp_film_is_written_where_there_is_room(decode: Any) -> None:
    films = [file(noise(96, 64), "WEBP", save_all=True, append_images=[noise(96, 64, 1)])]
    films += [file(noise(1500, 1000), "WEBP", save_all=True, append_images=[noise(1500, 1000, 1)])]
    for animated in films:
        assert not animated[20] & 16, "without alpha"
        expected = np.asarray(Image.open(io.BytesIO(animated)).convert("RGB"))
        assert (decode(animated) == expected).all()


# What is odd but sound


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "1", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (9000, 1), (1, 9000)])
def test_every_kind_of_pixel_is_read(
    decode: Any, kind: str, mode: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    shade = 255 if mode == "1" else 200
    gray = Image.new("L", size, shade)
    image = gray.point(lambda v: v * 256, "I").convert("I;16") if mode == "I;16" else gray
    image = image if mode == "I;16" else gray.convert("RGB").convert(mode)
    pixels = decode(file(image, kind, **options))
    assert pixels.shape == (size[1], size[0], 3)
    assert abs(pixels.mean() - shade) < 8


def test_a_frame_smaller_than_its_screen_lies_where_it_belongs(decode: Any) -> None:
    still = file(Image.new("P", (8, 4), 1), "GIF")
    pixels = decode(gif((20, 10), (3, 5), (8, 4), still))
    assert pixels.shape == (10, 20, 3)
    inside = pixels[5:9, 3:11].reshape(-1, 3)
    assert (inside == inside[0]).all()
    pixels[5:9, 3:11] = 0
    assert not pixels.any()


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_bmps_whose_colors_would_come_out_wrong_are_rejected(decode: Any, mode: str) -> None:
    said = decode(file(noise(16, 16).convert(mode), "BMP"))
    assert "is a BMP with a palette or compression, which is not supported" in said


def test_odd_files_are_read_or_rejected_by_their_index(decode: Any, data: Path) -> None:
    folder = data / "odd_images"
    expected = json.loads((folder / "expected.json").read_text())
    outcome: dict[str, list[str]] = {"read": [], "rejected": []}
    for name, about in expected.items():
        found = decode((folder / name).read_bytes())
        if isinstance(found, str):
            assert SENTENCE.search(found), f"{name}: {found}"
            outcome["rejected"].append(name)
            continue
        outcome["read"].append(name)
        assert about["pil_decodes"], name
        width, height = _upright(folder / name)
        assert found.shape == (height, width, 3), name
    unread = {name for name, about in expected.items() if about.get("pil_format") not in READ}
    assert set(outcome["rejected"]) == unread | {"no_palette.gif"}
    assert len(outcome["read"]) > 25


READ = ("JPEG", "MPO", "PNG", "GIF", "WEBP")


def _upright(path: Path) -> tuple[int, int]:
    """The size of the first frame, as people see it."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).size


# The fuzzer


@pytest.mark.soak
def test_mutated_files_are_decoded_or_rejected(decode: Any) -> None:
    rng, files = random.Random(SEED), originals()
    for data in files:
        assert not isinstance(decode(data), str), "sound to begin with"
    outcome: Counter[str] = Counter()
    settled = 0
    for number in range(MUTATED):
        found = decode(mutated(files, rng))
        if isinstance(found, str):
            assert SENTENCE.search(found), f"file {number}: {found}"
            outcome["rejected"] += 1
        else:
            assert found.ndim == 3 and found.shape[2] == 3 and found.size, f"file {number}"
            outcome["read"] += 1
        if number == MUTATED // 4:
            settled = memory("VmRSS")
    assert outcome["read"] > MUTATED / 10 and outcome["rejected"] > MUTATED / 10, outcome
    assert memory("VmRSS") < settled + 64 * MB
