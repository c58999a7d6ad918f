"""The EXIF orientation of an image file: how cameras say that the pixels are to be turned.

A broken or ambiguous EXIF block is as if there were none. `petbox.export.decode.orientation` reads
it by the same rules inside the graph; a test compares the two. Standard library only.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

UPRIGHT, CLOCKWISE, COUNTERCLOCKWISE = 1, 6, 8  # what is to be done with the pixels
ORIENTATIONS = range(1, 9)
SIDEWAYS = range(5, 9)  # those that swap width and height
MIRRORED_ROWS = (2, 3, 6, 7)  # left and right are swapped, after width and height were
MIRRORED_COLUMNS = (3, 4, 7, 8)  # top and bottom are

HEAD = 2**18  # bytes of a JPEG in which a block begins
MOST_SEGMENTS = 500  # of a JPEG before its pixels
MOST_NAMES = 16  # of a chunk, in the bytes of a PNG or a WebP
MOST_BYTES = 2**16  # of a block that are read
PNG_HEADER = 33  # bytes before its second chunk
PNG = b"\x89PNG\r\n\x1a\n"
FLAGS, HAS_EXIF = 20, 8  # where a WebP has them; one of them
IN_JPEG = b"Exif\0\0"
LITTLE, BIG = b"II*\0", b"MM\0*"
TAG, SHORT = 0x0112, 3


@dataclass(frozen=True)
class _Found:
    orientation: int
    block: int  # where it starts in the file
    at: int  # where the two bytes of the value are
    order: str  # of the bytes, as struct has it


def orientation(data: bytes) -> int:
    """The orientation of the JPEG, PNG or WebP file `data`; 1 for any other file."""
    found = _find(data)
    return found.orientation if found else UPRIGHT


def turned(pixels: Any, orientation: int) -> Any:
    """A view of the pixels, an array [H,W,3], upright."""
    if orientation in SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in MIRRORED_COLUMNS:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in MIRRORED_ROWS else pixels


def sideways(png: bytes) -> bytes:
    """The file of a PNG without EXIF, with a block that says to turn it clockwise."""
    entry = struct.pack("<HHIHH", TAG, SHORT, 1, CLOCKWISE, 0)
    body = b"eXIf" + LITTLE + struct.pack("<IH", 8, 1) + entry + bytes(4)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:PNG_HEADER] + chunk + png[PNG_HEADER:]


def as_stored(data: bytes) -> bytes:
    """The file, changed so that its pixels count as they are stored.

    Boxes in records belong to those pixels, because TensorFlow's decoders ignore EXIF.
    """
    found = _find(data)
    if not found or found.orientation == UPRIGHT:
        return data
    changed = bytearray(data)
    struct.pack_into(found.order + "H", changed, found.at, UPRIGHT)
    if data.startswith(PNG):
        name = found.block - 4
        end = found.block + int.from_bytes(data[name - 4 : name], "big")
        struct.pack_into(">I", changed, end, zlib.crc32(changed[name:end]))
    return bytes(changed)


def _find(data: bytes) -> _Found | None:
    blocks: list[tuple[int, int]] = []  # where they start and end
    if data.startswith(b"\xff\xd8\xff"):
        blocks = _in_jpeg(data)
    elif data.startswith(PNG):
        blocks = [_in_png(data, at) for at in _places(data, b"eXIf")]
    elif data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and _has_exif(data):
        blocks = [_in_webp(data, at) for at in _places(data, b"EXIF")]
    known = [(s, e) for s, e in blocks if data[s : s + 4] in (LITTLE, BIG) and e <= len(data)]
    if len(known) != 1:
        return None
    ((start, end),) = known
    return _in_block(data[start : min(end, start + MOST_BYTES)], start)


def _in_jpeg(data: bytes) -> list[tuple[int, int]]:
    blocks: list[tuple[int, int]] = []
    if IN_JPEG not in data[:HEAD]:
        return blocks
    at = 2
    for _ in range(MOST_SEGMENTS):
        mark, kind = data[at : at + 1], data[at + 1 : at + 2]
        if mark != b"\xff" or not kind or kind in b"\xda\xd9\xd8\0":
            break
        if kind == b"\xff":  # padding
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4].ljust(2, b"\0"), "big")
        if length < 2:
            break
        end = at + 2 + length
        if kind == b"\xe1" and data[at + 4 : at + 10] == IN_JPEG:
            blocks.append((at + 10, end))
        at = end
    return blocks


def _in_png(data: bytes, at: int) -> tuple[int, int]:
    start = at + 4
    return start, start + int.from_bytes(data[at - 4 : at], "big")


def _has_exif(webp: bytes) -> bool:
    return len(webp) > FLAGS and bool(webp[FLAGS] & HAS_EXIF)


def _in_webp(data: bytes, at: int) -> tuple[int, int]:
    start = at + 8
    end = start + int.from_bytes(data[at + 4 : start], "little")
    return start + 6 * (data[start : start + 6] == IN_JPEG), end  # some programs write both names


def _places(data: bytes, name: bytes) -> list[int]:
    """Where `name` occurs; nowhere if that is suspiciously often."""
    found = [match.start() for match in re.finditer(name, data)]
    return found if len(found) <= MOST_NAMES else []


def _in_block(block: bytes, start: int) -> _Found | None:
    if block[:4] not in (LITTLE, BIG) or len(block) < 8:
        return None
    order = "<" if block[:4] == LITTLE else ">"
    (directory,) = struct.unpack_from(order + "I", block, 4)
    if directory < 8 or directory + 2 > len(block):
        return None
    (count,) = struct.unpack_from(order + "H", block, directory)
    if directory + 2 + 12 * count > len(block):
        return None
    places = [directory + 2 + 12 * number for number in range(count)]
    places = [at for at in places if struct.unpack_from(order + "H", block, at) == (TAG,)]
    if len(places) != 1:
        return None
    _, kind, values, value = struct.unpack_from(order + "HHIH", block, places[0])
    if kind != SHORT or values != 1 or value not in ORIENTATIONS:
        return None
    return _Found(value, start, start + places[0] + 8, order)
