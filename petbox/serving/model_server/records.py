"""TFRecord files, read without TensorFlow.

Each record has its length, a checksum of that, its content, and a checksum of that. The last one is
not checked: in Python it would take longer than to load a small model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

HEAD = struct.Struct("<QI")  # the length, and the checksum of its eight bytes
FOOT = 4  # bytes of the checksum of the content
CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C


class CorruptRecord(Exception):
    """With TensorFlow's words."""


def records(path: Path) -> Iterator[bytes]:
    """The records in order; CorruptRecord where the file is damaged."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        start = at + HEAD.size
        if start > len(content):
            raise CorruptRecord(f"truncated record at {at}")
        length, checksum = HEAD.unpack_from(content, at)
        if checksum != masked_crc(content[at : at + 8]):
            raise CorruptRecord(f"corrupted record at {at}")
        end = start + length
        if end + FOOT > len(content):
            raise CorruptRecord(f"truncated record at {at}")
        yield content[start:end]
        at = end + FOOT


def masked_crc(content: bytes) -> int:
    """CRC-32C, rotated and shifted so that it can be stored in what it is a checksum of."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (CASTAGNOLI if byte & 1 else 0)
    return byte


TABLE = [_remainder(byte) for byte in range(256)]
