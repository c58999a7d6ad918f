"""Image files of a few kilobytes that ask for gigabytes, and what decoding one costs."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.exporting import file, noise


def memory(what: str, process: int | str = "self") -> int:
    """Bytes of a process: `VmRSS` now, `VmHWM` at most so far."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


def spent(decode: Any, data: bytes) -> tuple[Any, int]:
    """What comes of a file, and the memory it took at most."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    result = decode(data)
    return result, memory("VmHWM") - before


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, *extra: bytes) -> bytes:
    return packed_png(width, height, zlib.compress(rows, 9), *extra)


def packed_png(width: int, height: int, packed: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", packed)
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *extra, pixels, chunk(b"IEND", b"")))


def packed_zeros(times: int, count: int) -> bytes:
    """`times` x `count` zeros as zlib packs them, which takes zlib seconds for gigabytes."""
    packer = zlib.compressobj(9)
    begin = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(bytes(count)) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to no other
    last, checksum = b"\x03\x00", struct.pack(">HH", times * count % 65521, 1)
    return begin + times * part + last + checksum


def gif(screen: tuple[int, int], frame: tuple[int, int], size: tuple[int, int], of: bytes) -> bytes:
    """The first frame of the GIF `of`, said to lie elsewhere and to be of another size."""
    at = of.index(b",", 13 + 3 * 2 ** ((of[10] & 7) + 1))
    place = struct.pack("<sHHHH", b",", *frame, *size)
    return of[:6] + struct.pack("<HH", *screen) + of[10:at] + place + of[at + 9 :]


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Files of a few kilobytes that ask for gigabytes, and what is said of them."""
    wide = "is 20000x20000, more than the 40000000 pixels allowed; scale it down"
    rows = zlib.compress(b"", 9)
    yield "png", packed_png(20_000, 20_000, packed_zeros(1000, 20 * 20_001)), wide
    jpeg = bytearray(file(noise(64, 64)))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 20_000, 20_000)
    yield "jpeg", bytes(jpeg), wide.replace("40000000", "64000000")
    small = file(noise(16, 16).quantize(8), "GIF")
    yield "gif's screen", gif((20_000, 20_000), (0, 0), (16, 16), small), wide
    yield "gif's frame", gif((16, 16), (0, 0), (20_000, 20_000), small), wide
    yield "gif's corner", gif((16, 16), (19_984, 19_984), (16, 16), small), wide
    bmp = bytearray(file(noise(16, 16), "BMP"))
    bmp[18:26] = struct.pack("<ii", 20_000, -20_000)
    yield "bmp", bytes(bmp), wide
    bmp[18:26] = struct.pack("<ii", -(2**31), -(2**31))
    yield "bmp's least", bytes(bmp), "is 2147483648x2147483648, more than the 40000000 pixels"
    for name, options in (("webp", {}), ("lossless webp", {"lossless": True})):
        webp = bytearray(file(noise(16, 16), "WEBP", **options))
        kind = webp[12:16]
        if kind == b"VP8 ":
            webp[26:30] = struct.pack("<HH", 16_383, 16_383)
        else:
            webp[21:25] = struct.pack("<I", 0x0FFFFFFF)
        yield name, bytes(webp), "more than the 40000000 pixels"
    animated = bytearray(
        file(noise(16, 16), "WEBP", save_all=True, append_images=[noise(16, 16, 1)])
    )
    animated[24:30] = b"\xff\xff\xff\xff\xff\xff"
    yield "animated webp", bytes(animated), "is 16777216x16777216, more than the 40000000 pixels"
    most = struct.pack(">I", 2**31 - 1)
    yield "png's most", png(1, 1, rows).replace(bytes([0, 0, 0, 1]) * 2, most * 2, 1), "2147483647"


def originals() -> list[bytes]:
    """A small image in each format and form that is read."""
    image = noise(96, 64)
    animated = {"save_all": True, "append_images": [noise(96, 64, 1)]}
    return [
        file(image),
        file(image, progressive=True),
        file(image.convert("L")),
        file(image, "PNG"),
        file(image.convert("P"), "PNG"),
        file(image.convert("RGBA"), "PNG"),
        file(image, "GIF"),
        file(image, "GIF", **animated),
        file(image, "BMP"),
        file(image, "WEBP"),
        file(image.convert("RGBA"), "WEBP", lossless=True),
        file(image, "WEBP", **animated),
    ]


def mutated(files: list[bytes], rng: random.Random) -> bytes:
    """One of the files, damaged in one of seven ways."""
    data = bytearray(rng.choice(files))
    way = rng.choice(("bits", "header bits", "cut", "swap", "splice", "bytes", "repeat"))
    if way in ("bits", "header bits"):
        end = 64 if way == "header bits" else len(data)
        for _ in range(rng.choice((1, 2, 8, 64))):
            data[rng.randrange(min(end, len(data)))] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del data[rng.randrange(len(data)) :]
    elif way == "swap":
        length = rng.choice((4, 12, 26, 40))
        data[:length] = rng.choice(files)[:length]
    elif way == "splice":
        other = rng.choice(files)
        data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
    elif way == "bytes":
        at = rng.randrange(len(data))
        data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"))
    else:
        at = rng.randrange(len(data))
        data[at:at] = data[at : at + 200] * rng.choice((1, 5, 50))
    return bytes(data)
