"""Decodes image files with Pillow, by the rules of `petbox.export.decode.files`.

The header is checked before memory is spent; errors have the same text as the SavedModel's. Images
are turned upright as their EXIF says, and transparent pixels keep their color.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from petbox.errors import InvalidImage, needs
from petbox.images import exif, heic
from petbox.images.limits import HALVED, most_of_jpeg

needs("PIL", "client")

# The readers themselves: `Image.open` tries them all, and does not report the size of a too large
# image.
from PIL.BmpImagePlugin import BmpImageFile  # noqa: E402  # after the check for the extra
from PIL.GifImagePlugin import GifImageFile  # noqa: E402
from PIL.Image import DecompressionBombError, Image  # noqa: E402
from PIL.JpegImagePlugin import JpegImageFile  # noqa: E402
from PIL.PngImagePlugin import PngImageFile  # noqa: E402
from PIL.WebPImagePlugin import WebPImageFile  # noqa: E402

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width and height

CORRUPT = "is corrupt or truncated; send the whole file"
EMPTY = "is empty"
UNSUPPORTED_BMP = "is a BMP with a palette or compression, which is not supported; send it as PNG"
# A test compares these with the SavedModel's.
MOST_SCANS = 100  # of a JPEG
MOST_TEXTS = 16  # of a PNG
HEADER = 72  # bytes; a shorter file is padded with zeros
ROWS = 256  # converted at once


def pixels(data: bytes, most_pixels: int) -> Pixels:
    """uint8 [H,W,3] of the image file in `data`, upright."""
    upright: Pixels = exif.turned(stored(data, most_pixels), exif.orientation(data))
    return upright


def stored(data: bytes, most_pixels: int) -> Pixels:
    """The same as they are stored; of an animated image its first frame."""
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
    if heic.is_heic(data):
        raise invalid(heic.NOT_SUPPORTED)
    raise invalid("is not a JPEG, PNG, GIF, BMP or WebP file" if data else EMPTY)


def invalid(problem: str) -> InvalidImage:
    return InvalidImage(f"the image {problem}")


def _jpeg(data: bytes, most_pixels: int) -> Pixels:
    if data.count(b"\xff\xda") > MOST_SCANS:
        raise invalid(f"has more than {MOST_SCANS} scans; save it again")
    return _decoded(JpegImageFile, data, most_pixels)


def _png(data: bytes, header: bytes, most_pixels: int) -> Pixels:
    if header[12:16] != b"IHDR":
        raise invalid(CORRUPT)
    _check(struct.unpack(">II", header[16:24]), most_pixels)
    if max(data.count(b"zTXt"), data.count(b"iTXt")) > MOST_TEXTS:
        raise invalid(f"contains more than {MOST_TEXTS} text chunks; save it again")
    return _decoded(PngImageFile, data, most_pixels)


def _bmp(data: bytes, header: bytes, most_pixels: int) -> Pixels:
    width, height = struct.unpack("<ii", header[18:26])
    _check((abs(width), abs(height)), most_pixels)
    bits, packing = struct.unpack("<HI", header[28:34])
    usual = struct.unpack("<III", header[54:66]) == (0xFF0000, 0xFF00, 0xFF)
    plain = packing == 0 and bits in (24, 32)
    (length,) = struct.unpack("<I", header[14:18])
    if length < 40 or not (plain or (packing == 3 and bits == 32 and usual)):
        raise invalid(UNSUPPORTED_BMP)
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
        raise invalid(CORRUPT)
    _check((width, height), most_pixels)
    return _decoded(WebPImageFile, data, most_pixels)


def _decoded(reader: Callable[[io.BytesIO], Image], data: bytes, most_pixels: int) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata
            image = reader(io.BytesIO(data))
            halved = image.format == "JPEG" and not image.info.get("progressive")
            _check(image.size, most_of_jpeg(most_pixels) if halved else most_pixels)
            if image.width * image.height > most_pixels:
                image.draft("RGB", (image.width // HALVED, image.height // HALVED))
            image.load()
            return _in_eight_bits(image)
    except InvalidImage:
        raise
    except DecompressionBombError as error:  # a frame of a GIF is larger than its screen
        raise invalid(f"has more than the {most_pixels} pixels allowed; scale it down") from error
    except Exception as error:  # Pillow's decoders raise any exception
        raise invalid(CORRUPT) from error


def _check(size: Size, most_pixels: int) -> None:
    width, height = size
    if not (width and height):
        raise invalid("has no pixels")
    if width * height > most_pixels:
        raise invalid(
            f"is {width}x{height}, more than the {most_pixels} pixels allowed; scale it down"
        )


def _in_eight_bits(image: Image) -> Pixels:
    """The pixels, converted a few rows at a time, because Pillow makes two copies."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS):
        rows = image.crop((0, top, width, min(height, top + ROWS)))
        if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
            pixels[top : top + ROWS] = (np.asarray(rows) >> 8)[..., None]
        else:
            pixels[top : top + ROWS] = np.asarray(rows.convert("RGB"))
    return pixels
