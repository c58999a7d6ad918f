"""Image files into pixels by Pillow; the rules are those of `petbox.export.decode.files`.

What the header gives away is refused before memory is spent on it, in the words of the SavedModel.
Photos are not turned as their EXIF says, and what is transparent shows the colour under it.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from petbox.errors import InvalidImage, needs

needs("PIL", "client")

# The readers themselves: `Image.open` would try them all, and says no size of what is too large.
from PIL.BmpImagePlugin import BmpImageFile  # noqa: E402  # after the check for the extra
from PIL.GifImagePlugin import GifImageFile  # noqa: E402
from PIL.Image import DecompressionBombError, Image  # noqa: E402
from PIL.JpegImagePlugin import JpegImageFile  # noqa: E402
from PIL.PngImagePlugin import PngImageFile  # noqa: E402
from PIL.WebPImagePlugin import WebPImageFile  # noqa: E402

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width and height

BROKEN = "is broken or cut off; send the whole file"
EMPTY = "is empty"
UNREAD_BMP = "is a BMP with a palette or packed, which is not read; send it as PNG"
# tests/litert/test_litert.py compares these with what the SavedModel takes.
MOST_SCANS = 100  # of a JPEG
MOST_TEXTS = 16  # of a PNG
HEADER = 72  # bytes, with zeros behind a shorter file
ROWS = 256  # handed over at once


def pixels(data: bytes, most_pixels: int) -> Pixels:
    """uint8 [H,W,3] of the picture file in `data`; of a film its first frame."""
    header = data[:HEADER].ljust(HEADER, b"\0")
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data, most_pixels)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data, header, most_pixels)
    if data.startswith(b"GIF8"):
        return _decoded(GifImageFile, data, most_pixels)
    if data.startswith(b"BM"):
        return _bmp(data, header, most_pixels)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data, header, most_pixels)
    raise refused("is not a JPEG, PNG, GIF, BMP or WebP file" if data else EMPTY)


def refused(flaw: str) -> InvalidImage:
    return InvalidImage(f"the picture {flaw}")


def _jpeg(data: bytes, most_pixels: int) -> Pixels:
    if data.count(b"\xff\xda") > MOST_SCANS:
        raise refused(f"has more than {MOST_SCANS} scans; save it anew")
    return _decoded(JpegImageFile, data, most_pixels)


def _png(data: bytes, header: bytes, most_pixels: int) -> Pixels:
    if header[12:16] != b"IHDR":
        raise refused(BROKEN)
    _check(struct.unpack(">II", header[16:24]), most_pixels)
    if max(data.count(b"zTXt"), data.count(b"iTXt")) > MOST_TEXTS:
        raise refused(f"holds more than {MOST_TEXTS} texts; save it anew")
    return _decoded(PngImageFile, data, most_pixels)


def _bmp(data: bytes, header: bytes, most_pixels: int) -> Pixels:
    width, height = struct.unpack("<ii", header[18:26])
    _check((abs(width), abs(height)), most_pixels)
    bits, packing = struct.unpack("<HI", header[28:34])
    usual = struct.unpack("<III", header[54:66]) == (0xFF0000, 0xFF00, 0xFF)
    plain = packing == 0 and bits in (24, 32)
    (length,) = struct.unpack("<I", header[14:18])
    if length < 40 or not (plain or (packing == 3 and bits == 32 and usual)):
        raise refused(UNREAD_BMP)
    return _decoded(BmpImageFile, data, most_pixels)


def _webp(data: bytes, header: bytes, most_pixels: int) -> Pixels:
    kind = header[12:16]
    if kind == b"VP8X":  # sizes of three bytes
        width, height = (1 + int.from_bytes(header[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":  # two of 14 bits
        packed = int.from_bytes(header[21:25], "little")
        width, height = 1 + packed % 2**14, 1 + (packed >> 14) % 2**14
    elif kind == b"VP8 ":
        width, height = (edge % 2**14 for edge in struct.unpack("<HH", header[26:30]))
    else:
        raise refused(BROKEN)
    _check((width, height), most_pixels)
    return _decoded(WebPImageFile, data, most_pixels)


def _decoded(reader: Callable[[io.BytesIO], Image], data: bytes, most_pixels: int) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            picture = reader(io.BytesIO(data))
            _check(picture.size, most_pixels)
            picture.load()
            return _in_eight_bits(picture)
    except InvalidImage:
        raise
    except DecompressionBombError as error:  # a GIF's frame larger than its screen
        raise refused(f"has more than the {most_pixels} pixels allowed; scale it down") from error
    except Exception as error:  # Pillow's decoders raise whatever comes their way
        raise refused(BROKEN) from error


def _check(size: Size, most_pixels: int) -> None:
    width, height = size
    if not (width and height):
        raise refused("has no pixels")
    if width * height > most_pixels:
        raise refused(
            f"is {width}x{height}, more than the {most_pixels} pixels allowed; scale it down"
        )


def _in_eight_bits(picture: Image) -> Pixels:
    """All of it, a few rows at a time: Pillow makes two copies of what it hands over."""
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS):
        rows = picture.crop((0, top, width, min(height, top + ROWS)))
        if picture.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
            pixels[top : top + ROWS] = (np.asarray(rows) >> 8)[..., None]
        else:
            pixels[top : top + ROWS] = np.asarray(rows.convert("RGB"))
    return pixels
